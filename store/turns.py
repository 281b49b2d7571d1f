"""The worker's store on PostgreSQL: ownership by compare-and-set, one transaction per batch.

All SQL of the runtime is here and in ``store/commit.py``. Every statement takes arrays, so a batch costs the
same number of round trips whatever its size. A commit is one statement; its fence updates the partition
rows it owns and counts them, which also serialises it against a takeover.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg

from store.commit import COLUMNS, CONFLICT, FENCED, LAYOUT_SQL, Layout, commit_statement
from store.kinds import TABLES
from store.line import Line
from store.pool import Connection, Pool, is_outage
from store.turn import (
    Batch,
    Due,
    Fenced,
    Holding,
    PartitionRow,
    Segment,
    Stored,
    StoreUnavailable,
    Taken,
    Unwritable,
    VersionConflict,
)

COMMIT_TIMEOUT_S: Final = 10.0
_REFUSED_ROW: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_UNPASSED = """
SELECT s.source, s.destination, s.first, s.last, s.body FROM runtime.segment AS s
JOIN unnest($1::int2[], $2::int2[], $3::int8[]) AS m(destination, source, mark)
  ON s.destination = m.destination AND s.source = m.source
WHERE s.last > m.mark AND s.made_at <= clock_timestamp() - make_interval(secs => $4)
ORDER BY s.source, s.destination, s.first LIMIT $5
"""
_COLLECT = """
DELETE FROM runtime.segment AS s USING runtime.partition AS d
WHERE s.source = ANY($1::int2[]) AND d.p = s.destination AND s.last <= d.marks[s.source + 1]
"""
_PRUNE = """
DELETE FROM runtime.event AS e
USING (SELECT held.p, (SELECT max(old.n) FROM (SELECT n, time FROM runtime.event WHERE partition = held.p
                                               ORDER BY n LIMIT $3) AS old WHERE old.time < $2) AS last
       FROM unnest($1::int2[]) AS held(p)) AS passed
WHERE e.partition = passed.p AND e.n <= passed.last
"""
_FORGET = """
DELETE FROM runtime.operation WHERE id = ANY(ARRAY(
    SELECT id FROM runtime.operation WHERE began_at < $1 AND finished_at > 0 LIMIT $2))
"""
_NEXT = """
SELECT d.p, 1 + greatest(d.marks[$1::int2 + 1], coalesce(
    (SELECT max(last) FROM runtime.segment WHERE source = $1::int2 AND destination = d.p), 0)) AS next
