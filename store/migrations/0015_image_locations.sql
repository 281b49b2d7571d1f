-- An image's data may lie in several stores at once: where it is read from, and all that is of use.
-- Held locations are the image's own, what is staged for its import, and what an import has brought so far.
ALTER TABLE image.image ADD COLUMN IF NOT EXISTS locations text[] NOT NULL DEFAULT '{}';
ALTER TABLE image.image ADD COLUMN IF NOT EXISTS held text[] NOT NULL DEFAULT '{}';
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM information_schema.columns
         WHERE table_schema = 'image' AND table_name = 'image' AND column_name = 'location'
    ) THEN
        UPDATE image.image
           SET locations = ARRAY[location],
               held = CASE WHEN gone THEN '{}' ELSE ARRAY[location] END,
               state = (state::jsonb - 'location' || jsonb_build_object('locations', jsonb_build_array(location)))::text
         WHERE location IS NOT NULL;
        ALTER TABLE image.image DROP COLUMN location;
    END IF;
END
$$;

-- What was asked for in an import or a task; how it went is the operation of the same id.
-- Times are UTC epoch seconds; input is JSON as the API shows it.
CREATE TABLE IF NOT EXISTS image.task (
    id         text PRIMARY KEY,
    type       text NOT NULL,
    image_id   text NOT NULL,
    owner      text NOT NULL,
    user_id    text NOT NULL,
    request_id text NOT NULL,
    input      text NOT NULL,
    created_at float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS task_image ON image.task (image_id, created_at DESC);
CREATE INDEX IF NOT EXISTS task_age ON image.task (created_at DESC, id);

GRANT SELECT, INSERT, DELETE ON image.task TO starling_gateway;
