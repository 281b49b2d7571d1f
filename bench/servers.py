"""Private servers for a benchmark: RabbitMQ and PostgreSQL of its own, as durable as in production."""

import shutil
import tempfile
from pathlib import Path
from typing import Self

import asyncpg
import structlog

from store.embedded import EmbeddedPostgres
from store.migrate import migrate
from store.pool import open_pool
from store.turns import PostgresTurnStore
from tests.fixtures.postgres import Loop
from tests.fixtures.rabbitmq import Rabbitmq, find_programs

OWNED_S = 3600.0


class Servers:
    """A broker and a database in a folder of their own; use as a context manager."""

    def __init__(self) -> None:
        programs = find_programs()
        if programs is None:
            raise SystemExit("this benchmark needs RabbitMQ installed")
        self.folder = Path(tempfile.mkdtemp(prefix="starling-bench-"))
        self.folder.chmod(0o755)
        self._loop = Loop()
        self.broker = Rabbitmq(self.folder / "rabbitmq", programs)
        self._postgres = EmbeddedPostgres(self.folder / "postgres", structlog.get_logger())
        self._databases = 0

    def __enter__(self) -> Self:
        try:
            self.broker.start()
            # A benchmark plays all hosts on one connection: it may speak under their names.
            self.broker.ctl("set_user_tags", "guest", "administrator", "impersonator")
            self._url = self._loop.run(self._postgres.start())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop both and remove every trace."""
        self.broker.close()
        self._loop.run(self._postgres.stop())
        self._loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh_database(self) -> str:
        """The url of a new database with all migrations applied."""
        self._databases += 1
        return self._loop.run(self._make_database(f"bench_{self._databases}"))

    def fresh_vhost(self, name: str) -> str:
        """The url of an empty virtual host of the broker."""
        self.broker.ctl("add_vhost", name)
        self.broker.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.broker.url.rstrip("/") + f"/{name}"

    @property
    def postgres_pid(self) -> int:
        """The database server's first process."""
        return int(next(self._postgres.home.rglob("postmaster.pid")).read_text().split("\n", 1)[0])

    @property
    def broker_pid(self) -> int:
        """The broker's process."""
        return int((next((self.folder / "rabbitmq" / "mnesia").glob("*.pid"))).read_text())

    async def own_all_partitions(self, url: str, worker: str, partitions: int) -> None:
        """Make this worker the first owner of every partition, as its own start would."""
        pool = await open_pool(url, connections_max=1)
        store = PostgresTurnStore(pool)
        await store.prepare(partitions)
        for p in range(partitions):
            await store.take(worker, p, OWNED_S)
        await pool.close()

    async def _make_database(self, name: str) -> str:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        url = self._postgres.url_of(name)
        connection = await asyncpg.connect(url)
        try:
            await migrate(connection)
        finally:
            await connection.close()
        return url
