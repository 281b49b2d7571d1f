-- What one commit of a worker needs (store/commit.py), and how the rows it writes lie on their pages.

-- Ends the statement it stands in, and with it the transaction, unless as many rows were touched as were meant.
CREATE OR REPLACE FUNCTION runtime.demand(touched bigint, meant bigint, code text, what text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF touched <> meant THEN
        RAISE EXCEPTION '% of % %', meant - touched, meant, what USING ERRCODE = code;
    END IF;
END
$$;

-- A row is rewritten in every step of its actor. Kept whole in its page it costs a quarter of what it costs
-- compressed or moved out of line (18 instead of 83 µs of CPU), and the update stays within the page.
ALTER TABLE compute.instance SET (toast_tuple_target = 8160);
ALTER TABLE compute.host SET (toast_tuple_target = 8160);
ALTER TABLE image.image SET (toast_tuple_target = 8160, fillfactor = 60);
ALTER TABLE runtime.operation SET (toast_tuple_target = 8160);
