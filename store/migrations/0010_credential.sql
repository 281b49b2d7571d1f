-- Secrets that users keep here: EC2 key pairs, TOTP seeds, certificates, anything. The blob is sealed by the
-- gateway: the database never sees what is in it. access_hash: of an EC2 pair's access key, to find it by.
CREATE TABLE IF NOT EXISTS identity.credential (
    id          text PRIMARY KEY,
    user_id     text NOT NULL REFERENCES identity."user" ON DELETE CASCADE,
    type        text NOT NULL,
    project_id  text REFERENCES identity.project ON DELETE CASCADE,
    blob        text NOT NULL,
    access_hash text UNIQUE,
    extra       text NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS credential_user ON identity.credential (user_id, type);
CREATE INDEX IF NOT EXISTS credential_project ON identity.credential (project_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.credential TO starling_gateway;
