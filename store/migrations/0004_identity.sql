-- Identity: who may log in, what they belong to, the catalog. Rows without a life, written by gateways.
-- Times are UTC epoch seconds; extra holds the members a client added, as a JSON object.
CREATE SCHEMA IF NOT EXISTS identity;

CREATE TABLE IF NOT EXISTS identity.domain (
    id          text PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    description text NOT NULL DEFAULT '',
    enabled     boolean NOT NULL DEFAULT true,
    extra       text NOT NULL DEFAULT '{}'
);

CREATE TABLE IF NOT EXISTS identity.project (
    id          text PRIMARY KEY,
    domain_id   text NOT NULL REFERENCES identity.domain ON DELETE CASCADE,
    parent_id   text REFERENCES identity.project,
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    enabled     boolean NOT NULL DEFAULT true,
    tags        text[] NOT NULL DEFAULT '{}',
    extra       text NOT NULL DEFAULT '{}',
    UNIQUE (domain_id, name)
);
CREATE INDEX IF NOT EXISTS project_parent ON identity.project (parent_id);

-- Tokens carry the epoch; raising it (password changed, user disabled) ends all of the user's tokens.
CREATE TABLE IF NOT EXISTS identity."user" (
    id                 text PRIMARY KEY,
    domain_id          text NOT NULL REFERENCES identity.domain ON DELETE CASCADE,
    name               text NOT NULL,
    enabled            boolean NOT NULL DEFAULT true,
    default_project_id text,
    epoch              integer NOT NULL DEFAULT 0,
    extra              text NOT NULL DEFAULT '{}',
    UNIQUE (domain_id, name)
);

CREATE TABLE IF NOT EXISTS identity.password (
    user_id    text PRIMARY KEY REFERENCES identity."user" ON DELETE CASCADE,
    hash       text NOT NULL,
    changed_at float8 NOT NULL
);

CREATE TABLE IF NOT EXISTS identity."group" (
    id          text PRIMARY KEY,
    domain_id   text NOT NULL REFERENCES identity.domain ON DELETE CASCADE,
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    extra       text NOT NULL DEFAULT '{}',
    UNIQUE (domain_id, name)
);

CREATE TABLE IF NOT EXISTS identity.membership (
    group_id text NOT NULL REFERENCES identity."group" ON DELETE CASCADE,
    user_id  text NOT NULL REFERENCES identity."user" ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
);
CREATE INDEX IF NOT EXISTS membership_group ON identity.membership (group_id);

CREATE TABLE IF NOT EXISTS identity.role (
    id          text PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    description text NOT NULL DEFAULT '',
    extra       text NOT NULL DEFAULT '{}'
);

CREATE TABLE IF NOT EXISTS identity.implied_role (
    prior_id   text NOT NULL REFERENCES identity.role ON DELETE CASCADE,
    implied_id text NOT NULL REFERENCES identity.role ON DELETE CASCADE,
    PRIMARY KEY (prior_id, implied_id)
);

-- A user or a group has a role on a project, on a domain, or (neither set) on the system.
CREATE TABLE IF NOT EXISTS identity.assignment (
    user_id    text REFERENCES identity."user" ON DELETE CASCADE,
    group_id   text REFERENCES identity."group" ON DELETE CASCADE,
    project_id text REFERENCES identity.project ON DELETE CASCADE,
    domain_id  text REFERENCES identity.domain ON DELETE CASCADE,
    role_id    text NOT NULL REFERENCES identity.role ON DELETE CASCADE,
    CHECK (num_nonnulls(user_id, group_id) = 1),
    CHECK (num_nonnulls(project_id, domain_id) <= 1),
    UNIQUE NULLS NOT DISTINCT (user_id, group_id, project_id, domain_id, role_id)
);
CREATE INDEX IF NOT EXISTS assignment_group ON identity.assignment (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS assignment_project ON identity.assignment (project_id);
CREATE INDEX IF NOT EXISTS assignment_domain ON identity.assignment (domain_id) WHERE domain_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS assignment_role ON identity.assignment (role_id);

CREATE TABLE IF NOT EXISTS identity.region (
    id               text PRIMARY KEY,
    description      text NOT NULL DEFAULT '',
    parent_region_id text REFERENCES identity.region
);

CREATE TABLE IF NOT EXISTS identity.service (
    id          text PRIMARY KEY,
    type        text NOT NULL,
    name        text NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    enabled     boolean NOT NULL DEFAULT true
);

-- A url that begins with a slash is relative to wherever the client reaches the gateway.
CREATE TABLE IF NOT EXISTS identity.endpoint (
    id         text PRIMARY KEY,
    service_id text NOT NULL REFERENCES identity.service ON DELETE CASCADE,
    interface  text NOT NULL CHECK (interface IN ('public', 'internal', 'admin')),
    region_id  text REFERENCES identity.region,
    url        text NOT NULL,
    enabled    boolean NOT NULL DEFAULT true
);
CREATE INDEX IF NOT EXISTS endpoint_service ON identity.endpoint (service_id);

-- What every gateway must hear of: a revoked token (subject: its audit id), or whose cached callers to
-- forget. tx is the writing transaction: a reader that remembers the oldest transaction then running
-- misses nothing, in whatever order they commit.
CREATE TABLE IF NOT EXISTS identity.revocation (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tx         bigint NOT NULL DEFAULT (pg_current_xact_id()::text)::bigint,
    kind       text NOT NULL CHECK (kind IN ('token', 'user', 'project', 'domain', 'all')),
    subject    text NOT NULL,
    expires_at float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS revocation_tx ON identity.revocation (tx);
CREATE INDEX IF NOT EXISTS revocation_expiry ON identity.revocation (expires_at);

GRANT USAGE ON SCHEMA identity TO starling_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA identity TO starling_gateway;
