"""A batch in the making: turns are run in order and their outcomes gathered, nothing is written yet.

Several messages of one actor fold into one row. Outputs are numbered per stream as they are made; a
turn that raises is taken out and parked with the actor's story, and the rest of the batch goes on.
No I/O belongs here.
"""

import functools
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from actors.machine import Kind, decide
from actors.turn import ActorState, Decision, Event, Heard, OperationRecord, Send, due_at
from bus.topology import queue_of
from protocol.agent import GuestConsole, GuestFact, Heartbeat, HostReport
from protocol.codec import decode_message, encode_envelopes, encode_message
from protocol.command import Command, Tick
from protocol.errors import Refused, StepFailed
from protocol.ids import address, ident_of, key_of, kind_of, partition_of
from protocol.message import Envelope, Message
from store.turn import ActorRow, Batch, EventRow, OperationRow, Parked, PartitionRow, Segment

QUEUES_KNOWN_MAX: Final = 16_384
STORY_LENGTH: Final = 12
"""Messages remembered per cached actor, for the report on a message that was parked."""
REFUSALS_MAX: Final = 16
"""Refusals remembered per cached actor; the oldest go first."""
NAME_CHARS_MAX: Final = 255
"""The longest address, operation id or trace an envelope may carry."""
ERROR_CHARS_MAX: Final = 8000
"""The end of a traceback that is kept with a parked message."""
FROM_HOSTS: Final = (GuestFact, GuestConsole, Heartbeat, HostReport)

_encode: Final = msgspec.json.Encoder().encode

Seal = Callable[[str, Message, float], Message]
"""(to, message, now): adds what may not be stored (signed URLs) to a message at the moment it leaves."""


class Incoming(Struct, frozen=True):
    """One envelope on its way to a turn. ``vouched`` is the host the broker vouches for, or empty.

    ``key`` is the kind and id of its address. ``numbered``: it came in a numbered stream, so it cannot
    be a repetition.
    """

    partition: int
    envelope: Envelope
    vouched: str = ""
    numbered: bool = False
    key: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        force_setattr(self, "key", key_of(self.envelope.to))


class Cached(Struct):
    """An actor in memory: its state (None: there is none yet), the version its row has, its story
    (when it heard what in which operation).

    ``refusals`` answer further copies of a refused command alike: who was told "no" must not see it
    happen because the state has changed before the next copy. Copies share operation and ``answer_by``;
    a client that really asks again has another ``answer_by``. Nothing of this needs to be durable: a
    gateway waits for the answers to all the copies it sent itself.
    """

    state: ActorState | None
    stored: int
    story: deque[tuple[float, str, str]]
    refusals: dict[tuple[str, float], Refused] = {}


class Outcome(Struct):
    """What is to be written, and what is to be sent once it is."""

    batch: Batch
    numbered: dict[tuple[int, int], tuple[int, list[Envelope]]]
    direct: dict[str, list[Envelope]]
    due: dict[tuple[str, str], float | None]
    turns: int
    outcomes: list[tuple[str, str, float]]
    turned_away: list[tuple[str, str]]


