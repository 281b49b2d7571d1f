"""The database's shape: numbered plain SQL files, applied forward only, each safe to run twice.

An advisory lock lets any number of processes start at once. A database that has a migration this program
does not know was used by a newer release and is refused.
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

import asyncpg
from msgspec import Struct

from store.pool import Connection

_LOCK: Final = 0x57A2
_TABLE: Final = """
CREATE SCHEMA IF NOT EXISTS starling;
CREATE TABLE IF NOT EXISTS starling.migration (
    number     int PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


_READABLE: Final = """
GRANT USAGE ON SCHEMA starling TO starling_worker, starling_gateway, starling_scheduler;
GRANT SELECT ON starling.migration TO starling_worker, starling_gateway, starling_scheduler;
"""


class Migration(Struct, frozen=True):
    """One file: its number, its name and its SQL."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Of its text, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class DatabaseTooNewError(Exception):
    """The database was used by a newer release of the program."""


class DatabaseTooOldError(Exception):
    """The database has not been brought to this release's shape."""


class ChangedMigrationError(Exception):
    """A file was changed after it had been applied here: the database is not what the program expects."""


def migrations() -> list[Migration]:
    """All migrations of this release, by number. Raises ValueError when two files share a number."""
    found = [
        Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in files("store").joinpath("migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    found.sort(key=lambda migration: migration.number)
    numbers = [migration.number for migration in found]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"two migrations share a number: {numbers}")
    return found


async def migrate(connection: Connection) -> list[str]:
    """Bring the database to this release's shape; the names of what was applied.

    Raises DatabaseTooNewError or ChangedMigrationError.
    """
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(_TABLE)
        rows = await connection.fetch("SELECT number, name, sha256 FROM starling.migration")
        done = {row["number"]: (row["name"], row["sha256"]) for row in rows}
        _check(done)
        applied = []
        for migration in migrations():
            if migration.number not in done:
                await _apply(connection, migration)
                applied.append(migration.name)
        await connection.execute(_READABLE)
        return applied
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def check_shape(connection: Connection) -> None:
    """See that the database is of this release, with any role's rights.

    Raises DatabaseTooOldError, DatabaseTooNewError or ChangedMigrationError.
    """
    try:
        rows = await connection.fetch("SELECT number, name, sha256 FROM starling.migration")
    except (
        asyncpg.InvalidSchemaNameError,
        asyncpg.UndefinedTableError,
        asyncpg.InsufficientPrivilegeError,
    ) as error:
        raise DatabaseTooOldError("the database is not prepared; run 'starling db migrate'") from error
    done = {row["number"]: (row["name"], row["sha256"]) for row in rows}
    _check(done)
    missing = [migration.name for migration in migrations() if migration.number not in done]
    if missing:
        raise DatabaseTooOldError(f"the database lacks {', '.join(missing)}; run 'starling db migrate'")


def _check(done: Mapping[int, tuple[str, str]]) -> None:
    known = {migration.number: migration for migration in migrations()}
    newer = [name for number, (name, _) in sorted(done.items()) if number not in known]
    if newer:
        raise DatabaseTooNewError(f"the database was used by a newer release: it has {', '.join(newer)}")
    for number, (name, sha256) in sorted(done.items()):
        if sha256 != known[number].sha256:
            raise ChangedMigrationError(
                f"{name} is not the file that was applied to this database; "
                "what follows a release goes into a new file"
            )


async def _apply(connection: Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO starling.migration (number, name, sha256) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.sha256,
        )


async def create_login(connection: Connection, name: str, password: str, group: str) -> None:
    """Make (or renew) a login that is a member of one of the three group roles."""
    quoted: str = await connection.fetchval("SELECT quote_ident($1)", name)
    member: str = await connection.fetchval("SELECT quote_ident($1)", group)
    secret: str = await connection.fetchval("SELECT quote_literal($1)", password)
    exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(f"{verb} ROLE {quoted} LOGIN PASSWORD {secret}")
    await connection.execute(f"GRANT {member} TO {quoted}")
