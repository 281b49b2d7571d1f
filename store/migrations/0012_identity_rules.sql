-- Identity: options, password rules, hierarchies' epochs, roles of a domain, inherited grants, token keys.
-- options is a JSON object; it holds what is set and nothing else.
ALTER TABLE identity.domain ADD COLUMN IF NOT EXISTS tags text[] NOT NULL DEFAULT '{}';
ALTER TABLE identity.domain ADD COLUMN IF NOT EXISTS options text NOT NULL DEFAULT '{}';
ALTER TABLE identity.project ADD COLUMN IF NOT EXISTS options text NOT NULL DEFAULT '{}';
CREATE INDEX IF NOT EXISTS project_tags ON identity.project USING gin (tags);

-- A token is void once the epochs of its user, its user's domain, its scope and its scope's domain have
-- another sum: disabling one of them ends tokens for good, also when it is enabled again.
ALTER TABLE identity.domain ADD COLUMN IF NOT EXISTS epoch integer NOT NULL DEFAULT 0;
ALTER TABLE identity.project ADD COLUMN IF NOT EXISTS epoch integer NOT NULL DEFAULT 0;

-- password_expires_at NULL: never. active_at NULL: not known; the days of inactivity count from the next login.
ALTER TABLE identity."user" ADD COLUMN IF NOT EXISTS options text NOT NULL DEFAULT '{}';
ALTER TABLE identity."user" ADD COLUMN IF NOT EXISTS password_expires_at float8;
ALTER TABLE identity."user" ADD COLUMN IF NOT EXISTS active_at float8;
CREATE INDEX IF NOT EXISTS user_default_project ON identity."user" (default_project_id)
    WHERE default_project_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS user_password_expiry ON identity."user" (password_expires_at)
    WHERE password_expires_at IS NOT NULL;

-- self_service: set by the user, not by an administrator. failures counts wrong passwords since the last
-- right one, failed_at is the time of the last of them.
ALTER TABLE identity.password ADD COLUMN IF NOT EXISTS self_service boolean NOT NULL DEFAULT false;
ALTER TABLE identity.password ADD COLUMN IF NOT EXISTS failures integer NOT NULL DEFAULT 0;
ALTER TABLE identity.password ADD COLUMN IF NOT EXISTS failed_at float8 NOT NULL DEFAULT 0;

-- Hashes a user had before and may not have again.
CREATE TABLE IF NOT EXISTS identity.old_password (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id  text NOT NULL REFERENCES identity."user" ON DELETE CASCADE,
    hash     text NOT NULL
);
CREATE INDEX IF NOT EXISTS old_password_user ON identity.old_password (user_id, id);

-- domain_id NULL: a role of the whole cloud. Roles of a domain only stand for the roles they imply.
ALTER TABLE identity.role ADD COLUMN IF NOT EXISTS domain_id text REFERENCES identity.domain ON DELETE CASCADE;
ALTER TABLE identity.role ADD COLUMN IF NOT EXISTS options text NOT NULL DEFAULT '{}';
ALTER TABLE identity.role DROP CONSTRAINT IF EXISTS role_name_key;
CREATE UNIQUE INDEX IF NOT EXISTS role_name ON identity.role (name, domain_id) NULLS NOT DISTINCT;
CREATE INDEX IF NOT EXISTS role_domain ON identity.role (domain_id) WHERE domain_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS implied_role_implied ON identity.implied_role (implied_id);
UPDATE identity.role SET options = '{"immutable":true}'
    WHERE name IN ('admin', 'manager', 'member', 'reader') AND options = '{}';

-- inherited: counts on the projects below the target, not on the target itself.
ALTER TABLE identity.assignment ADD COLUMN IF NOT EXISTS inherited boolean NOT NULL DEFAULT false;
ALTER TABLE identity.assignment
    DROP CONSTRAINT IF EXISTS assignment_user_id_group_id_project_id_domain_id_role_id_key;
CREATE UNIQUE INDEX IF NOT EXISTS assignment_once
    ON identity.assignment (user_id, group_id, project_id, domain_id, role_id, inherited) NULLS NOT DISTINCT;
CREATE INDEX IF NOT EXISTS assignment_inherited ON identity.assignment (project_id, domain_id) WHERE inherited;

-- Keys that encrypt tokens, themselves encrypted by the cloud's secret. The newest is staged (every gateway
-- knows it before it is used), the one before it encrypts, older ones decrypt until their tokens are over.
CREATE TABLE IF NOT EXISTS identity.token_key (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wrapped    text NOT NULL,
    made_at    float8 NOT NULL,
    primary_at float8,
    retired_at float8
);

-- The words are the program's business: store.identity.NoticeKind.
ALTER TABLE identity.revocation DROP CONSTRAINT IF EXISTS revocation_kind_check;

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.old_password, identity.token_key TO starling_gateway;
