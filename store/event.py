"""Reading what happened: the event log by partition, and the rows of operations.

Workers write both in the transaction of the turn. Within a partition events are numbered 1, 2, 3 …
without a gap and become visible in that order, so "after n" misses nothing. A position is one number per
partition.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from store.keyset import Key, after, order_by
from store.pool import Connection


class LoggedEvent(Struct, frozen=True):
    """One event. ``data`` is JSON on one line."""

    partition: int
    n: int
    type: str
    subject: str
    project: str
    time: float
    data: str


class Extent(Struct, frozen=True):
    """What a log holds: per partition the number before its first kept event, and that of its last."""

    before_first: list[int]
    last: list[int]


class OperationView(Struct, frozen=True, kw_only=True):
    """One operation's row. Times in epoch seconds, 0 when there is none; ``steps`` is a JSON list."""

    id: str
    subject: str
    name: str
    project_id: str
    user_id: str
    request_id: str
    began_at: float
    updated_at: float
    deadline: float
    finished_at: float
    outcome: str
    reason: str
    steps: str


_EXTENT: Final = """
SELECT p.event_n AS last,
       coalesce((SELECT e.n - 1 FROM runtime.event e WHERE e.partition = p.p ORDER BY e.n LIMIT 1), p.event_n)
           AS before_first
FROM runtime.partition p ORDER BY p.p
"""
_EVENTS: Final = """
SELECT e.partition, e.n, e.type, e.subject, e.project_id, e.time, e.data
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS at(after, upto, i)
CROSS JOIN LATERAL (
    SELECT * FROM runtime.event e
    WHERE e.partition = at.i - 1 AND e.n > at.after AND e.n <= at.upto
      AND ($4::text IS NULL OR e.project_id = $4)
    ORDER BY e.n LIMIT $3
) e
ORDER BY e.partition, e.n
"""
_NO_END: Final = (1 << 63) - 1


async def extent(c: Connection) -> Extent:
    """What the log holds now, by partition."""
    rows = await c.fetch(_EXTENT)
    return Extent([row["before_first"] for row in rows], [row["last"] for row in rows])


async def events(
    c: Connection,
    after: Sequence[int],
    upto: Sequence[int] | None = None,
    *,
    limit: int,
    project: str | None = None,
) -> list[LoggedEvent]:
    """At most ``limit`` events of each partition after a position, up to another, by partition and number.

    ``project`` restricts to its events.
    """
    end = list(upto) if upto is not None else [_NO_END] * len(after)
    return [LoggedEvent(*row) for row in await c.fetch(_EVENTS, list(after), end, limit, project)]


_OPERATION: Final = (
    "r.id, r.subject, r.name, r.project_id, r.user_id, r.request_id, r.began_at, r.updated_at, r.deadline,"
    " r.finished_at, r.outcome, r.reason, r.steps"
)
_NEWEST_FIRST: Final = (Key("r.began_at", descending=True), Key("r.id", descending=True))


def _view(record: asyncpg.Record) -> OperationView:
    return OperationView(**dict(record.items()))


_VISIBLE: Final = """
($2::text IS NULL OR r.project_id = $2 OR (r.subject LIKE 'instance/%' AND EXISTS (
    SELECT FROM compute.instance i WHERE i.id = substr(r.subject, 10) AND i.project_id = $2)))
"""
"""A project sees what its callers began, and what others did to its servers."""


async def operation(c: Connection, ident: str, project: str | None) -> OperationView | None:
    """The operation with this id, as this project may see it (None: any)."""
    record = await c.fetchrow(
        f"SELECT {_OPERATION} FROM runtime.operation r"  # noqa: S608  constants only
        f" WHERE r.id = $1 AND {_VISIBLE}",
        ident,
        project,
    )
    return None if record is None else _view(record)


async def operations(
    c: Connection, subject: str, project: str | None, *, marker: str = "", limit: int
) -> list[OperationView]:
    """The subject's operations, newest first, at most ``limit`` after the operation ``marker``."""
    page = f" AND {after_marker('$4')}" if marker else ""
    records = await c.fetch(
        f"SELECT {_OPERATION} FROM runtime.operation r"  # noqa: S608
        f" WHERE r.subject = $1 AND {_VISIBLE}{page}"
        f" {order_by(_NEWEST_FIRST)} LIMIT $3",
        *(subject, project, limit, *([marker] if marker else [])),
    )
    return [_view(record) for record in records]


def after_marker(mark: str) -> str:
    """The condition that an operation is older than the one whose id the parameter is."""
    return after(_NEWEST_FIRST, "runtime.operation r", mark)
