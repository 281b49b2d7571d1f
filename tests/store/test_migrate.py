"""Migrations: forward only, safe to run twice, side by side, and never on a newer database."""

import asyncio
import subprocess
from pathlib import Path

import asyncpg
import pytest

from store.embedded import find_binaries
from store.migrate import (
    ChangedMigrationError,
    DatabaseTooNewError,
    DatabaseTooOldError,
    check_shape,
    create_login,
    migrate,
    migrations,
)
from store.pool import open_pool
from tests.fixtures.postgres import Postgres

pytestmark = pytest.mark.postgres


async def test_numbers_are_unique_and_begin_at_one() -> None:
    numbers = [migration.number for migration in migrations()]
    assert numbers[0] == 1
    assert len(set(numbers)) == len(numbers)


async def test_a_migrated_database_has_nothing_left_to_apply(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await migrate(connection) == []
        applied = await connection.fetch("SELECT name FROM starling.migration ORDER BY number")
        assert [row["name"] for row in applied] == [migration.name for migration in migrations()]
    finally:
        await connection.close()


async def test_running_every_file_again_changes_nothing(database: str, postgres: Postgres) -> None:
    before = _shape(database)
    connection = await asyncpg.connect(database)
    try:
        for migration in migrations():
            await connection.execute(migration.sql)
    finally:
        await connection.close()
    assert _shape(database) == before


def _shape(url: str) -> list[str]:
    """The database's definition as pg_dump writes it, without the keys it makes up anew each time."""
    program = Path(find_binaries()) / "pg_dump"
    text = subprocess.run([program, "--schema-only", url], check=True, capture_output=True, text=True).stdout
    return [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


async def test_processes_that_start_together_apply_each_file_once(postgres: Postgres) -> None:
    admin = await asyncpg.connect(postgres.url)
    await admin.execute("CREATE DATABASE together")
    url = postgres.url_of("together")

    async def one() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            return await migrate(connection)
        finally:
            await connection.close()

    try:
        applied = [name for names in await asyncio.gather(*(one() for _ in range(4))) for name in names]
        assert applied == [migration.name for migration in migrations()]
    finally:
        await admin.execute("DROP DATABASE together WITH (FORCE)")
        await admin.close()


async def test_a_database_of_a_newer_release_is_refused(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "INSERT INTO starling.migration (number, name, sha256) VALUES (9999, '9999_future', '')"
        )
        with pytest.raises(DatabaseTooNewError, match="9999_future"):
            await migrate(connection)
    finally:
        await connection.close()


async def test_a_file_changed_after_it_was_applied_is_refused(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("UPDATE starling.migration SET sha256 = 'other' WHERE number = 1")
        with pytest.raises(ChangedMigrationError, match="0001_roles"):
            await migrate(connection)
    finally:
        await connection.close()


async def test_a_login_has_the_rights_of_its_group_and_no_more(database: str) -> None:
    admin = await asyncpg.connect(database)
    password = "o'hara\\ \"x"
    try:
        await create_login(admin, "test-scheduler", "first", "starling_scheduler")
        await create_login(admin, "test-scheduler", password, "starling_scheduler")
        async with await open_pool(database, settings={"role": "test-scheduler"}) as pool:
            assert await pool.fetchval("SELECT count(*) FROM runtime.worker") == 0
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute('SELECT * FROM identity."user"')
    finally:
        await admin.execute('DROP ROLE "test-scheduler"')
        await admin.close()


async def test_the_worker_may_not_read_passwords(database: str) -> None:
    async with await open_pool(database, settings={"role": "starling_worker"}) as pool:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.fetch("SELECT hash FROM identity.password")


async def test_the_gateway_may_not_move_an_instance(database: str) -> None:
    async with await open_pool(database, settings={"role": "starling_gateway"}) as pool:
        assert await pool.fetch("SELECT id FROM compute.instance") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute("UPDATE compute.instance SET host = ''")


@pytest.mark.parametrize("role", ["worker", "gateway", "scheduler"])
async def test_every_role_sees_that_the_database_is_its_release_s(database: str, role: str) -> None:
    pool = await open_pool(database, settings={"role": f"starling_{role}"})
    async with pool, pool.acquire() as connection:
        await check_shape(connection)


async def test_a_role_does_not_work_on_a_database_of_another_release(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("DELETE FROM starling.migration WHERE number = 1")
        with pytest.raises(DatabaseTooOldError, match="0001_roles"):
            await check_shape(connection)
        await connection.execute(
            "INSERT INTO starling.migration (number, name, sha256) VALUES (9999, '9999_future', '')"
        )
        with pytest.raises(DatabaseTooNewError, match="9999_future"):
            await check_shape(connection)
    finally:
        await connection.close()


async def test_a_role_does_not_work_on_an_empty_database(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        with pytest.raises(DatabaseTooOldError, match="starling db migrate"):
            await check_shape(connection)
    finally:
        await connection.close()
