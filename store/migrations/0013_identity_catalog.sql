-- Identity: unified limits, which endpoints a project sees, policies kept for others, settings of domains.

-- The cloud's limit of a resource; region_id NULL: in all regions together.
CREATE TABLE IF NOT EXISTS identity.registered_limit (
    id            text PRIMARY KEY,
    service_id    text NOT NULL REFERENCES identity.service ON DELETE CASCADE,
    region_id     text REFERENCES identity.region,
    resource_name text NOT NULL,
    default_limit integer NOT NULL,
    description   text,
    UNIQUE NULLS NOT DISTINCT (service_id, region_id, resource_name)
);

-- What differs from it for one project or one domain. A registered limit that is referred to does not change,
-- so what is copied from it here stays true; so does the domain a project belongs to (owner_domain_id).
CREATE TABLE IF NOT EXISTS identity."limit" (
    id                  text PRIMARY KEY,
    registered_limit_id text NOT NULL REFERENCES identity.registered_limit,
    service_id          text NOT NULL REFERENCES identity.service ON DELETE CASCADE,
    region_id           text REFERENCES identity.region,
    resource_name       text NOT NULL,
    project_id          text REFERENCES identity.project ON DELETE CASCADE,
    domain_id           text REFERENCES identity.domain ON DELETE CASCADE,
    owner_domain_id     text NOT NULL REFERENCES identity.domain ON DELETE CASCADE,
    resource_limit      integer NOT NULL,
    description         text,
    CHECK (num_nonnulls(project_id, domain_id) = 1),
    UNIQUE NULLS NOT DISTINCT (registered_limit_id, project_id, domain_id)
);
CREATE INDEX IF NOT EXISTS limit_project ON identity."limit" (project_id);
CREATE INDEX IF NOT EXISTS limit_owner ON identity."limit" (owner_domain_id);

-- filters: which endpoints are in the group, as {"interface": …, "service_id": …, "region_id": …, "enabled": …}.
CREATE TABLE IF NOT EXISTS identity.endpoint_group (
    id          text PRIMARY KEY,
    name        text NOT NULL,
    description text,
    filters     text NOT NULL
);

-- A project with rows here sees these endpoints in its catalog and no others.
CREATE TABLE IF NOT EXISTS identity.project_endpoint (
    project_id  text NOT NULL REFERENCES identity.project ON DELETE CASCADE,
    endpoint_id text NOT NULL REFERENCES identity.endpoint ON DELETE CASCADE,
    PRIMARY KEY (project_id, endpoint_id)
);
CREATE INDEX IF NOT EXISTS project_endpoint_endpoint ON identity.project_endpoint (endpoint_id);
CREATE TABLE IF NOT EXISTS identity.project_endpoint_group (
    project_id        text NOT NULL REFERENCES identity.project ON DELETE CASCADE,
    endpoint_group_id text NOT NULL REFERENCES identity.endpoint_group ON DELETE CASCADE,
    PRIMARY KEY (project_id, endpoint_group_id)
);
CREATE INDEX IF NOT EXISTS project_endpoint_group_group ON identity.project_endpoint_group (endpoint_group_id);

-- Kept for services that fetch their policy here; Starling's own rules are elsewhere.
CREATE TABLE IF NOT EXISTS identity.policy (
    id    text PRIMARY KEY,
    type  text NOT NULL,
    blob  text NOT NULL,
    extra text NOT NULL DEFAULT '{}'
);

-- To an endpoint, to a service, or to a service in a region.
CREATE TABLE IF NOT EXISTS identity.policy_association (
    policy_id   text NOT NULL REFERENCES identity.policy ON DELETE CASCADE,
    endpoint_id text REFERENCES identity.endpoint ON DELETE CASCADE,
    service_id  text REFERENCES identity.service ON DELETE CASCADE,
    region_id   text REFERENCES identity.region ON DELETE CASCADE,
    CHECK (num_nonnulls(endpoint_id, service_id) = 1),
    UNIQUE NULLS NOT DISTINCT (endpoint_id, service_id, region_id)
);

-- value is JSON; that of a sensitive option is sealed.
CREATE TABLE IF NOT EXISTS identity.domain_config (
    domain_id text NOT NULL REFERENCES identity.domain ON DELETE CASCADE,
    "group"   text NOT NULL,
    option    text NOT NULL,
    value     text NOT NULL,
    PRIMARY KEY (domain_id, "group", option)
);

-- Programs that may one day ask for access by OAuth 1; secret is sealed.
CREATE TABLE IF NOT EXISTS identity.consumer (
    id          text PRIMARY KEY,
    description text,
    secret      text NOT NULL
);

ALTER TABLE identity.revocation ADD COLUMN IF NOT EXISTS made_at float8 NOT NULL
    DEFAULT extract(epoch FROM clock_timestamp());

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.registered_limit, identity."limit", identity.endpoint_group,
    identity.project_endpoint, identity.project_endpoint_group, identity.policy, identity.policy_association,
    identity.domain_config, identity.consumer TO starling_gateway;
