"""The worker's store in memory: the twin for simulation, same promises, same refusals.

``MemoryDatabase`` is what survives a crash; ``MemoryTurnStore`` is one worker's connection to it.
``Weather`` decides, at each call, how long it takes and whether it fails before or after its effect:
a commit that fails after its effect is the worst case a real database can offer.
"""

import asyncio
from typing import Any, Final, Protocol

from process.clock import Clock
from store.kinds import TABLES
from store.turn import (
    ActorRow,
    Batch,
    Due,
    EventRow,
    Fenced,
    Holding,
    OperationRow,
    Parked,
    PartitionRow,
    Segment,
    Stored,
    StoreUnavailable,
    Taken,
    Unwritable,
    VersionConflict,
)

_INTEGERS: Final = {"int": 2**31, "bigint": 2**63}


class Weather(Protocol):
    """The faults of a store. Times in seconds."""

    async def before(self, call: str) -> None:
        """Wait as long as the call takes to arrive; raise StoreUnavailable to lose it."""
        ...

    async def after(self, call: str) -> None:
        """Wait as long as the answer takes; raise StoreUnavailable to lose the answer only."""
        ...


class FairWeather:
    """No faults; one turn of the loop per call."""

    async def before(self, call: str) -> None:  # noqa: ARG002  the interface's
        await asyncio.sleep(0)

    async def after(self, call: str) -> None:  # noqa: ARG002  the interface's
        return


class _Partition:
    def __init__(self, count: int) -> None:
        self.owner = ""
        self.epoch = 0
        self.until = 0.0
        self.marks = (0,) * count
        self.event_n = 0


class MemoryDatabase:
    """Everything that a database would keep."""

    def __init__(self, partitions: int, clock: Clock) -> None:
        self.clock = clock
        self.partitions = [_Partition(partitions) for _ in range(partitions)]
        self.workers: dict[str, float] = {}
        self.actors: dict[tuple[str, str], ActorRow] = {}
        self.segments: dict[tuple[int, int, int], tuple[Segment, float]] = {}
        self.events: list[EventRow] = []
        self.operations: dict[str, OperationRow] = {}
        self.parked: list[Parked] = []

    def commit(self, worker: str, batch: Batch) -> None:
        """The transaction: all of the batch, or Fenced / VersionConflict and nothing."""
        self.fence(worker, batch)
        self.match(batch)
        self.check(batch)
        for p in batch.partitions:
            held = self.partitions[p.partition]
            held.marks, held.event_n = p.marks, p.event_n
        for row in batch.actors:
            self.actors[row.kind, row.id] = row
        now = self.clock.now()
        for segment in batch.segments:
            self.segments[segment.destination, segment.source, segment.first] = (segment, now)
        self.events += batch.events
        self.operations.update((row.id, row) for row in batch.operations)
        self.parked += batch.parked

    def fence(self, worker: str, batch: Batch) -> None:
        """Raise Fenced unless the worker owns the batch's partitions in the epochs it names."""
        for p in batch.partitions:
            held = self.partitions[p.partition]
            if (held.owner, held.epoch) != (worker, p.epoch):
                raise Fenced(f"partition {p.partition} has another owner")

    def match(self, batch: Batch) -> None:
        """Raise VersionConflict unless every actor's row is at the version the batch expects."""
        for row in batch.actors:
            there = self.actors.get((row.kind, row.id))
            if (0 if there is None else there.version) != row.expected:
                raise VersionConflict(f"{row.kind} {row.id} was not as expected")

    def check(self, batch: Batch) -> None:
        """Raise Unwritable for a value that its column cannot hold."""
        for row in batch.actors:
            for (name, type_), value in zip(TABLES[row.kind].columns, row.columns, strict=True):
                bound = _INTEGERS.get(type_)
                if bound and value is not None and not -bound <= value < bound:
                    raise Unwritable(f"{name} of {row.kind} {row.id} is out of range: {value}")
                if type_ == "text" and value is not None and "\0" in value:
                    raise Unwritable(f"{name} of {row.kind} {row.id} has a NUL")

    def columns(self, kind: str, ident: str) -> tuple[Any, ...] | None:
        """The typed columns of an actor's row, as a gateway would read them."""
        row = self.actors.get((kind, ident))
        return None if row is None else row.columns


