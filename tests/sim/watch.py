"""The eyes of a run: every commit, acknowledgement, guest and log line passes by here.

What may never be so, not even for a moment, is checked when it would begin to be so; what must be
so once the cloud has come to rest is in ``tests.sim.invariant``. The watch also keeps the trace
(one digest over everything in order) and the counts that a run reports.
"""

import hashlib
import traceback
from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec

from actors.group.kind import Group
from actors.host.model import REMOVED, Host, used
from actors.instance.model import GONE, Instance, T, V
from actors.machine import Operation, Row
from actors.project.kind import Project
from hostagent.journal import MemoryContent
from protocol.agent import GuestFact
from protocol.codec import decode_bundle, decode_message
from protocol.guest import HostInventory, PowerState
from protocol.ids import ACTOR_KINDS, ident_of, kind_of
from protocol.instance import ServerGroup
from store.turn import ActorRow, Batch, OperationRow
from tests.sim.loop import SimLoop

STORY_LENGTH: Final = 60
EXPECTED_ERRORS: Final = frozenset({"journal.full"})
"""Errors in logs that injected faults explain."""
CALM_S: Final = 60.0
"""After so long without a fault, no step may fail by silence."""
HASTE_MAX: Final = 60
HASTE_S: Final = 10.0
"""An instance that moves more often than this, in so long, goes round in a circle."""
HUNG_S: Final = 1000.0
"""A verb that hung explains silence about its instance for so long."""

STATES: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "instance": msgspec.json.Decoder(Instance),
    "host": msgspec.json.Decoder(Host),
    "project": msgspec.json.Decoder(Project),
    "group": msgspec.json.Decoder(Group),
}


class Violation(Exception):  # noqa: N818  an invariant's, not an error of the code
    """An invariant does not hold. ``subject`` is the address it is about."""

    def __init__(self, invariant: str, detail: str, subject: str = "") -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail
        self.subject = subject


class Life(NamedTuple):
    """What an instance was from a moment on."""

    since: float
    vm_state: str
    task_state: str | None
    gone: bool
    folded: bool
    """Several turns made it at once: what it was in between nobody recorded."""


_SETTLED: Final = frozenset({V.ACTIVE, V.PAUSED, V.STOPPED, V.SUSPENDED, V.RESCUED})
_AT_WORK: Final = frozenset(
    {
        *(T.SPAWNING, T.POWERING_ON, T.POWERING_OFF, T.REBOOTING, T.REBOOTING_HARD),
        *(T.PAUSING, T.UNPAUSING, T.SUSPENDING, T.RESUMING),
        *(T.RESCUING, T.RESCUE_UNDOING, T.UNRESCUING),
        *(T.SOFT_DELETING, T.RESTORING),
    }
)