class Draft:
    """Turns of one batch over the states of a cache. Use once."""

    def __init__(  # noqa: PLR0913  the surroundings of a batch
        self,
        *,
        kinds: Mapping[str, Kind[Any]],
        cache: dict[tuple[str, str], Cached],
        partitions: int,
        held: dict[int, PartitionRow],
        next_numbers: dict[int, list[int]],
        now: float,
        seal: Seal,
        known: set[str],
    ) -> None:
        self._kinds, self._cache, self._count, self._held = kinds, cache, partitions, held
        self._next, self._now, self._seal, self._known = next_numbers, now, seal, known
        self._changed: dict[tuple[str, str], tuple[int, int]] = {}
        self._columns: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._numbered: dict[tuple[int, int], tuple[int, list[Envelope]]] = {}
        self._direct: dict[str, list[Envelope]] = {}
        self._events: dict[int, list[Event]] = {}
        self._records: dict[str, OperationRecord] = {}
        self._parked: list[Parked] = []
        self._turned_away: list[tuple[str, str]] = []
        self._turns = 0
        self._outcomes: list[tuple[str, str, float]] = []

    def hear(self, incoming: Incoming) -> str:
        """Run one turn. Returns the message's fate: moved, answered, dropped, parked or turned away."""
        envelope = incoming.envelope
        key = incoming.key
        try:
            message = decode_message(envelope.body)
        except msgspec.MsgspecError as error:
            return self._turn_away(incoming, error)
        if key not in self._cache:
            return self._turn_away(incoming, LookupError(f"no actor can have the address {envelope.to}"))
        if not _vouched(message, envelope.sender, incoming.vouched):
            why = f"{envelope.sender} may not say {type(message).__name__} as {incoming.vouched}"
            return self._turn_away(incoming, PermissionError(why))
        begun = envelope.operation in self._known or envelope.operation in self._records
        heard = Heard(
            message,
            envelope.sender,
            envelope.operation,
            envelope.reply_to,
            envelope.answer_by,
            known=begun and not incoming.numbered,
        )
        return self._turn(key, heard, incoming)

    def refuse(self, incoming: Incoming, why: str) -> None:
        """Park a message unheard: the database refused what became of it."""
        self._park(incoming, ValueError(why))
        cached = self._cache.get(incoming.key)
        if cached is not None:
            operation = incoming.envelope.operation
            heard = Heard(decode_message(incoming.envelope.body), incoming.envelope.sender, operation)
            self._fail(incoming.key, cached, heard, incoming)

    def tick(self, partition: int, kind: str, ident: str) -> str:
        """Run the turn of an actor whose due time has come."""
        if (kind, ident) not in self._cache:
            return "dropped"
        envelope = Envelope(address(kind, ident), "", encode_message(Tick()))
        key = (kind, ident)
        return self._turn(key, Heard(Tick()), Incoming(partition, envelope))

    def _turn(self, key: tuple[str, str], heard: Heard, incoming: Incoming) -> str:
        cached = self._cache[key]
        kind = self._kinds[key[0]]
        cached.story.append((self._now, type(heard.message).__name__, heard.operation))
        self._turns += 1
        try:
            decision = _again(cached, heard) or decide(kind, cached.state, heard, self._now, key[1])
            self._take(key, cached, decision, heard, incoming)
        except Exception as error:  # noqa: BLE001  a bug in a step must not take the batch with it
            parked = self._park(incoming, error)
            self._fail(key, cached, heard, incoming)
            return parked
        return "moved" if decision.changed else "answered" if decision.sends else "dropped"

    def _fail(self, key: tuple[str, str], cached: Cached, parked: Heard, incoming: Incoming) -> None:
        """Where the parked message was a step of the running operation: tell the operation it failed."""
        task = None if cached.state is None else cached.state.task
        if task is None or isinstance(parked.message, Command):
            return
        if parked.operation not in {"", task.operation}:
            return
        failed = StepFailed(code="internal", reason="an internal error; the operators have been told")
        heard = Heard(failed, operation=task.operation)
        try:
            decision = decide(self._kinds[key[0]], cached.state, heard, self._now, key[1])
            self._take(key, cached, decision, heard, incoming)
        except Exception as error:  # noqa: BLE001  the deadline of the step will say it again
            self._park(incoming, error)

    def _take(
        self, key: tuple[str, str], cached: Cached, decision: Decision[Any], heard: Heard, incoming: Incoming
    ) -> None:
        # Whatever may raise comes first: a turn is taken whole or parked.
        sends = [self._envelope(send, incoming) for send in decision.sends]
        if decision.changed and decision.state is not None:
            self._columns[key] = self._kinds[key[0]].columns(decision.state)
            self._changed.setdefault(key, (incoming.partition, cached.stored))
            cached.state = decision.state
        else:
            _remember(cached, decision, heard)
        for numbered, envelope in sends:
            if numbered:
                self._number(incoming.partition, envelope)
            else:
                self._direct.setdefault(envelope.to, []).append(envelope)
        if decision.events:
            self._events.setdefault(incoming.partition, []).extend(decision.events)
        for record in decision.records:
            self._records[record.id] = record
            if record.finished_at:
                self._outcomes.append((record.name, record.outcome, record.finished_at - record.began_at))

    def _envelope(self, send: Send, incoming: Incoming) -> tuple[bool, Envelope]:
        """Whether a numbered stream carries it, and the message ready to go."""
        source, numbered = incoming.envelope, send.numbered
        message = send.message if numbered else self._seal(send.to, send.message, self._now)
        reply_to = send.reply_to if numbered or send.again else ""
        body = encode_message(message)
        if not numbered and not _has_queue(send.to):
            raise ValueError(f"nobody answers to {send.to!r}")
        return numbered, Envelope(send.to, source.to, body, send.operation, reply_to, 0.0, source.trace)

    def _number(self, source: int, envelope: Envelope) -> None:
        destination = partition_of(envelope.to, self._count)
        stream = self._numbered.setdefault((source, destination), (self._next[source][destination], []))
        stream[1].append(envelope)

    def _turn_away(self, incoming: Incoming, error: Exception) -> str:
        """What no actor hears. A host may say any nonsense in any amount: of that only the count is kept."""
        if not incoming.vouched:
            return self._park(incoming, error)
        self._turned_away.append((incoming.vouched, str(error)))
        return "turned away"

    def _park(self, incoming: Incoming, error: BaseException) -> str:
        cached = self._cache.get(incoming.key)
        told = cached.story if cached else ()
        story = "\n".join(f"{at:.3f} {name} {operation}" for at, name, operation in told)
        text = _storable("".join(traceback.format_exception(error, limit=-6)))
        self._answer_parked(incoming)
        self._parked.append(
            Parked(incoming.partition, incoming.envelope.to, incoming.envelope.body, text, story, self._now)
        )
        return "parked"

    def _answer_parked(self, incoming: Incoming) -> None:
        """Tell the gateway that waits. Hosts do not choose who is answered."""
        source = incoming.envelope
        if incoming.vouched or kind_of(source.reply_to) != "gateway" or not _has_queue(source.reply_to):
            return
        refused = Refused(code="internal", reason="an internal error; the operators have been told")
        answer = Envelope(source.reply_to, source.to, encode_message(refused), source.operation)
        self._direct.setdefault(answer.to, []).append(answer)

    def finish(self, marks: dict[int, tuple[int, ...]]) -> Outcome:
        """The batch with these marks; ``batch.partitions`` is empty when there is nothing to write."""
        actors = [self._row(key, p, expected) for key, (p, expected) in self._changed.items()]
        segments = [
            Segment(s, d, first, first + len(envelopes) - 1, encode_envelopes(envelopes))
            for (s, d), (first, envelopes) in self._numbered.items()
        ]
        touched = {row.partition for row in actors} | {s for s, _ in self._numbered} | set(self._events)
        touched |= {p.partition for p in self._parked}
        touched |= {p for p, new in marks.items() if new != self._held[p].marks}
        partitions, events = [], []
        for p in sorted(touched):
            row = self._held[p]
            fresh = self._events.get(p, [])
            events += [
                EventRow(p, row.event_n + i, e.type, e.subject, e.project, e.time, e.data)
                for i, e in enumerate(fresh, 1)
            ]
            partitions.append(PartitionRow(p, row.epoch, marks.get(p, row.marks), row.event_n + len(fresh)))
        batch = Batch(
            partitions,
            actors,
            segments,
            events,
            [_operation_row(r) for r in self._records.values()],
            self._parked,
        )
        due = {(row.kind, row.id): row.due_at for row in actors}
        return Outcome(
            batch, self._numbered, self._direct, due, self._turns, self._outcomes, self._turned_away
        )

    def _row(self, key: tuple[str, str], partition: int, expected: int) -> ActorRow:
        cached, kind = self._cache[key], self._kinds[key[0]]
        state = cached.state
        if state is None:
            raise LookupError(f"{key} changed to nothing")
        gone = kind.gone(state)
        return ActorRow(
            kind=key[0],
            id=key[1],
            partition=partition,
            expected=expected,
            version=state.version,
            state=_encode(state),
            due_at=None if gone else due_at(state),
            gone=gone,
            columns=self._columns[key],
        )


