"""State in PostgreSQL: the only package with SQL and the only importer of asyncpg."""
