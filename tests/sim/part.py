"""The simulated parts that tell the watch what passes through them.

Each is the real class with a word to ``Watch`` added: the database, the broker, the hosts, the
worker. No behaviour is changed here; faults come from ``tests.sim.weather`` and ``tests.sim.fault``.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from typing import Any, Final

from actors.runtime.draft import Incoming, Outcome
from actors.runtime.worker import Worker
from bus.fault import Fate, Faults
from bus.mailbox import Counters, Parcel
from bus.memory import MemoryBroker, MemoryMailbox
from bus.topology import is_partition
from bus.topology import partition as partition_queue
from hostagent.drivers.simulated import SimulatedHost, SimulatedHypervisor, SimulatedSettings
from hostagent.journal import MemoryContent
from process.clock import Clock
from protocol.guest import GuestSpec
from protocol.ids import ident_of, kind_of, partition_of
from store.memory import MemoryDatabase
from store.turn import Batch, Fenced, VersionConflict
from tests.sim.watch import Before, Watch

REPEAT_S_MAX: Final = 3.0
"""A repeated commit arrives within this time."""


class SimDatabase(MemoryDatabase):
    """Tells the watch of every commit."""

    def __init__(self, partitions: int, clock: Clock, watch: Watch) -> None:
        super().__init__(partitions, clock)
        self._watch = watch
        self.repeats: Callable[[], bool] = lambda: False
        self.delay: Callable[[], float] = lambda: 0.0

    def commit(self, worker: str, batch: Batch) -> None:
        before = Before(
            {p.partition: self._holding(p.partition) for p in batch.partitions},
            {
                (row.kind, row.id): self.actors[row.kind, row.id]
                for row in batch.actors
                if (row.kind, row.id) in self.actors
            },
            {row.id: self.operations[row.id] for row in batch.operations if row.id in self.operations},
        )
        for operation in batch.operations:
            key = (kind_of(operation.subject), ident_of(operation.subject))
            if key in self.actors:
                before.actors[key] = self.actors[key]
        super().commit(worker, batch)
        self._watch.committed(worker, batch, before)
        if batch.actors and self.repeats():
            loop = self._watch.loop
            context = contextvars.Context()
            loop.call_later(self.delay() * REPEAT_S_MAX, self._repeat, worker, batch, context=context)

    def _repeat(self, worker: str, batch: Batch) -> None:
        """The same request once more. Whoever sent it has long had its answer and does not hear this one."""
        with contextlib.suppress(Fenced, VersionConflict):
            super().commit(worker, batch)
            self._watch.fail("a repeated commit is refused", f"{[row.id for row in batch.actors]}", worker)

    def _holding(self, p: int) -> tuple[int, tuple[int, ...], int]:
        held = self.partitions[p]
        return held.epoch, held.marks, held.event_n


class SimBroker(MemoryBroker):
    """Remembers when answers of agents arrived, and can let a duplicate come much later."""

    def __init__(self, faults: Faults, watch: Watch, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(faults)
        self._watch = watch
        self._loop = loop
        self._arrived: dict[bytes, float] = {}

    def route(self, parcel: Parcel, sender: str, counters: Counters) -> str:
        if sender and is_partition(parcel.queue):
            self._arrived[parcel.body] = self._loop.time()
        return super().route(parcel, sender, counters)

    def route_by(self, fate: Fate, parcel: Parcel, sender: str, counters: Counters) -> str:
        if fate.copies == 2 and fate.delay_s:
            self._loop.call_later(fate.delay_s, self._route_late, self._wipes, parcel, sender, counters)
            return super().route_by(Fate(), parcel, sender, counters)
        return super().route_by(fate, parcel, sender, counters)

    def queued(self, queue: str, reader: str) -> list[tuple[bytes, float]]:
        """Answers that wait in a queue, or in the named reader's inbox, and when they arrived."""
        stock = self.stock(queue)
        if stock is None:
            return []
        bodies = [message.body for message in stock.ready]
        for mailbox in stock.readers:
            if mailbox._bus.name == reader:
                bodies += [delivery.body for delivery in mailbox._inbox]
        return [(body, self._arrived[body]) for body in bodies if body in self._arrived]


