-- Compute's rows without a life, written by gateways: flavors, key pairs, limits, idempotency records.
-- Times are UTC epoch seconds. Servers and hosts are actors' rows (0003).
CREATE SCHEMA IF NOT EXISTS compute;

CREATE TABLE IF NOT EXISTS compute.flavor (
    id            text PRIMARY KEY,
    n             bigint GENERATED ALWAYS AS IDENTITY,
    name          text NOT NULL UNIQUE,
    vcpus         int NOT NULL,
    memory_mib    int NOT NULL,
    disk_gib      int NOT NULL,
    ephemeral_gib int NOT NULL DEFAULT 0,
    swap_mib      int NOT NULL DEFAULT 0,
    rxtx_factor   float8 NOT NULL DEFAULT 1.0,
    is_public     bool NOT NULL DEFAULT true,
    description   text,
    extra_specs   jsonb NOT NULL DEFAULT '{}',
    created_at    float8 NOT NULL,
    updated_at    float8 NOT NULL
);

CREATE TABLE IF NOT EXISTS compute.flavor_access (
    flavor_id  text NOT NULL REFERENCES compute.flavor ON DELETE CASCADE,
    project_id text NOT NULL,
    PRIMARY KEY (flavor_id, project_id)
);
CREATE INDEX IF NOT EXISTS flavor_access_project ON compute.flavor_access (project_id);

-- n is the integer id that old microversions show.
CREATE TABLE IF NOT EXISTS compute.keypair (
    user_id     text NOT NULL,
    name        text NOT NULL,
    n           bigint GENERATED ALWAYS AS IDENTITY,
    type        text NOT NULL,
    public_key  text NOT NULL,
    fingerprint text NOT NULL,
    created_at  float8 NOT NULL,
    PRIMARY KEY (user_id, name)
);

-- A limit set for a project, or for all that have none of their own (project_id '').
CREATE TABLE IF NOT EXISTS compute.quota (
    project_id text NOT NULL,
    resource   text NOT NULL,
    hard_limit bigint NOT NULL,
    PRIMARY KEY (project_id, resource)
);

-- What a client's idempotency key began: the same key must come with the same body.
CREATE TABLE IF NOT EXISTS compute.idempotency (
    operation   text PRIMARY KEY,
    body_sha256 text NOT NULL,
    created_at  float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS idempotency_age ON compute.idempotency (created_at);

GRANT SELECT, INSERT, UPDATE, DELETE
    ON compute.flavor, compute.flavor_access, compute.keypair, compute.quota, compute.idempotency
    TO starling_gateway;
