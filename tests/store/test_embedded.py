"""The embedded PostgreSQL: started, adopted, mended and stopped."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from store.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.fixtures.postgres import make_folder

pytestmark = pytest.mark.postgres

LOG = structlog.get_logger()


@pytest.fixture
def state() -> Iterator[Path]:
    folder = make_folder()
    yield folder
    for lock in folder.rglob("postmaster.pid"):
        os.kill(int(lock.read_text().split("\n", 1)[0]), signal.SIGQUIT)
    shutil.rmtree(folder)


def lock_of(state: Path) -> Path:
    return next(state.rglob("postmaster.pid"))


def pid_of(state: Path) -> int:
    return int(lock_of(state).read_text().split("\n", 1)[0])


async def run(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_starting_twice_finds_the_data(state: Path) -> None:
    first = EmbeddedPostgres(state, LOG)
    await run(await first.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    await first.stop()
    await first.stop()
    second = EmbeddedPostgres(state, LOG)
    assert await run(await second.start(), "SELECT answer FROM kept") == 42
    await second.stop()
    assert not list(state.rglob("postmaster.pid"))


async def test_a_survivor_of_its_owner_is_adopted_and_stopped(state: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(state)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    url = (await asyncio.to_thread(owner.stdout.readline)).decode().strip()
    pid = pid_of(state)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    heir = EmbeddedPostgres(state, LOG)
    assert await heir.start() == url
    assert pid_of(state) == pid
    assert await run(url, "SELECT answer FROM kept") == 42
    await heir.stop()
    assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()


_OWNER = """
import asyncio, pathlib, sys, asyncpg, structlog
from store.embedded import EmbeddedPostgres
async def main():
    server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), structlog.get_logger())
    url = await server.start()
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    print(url, flush=True)
    await asyncio.Event().wait()
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
asyncio.run(main())
"""


async def test_a_killed_server_starts_again_with_what_was_committed(state: Path) -> None:
    first = EmbeddedPostgres(state, LOG)
    await run(await first.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(pid_of(state), signal.SIGKILL)
    second = EmbeddedPostgres(state, LOG)
    assert await run(await second.start(), "SELECT answer FROM kept") == 42
    await second.stop()


async def test_a_lock_whose_process_id_is_another_programs_is_removed(state: Path) -> None:
    first = EmbeddedPostgres(state, LOG)
    await first.start()
    lock, content = lock_of(state), lock_of(state).read_text()
    await first.stop()
    lock.write_text(content.replace(content.split("\n", 1)[0], str(os.getpid()), 1))
    second = EmbeddedPostgres(state, LOG)
    await second.start()
    assert pid_of(state) != os.getpid()
    await second.stop()


async def test_a_first_start_cut_short_is_begun_anew(state: Path) -> None:
    cut = EmbeddedPostgres(state, LOG)
    start = asyncio.create_task(cut.start())
    async with asyncio.timeout(30):
        while not list(state.rglob("PG_VERSION")):
            await asyncio.sleep(0.005)
    start.cancel()
    await asyncio.wait([start])
    whole = EmbeddedPostgres(state, LOG)
    assert await run(await whole.start(), "SELECT 1") == 1
    await whole.stop()


async def test_the_socket_of_a_deep_folder_is_short_enough(state: Path) -> None:
    deep = state / ("d" * 60) / ("e" * 60)
    server = EmbeddedPostgres(deep, LOG)
    assert await run(await server.start(), "SELECT 1") == 1
    await server.stop()


async def test_a_start_that_cannot_work_says_why(state: Path) -> None:
    server = EmbeddedPostgres(state, LOG)
    await server.start()
    await server.stop()
    configuration = next(state.rglob("postgresql.auto.conf"))
    configuration.write_text(configuration.read_text() + "no_such_setting = 1\n")
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        await EmbeddedPostgres(state, LOG).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as another user")
async def test_as_root_it_runs_as_another_user_who_alone_may_connect(state: Path) -> None:
    server = EmbeddedPostgres(state, LOG)
    await server.start()
    owner = Path(f"/proc/{pid_of(state)}").stat().st_uid
    socket = next(state.rglob(".s.PGSQL.5432"))
    assert owner != 0
    assert socket.stat().st_mode & 0o077 == 0
    await server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="for others the folder need not be passable")
async def test_behind_a_private_folder_it_lives_elsewhere(state: Path) -> None:
    private = state / "private"
    private.mkdir(mode=0o700)
    server = EmbeddedPostgres(private / "state", LOG)
    url = await server.start()
    home = server.home
    assert await run(url, "SELECT 1") == 1
    await server.stop()
    assert not home.is_relative_to(private)
    shutil.rmtree(home.parent)
