-- The tables of the actor kinds (store/kinds.py names the same columns in the same order).
-- due_at is not indexed on purpose: it changes with every step, and an index would make each such
-- update a cold one. A takeover reads the partition's rows that wait, which is rare.
CREATE TABLE IF NOT EXISTS compute.instance (
    id                text PRIMARY KEY,
    partition         smallint NOT NULL,
    version           bigint NOT NULL,
    state             text NOT NULL,
    due_at            float8,
    gone              bool NOT NULL,
    project_id        text NOT NULL,
    user_id           text NOT NULL,
    name              text NOT NULL,
    hostname          text NOT NULL,
    vm_state          text NOT NULL,
    task_state        text,
    status            text NOT NULL,
    power_state       int NOT NULL,
    host              text,
    flavor_id         text NOT NULL,
    image_id          text,
    key_name          text,
    availability_zone text,
    locked            bool NOT NULL,
    description       text,
    created_at        float8 NOT NULL,
    updated_at        float8 NOT NULL,
    launched_at       float8,
    deleted_at        float8,
    view              text NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX IF NOT EXISTS instance_project ON compute.instance (project_id, created_at DESC, id) WHERE NOT gone;
CREATE INDEX IF NOT EXISTS instance_age ON compute.instance (created_at DESC, id) WHERE NOT gone;
CREATE INDEX IF NOT EXISTS instance_host ON compute.instance (host) WHERE NOT gone;
CREATE INDEX IF NOT EXISTS instance_partition ON compute.instance (partition) WHERE NOT gone;

CREATE TABLE IF NOT EXISTS compute.host (
    id                text PRIMARY KEY,
    partition         smallint NOT NULL,
    version           bigint NOT NULL,
    state             text NOT NULL,
    due_at            float8,
    gone              bool NOT NULL,
    hostname          text NOT NULL,
    life              text NOT NULL,
    disabled          bool NOT NULL,
    forced_down       bool NOT NULL,
    availability_zone text NOT NULL,
    heard_at          float8 NOT NULL,
    created_at        float8 NOT NULL,
    updated_at        float8 NOT NULL,
    view              text NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS host_name ON compute.host (hostname) WHERE NOT gone;

CREATE TABLE IF NOT EXISTS compute.project (
    id         text PRIMARY KEY,
    partition  smallint NOT NULL,
    version    bigint NOT NULL,
    state      text NOT NULL,
    due_at     float8,
    gone       bool NOT NULL,
    instances  int NOT NULL,
    cores      int NOT NULL,
    memory_mib bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS image.image (
    id               text PRIMARY KEY,
    partition        smallint NOT NULL,
    version          bigint NOT NULL,
    state            text NOT NULL,
    due_at           float8,
    gone             bool NOT NULL,
    owner            text NOT NULL,
    name             text,
    status           text NOT NULL,
    visibility       text NOT NULL,
    hidden           bool NOT NULL,
    protected        bool NOT NULL,
    disk_format      text,
    container_format text,
    size_bytes       bigint,
    location         text,
    created_at       float8 NOT NULL,
    updated_at       float8 NOT NULL,
    view             text NOT NULL
);
CREATE INDEX IF NOT EXISTS image_owner ON image.image (owner, created_at DESC, id) WHERE NOT gone;

GRANT SELECT, INSERT, UPDATE, DELETE ON compute.instance, compute.host, compute.project, image.image TO starling_worker;
GRANT SELECT ON compute.instance, compute.host, compute.project, image.image TO starling_gateway;
GRANT SELECT ON compute.host TO starling_scheduler;