class SimHost(SimulatedHost):
    """Checks at each act that it may be done: journaled before, and nowhere else."""

    def __init__(
        self,
        settings: SimulatedSettings,
        clock: Clock,
        watch: Watch,
        hypervisor: "SimHypervisor",
        content: MemoryContent,
    ) -> None:
        super().__init__(settings, clock)
        self._watch = watch
        self._hypervisor = hypervisor
        self._content = content

    def define(self, spec: GuestSpec, rescue_image: str = "") -> Any:
        self._journaled("define", spec.instance, spec.generation)
        guest = super().define(spec, rescue_image)
        self._tell(spec.instance, "defined")
        return guest

    def power_on(self, instance: str) -> None:
        guest = self.guest(instance)
        self._journaled("power on", instance, guest.spec.generation)
        super().power_on(instance)
        self._tell(instance, "on")
        for name, host in self._hypervisor.hosts.items():
            other = host.find(instance)
            if host is not self and other is not None and other.is_on:
                self._watch.fail(
                    "a guest runs on one host", f"{name} and {self.settings.hostname}", f"instance/{instance}"
                )

    def power_off(self, instance: str, *, by_guest: bool = False) -> None:
        super().power_off(instance, by_guest=by_guest)
        self._tell(instance, "off")

    def pause(self, instance: str) -> None:
        super().pause(instance)
        self._tell(instance, "paused")

    def unpause(self, instance: str) -> None:
        super().unpause(instance)
        self._tell(instance, "unpaused")

    def suspend(self, instance: str) -> None:
        super().suspend(instance)
        self._tell(instance, "suspended")

    def kill_guest(self, instance: str) -> None:
        super().kill_guest(instance)
        self._tell(instance, "killed")

    def guest_shuts_down(self, instance: str) -> None:
        super().guest_shuts_down(instance)
        self._tell(instance, "shut down by itself")

    def lose_power(self) -> None:
        super().lose_power()
        for instance in list(self._guests):
            self._tell(instance, "lost power")

    def remove(self, instance: str) -> None:
        guest = self.find(instance)
        if guest is None:
            return
        self._journaled("remove", instance, guest.spec.generation)
        super().remove(instance)
        self._tell(instance, "gone")

    def _tell(self, instance: str, what: str) -> None:
        guest = self.find(instance)
        state = guest.power_state if guest is not None else None
        history = self._watch.guests.setdefault(instance, [(0.0, None)])
        history.append((self._watch.loop.now, state))
        self._watch.note(f"instance/{instance}", "guest", what, self.settings.hostname)

    def _journaled(self, act: str, instance: str, generation: int) -> None:
        entry = self._content.entries.get(instance)
        subject = f"instance/{instance}"
        if entry is None:
            self._watch.fail("journal before act", f"{act} with no entry", subject)
        elif entry.generation < generation or (act != "remove" and entry.generation != generation):
            self._watch.fail("journal before act", f"{act} {generation} at {entry.generation}", subject)
        elif act != "remove" and entry.deleted and entry.answer:
            self._watch.fail("a tombstone stays dead", f"{act} {generation}", subject)


class SimHypervisor(SimulatedHypervisor):
    """All hosts of a run."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self.contents: dict[str, MemoryContent] = {}

    def host(self, settings: SimulatedSettings, clock: Clock) -> SimulatedHost:
        name = settings.hostname
        if name not in self.hosts:
            content = self.contents.setdefault(name, MemoryContent())
            self.hosts[name] = SimHost(settings, clock, self._watch, self, content)
        return self.hosts[name]


class SimWorker(Worker):
    """Tells the watch what each batch handles, and checks the order of commit and acknowledgement."""

    watch: Watch
    _uncommitted = False

    async def _batch(self, incoming: list[Incoming], timers: list[tuple[int, str, str]]) -> None:
        handled: dict[int, int] = {}
        for one in incoming:
            handled[one.partition] = handled.get(one.partition, 0) + one.numbered
        self.watch.rounds[self.name] = handled
        self.watch.round_at[self.name] = self.watch.loop.now
        self._uncommitted = True
        try:
            await super()._batch(incoming, timers)
        finally:
            self._uncommitted = False

    def _due_timers(self, limit: int) -> list[tuple[int, str, str]]:
        ready = super()._due_timers(limit)
        now = self._clock.now()
        for p in {p for p, _, _ in ready if self._held[p].behind(now)}:
            self.watch.fail("timers wait for what waited at the takeover", f"{self.name}, partition {p}")
        return ready

    def _applied(self, outcome: Outcome) -> None:
        super()._applied(outcome)
        self._uncommitted = False
        self.watch.turns += outcome.turns
        handled = sum(self.watch.rounds[self.name].values())
        if handled and not outcome.batch.partitions:
            self.watch.fail("a numbered message is handled once", f"{self.name}: {handled} without a commit")

    def _acknowledge(self) -> None:
        if self._uncommitted and any(held.last is not None for held in self._held.values()):
            self.watch.fail("commit before acknowledging", self.name)
        super()._acknowledge()


def queue_of_actor(address: str, partitions: int) -> str:
    """The name of the queue that reaches an actor."""
    return partition_queue(partition_of(address, partitions)).name


OUTSIDE = (MemoryBroker, MemoryMailbox)
