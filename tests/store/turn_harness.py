"""Both twins of the turn store behind one harness, and builders of what a batch holds."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from process.clock import SystemClock
from store.kinds import TABLES
from store.memory import MemoryDatabase, MemoryTurnStore
from store.pool import Pool
from store.turn import ActorRow, Batch, EventRow, OperationRow, Parked, PartitionRow, Segment, TurnStore
from store.turns import PostgresTurnStore

PARTITIONS: Final = 4
LEASE_S: Final = 60.0
RUN_OUT_S: Final = -1.0
"""A lease that has run out before it is given: no test waits for one."""

_VALUES: Final[dict[str, Any]] = {
    "text": "t", "int": 3, "bigint": 4, "bool": True, "float8": 1.5, "text[]": ["t", "u"],
}  # fmt: skip


class StoreHarness(Protocol):
    """A store, and what a gateway would read of what was committed."""

    store: TurnStore

    async def events(self) -> list[EventRow]: ...
    async def operations(self) -> dict[str, OperationRow]: ...
    async def parked(self) -> list[tuple[int, str, str, str, float]]: ...
    async def columns(self, kind: str, ident: str) -> tuple[Any, ...] | None: ...


class MemoryStoreHarness:
    """The twin for simulation."""

    def __init__(self) -> None:
        self.database = MemoryDatabase(PARTITIONS, SystemClock())
        self.store: TurnStore = MemoryTurnStore(self.database)

    async def events(self) -> list[EventRow]:
        return sorted(self.database.events, key=lambda event: (event.partition, event.n))

    async def operations(self) -> dict[str, OperationRow]:
        return dict(self.database.operations)

    async def parked(self) -> list[tuple[int, str, str, str, float]]:
        return [(p.partition, p.address, p.error, p.story, p.at) for p in self.database.parked]

    async def columns(self, kind: str, ident: str) -> tuple[Any, ...] | None:
        return self.database.columns(kind, ident)


class PostgresStoreHarness:
    """The real one, with a worker's rights only."""

    def __init__(self, worker_pool: Pool, admin_pool: Pool) -> None:
        self.store: TurnStore = PostgresTurnStore(worker_pool)
        self._admin = admin_pool

    async def events(self) -> list[EventRow]:
        rows = await self._admin.fetch(
            "SELECT partition, n, type, subject, project_id, time, convert_to(data, 'UTF8') AS data"
            " FROM runtime.event ORDER BY partition, n"
        )
        return [EventRow(*row) for row in rows]

    async def operations(self) -> dict[str, OperationRow]:
        rows = await self._admin.fetch(
            "SELECT id, subject, name, project_id, user_id, request_id, began_at, updated_at, deadline,"
            " finished_at, outcome, reason, convert_to(steps, 'UTF8') AS steps FROM runtime.operation"
        )
        return {row["id"]: OperationRow(*row) for row in rows}

    async def parked(self) -> list[tuple[int, str, str, str, float]]:
        rows = await self._admin.fetch(
            "SELECT partition, address, error, story, at FROM runtime.parked ORDER BY id"
        )
        return [tuple(row) for row in rows]

    async def columns(self, kind: str, ident: str) -> tuple[Any, ...] | None:
        table = TABLES[kind]
        names = ", ".join(name for name, _ in table.columns)
        row = await self._admin.fetchrow(f"SELECT {names} FROM {table.name} WHERE id = $1", ident)
        return None if row is None else tuple(row)


def columns_of(kind: str) -> tuple[Any, ...]:
    """A value of the right type for each of the kind's own columns."""
    return tuple(_VALUES[type_] for _, type_ in TABLES[kind].columns)


def actor(
    ident: str,
    *,
    expected: int = 0,
    kind: str = "project",
    partition: int = 0,
    state: bytes = b"{}",
    due_at: float | None = None,
    gone: bool = False,
    columns: tuple[Any, ...] | None = None,
) -> ActorRow:
    """A row one version after ``expected``."""
    own = columns_of(kind) if columns is None else columns
    return ActorRow(kind, ident, partition, expected, expected + 1, state, due_at, gone, own)


def event(n: int, *, partition: int = 0) -> EventRow:
    return EventRow(partition, n, "test.happened", f"project/{n}", "p", 12.5, b'{"n": "\xc3\xa9"}')


def operation(
    ident: str,
    *,
    began_at: float = 1.0,
    updated_at: float = 2.0,
    finished_at: float = 0.0,
    outcome: str = "",
    steps: bytes = b"[]",
) -> OperationRow:
    return OperationRow(
        ident,
        "instance/i",
        "create",
        "p",
        "u",
        "req-1",
        began_at,
        updated_at,
        9.0,
        finished_at,
        outcome,
        "",
        steps,
    )


def parked(partition: int = 0, *, body: bytes = b"\x00\xff") -> Parked:
    return Parked(partition, "project/p", body, "ValueError: x", "the story", 3.0)


def segment(source: int, destination: int, first: int, last: int) -> Segment:
    return Segment(source, destination, first, last, f"{source}>{destination} {first}-{last}".encode())


def batch(
    held: Sequence[PartitionRow],
    *,
    actors: Sequence[ActorRow] = (),
    segments: Sequence[Segment] = (),
    events: Sequence[EventRow] = (),
    operations: Sequence[OperationRow] = (),
    parked: Sequence[Parked] = (),
) -> Batch:
    return Batch(list(held), list(actors), list(segments), list(events), list(operations), list(parked))