class MemoryTurnStore:
    """``store.turn.TurnStore`` over a MemoryDatabase."""

    def __init__(self, database: MemoryDatabase, weather: Weather | None = None) -> None:
        self._db = database
        self._weather = weather or FairWeather()
        self.cut = False

    async def _before(self, call: str) -> None:
        await self._weather.before(call)
        if self.cut:
            raise StoreUnavailable("the connection is cut")

    async def _after(self, call: str) -> None:
        await self._weather.after(call)
        if self.cut:
            raise StoreUnavailable("the connection is cut")

    async def join(self, worker: str, lease_s: float) -> tuple[list[str], list[Holding]]:
        await self._before("join")
        now = self._db.clock.now()
        self._db.workers[worker] = now + lease_s
        for held in self._db.partitions:
            if held.owner == worker and held.until > now:
                held.until = now + lease_s
        live = sorted(name for name, until in self._db.workers.items() if until > now)
        holdings = [
            Holding(p, h.owner, not h.owner or h.until < now) for p, h in enumerate(self._db.partitions)
        ]
        await self._after("join")
        return live, holdings

    async def leave(self, worker: str) -> None:
        await self._before("leave")
        for held in self._db.partitions:
            if held.owner == worker:
                held.owner, held.until = "", 0.0
        self._db.workers.pop(worker, None)
        await self._after("leave")

    async def take(self, worker: str, partition: int, lease_s: float) -> Taken | None:
        await self._before("take")
        now = self._db.clock.now()
        held = self._db.partitions[partition]
        if held.owner not in {"", worker} and held.until >= now:
            await self._after("take")
            return None
        held.owner, held.epoch, held.until = worker, held.epoch + 1, now + lease_s
        taken = Taken(PartitionRow(partition, held.epoch, held.marks, held.event_n), self._next(partition))
        await self._after("take")
        return taken

    def _next(self, source: int) -> tuple[int, ...]:
        numbers = [held.marks[source] + 1 for held in self._db.partitions]
        for segment, _ in self._db.segments.values():
            if segment.source == source:
                numbers[segment.destination] = max(numbers[segment.destination], segment.last + 1)
        return tuple(numbers)

    async def release(self, worker: str, partition: int, epoch: int) -> None:
        await self._before("release")
        held = self._db.partitions[partition]
        if (held.owner, held.epoch) == (worker, epoch):
            held.owner, held.until = "", 0.0
        await self._after("release")

    async def load(self, kind: str, ids: list[str]) -> dict[str, Stored]:
        await self._before("load")
        rows = [self._db.actors[kind, ident] for ident in ids if (kind, ident) in self._db.actors]
        found = {row.id: Stored(row.version, row.state) for row in rows}
        await self._after("load")
        return found

    async def known(self, operations: list[str]) -> set[str]:
        await self._before("known")
        found = {operation for operation in operations if operation in self._db.operations}
        await self._after("known")
        return found

    async def due(self, partition: int) -> list[Due]:
        await self._before("due")
        found = [
            Due(row.kind, row.id, row.due_at)
            for row in self._db.actors.values()
            if row.partition == partition and not row.gone and row.due_at is not None
        ]
        await self._after("due")
        return found

    async def commit(self, worker: str, batch: Batch) -> None:
        await self._before("commit")
        self._db.commit(worker, batch)
        await self._after("commit")

    async def unpassed(self, marks: dict[int, tuple[int, ...]], age_s: float, limit: int) -> list[Segment]:
        await self._before("unpassed")
        before = self._db.clock.now() - age_s
        found = [
            segment
            for segment, made_at in self._db.segments.values()
            if segment.destination in marks
            and segment.last > marks[segment.destination][segment.source]
            and made_at <= before
        ]
        found.sort(key=lambda s: (s.source, s.destination, s.first))
        await self._after("unpassed")
        return found[:limit]

    async def collect(self, partitions: list[int]) -> int:
        await self._before("collect")
        passed = [
            key
            for key, (segment, _) in self._db.segments.items()
            if segment.source in partitions
            and segment.last <= self._db.partitions[segment.destination].marks[segment.source]
        ]
        for key in passed:
            del self._db.segments[key]
        await self._after("collect")
        return len(passed)

    async def prune(self, partitions: list[int], before: float, limit: int) -> int:
        await self._before("prune")
        passed: dict[int, int] = {}
        for p in partitions:
            oldest = [event for event in self._db.events if event.partition == p][:limit]
            passed[p] = max((event.n for event in oldest if event.time < before), default=0)
        count = len(self._db.events)
        self._db.events[:] = [event for event in self._db.events if event.n > passed.get(event.partition, 0)]
        await self._after("prune")
        return count - len(self._db.events)

    async def forget(self, before: float, limit: int) -> int:
        await self._before("forget")
        ended = [row.id for row in self._db.operations.values() if row.finished_at and row.began_at < before]
        for ident in ended[:limit]:
            del self._db.operations[ident]
        await self._after("forget")
        return len(ended[:limit])
