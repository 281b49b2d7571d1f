"""One commit of a worker as one SQL statement: the fence and every row of a batch in a single round trip.

The parts are data-modifying CTEs; the statement's own SELECT demands that the fence and the rows of each
kind touched as many rows as were meant, else everything is undone. Rows travel as arrays of the tables' own
row types: the driver encodes a composite's fields three times as fast as it encodes arrays of columns.
What must not go in: connections and transactions (store/turns.py).
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

from store.kinds import TABLES
from store.turn import ActorRow, Batch, EventRow, OperationRow, Parked, PartitionRow, Segment

FENCED: Final = "SFENC"
CONFLICT: Final = "SVERS"
"""The SQLSTATEs the statement fails with when it is not to be."""

FIXED: Final = ("id", "partition", "version", "state", "due_at", "gone")
_OWN: Final[dict[str, tuple[str, ...]]] = {
    "runtime.segment": ("source", "destination", "first", "last", "body"),
    "runtime.event": ("partition", "n", "type", "subject", "project_id", "time", "data"),
    "runtime.operation": (
        "id", "subject", "name", "project_id", "user_id", "request_id", "began_at", "updated_at",
        "deadline", "finished_at", "outcome", "reason", "steps",
    ),
}  # fmt: skip
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    **{table.name: (*FIXED, *(name for name, _ in table.columns)) for table in TABLES.values()},
    **_OWN,
}
"""What a worker writes, by table, in the order in which it makes its rows."""

Layout: TypeAlias = Mapping[str, tuple[str, ...]]
"""The columns of each of these tables in the order the database has them: that of their row types."""

LAYOUT_SQL: Final = """
SELECT c.oid::regclass::text AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.oid = ANY($1::text[]::regclass[]) AND a.attnum > 0 AND NOT a.attisdropped GROUP BY c.oid
"""

_FENCE: Final = """
UPDATE runtime.partition AS t SET marks = u.marks::int8[], event_n = u.event_n
FROM unnest($2::int2[], $3::int8[], $4::text[], $5::int8[]) AS u(p, epoch, marks, event_n)
WHERE t.p = u.p AND t.owner = $1 AND t.epoch = u.epoch RETURNING 1"""
_PARKED: Final = """
INSERT INTO runtime.parked (partition, address, body, error, story, at)
SELECT * FROM unnest({}::int2[], {}::text[], {}::text[], {}::text[], {}::text[], {}::float8[])"""
_MERGE: Final = """ ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, name = excluded.name,
updated_at = excluded.updated_at, deadline = excluded.deadline, finished_at = excluded.finished_at,
outcome = excluded.outcome, reason = excluded.reason, steps = excluded.steps"""


class Shape(Struct, frozen=True):
    """Which parts a statement has: kinds with new rows, kinds with replaced rows, other tables."""

    new: tuple[str, ...]
    old: tuple[str, ...]
    rows: tuple[str, ...]
    parked: bool
    layout: tuple[tuple[str, tuple[str, ...]], ...]


class Statement(Struct, frozen=True):
    """One commit, ready to be executed."""

    sql: str
    arguments: list[Any]


def commit_statement(worker: str, batch: Batch, layout: Layout) -> Statement:
    """The statement that commits this batch for this worker. It fails with FENCED or CONFLICT."""
    partitions = sorted(batch.partitions, key=lambda row: row.partition)
    arguments: list[Any] = [worker, *_columns(map(_fence_row, partitions))]
    new: dict[str, list[ActorRow]] = {}
    old: dict[str, list[ActorRow]] = {}
    for row in batch.actors:
        (old if row.expected else new).setdefault(row.kind, []).append(row)
    for kind, rows in new.items():
        arguments.append(_ordered(TABLES[kind].name, map(_actor_row, rows), layout))
    for kind, rows in old.items():
        arguments.append([row.expected for row in rows])
        arguments.append(_ordered(TABLES[kind].name, map(_actor_row, rows), layout))
    rows_of = {
        "runtime.segment": list(map(_segment_row, batch.segments)),
        "runtime.event": list(map(_event_row, batch.events)),
        "runtime.operation": list({o.id: _operation_row(o) for o in batch.operations}.values()),
    }
    arguments += [_ordered(name, made, layout) for name, made in rows_of.items() if made]
    if batch.parked:
        arguments += _columns(map(_parked_row, batch.parked))
    names = {TABLES[kind].name for kind in (*new, *old)} | {name for name, made in rows_of.items() if made}
    shape = Shape(
        tuple(new),
        tuple(old),
        tuple(name for name, made in rows_of.items() if made),
        bool(batch.parked),
        tuple((name, layout[name]) for name in sorted(names)),
    )
    return Statement(_sql(shape), arguments)


class _Part(Struct, frozen=True):
    """One CTE, and what it must come to: ``meant`` rows, else ``code`` with ``what``."""

    name: str
    sql: str
    meant: str = ""
    code: str = CONFLICT
    what: str = ""


@functools.lru_cache(maxsize=256)
def _sql(shape: Shape) -> str:
    layout = dict(shape.layout)
    parts = [_Part("fence", _FENCE, "cardinality($2::int2[])", FENCED, "partitions have another owner")]
    number = 6
    for kind in shape.new:
        parts.append(_insert(kind, number))
        number += 1
    for kind in shape.old:
        parts.append(_update(kind, layout[TABLES[kind].name], number))
        number += 2
    for table in shape.rows:
        parts.append(_append(table, number))
        number += 1
    if shape.parked:
        parts.append(_Part("parked", _PARKED.format(*(f"${number + n}" for n in range(6)))))
    demands = (
        f"runtime.demand((SELECT count(*) FROM {part.name}), {part.meant}, '{part.code}', '{part.what}')"  # noqa: S608
        for part in parts
        if part.meant
    )
    return f"WITH {', '.join(f'{part.name} AS ({part.sql})' for part in parts)} SELECT {', '.join(demands)}"


def _insert(kind: str, number: int) -> _Part:
    table, rows = TABLES[kind].name, f"${number}::{TABLES[kind].name}[]"
    names = ", ".join(COLUMNS[table])
    sql = (
        f"INSERT INTO {table} ({names}) SELECT {names} FROM unnest({rows})"  # noqa: S608
        " ON CONFLICT (id) DO NOTHING RETURNING 1"
    )
    return _Part(f"new_{kind}", sql, f"cardinality({rows})", what=f"new {kind} rows exist already")


def _update(kind: str, columns: Sequence[str], number: int) -> _Part:
    table, expected = TABLES[kind].name, f"${number}::int8[]"
    sets = ", ".join(f"{name} = u.{name}" for name in COLUMNS[table] if name not in {"id", "partition"})
    sql = (
        f"UPDATE {table} AS t SET {sets}"  # noqa: S608
        f" FROM unnest({expected}, ${number + 1}::{table}[]) AS u(expected, {', '.join(columns)})"
        " WHERE t.id = u.id AND t.version = u.expected RETURNING 1"
    )
    return _Part(f"old_{kind}", sql, f"cardinality({expected})", what=f"{kind} rows were not as expected")


def _append(table: str, number: int) -> _Part:
    names = ", ".join(COLUMNS[table])
    sql = f"INSERT INTO {table} ({names}) SELECT {names} FROM unnest(${number}::{table}[])"  # noqa: S608
    return _Part(table.partition(".")[2], sql + (_MERGE if table == "runtime.operation" else ""))


def _ordered(table: str, rows: Iterable[tuple[Any, ...]], layout: Layout) -> list[tuple[Any, ...]]:
    """The rows as the table's row type has its columns; those a newer release added stay empty."""
    ours, theirs = COLUMNS[table], layout[table]
    if ours == theirs:
        return list(rows)
    place = {name: position for position, name in enumerate(ours)}
    return [tuple(row[place[name]] if name in place else None for name in theirs) for row in rows]


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _fence_row(row: PartitionRow) -> tuple[Any, ...]:
    return (row.partition, row.epoch, "{" + ",".join(map(str, row.marks)) + "}", row.event_n)


def _actor_row(row: ActorRow) -> tuple[Any, ...]:
    return (row.id, row.partition, row.version, row.state.decode(), row.due_at, row.gone, *row.columns)


def _segment_row(row: Segment) -> tuple[Any, ...]:
    return (row.source, row.destination, row.first, row.last, row.body)


def _event_row(row: EventRow) -> tuple[Any, ...]:
    return (row.partition, row.n, row.type, row.subject, row.project, row.time, row.data.decode())


def _operation_row(row: OperationRow) -> tuple[Any, ...]:
    return (
        row.id, row.subject, row.name, row.project, row.user, row.request, row.began_at, row.updated_at,
        row.deadline, row.finished_at, row.outcome, row.reason, row.steps.decode(),
    )  # fmt: skip


def _parked_row(row: Parked) -> tuple[Any, ...]:
    body = row.body.decode(errors="replace").replace("\0", "")
    return (row.partition, row.address, body, row.error, row.story, row.at)
