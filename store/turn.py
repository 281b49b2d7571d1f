"""What a worker asks of its store: ownership of partitions, states of actors, one commit per batch.

Two twins implement ``TurnStore``: ``store.turns`` (PostgreSQL) and ``store.memory`` (simulation).
The batch is all or nothing: fence, conditional state updates, outbox segments, events, operation
records and parked messages commit together or not at all. Times are UTC epoch seconds.
"""

from typing import Any, Final, Protocol

from msgspec import Struct

OPERATIONS_KEPT_S: Final = 30 * 86_400.0
"""How long an ended operation is known: as long as its command may be repeated, and its steps be read."""


class Fenced(Exception):  # noqa: N818  named for what happened to the caller
    """A partition of the batch has another owner or epoch: nothing was written."""


class VersionConflict(Exception):  # noqa: N818  named for what happened to the caller
    """An actor's row was not at the expected version: nothing was written."""


class StoreUnavailable(Exception):  # noqa: N818  named for what happened to the caller
    """The database did not answer; whether a commit happened is unknown. Reload before going on."""


class Unwritable(Exception):  # noqa: N818  named for what happened to the caller
    """The database refuses a row of the batch itself, however often it is asked: nothing was written."""


class Stored(Struct, frozen=True):
    """An actor as its row has it."""

    version: int
    state: bytes


class ActorRow(Struct, frozen=True):
    """An actor's row to be. ``expected`` is the version it must replace; 0 means a new row.

    ``columns`` are the typed columns of the kind's table in the order of ``store.kinds``.
    """

    kind: str
    id: str
    partition: int
    expected: int
    version: int
    state: bytes
    due_at: float | None
    gone: bool
    columns: tuple[Any, ...]


class Segment(Struct, frozen=True):
    """Numbered envelopes ``first``…``last`` of one stream, kept until the destination's mark passed."""

    source: int
    destination: int
    first: int
    last: int
    body: bytes


class EventRow(Struct, frozen=True):
    """Event ``n`` of a partition's log; n counts from 1 without a gap."""

    partition: int
    n: int
    type: str
    subject: str
    project: str
    time: float
    data: bytes


class OperationRow(Struct, frozen=True):
    """One operation's row, whole: a later write replaces an earlier one. ``steps`` is ready JSON."""

    id: str
    subject: str
    name: str
    project: str
    user: str
    request: str
    began_at: float
    updated_at: float
    deadline: float
    finished_at: float
    outcome: str
    reason: str
    steps: bytes


class Parked(Struct, frozen=True):
    """A message no turn could be made of, with the actor's last messages."""

    partition: int
    address: str
    body: bytes
    error: str
    story: str
    at: float


class PartitionRow(Struct, frozen=True):
    """A partition as its owner holds it: its fence, its marks by source, its event count."""

    partition: int
    epoch: int
    marks: tuple[int, ...]
    event_n: int


class Taken(Struct, frozen=True):
    """A partition just taken, with the next free number of each stream that leaves it."""

    row: PartitionRow
    next_numbers: tuple[int, ...]


class Holding(Struct, frozen=True):
    """Who holds a partition; ``free`` when nobody does or the lease has run out."""

    partition: int
    owner: str
    free: bool


class Batch(Struct, frozen=True):
    """One commit."""

    partitions: list[PartitionRow]
    actors: list[ActorRow]
    segments: list[Segment]
    events: list[EventRow]
    operations: list[OperationRow]
    parked: list[Parked]


class Due(Struct, frozen=True):
    """An actor that wants a Tick at this time."""

    kind: str
    id: str
    at: float


class TurnStore(Protocol):
    """Any method may raise StoreUnavailable."""

    async def join(self, worker: str, lease_s: float) -> tuple[list[str], list[Holding]]:
        """Say that this worker lives, renew its partitions' leases; all live workers, all holdings."""
        ...

    async def leave(self, worker: str) -> None:
        """Give everything back: the worker stops."""
        ...

    async def take(self, worker: str, partition: int, lease_s: float) -> Taken | None:
        """Own a free partition (or one's own again) under a new epoch; None when somebody holds it."""
        ...

    async def release(self, worker: str, partition: int, epoch: int) -> None:
        """Give one partition back at once."""
        ...

    async def load(self, kind: str, ids: list[str]) -> dict[str, Stored]:
        """The actors that exist among these ids."""
        ...

    async def known(self, operations: list[str]) -> set[str]:
        """Those of these operations that have a row: they have begun, perhaps ended."""
        ...

    async def due(self, partition: int) -> list[Due]:
        """Every actor of the partition that waits for a time."""
        ...

    async def commit(self, worker: str, batch: Batch) -> None:
        """All of it, or Fenced / VersionConflict and nothing."""
        ...

    async def unpassed(self, marks: dict[int, tuple[int, ...]], age_s: float, limit: int) -> list[Segment]:
        """Segments to these partitions beyond these marks and older than ``age_s``, in stream order."""
        ...

    async def collect(self, partitions: list[int]) -> int:
        """Delete segments from these partitions that their destinations' marks have passed."""
        ...

    async def prune(self, partitions: list[int], before: float, limit: int) -> int:
        """Forget events of these partitions older than ``before``, at most ``limit`` each, oldest first."""
        ...

    async def forget(self, before: float, limit: int) -> int:
        """Forget at most ``limit`` ended operations that began before ``before``; how many."""
        ...
