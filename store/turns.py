"""The worker's store on PostgreSQL: ownership by compare-and-set, one transaction per batch.

All SQL of the runtime is here. Every statement takes arrays, so a batch costs the same number of
round trips whatever its size. The first statement of a commit is the fence: it updates the
partition rows it owns and counts them, which also serialises it against a takeover.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from store.kinds import TABLES, Table
from store.turn import (
    ActorRow,
    Batch,
    Due,
    Fenced,
    Holding,
    PartitionRow,
    Segment,
    Stored,
    StoreUnavailable,
    Taken,
    VersionConflict,
)

COMMIT_TIMEOUT_S: Final = 10.0
_FIXED: Final = (("id", "text"), ("partition", "int2"), ("version", "int8"), ("state", "text"),
                 ("due_at", "float8"), ("gone", "bool"))  # fmt: skip

_FENCE = """
UPDATE runtime.partition AS t SET marks = u.marks::int8[], event_n = u.event_n
FROM unnest($2::int2[], $3::int8[], $4::text[], $5::int8[]) AS u(p, epoch, marks, event_n)
WHERE t.p = u.p AND t.owner = $1 AND t.epoch = u.epoch
"""
_SEGMENTS = """
INSERT INTO runtime.segment (source, destination, first, last, body)
SELECT * FROM unnest($1::int2[], $2::int2[], $3::int8[], $4::int8[], $5::bytea[])
"""
_EVENTS = """
INSERT INTO runtime.event (partition, n, type, subject, project_id, time, data)
SELECT * FROM unnest($1::int2[], $2::int8[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::text[])
"""
_OPERATIONS = """
INSERT INTO runtime.operation AS o (id, subject, name, project_id, user_id, request_id, began_at, updated_at,
                                    deadline, finished_at, outcome, reason, steps)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[],
                     $8::float8[], $9::float8[], $10::float8[], $11::text[], $12::text[], $13::text[])
ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, name = excluded.name,
    updated_at = excluded.updated_at, deadline = excluded.deadline,
    finished_at = excluded.finished_at, outcome = excluded.outcome, reason = excluded.reason,
    steps = excluded.steps
"""
_PARKED = """
INSERT INTO runtime.parked (partition, address, body, error, story, at)
SELECT * FROM unnest($1::int2[], $2::text[], $3::text[], $4::text[], $5::text[], $6::float8[])
"""
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


def _insert_sql(table: Table) -> str:
    columns = (*_FIXED, *table.columns)
    arrays = ", ".join(f"${i}::{kind}[]" for i, (_, kind) in enumerate(columns, 1))
    names = ", ".join(name for name, _ in columns)
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT (id) DO NOTHING"  # noqa: S608


def _update_sql(table: Table) -> str:
    columns = (("expected", "int8"), *_FIXED, *table.columns)
    arrays = ", ".join(f"${i}::{kind}[]" for i, (_, kind) in enumerate(columns, 1))
    names = ", ".join(name for name, _ in columns)
    sets = ", ".join(f"{name} = u.{name}" for name, _ in columns[3:])
    return (
        f"UPDATE {table.name} AS t SET {sets} FROM unnest({arrays}) AS u({names}) "  # noqa: S608
        "WHERE t.id = u.id AND t.version = u.expected"
    )


_INSERT: Final = {kind: _insert_sql(table) for kind, table in TABLES.items()}
_UPDATE: Final = {kind: _update_sql(table) for kind, table in TABLES.items()}
_LOAD: Final = {
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


def _text(values: Sequence[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


class PostgresTurnStore:
    """``store.turn.TurnStore`` on a pool that logs in as a member of ``starling_worker``."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        try:
            async with self._pool.acquire(timeout=COMMIT_TIMEOUT_S) as connection:
                yield connection
        except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            raise StoreUnavailable(f"database: {type(error).__name__}: {error}") from error
        except (asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError) as error:
            raise StoreUnavailable(f"database: {error}") from error

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
        async with self._connection() as c:
            rows = await c.fetch(_LOAD[kind], ids)
        return {row["id"]: Stored(row["version"], row["state"].encode()) for row in rows}

    async def known(self, operations: list[str]) -> set[str]:
        async with self._connection() as c:
            rows = await c.fetch("SELECT id FROM runtime.operation WHERE id = ANY($1::text[])", operations)
        return {row["id"] for row in rows}

    async def due(self, partition: int) -> list[Due]:
        async with self._connection() as c:
            rows = await c.fetch(_DUE, partition)
        return [Due(row["kind"], row["id"], row["due_at"]) for row in rows]

    async def commit(self, worker: str, batch: Batch) -> None:
        async with self._connection() as c, c.transaction():
            await self._fence(c, worker, batch.partitions)
            for kind in TABLES:
                await self._write(c, kind, [row for row in batch.actors if row.kind == kind])
            if batch.segments:
                await c.execute(
                    _SEGMENTS,
                    *_columns((s.source, s.destination, s.first, s.last, s.body) for s in batch.segments),
                )
            if batch.events:
                await c.execute(
                    _EVENTS,
                    *_columns(
                        (e.partition, e.n, e.type, e.subject, e.project, e.time, e.data.decode())
                        for e in batch.events
                    ),
                )
            if batch.operations:
                await c.execute(_OPERATIONS, *_operation_columns(batch))
            if batch.parked:
                await c.execute(
                    _PARKED,
                    *_columns(
                        (
                            p.partition,
                            p.address,
                            p.body.decode(errors="replace").replace("\0", ""),
                            p.error,
                            p.story,
                            p.at,
                        )
                        for p in batch.parked
                    ),
                )

    async def _fence(
        self, c: asyncpg.pool.PoolConnectionProxy, worker: str, held: list[PartitionRow]
    ) -> None:
        ordered = sorted(held, key=lambda row: row.partition)
        status = await c.execute(
            _FENCE, worker, *_columns((p.partition, p.epoch, _text(p.marks), p.event_n) for p in ordered)
        )
        if _touched(status) != len(ordered):
            raise Fenced(f"{len(ordered) - _touched(status)} of {len(ordered)} partitions have another owner")

    async def _write(self, c: asyncpg.pool.PoolConnectionProxy, kind: str, rows: list[ActorRow]) -> None:
        new = [row for row in rows if row.expected == 0]
        old = [row for row in rows if row.expected != 0]
        written = 0
        if new:
            written += _touched(await c.execute(_INSERT[kind], *_columns(_fields(row) for row in new)))
        if old:
            written += _touched(
                await c.execute(_UPDATE[kind], *_columns((row.expected, *_fields(row)) for row in old))
            )
        if written != len(rows):
            raise VersionConflict(f"{len(rows) - written} of {len(rows)} {kind} rows were not as expected")

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


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _fields(row: ActorRow) -> tuple[Any, ...]:
    return (row.id, row.partition, row.version, row.state.decode(), row.due_at, row.gone, *row.columns)


def _operation_columns(batch: Batch) -> list[list[Any]]:
    last = {o.id: o for o in batch.operations}
    return _columns(
        (
            o.id, o.subject, o.name, o.project, o.user, o.request, o.began_at, o.updated_at, o.deadline,
            o.finished_at, o.outcome, o.reason, o.steps.decode(),
        )
        for o in last.values()
    )  # fmt: skip