def _again(cached: Cached, heard: Heard) -> Decision[Any] | None:
    """The same answer to another copy of a refused command."""
    refused = cached.refusals and cached.refusals.get((heard.operation, heard.answer_by))
    if not refused or not isinstance(heard.message, Command):
        return None
    return Decision(cached.state, [Send(heard.reply_to, refused, heard.operation)], [], [], changed=False)


def _remember(cached: Cached, decision: Decision[Any], heard: Heard) -> None:
    refused = next((send.message for send in decision.sends if isinstance(send.message, Refused)), None)
    if refused is None or not heard.answer_by:
        return
    cached.refusals[heard.operation, heard.answer_by] = refused
    if len(cached.refusals) > REFUSALS_MAX:
        del cached.refusals[next(iter(cached.refusals))]


@functools.lru_cache(maxsize=QUEUES_KNOWN_MAX)
def _has_queue(to: str) -> bool:
    """Whether anybody can answer to this address."""
    try:
        queue_of(to, 1)
    except ValueError:
        return False
    return True


def well_formed(envelope: Envelope) -> bool:
    """Whether its names can be names. Anyone may have written them, and they are asked of the database."""
    names = (envelope.to, envelope.sender, envelope.operation, envelope.reply_to, envelope.trace)
    joined = "".join(names)
    short = len(joined) <= NAME_CHARS_MAX or all(len(name) <= NAME_CHARS_MAX for name in names)
    return short and joined.isprintable()


def _storable(text: str) -> str:
    """An error's words as the database takes them: they may quote what a stranger sent."""
    return text[-ERROR_CHARS_MAX:].encode(errors="replace").decode().replace("\0", "?")


def _vouched(message: Message, sender: str, vouched: str) -> bool:
    """What hosts say must come from the host the broker vouches for; nobody else may speak as one."""
    if isinstance(message, FROM_HOSTS):
        return kind_of(sender) == "agent" and ident_of(sender) == vouched
    return vouched == ""


def _operation_row(record: OperationRecord) -> OperationRow:
    return OperationRow(
        id=record.id, subject=record.subject, name=record.name,
        project=record.by.project, user=record.by.user, request=record.by.request,
        began_at=record.began_at, updated_at=record.updated_at, deadline=record.deadline,
        finished_at=record.finished_at, outcome=record.outcome, reason=record.reason,
        steps=_encode(record.steps),
    )  # fmt: skip