class Watch:
    """What has been seen in one run."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.digest = hashlib.sha256()
        self.rows: Counter[tuple[str, int, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self.active: Counter[str] = Counter()
        self.calm_since = 0.0
        self.turns = 0
        self.commits = 0
        self.rounds: dict[str, dict[int, int]] = {}
        self.round_at: dict[str, float] = {}
        self.hung: Callable[[str], float] = lambda instance: -HUNG_S
        self.queued: Callable[[str, str], list[tuple[bytes, float]]] = lambda worker, address: []
        self.stories: dict[str, deque[tuple[Any, ...]]] = {}
        self.guests: dict[str, list[tuple[float, PowerState | None]]] = {}
        """Per instance, since when its guest has been in which state; None: there is none."""
        self.lives: dict[str, list[Life]] = {}
        self.contents: dict[str, MemoryContent] = {}
        self._heard_at: dict[str, tuple[int, float]] = {}
        self._moves: dict[str, deque[float]] = {}
        self._members: dict[ServerGroup, dict[str, list[str]]] = {}
        self._owners: dict[tuple[int, int], str] = {}
        self._numbers: dict[tuple[int, int], int] = {}

    # Telling.

    def note(self, subject: str, *what: object) -> None:
        """Add a line to the trace and to the story of its subject."""
        self.digest.update(f"{self.loop.now:.6f} {subject} {what}\n".encode())
        story = self.stories.get(subject)
        if story is None:
            story = self.stories[subject] = deque(maxlen=STORY_LENGTH)
        story.append((self.loop.now, *what))

    def fail(self, invariant: str, detail: str, subject: str = "") -> None:
        """End the run: an invariant does not hold."""
        self.loop.failures.append(Violation(invariant, detail, subject))

    def story(self, subject: str) -> list[str]:
        """The last events of an actor or process."""
        return [f"{at:9.3f} {' '.join(map(str, what))}" for at, *what in self.stories.get(subject, ())]

    def began(self, fault: str) -> None:
        """A fault is there from now on."""
        self.faults[fault] += 1
        self.active[fault] += 1

    def ended(self, fault: str) -> None:
        """It is over."""
        self.active[fault] -= 1
        if not self.active[fault]:
            del self.active[fault]
        if not self.active:
            self.calm_since = self.loop.now

    def calm_s(self) -> float:
        """For how long there has been no fault."""
        return 0.0 if self.active else self.loop.now - self.calm_since

    # Rows of tables.

    def took(self, table: Operation[Any], row: Row[Any]) -> None:
        """A row of an operation's table was taken."""
        self.turns += 1
        index = next(i for i, known in enumerate(table.rows) if known is row)
        for fault in self.active or ("none",):
            self.rows[table.name, index, fault] += 1

    # Commits.

    def committed(self, worker: str, batch: Batch, before: "Before") -> None:
        """Check a commit that has just taken effect."""
        self.commits += 1
        self._check_partitions(worker, batch, before)
        self._check_numbers(batch)
        for row in batch.actors:
            self._check_actor(row, before)
        for operation in batch.operations:
            self._check_operation(worker, operation, before)
        for parked in batch.parked:
            self.fail("no message is parked", f"{parked.address}: {parked.error}", parked.address)

    def _check_events(self, batch: Batch, before: "Before") -> None:
        next_n: dict[int, int] = {}
        for event in batch.events:
            expected = next_n.get(event.partition, before.partitions[event.partition][2]) + 1
            if event.n != expected:
                self.fail("event logs are dense", f"partition {event.partition}: {event.n}, not {expected}")
            next_n[event.partition] = event.n

    def _check_partitions(self, worker: str, batch: Batch, before: "Before") -> None:
        handled = self.rounds.get(worker, {})
        events = Counter(event.partition for event in batch.events)
        for row in batch.partitions:
            p = row.partition
            epoch, marks, event_n = before.partitions[p]
            if self._owners.setdefault((p, row.epoch), worker) != worker:
                self.fail("one owner per epoch", f"partition {p} epoch {row.epoch}: {worker} is another")
            if row.epoch != epoch:
                self.fail("commits are fenced", f"partition {p}: epoch {row.epoch} committed in {epoch}")
            if row.event_n != event_n + events[p]:
                self.fail("event logs are dense", f"partition {p}: {event_n} + {events[p]} → {row.event_n}")
            moved = [new - old for new, old in zip(row.marks, marks, strict=True)]
            if min(moved) < 0:
                self.fail("marks never go back", f"partition {p}: {marks} → {row.marks}")
            if sum(moved) != handled.get(p, 0):
                self.fail(
                    "a numbered message is handled once",
                    f"partition {p}: {handled.get(p, 0)} turns for {sum(moved)} numbers",
                )
        for p, count in handled.items():
            if count and not any(row.partition == p for row in batch.partitions):
                self.fail("a numbered message is handled once", f"partition {p}: {count} turns for no number")
        self._check_events(batch, before)
        stamps = [(row.partition, row.epoch) for row in batch.partitions]
        self.note(
            worker, "commit", stamps, [(row.id, row.version) for row in batch.actors], len(batch.events)
        )

    def _check_numbers(self, batch: Batch) -> None:
        for segment in batch.segments:
            stream = (segment.source, segment.destination)
            expected = self._numbers.get(stream, 0) + 1
            if segment.first != expected:
                self.fail("streams are dense", f"{stream}: {segment.first}, not {expected}")
            self._numbers[stream] = segment.last

    def _check_actor(self, row: ActorRow, before: "Before") -> None:
        subject = f"{row.kind}/{row.id}"
        there = before.actors.get((row.kind, row.id))
        version = 0 if there is None else there.version
        if row.expected != version or row.version <= version:
            self.fail("versions rise", f"{row.expected} → {row.version} written over {version}", subject)
        decoder = STATES.get(row.kind)
        if decoder is None:
            return
        state = decoder.decode(row.state)
        if isinstance(state, Host):
            self._check_host(state, subject)
        elif isinstance(state, Project):
            if min(state.instances, state.cores, state.memory_mib) < 0:
                self.fail("quota is never negative", f"{state}", subject)
        elif isinstance(state, Instance):
            task = state.task
            moves = self._moves.setdefault(subject, deque(maxlen=HASTE_MAX))
            if len(moves) == HASTE_MAX and self.loop.now - moves[0] < HASTE_S:
                self.fail("nothing goes round in circles", f"{HASTE_MAX} turns in {HASTE_S} s", subject)
            moves.append(self.loop.now)
            step = f"{task.name}:{task.state}#{task.number}" if task else "-"
            places = [(p.host[:4], p.generation, p.spawned) for p in state.placements]
            self.note(subject, f"v{row.version}", state.vm_state, step, state.power_state.name, places)
            self._check_group(state, subject)
            self._check_instance(state, decoder.decode(there.state) if there else None, subject)
            if there is not None and there.gone and not row.gone:
                self.fail("the dead stay dead", f"{there.version} → {row.version}", subject)

    def _check_instance(self, vm: Instance, before: Instance | None, subject: str) -> None:
        task = vm.task
        folded = vm.version > (before.version if before else 0) + 1
        self.lives.setdefault(subject, []).append(
            Life(self.loop.now, vm.vm_state, task.state if task else None, vm.life == GONE, folded)
        )
        heard, at = self._heard_at.get(subject, (0, 0.0))
        if vm.heard != heard:
            at = self.loop.now
            self._heard_at[subject] = (vm.heard, at)
        if before is None:
            return
        if before.task is None and task is None and vm.power_state != before.power_state:
            self._check_news(vm, at, subject)
        ended = before.task is not None and task is None and vm.vm_state in _SETTLED
        if ended and before.task is not None and before.task.state in _AT_WORK:
            self._check_answer(vm, before.task.number, subject)

    def _check_group(self, vm: Instance, subject: str) -> None:
        """Members of a group are never, not even for a moment, where its policy does not want them."""
        group = vm.request.group
        if group is None or not group.is_binding:
            return
        members = self._members.setdefault(group, {})
        members[vm.id] = [p.host for p in vm.placements if p.spawned]
        if group.policy == "affinity":
            wrong = len({hosts[-1] for hosts in members.values() if hosts}) > 1
        else:
            there = Counter(host for hosts in members.values() for host in set(hosts))
            wrong = any(count > group.per_host for count in there.values())
        if wrong:
            self.fail("policies of groups hold", f"{group.policy}: {members}", subject)

    def _check_news(self, vm: Instance, since: float, subject: str) -> None:
        """What an idle instance takes for its guest's state was so since its last command was over."""
        history = self.guests.get(vm.id, [])
        seen = {state for _, state in history[-1:]}
        for (_, state), (until, _) in pairwise(history):
            if until >= since:
                seen.add(state)
        if (None if vm.vm_state is V.ERROR else vm.power_state) not in seen:
            self.fail("news are not old", f"{vm.power_state!r} is none of {seen} since {since:.3f}", subject)

    def _check_answer(self, vm: Instance, number: int, subject: str) -> None:
        """A step ends well by the answer to its own command: the agent's journal has it."""
        here = vm.here
        content = self.contents.get(here.host) if here else None
        if content is None or self.faults["journal full"]:
            return
        entry = content.entries.get(vm.id)
        if entry is None or (entry.number, bool(entry.answer)) < (number, True):
            done = f"{entry.number} {bool(entry.answer)}" if entry else "nothing"
            self.fail("a step ends by its own answer", f"{number} ended, the agent did {done}", subject)

    def _check_host(self, host: Host, subject: str) -> None:
        have = host.inventory or _NOTHING
        taken = used(host)
        if (
            taken.vcpus > have.vcpus * host.cpu_ratio
            or taken.memory_mib > have.memory_mib * host.memory_ratio
            or taken.disk_gib > have.disk_gib * host.disk_ratio
        ):
            self.fail("claims fit the host", f"{taken} of {have}", subject)
        if host.claims and (host.life == REMOVED or host.duty == "maintenance"):
            self.fail("who is taken away is empty", f"{host.life}, {host.duty}: {host.claims}", subject)

    def _check_operation(self, worker: str, row: OperationRow, before: "Before") -> None:
        known = before.operations.get(row.id)
        if known is not None and known.finished_at:
            self.fail(
                "an operation ends once", f"{row.name} {row.id}: {known.outcome}, then {row}", row.subject
            )
        failed_before = known is not None and known.reason
        if not row.reason.startswith("deadline:") or failed_before:
            return
        self.note(row.subject, "deadline", row.name, row.reason)
        stored = before.actors.get((kind_of(row.subject), ident_of(row.subject)))
        if stored is None or row.subject.partition("/")[0] != "instance":
            return
        task = STATES["instance"].decode(stored.state).task
        for body, arrived in self.queued(worker, row.subject):
            if arrived < self.round_at[worker] - 0.05 and task and _answers(body, row.subject, task.number):
                self.fail(
                    "no deadline while the answer waits",
                    f"{row.name}: answered at {arrived:.3f}",
                    row.subject,
                )
        silent = self.loop.now - self.hung(ident_of(row.subject))
        if self.calm_s() > CALM_S and silent > HUNG_S:
            self.fail("no step is lost in calm weather", f"{row.name}: {row.reason}", row.subject)