FROM runtime.partition AS d ORDER BY d.p
"""
_TAKE = """
UPDATE runtime.partition
SET owner = $1, epoch = epoch + 1, until = clock_timestamp() + make_interval(secs => $3)
WHERE p = $2 AND (owner IN ('', $1) OR until < clock_timestamp())
RETURNING epoch, marks, event_n
"""


KNOWN_SQL: Final = "SELECT id FROM runtime.operation WHERE id = ANY($1::text[])"
LOAD_SQL: Final = {
    kind: f"SELECT id, version, state FROM {table.name} WHERE id = ANY($1::text[])"  # noqa: S608
    for kind, table in TABLES.items()
}
_DUE: Final = " UNION ALL ".join(
    f"SELECT '{kind}' AS kind, id, due_at FROM {table.name} "  # noqa: S608
    "WHERE partition = $1 AND NOT gone AND due_at IS NOT NULL"
    for kind, table in TABLES.items()
)


def _touched(status: str) -> int:
    return int(status.rpartition(" ")[2])


class PostgresTurnStore:
    """``store.turn.TurnStore`` on a pool that logs in as a member of ``starling_worker``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._line = Line(pool, COMMIT_TIMEOUT_S)
        self._layout: Layout = {}

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        with _outages():
            async with self._pool.acquire(timeout=COMMIT_TIMEOUT_S) as connection:
                yield connection

    @asynccontextmanager
    async def _own_line(self) -> AsyncIterator[Connection]:
        with _outages():
            async with self._line.use() as connection:
                yield connection

    async def prepare(self, partitions: int) -> None:
        """Make the rows of a new cloud's partitions. Raises ValueError when the cloud has another count."""
        async with self._connection() as c:
            await c.execute(
                "INSERT INTO runtime.partition (p, marks) SELECT p, array_fill(0::int8, ARRAY[$1::int])"
                " FROM generate_series(0, $1::int - 1) AS p"
                " WHERE NOT EXISTS (SELECT FROM runtime.partition) ON CONFLICT (p) DO NOTHING",
                partitions,
            )
            count = await c.fetchval("SELECT count(*) FROM runtime.partition")
        if count != partitions:
            raise ValueError(
                f"this cloud was made with {count} partitions, not {partitions}: the count is fixed"
            )

    async def join(self, worker: str, lease_s: float) -> tuple[list[str], list[Holding]]:
        async with self._connection() as c, c.transaction():
            await c.execute(
                "INSERT INTO runtime.worker (id, until)"
                " VALUES ($1, clock_timestamp() + make_interval(secs => $2))"
                " ON CONFLICT (id) DO UPDATE SET until = excluded.until",
                worker,
                lease_s,
            )
            await c.execute(
                "DELETE FROM runtime.worker WHERE until < clock_timestamp() - interval '1 minute'"
            )
            live = await c.fetch("SELECT id FROM runtime.worker WHERE until > clock_timestamp() ORDER BY id")
            await c.execute(
                "UPDATE runtime.partition SET until = clock_timestamp() + make_interval(secs => $2)"
                " WHERE owner = $1 AND until > clock_timestamp()",
                worker,
                lease_s,
            )
            held = await c.fetch(
                "SELECT p, owner, owner = '' OR until < clock_timestamp() AS free"
                " FROM runtime.partition ORDER BY p"
            )
        return [row["id"] for row in live], [Holding(row["p"], row["owner"], row["free"]) for row in held]

    async def leave(self, worker: str) -> None:
        async with self._connection() as c, c.transaction():
            await c.execute(
                "UPDATE runtime.partition SET owner = '', until = '-infinity' WHERE owner = $1", worker
            )
            await c.execute("DELETE FROM runtime.worker WHERE id = $1", worker)

    async def take(self, worker: str, partition: int, lease_s: float) -> Taken | None:
        async with self._connection() as c, c.transaction():
            row = await c.fetchrow(_TAKE, worker, partition, lease_s)
            if row is None:
                return None
            numbers = await c.fetch(_NEXT, partition)
        held = PartitionRow(partition, row["epoch"], tuple(row["marks"]), row["event_n"])
        return Taken(held, tuple(number["next"] for number in numbers))

    async def release(self, worker: str, partition: int, epoch: int) -> None:
        async with self._connection() as c:
            await c.execute(
                "UPDATE runtime.partition SET owner = '', until = '-infinity'"
                " WHERE p = $2 AND owner = $1 AND epoch = $3",
                worker,
                partition,
                epoch,
            )

    async def load(self, kind: str, ids: list[str]) -> dict[str, Stored]:
        async with self._own_line() as c:
            rows = await c.fetch(LOAD_SQL[kind], ids)
        return {row["id"]: Stored(row["version"], row["state"].encode()) for row in rows}

    async def known(self, operations: list[str]) -> set[str]:
        async with self._own_line() as c:
            rows = await c.fetch(KNOWN_SQL, operations)
        return {row["id"] for row in rows}

    async def due(self, partition: int) -> list[Due]:
        async with self._connection() as c:
            rows = await c.fetch(_DUE, partition)
        return [Due(row["kind"], row["id"], row["due_at"]) for row in rows]

    async def commit(self, worker: str, batch: Batch) -> None:
        async with self._own_line() as c:
            statement = commit_statement(worker, batch, await self._layout_of(c))
            try:
                await c.fetchrow(statement.sql, *statement.arguments)
            except asyncpg.DatatypeMismatchError as error:
                # The tables have got columns since this session learnt their row types: learn anew.
                self._layout = {}
                c.terminate()
                raise StoreUnavailable(f"database: {error}") from error
            except asyncpg.PostgresError as error:
                if error.sqlstate == FENCED:
                    raise Fenced(str(error)) from error
                if error.sqlstate == CONFLICT:
                    raise VersionConflict(str(error)) from error
                if isinstance(error, _REFUSED_ROW):
                    raise Unwritable(f"{type(error).__name__}: {error}") from error
                raise
            except ValueError as error:  # the driver cannot even encode it
                raise Unwritable(str(error)) from error

    async def _layout_of(self, c: Connection) -> Layout:
        if not self._layout:
            rows = await c.fetch(LAYOUT_SQL, list(COLUMNS))
            self._layout = {row["name"]: tuple(row["columns"]) for row in rows}
        return self._layout

    async def unpassed(self, marks: dict[int, tuple[int, ...]], age_s: float, limit: int) -> list[Segment]:
        streams = [(d, s, mark) for d, by_source in marks.items() for s, mark in enumerate(by_source)]
        if not streams:
            return []
        async with self._connection() as c:
            rows = await c.fetch(_UNPASSED, *_columns(streams), age_s, limit)
        return [Segment(*row) for row in rows]

    async def collect(self, partitions: list[int]) -> int:
        async with self._connection() as c:
            return _touched(await c.execute(_COLLECT, partitions))

    async def prune(self, partitions: list[int], before: float, limit: int) -> int:
        async with self._connection() as c:
            return _touched(await c.execute(_PRUNE, partitions, before, limit))

    async def forget(self, before: float, limit: int) -> int:
        async with self._connection() as c:
            return _touched(await c.execute(_FORGET, before, limit))


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


@contextmanager
def _outages() -> Iterator[None]:
    """Turn what the driver raises when the database cannot be asked into StoreUnavailable."""
    try:
        yield
    except StoreUnavailable:
        raise
    except Exception as error:
        # An InterfaceError is an outage here even when it speaks of no closed connection: begin anew.
        if isinstance(error, asyncpg.InterfaceError) or is_outage(error):
            raise StoreUnavailable(f"database: {type(error).__name__}: {error}") from error
        raise
