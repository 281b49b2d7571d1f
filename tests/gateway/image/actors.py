"""A command client that holds the actors itself: each command is a real turn, committed to PostgreSQL."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from actors.kinds import KINDS
from actors.machine import decide
from actors.runtime.draft import _operation_row
from actors.turn import Heard, due_at
from gateway.commands import Unavailable
from process.clock import Clock
from protocol.command import Tick
from protocol.errors import Refused
from protocol.ids import ident_of, kind_of
from protocol.message import Message
from store.pool import Pool
from store.turn import ActorRow, Batch, EventRow, PartitionRow
from store.turns import PostgresTurnStore

WORKER, PARTITIONS = "worker-test", 4


class Actors:
    """``CommandClient`` whose answers are the actors' own. ``fault`` may raise before a command is heard."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._store, self._clock = PostgresTurnStore(pool), clock
        self._states: dict[tuple[str, str], Any] = {}
        self._known: set[str] = set()
        self._held: dict[int, PartitionRow] = {}
        self._lock = asyncio.Lock()
        self.heard: list[Message] = []
        self.fault: Callable[[Message], None] = lambda _: None

    async def start(self) -> None:
        await self._store.prepare(PARTITIONS)
        for p in range(PARTITIONS):
            taken = await self._store.take(WORKER, p, 3600.0)
            assert taken is not None
            self._held[p] = taken.row

    async def send(
        self, to: str, message: Message, *, operation: str, timeout_s: float, trace: str = ""
    ) -> Message:
        self.fault(message)
        # An actor's turn is not cut short by a client that goes away.
        return await asyncio.shield(asyncio.ensure_future(self._hear(to, message, operation)))

    async def _hear(self, to: str, message: Message, operation: str) -> Message:
        async with self._lock:
            self.heard.append(message)
            return await self._turn(to, message, operation)

    async def tick(self, to: str) -> None:
        """The actor's due time has come."""
        async with self._lock:
            await self._turn(to, Tick(), "")

    async def _turn(self, to: str, message: Message, operation: str) -> Message:
        key, now = (kind_of(to), ident_of(to)), self._clock.now()
        kind = KINDS[key[0]]
        before = self._states.get(key)
        heard = Heard(message, "gateway/t", operation, "gateway/t", known=operation in self._known)
        decision = decide(kind, before, heard, now, key[1])
        if decision.changed:
            await self._commit(key, before, decision, now)
            self._states[key] = decision.state
            self._known.update(record.id for record in decision.records)
        answers = [send.message for send in decision.sends if send.to == "gateway/t"]
        return answers[0] if answers else Refused(code="conflict", reason="no answer")

    async def _commit(self, key: tuple[str, str], before: Any, decision: Any, now: float) -> None:
        p = hash_of(key[1])
        held, state, kind = self._held[p], decision.state, KINDS[key[0]]
        events = [
            EventRow(p, held.event_n + i, e.type, e.subject, e.project, e.time, e.data)
            for i, e in enumerate(decision.events, 1)
        ]
        row = PartitionRow(p, held.epoch, held.marks, held.event_n + len(events))
        actor = ActorRow(
            kind=key[0],
            id=key[1],
            partition=p,
            expected=before.version if before else 0,
            version=state.version,
            state=msgspec.json.encode(state),
            due_at=due_at(state),
            gone=kind.gone(state),
            columns=kind.columns(state),
        )
        records = [_operation_row(record) for record in decision.records]
        await self._store.commit(WORKER, Batch([row], [actor], [], events, records, []))
        self._held[p] = row


def hash_of(ident: str) -> int:
    return sum(ident.encode()) % PARTITIONS


def unavailable(kind: type[Message], times: int) -> Callable[[Message], None]:
    """A fault: the first ``times`` messages of this kind get no answer and are not heard."""
    left = [times]

    def fault(message: Message) -> None:
        if isinstance(message, kind) and left[0]:
            left[0] -= 1
            raise Unavailable

    return fault
