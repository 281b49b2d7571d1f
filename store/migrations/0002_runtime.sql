-- The actor runtime: who owns what, what is on its way, what happened.
CREATE TABLE IF NOT EXISTS runtime.worker (
    id    text PRIMARY KEY,
    until timestamptz NOT NULL
);

-- One row per partition: its fence (owner, epoch), its lease, the marks of the streams that end here
-- (by source partition, index 1 = partition 0) and the count of its events.
CREATE TABLE IF NOT EXISTS runtime.partition (
    p       smallint PRIMARY KEY,
    owner   text NOT NULL DEFAULT '',
    epoch   bigint NOT NULL DEFAULT 0,
    until   timestamptz NOT NULL DEFAULT '-infinity',
    marks   bigint[] NOT NULL,
    event_n bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

CREATE TABLE IF NOT EXISTS runtime.segment (
    source      smallint NOT NULL,
    destination smallint NOT NULL,
    first       bigint NOT NULL,
    last        bigint NOT NULL,
    body        bytea NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (destination, source, first)
);

CREATE TABLE IF NOT EXISTS runtime.event (
    partition  smallint NOT NULL,
    n          bigint NOT NULL,
    type       text NOT NULL,
    subject    text NOT NULL,
    project_id text NOT NULL,
    time       float8 NOT NULL,
    data       text NOT NULL,
    PRIMARY KEY (partition, n)
);

CREATE TABLE IF NOT EXISTS runtime.operation (
    id          text PRIMARY KEY,
    subject     text NOT NULL,
    name        text NOT NULL,
    project_id  text NOT NULL,
    user_id     text NOT NULL,
    request_id  text NOT NULL,
    began_at    float8 NOT NULL,
    updated_at  float8 NOT NULL,
    deadline    float8 NOT NULL,
    finished_at float8 NOT NULL,
    outcome     text NOT NULL,
    reason      text NOT NULL,
    steps       text NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS operation_subject ON runtime.operation (subject, began_at DESC);

CREATE TABLE IF NOT EXISTS runtime.parked (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition smallint NOT NULL,
    address   text NOT NULL,
    body      text NOT NULL,
    error     text NOT NULL,
    story     text NOT NULL,
    at        float8 NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA runtime TO starling_worker;
GRANT SELECT ON runtime.partition, runtime.event, runtime.operation, runtime.parked, runtime.worker TO starling_gateway;
GRANT SELECT ON runtime.partition, runtime.worker TO starling_scheduler;
