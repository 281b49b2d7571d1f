-- A flavor may have 2^31 - 1 vCPUs and a project many servers of it.
ALTER TABLE compute.project ALTER COLUMN cores TYPE bigint;
