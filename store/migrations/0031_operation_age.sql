-- Ended operations are forgotten by age. Rows come in the order of their time, so a block range index does.
CREATE INDEX IF NOT EXISTS operation_age ON runtime.operation USING brin (began_at);
