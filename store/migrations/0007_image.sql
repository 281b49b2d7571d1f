-- Image's rows without a life: with which projects an image is shared. Times are UTC epoch seconds.
-- Images themselves are actors' rows (0003).
CREATE TABLE IF NOT EXISTS image.member (
    image_id   text NOT NULL,
    member_id  text NOT NULL,
    status     text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'rejected')),
    created_at float8 NOT NULL,
    updated_at float8 NOT NULL,
    PRIMARY KEY (image_id, member_id)
);
CREATE INDEX IF NOT EXISTS member_project ON image.member (member_id, image_id);

GRANT USAGE ON SCHEMA image TO starling_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON image.member TO starling_gateway;
