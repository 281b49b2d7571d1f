"""Writes down what a worker takes, reads, commits and publishes, in order, for ``reference.py`` to repeat.

While it records it only keeps references to what is there anyway; statements are made when it is written.
"""

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bus.amqp import AmqpBus
from bus.mailbox import Bus, Counters, Delivery, Mailbox, Parcel, Queue
from store.commit import Layout, commit_statement
from store.turn import Batch, Stored
from store.turns import KNOWN_SQL, LOAD_SQL, PostgresTurnStore

TAKE: Final = "take"
READ: Final = "read"
COMMIT: Final = "commit"
PUBLISH: Final = "publish"
TURNS: Final = 9_000

Step = tuple[Any, ...]
"""(TAKE, queue, sender, body), (READ, sql, arguments), (COMMIT, sql, arguments), (PUBLISH, parcels)."""


class Recorder(Struct):
    """What happened so far, until ``TURNS`` turns were run: keeping more would slow down what is measured.

    ``turns`` says how many turns there have been; ``at_commit`` notes it at each commit.
    """

    turns: Callable[[], int]
    steps: list[Step] = []
    layout: Layout = {}
    at_commit: list[int] = []
    done: bool = False

    def note(self, *step: Any) -> None:
        """Keep a step."""
        if not self.done:
            self.steps.append(step)

    def committed(self, worker: str, batch: Batch, layout: Layout) -> None:
        """Keep a commit; after the last of the recording nothing is kept."""
        if not self.done:
            self.steps.append((COMMIT, worker, batch))
            self.layout = layout
            self.at_commit.append(self.turns())
            self.done = self.at_commit[-1] >= TURNS

    def bus(self, bus: AmqpBus) -> Bus:
        """The bus, with everything that passes written down."""
        return RecordingBus(bus, self)

    def store(self, store: PostgresTurnStore) -> "RecordingStore":
        """The store on the same pool, with everything that is asked written down."""
        return RecordingStore(store, self)

    def write(self, path: str) -> None:
        """All of it, as the wires saw it; the turns at each commit in a file beside it."""
        Path(path + ".turns").write_bytes(msgspec.json.encode(self.at_commit))
        with open(path, "wb") as file:
            for step in self.steps:
                pickle.dump(self._made(step), file, protocol=pickle.HIGHEST_PROTOCOL)

    def _made(self, step: Step) -> Step:
        if step[0] != COMMIT:
            return step
        statement = commit_statement(step[1], step[2], self.layout)
        return (COMMIT, statement.sql, statement.arguments)


class RecordingStore(PostgresTurnStore):
    """A store that remembers what it was asked."""

    def __init__(self, store: PostgresTurnStore, recorder: Recorder) -> None:
        super().__init__(store._pool)
        self._recorder = recorder

    async def load(self, kind: str, ids: list[str]) -> dict[str, Stored]:
        self._recorder.note(READ, LOAD_SQL[kind], [ids])
        return await super().load(kind, ids)

    async def known(self, operations: list[str]) -> set[str]:
        self._recorder.note(READ, KNOWN_SQL, [operations])
        return await super().known(operations)

    async def commit(self, worker: str, batch: Batch) -> None:
        await super().commit(worker, batch)
        self._recorder.committed(worker, batch, self._layout)


class RecordingMailbox:
    """A mailbox that remembers what was taken."""

    def __init__(self, inner: Mailbox, queue: str, recorder: Recorder) -> None:
        self._inner, self._queue, self._recorder = inner, queue, recorder

    def take(self, limit: int) -> list[Delivery]:
        taken = self._inner.take(limit)
        for one in taken:
            self._recorder.note(TAKE, self._queue, one.sender, one.body)
        return taken

    def ack(self, delivery: Delivery) -> None:
        self._inner.ack(delivery)

    def depth(self) -> int:
        return self._inner.depth()

    async def close(self) -> None:
        await self._inner.close()


class RecordingBus:
    """A bus that remembers what was published."""

    def __init__(self, inner: AmqpBus, recorder: Recorder) -> None:
        self._inner, self._recorder = inner, recorder

    @property
    def counters(self) -> Counters:
        return self._inner.counters

    async def declare(self, queue: Queue) -> None:
        await self._inner.declare(queue)

    async def open(
        self, queue: Queue, wake: asyncio.Event, prefetch: int = 200, priority: int = 0
    ) -> Mailbox:
        mailbox = await self._inner.open(queue, wake, prefetch, priority)
        return RecordingMailbox(mailbox, queue.name, self._recorder)

    async def publish(self, parcels: list[Parcel]) -> None:
        self._recorder.note(PUBLISH, [(parcel.queue, parcel.fanout, parcel.body) for parcel in parcels])
        await self._inner.publish(parcels)

    async def waiting(self, queue: str) -> int:
        return await self._inner.waiting(queue)

    async def delete(self, queue: str) -> None:
        await self._inner.delete(queue)

    async def close(self) -> None:
        await self._inner.close()
