-- The schemas, one per service, and the three group roles whose GRANTs say who may write what.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['starling_worker', 'starling_gateway', 'starling_scheduler'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                RAISE NOTICE 'another database of this server has made role % just now', name;
            END;
        END IF;
    END LOOP;
END
$$;

CREATE SCHEMA IF NOT EXISTS runtime;
CREATE SCHEMA IF NOT EXISTS compute;
CREATE SCHEMA IF NOT EXISTS image;
CREATE SCHEMA IF NOT EXISTS identity;
CREATE SCHEMA IF NOT EXISTS network;

GRANT USAGE ON SCHEMA runtime, compute, image TO starling_worker;
GRANT USAGE ON SCHEMA runtime, compute, image, identity, network TO starling_gateway;
GRANT USAGE ON SCHEMA runtime, compute TO starling_scheduler;