class Before:
    """What a batch is about to change, as it was."""

    def __init__(
        self,
        partitions: dict[int, tuple[int, tuple[int, ...], int]],
        actors: dict[tuple[str, str], ActorRow],
        operations: dict[str, OperationRow],
    ) -> None:
        self.partitions = partitions
        self.actors = actors
        self.operations = operations


def numbered(sender: str) -> bool:
    """Whether a message of this sender came by a numbered stream."""
    return kind_of(sender) in ACTOR_KINDS


def _answers(body: bytes, subject: str, number: int) -> bool:
    for stretch in decode_bundle(body).stretches:
        for envelope in stretch.envelopes:
            if envelope.to != subject:
                continue
            message = decode_message(envelope.body)
            if isinstance(message, GuestFact) and message.number == number:
                return True
    return False


_NOTHING: Final = HostInventory(
    hostname="", hypervisor_type="", hypervisor_version=0, vcpus=0, memory_mib=0, disk_gib=0
)


class SimLog:
    """A structlog logger that speaks to the watch: errors are violations, the rest is its story."""

    def __init__(self, watch: Watch, subject: str) -> None:
        self._watch = watch
        self._subject = subject

    def bind(self, **_: object) -> "SimLog":
        return self

    def debug(self, event: str, **details: object) -> None:
        """Nothing."""

    def info(self, event: str, **details: object) -> None:
        """Nothing: what matters is in the trace."""

    def warning(self, event: str, **details: object) -> None:
        self._watch.note(self._subject, "warning", event, details)

    def error(self, event: str, **details: object) -> None:
        if event in EXPECTED_ERRORS:
            self.warning(event, **details)
        elif event != "message.parked":  # told by the commit
            self._watch.fail("no error is logged", f"{self._subject}: {event} {details}")

    def exception(self, event: str, **details: object) -> None:
        self._watch.fail(
            "no error is logged", f"{self._subject}: {event} {details}\n{traceback.format_exc()}"
        )
