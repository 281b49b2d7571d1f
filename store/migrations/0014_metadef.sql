-- Image's metadata definitions: namespaces and what they hold, resource types. Times are UTC epoch seconds.
-- A part's body is ready JSON: what the API shows of it besides name and times.
CREATE TABLE IF NOT EXISTS image.metadef_namespace (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace    text NOT NULL UNIQUE,
    display_name text,
    description  text,
    visibility   text NOT NULL CHECK (visibility IN ('public', 'private')),
    protected    bool NOT NULL,
    owner        text NOT NULL,
    created_at   float8 NOT NULL,
    updated_at   float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS metadef_namespace_age ON image.metadef_namespace (created_at, id);

CREATE TABLE IF NOT EXISTS image.metadef_part (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace_id bigint NOT NULL REFERENCES image.metadef_namespace ON DELETE CASCADE,
    kind         text NOT NULL CHECK (kind IN ('object', 'property', 'tag', 'resource_type')),
    name         text NOT NULL,
    body         text NOT NULL,
    created_at   float8 NOT NULL,
    updated_at   float8 NOT NULL,
    UNIQUE (namespace_id, kind, name)
);
CREATE INDEX IF NOT EXISTS metadef_part_of_type ON image.metadef_part (name, namespace_id)
    WHERE kind = 'resource_type';

CREATE TABLE IF NOT EXISTS image.metadef_resource_type (
    name       text PRIMARY KEY,
    created_at float8 NOT NULL,
    updated_at float8 NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE
    ON image.metadef_namespace, image.metadef_part, image.metadef_resource_type
    TO starling_gateway;
