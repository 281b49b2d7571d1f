-- Delegation: application credentials with their access rules, and trusts. What a delegation allows is always
-- less than what its giver may do at the moment it is used; neither is copied here.
CREATE TABLE IF NOT EXISTS identity.application_credential (
    id           text PRIMARY KEY,
    user_id      text NOT NULL REFERENCES identity."user" ON DELETE CASCADE,
    project_id   text NOT NULL REFERENCES identity.project ON DELETE CASCADE,
    name         text NOT NULL,
    description  text NOT NULL DEFAULT '',
    secret_hash  text NOT NULL,
    expires_at   float8,
    unrestricted boolean NOT NULL DEFAULT false,
    UNIQUE (user_id, name)
);
CREATE INDEX IF NOT EXISTS application_credential_project ON identity.application_credential (project_id);

CREATE TABLE IF NOT EXISTS identity.application_credential_role (
    application_credential_id text NOT NULL REFERENCES identity.application_credential ON DELETE CASCADE,
    role_id                   text NOT NULL REFERENCES identity.role ON DELETE CASCADE,
    PRIMARY KEY (application_credential_id, role_id)
);
CREATE INDEX IF NOT EXISTS application_credential_role_role ON identity.application_credential_role (role_id);

CREATE TABLE IF NOT EXISTS identity.access_rule (
    id      text PRIMARY KEY,
    user_id text NOT NULL REFERENCES identity."user" ON DELETE CASCADE,
    service text NOT NULL,
    method  text NOT NULL,
    path    text NOT NULL,
    UNIQUE (user_id, service, method, path)
);

-- A rule in use stays: its deletion is refused by the second reference.
CREATE TABLE IF NOT EXISTS identity.application_credential_rule (
    application_credential_id text NOT NULL REFERENCES identity.application_credential ON DELETE CASCADE,
    access_rule_id            text NOT NULL REFERENCES identity.access_rule,
    PRIMARY KEY (application_credential_id, access_rule_id)
);
CREATE INDEX IF NOT EXISTS application_credential_rule_rule
    ON identity.application_credential_rule (access_rule_id);

-- remaining_uses NULL: no limit. redelegation_count: how many trusts may still follow this one in its chain.
CREATE TABLE IF NOT EXISTS identity.trust (
    id                   text PRIMARY KEY,
    trustor_user_id      text NOT NULL REFERENCES identity."user" ON DELETE CASCADE,
    trustee_user_id      text NOT NULL REFERENCES identity."user" ON DELETE CASCADE,
    project_id           text REFERENCES identity.project ON DELETE CASCADE,
    impersonation        boolean NOT NULL,
    expires_at           float8,
    remaining_uses       integer CHECK (remaining_uses >= 0),
    redelegation_count   integer NOT NULL CHECK (redelegation_count >= 0),
    redelegated_trust_id text REFERENCES identity.trust ON DELETE CASCADE,
    extra                text NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS trust_trustor ON identity.trust (trustor_user_id);
CREATE INDEX IF NOT EXISTS trust_trustee ON identity.trust (trustee_user_id);
CREATE INDEX IF NOT EXISTS trust_project ON identity.trust (project_id);
CREATE INDEX IF NOT EXISTS trust_redelegated ON identity.trust (redelegated_trust_id)
    WHERE redelegated_trust_id IS NOT NULL;

-- No reference to the role: a trust is good while its trustor holds all of its roles, so one that goes ends it.
CREATE TABLE IF NOT EXISTS identity.trust_role (
    trust_id text NOT NULL REFERENCES identity.trust ON DELETE CASCADE,
    role_id  text NOT NULL,
    PRIMARY KEY (trust_id, role_id)
);

-- What may be used once: passcodes and receipts, until they would be over by themselves.
CREATE TABLE IF NOT EXISTS identity.spent (
    subject    text PRIMARY KEY,
    expires_at float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS spent_expiry ON identity.spent (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.application_credential, identity.application_credential_role,
    identity.access_rule, identity.application_credential_rule, identity.trust, identity.trust_role,
    identity.spent TO starling_gateway;
