"""A worker: holds partitions, runs the turns of their actors in batches, commits, then sends.

One loop, in this order: membership when due, take what the mailboxes hold, add timers that are due,
load missing states, run the turns (draft.py), commit everything in one transaction, acknowledge,
hand the outputs to the publisher. Whatever goes wrong with the store, the worker forgets all it
knows and takes its partitions again: the database is the only truth, the bus only the fast way.
"""

import asyncio
import hashlib
import heapq
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from actors.machine import Kind
from actors.runtime.bundle import bundles
from actors.runtime.draft import STORY_LENGTH, Cached, Draft, Incoming, Outcome, Seal, well_formed
from actors.runtime.holding import Held, Part, proposed
from actors.turn import ActorState
from bus.mailbox import Bus, BusUnavailable, Delivery, Parcel, Queue, QueueDiffers
from bus.topology import is_host, queue_of
from bus.topology import partition as partition_queue
from process.clock import Clock
from protocol.codec import decode_bundle, decode_envelopes
from protocol.ids import partition_of
from protocol.message import Envelope, Stretch
from store.turn import OPERATIONS_KEPT_S, Fenced, StoreUnavailable, TurnStore, Unwritable, VersionConflict

PULL_LIMIT: Final = 2000
PARKED_TICK_S: Final = 30.0
PRUNE_S: Final = 60.0
PRUNE_LIMIT: Final = 10_000
"""Events forgotten per partition and minute at most: more than a busy partition makes."""
REFUSED_MAX: Final = 1000
"""Messages and ticks remembered whose outcome the database refuses."""
OUTBOX_PARCELS_MAX: Final = 5000
"""Committed parcels waiting for the broker; beyond this the oldest are left to the sweep and the resends."""


class WorkerSettings(Struct, frozen=True):
    """How a worker behaves. Times in seconds, counts of envelopes or actors."""

    partitions: int = 16
    lease_s: float = 4.0
    heartbeat_s: float = 1.0
    sweep_s: float = 2.0
    collect_s: float = 1.0
    events_kept_s: float = 7 * 86_400.0
    batch_max: int = 500
    cache_max: int = 20_000


class WorkerStats(Struct):
    """Counters since the start, for the metrics page and the simulation's report."""

    turns: int = 0
    batches: int = 0
    committed: int = 0
    resent: int = 0
    repeated: int = 0
    parked: int = 0
    turned_away: int = 0
    recoveries: int = 0
    publish_failures: int = 0
    takeovers: int = 0


class Observer(Protocol):
    """Is told of each batch and of each operation that ended. Must be quick and must not raise."""

    def batch(self, turns: int, seconds: float) -> None: ...

    def operation(self, name: str, outcome: str, seconds: float) -> None: ...


class NoObserver:
    """Used where nobody counts."""

    def batch(self, turns: int, seconds: float) -> None:
        """Nothing."""

    def operation(self, name: str, outcome: str, seconds: float) -> None:
        """Nothing."""


class Worker:
    """Hosts actors. ``run`` until cancelled; ``stop`` to finish the turn and hand everything back."""

    def __init__(  # noqa: PLR0913  its surroundings, each a part of its own
        self,
        *,
        name: str,
        bus: Bus,
        store: TurnStore,
        clock: Clock,
        kinds: Mapping[str, Kind[Any]],
        seal: Seal,
        settings: WorkerSettings,
        log: FilteringBoundLogger,
        observer: Observer | None = None,
    ) -> None:
        self._observer: Observer = observer or NoObserver()
        self.name = name
        self.stats = WorkerStats()
        self._bus, self._store, self._clock, self._kinds, self._seal = bus, store, clock, kinds, seal
        self._set, self._log = settings, log.bind(worker=name)
        self._wake = asyncio.Event()
        self._held: dict[int, Held] = {}
        self._cache: dict[tuple[str, str], Cached] = {}
        self._due: dict[tuple[str, str], float] = {}
        self._timers: list[tuple[float, str, str]] = []
        self._outbox: deque[Parcel] = deque()
        self._outbox_wake = asyncio.Event()
        self._decoders = {name: msgspec.json.Decoder(kind.state) for name, kind in kinds.items()}
        self._membership_at = 0.0
        self._sweep_at = 0.0
        self._prune_at = 0.0
        self._round_at = 0.0
        self._stopping = False
        self._first = 0
        self._singly = 0
        self._refused: dict[tuple[str, ...], str] = {}
        self._host_queues: set[str] = set()

    @property
    def held(self) -> list[int]:
        """The partitions in hand."""
        return sorted(self._held)

    def depth(self) -> dict[int, int]:
        """Bus messages received and not yet taken, by partition."""
        return {p: held.mailbox.depth() for p, held in self._held.items()}

    def ages(self) -> dict[int, float]:
        """Seconds for which messages have been waiting to be taken, by partition."""
        now = self._clock.now()
        return {p: held.waiting_s(now) for p, held in self._held.items()}

    async def run(self) -> None:
        """Work until ``stop`` or cancellation."""
        publisher = asyncio.create_task(self._publish_forever(), name=f"{self.name}-publisher")
        collector = asyncio.create_task(self._collect_forever(), name=f"{self.name}-collector")
        helpers = (publisher, collector)
        for helper in helpers:
            helper.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._stopping:
                await self._round()
                for helper in helpers:
                    if helper.done():
                        helper.result()  # it only ends by failing: so do we, to be started again whole
            await self._hand_back()
            while self._outbox and not publisher.done():  # noqa: ASYNC110  once, at the end of the process
                await asyncio.sleep(0.01)
        finally:
            publisher.cancel()
            collector.cancel()
            await asyncio.gather(publisher, collector, return_exceptions=True)

    def stop(self) -> None:
        """Finish the turn at hand, hand the partitions back, then return from ``run``."""
        self._stopping = True
        self._wake.set()

    async def _round(self) -> None:
        try:
            now = self._clock.now()
            if self._round_at and now - self._round_at > self._set.lease_s:
                await self._forget("paused", f"nothing ran for {now - self._round_at:.1f} s")
            self._round_at = now
            if now >= self._membership_at:
                await self._membership(now)
            limit = 1 if self._singly else self._set.batch_max
            incoming = await self._gather(limit)
            timers = [] if self._singly and incoming else self._due_timers(limit)
            if incoming or timers:
                await self._batch(incoming, timers)
                self._singly = max(0, self._singly - len(incoming) - len(timers))
                return
            self._acknowledge()  # what was only repetitions
            if not any(held.waiting() for held in self._held.values()):
                await self._sleep()
        except (Fenced, VersionConflict, StoreUnavailable, BusUnavailable) as error:
            self.stats.recoveries += 1
            await self._forget(type(error).__name__, str(error))
            await asyncio.sleep(self._clock.random.uniform(0.05, 0.3))
            self._round_at = self._clock.now()
        except _BatchRefused as error:
            # One of them is to blame: they are taken again one by one, and the one that fails alone is it.
            self._singly = len(error.items)
            if self._singly == 1:
                self._refused[error.items[0]] = str(error)
                while len(self._refused) > REFUSED_MAX:
                    del self._refused[next(iter(self._refused))]
            await self._forget("Unwritable", str(error))
        except Exception as error:
            # What was taken and not written must not be passed over by those who run this again.
            await self._forget(type(error).__name__, str(error))
            raise

    async def _sleep(self) -> None:
        until = min(self._membership_at, self._sweep_at)
        if self._timers:
            until = min(until, max(self._timers[0][0], self._clock.now() + 0.05))
        try:
            async with asyncio.timeout(max(until - self._clock.now(), 0.001)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    # Ownership

    async def _membership(self, now: float) -> None:
        live, holdings = await self._store.join(self.name, self._set.lease_s)
        self._membership_at = now + self._set.heartbeat_s
        for holding in holdings:
            p, own = holding.partition, holding.owner == self.name
            mine = proposed(p, live) == self.name
            if p in self._held:
                if not own:
                    await self._drop(p)
                elif not mine:
                    await self._pass_on(p)
            elif mine and (holding.free or own):
                await self._take(p)
            elif own:
                # Forgotten after a failure, and another's to have since: joining renews its lease for ever.
                await self._give_up(p)

    async def _pass_on(self, p: int) -> None:
        epoch = self._held[p].row.epoch
        await self._drop(p)
        await self._store.release(self.name, p, epoch)

    async def _give_up(self, p: int) -> None:
        taken = await self._store.take(self.name, p, self._set.lease_s)
        if taken is not None:
            await self._store.release(self.name, p, taken.row.epoch)

    async def _take(self, p: int) -> None:
        taken = await self._store.take(self.name, p, self._set.lease_s)
        if taken is None:
            return
        queue = partition_queue(p)
        await self._bus.declare(queue)
        backlog = await self._bus.waiting(queue.name)
        # Before a former owner that is frozen and still connected.
        mailbox = await self._bus.open(queue, self._wake, priority=taken.row.epoch)
        self._held[p] = Held(taken, mailbox, backlog, self._clock.now())
        self._held[p].streams.gap = True
        for due in await self._store.due(p):
            self._wait_until(due.kind, due.id, due.at)
        self.stats.takeovers += 1
        self._log.debug("partition.taken", partition=p, epoch=taken.row.epoch, backlog=backlog)

    async def _drop(self, p: int) -> None:
        held = self._held.pop(p)
        gone = [key for key in self._cache if self._partition(key) == p]
        for key in gone:
            del self._cache[key]
        for key in [key for key in self._due if self._partition(key) == p]:
            del self._due[key]
        if held.near:
            self._post(p, [part.stretch for part in held.near])
            self._outbox_wake.set()
        await held.mailbox.close()
        self._log.debug("partition.dropped", partition=p, epoch=held.row.epoch)

    async def _forget(self, why: str, detail: str) -> None:
        self._log.warning("worker.recovering", why=why, detail=detail)
        for p in self.held:
            await self._drop(p)
        self._cache.clear()
        self._due.clear()
        self._timers.clear()
        self._membership_at = 0.0

    async def _hand_back(self) -> None:
        for p in self.held:
            await self._drop(p)
        try:
            await self._store.leave(self.name)
        except StoreUnavailable as error:
            self._log.warning("worker.leave_failed", detail=str(error))

    # Input

    async def _gather(self, limit: int) -> list[Incoming]:
        """What is to be heard in the next batch: ``limit`` envelopes, no partition before its share."""
        found: list[Incoming] = []
        now = self._clock.now()
        for share in (4, 1):
            for p, held in self._in_turn():
                end = len(found) + -(-(limit - len(found)) // share)
                while len(found) < end and (part := self._next(p, held, end - len(found), now)):
                    found += self._accept(p, held, part)
        for held in self._held.values():
            held.look(now)
        sweep = now >= self._sweep_at
        if sweep or any(held.streams.gap for held in self._held.values()):
            await self._pull(sweep=sweep)
            if sweep:
                self._sweep_at = now + self._set.sweep_s
        return found

    def _next(self, p: int, held: Held, room: int, now: float) -> Part | None:
        part = held.next(room)
        while part is None and (deliveries := held.mailbox.take(1)):
            held.open(deliveries[0], self._open(p, deliveries[0]), now)
            part = held.next(room)
        return part

    def _in_turn(self) -> list[tuple[int, Held]]:
        """The partitions in hand, each round beginning with the next: a busy one must not starve others."""
        held = list(self._held.items())
        self._first += 1
        at = self._first % len(held) if held else 0
        return held[at:] + held[:at]

    def _open(self, p: int, delivery: Delivery) -> list[Part]:
        sender = delivery.sender
        try:
            bundle = decode_bundle(delivery.body)
        except msgspec.MsgspecError as error:
            self._log.error("bundle.unreadable", partition=p, sender=sender, error=str(error))
            return []
        found = []
        for stretch in bundle.stretches:
            if stretch.source >= 0 and (
                sender or stretch.destination != p or stretch.source >= self._set.partitions
            ):
                self._log.error("bundle.misdirected", partition=p, sender=sender, source=stretch.source)
                continue
            found.append(Part(stretch, sender))
        return found

    def _accept(self, p: int, held: Held, part: Part) -> list[Incoming]:
        fresh = held.streams.accept(part.stretch, part.stretch.envelopes)
        if part.resent:
            self.stats.resent += len(fresh)
        return self._admit(p, fresh, part.sender, numbered=part.stretch.source >= 0)

    def _admit(self, p: int, envelopes: list[Envelope], sender: str, *, numbered: bool) -> list[Incoming]:
        mine = [e for e in envelopes if partition_of(e.to, self._set.partitions) == p and well_formed(e)]
        if len(mine) != len(envelopes):
            refused = len(envelopes) - len(mine)
            self._log.warning("envelopes.refused", partition=p, sender=sender, refused=refused)
        return [Incoming(p, envelope, sender, numbered) for envelope in mine]

    async def _pull(self, *, sweep: bool) -> None:
        """Read what the bus has not brought from the senders' segments: after a gap, and now and then."""
        asking = {p: held for p, held in self._held.items() if not held.pulled}
        marks = {p: held.streams.marks() for p, held in asking.items() if sweep or held.streams.gap}
        hasty = any(held.streams.gap for held in asking.values())
        segments = await self._store.unpassed(marks, 0.0 if hasty else self._set.sweep_s / 2, PULL_LIMIT)
        for p in marks:
            self._held[p].streams.gap = False
        for segment in segments:
            envelopes = decode_envelopes(segment.body)
            stretch = Stretch(segment.source, segment.destination, segment.first, envelopes)
            self._held[segment.destination].pulled.append(Part(stretch, resent=True))

    # Timers

    def _wait_until(self, kind: str, ident: str, at: float | None) -> None:
        key = (kind, ident)
        if at is None:
            self._due.pop(key, None)
        elif self._due.get(key) != at:
            self._due[key] = at
            heapq.heappush(self._timers, (at, kind, ident))

    def _due_timers(self, limit: int) -> list[tuple[int, str, str]]:
        now = self._clock.now()
        ready: list[tuple[int, str, str]] = []
        later: list[tuple[float, str, str]] = []
        while self._timers and self._timers[0][0] <= now and len(ready) < limit:
            at, kind, ident = heapq.heappop(self._timers)
            p = self._partition((kind, ident))
            if self._due.get((kind, ident)) != at or p not in self._held:
                continue
            if self._held[p].caught_up(at, now):
                del self._due[kind, ident]
                ready.append((p, kind, ident))
            else:
                later.append((at, kind, ident))
        for entry in later:
            heapq.heappush(self._timers, entry)
        return ready

    # The batch

    async def _batch(self, incoming: list[Incoming], timers: list[tuple[int, str, str]]) -> None:
        began = self._clock.monotonic()
        await self._load([one.key for one in incoming])
        await self._load([(kind, ident) for _, kind, ident in timers])
        draft = Draft(
            kinds=self._kinds,
            cache=self._cache,
            partitions=self._set.partitions,
            held={p: held.row for p, held in self._held.items()},
            next_numbers={p: held.next_numbers for p, held in self._held.items()},
            now=self._clock.now(),
            seal=self._seal,
            known=await self._known(incoming),
        )
        for one in incoming:
            if self._refused and (why := self._refused.pop(_fingerprint(one), "")):
                draft.refuse(one, why)
            else:
                draft.hear(one)
        for p, kind, ident in timers:
            if ("tick", kind, ident) not in self._refused:
                draft.tick(p, kind, ident)
        outcome = draft.finish({p: held.streams.marks() for p, held in self._held.items()})
        if outcome.batch.partitions:
            try:
                await self._store.commit(self.name, outcome.batch)
            except Unwritable as error:
                ticks = [("tick", kind, ident) for _, kind, ident in timers]
                raise _BatchRefused(str(error), [*map(_fingerprint, incoming), *ticks]) from error
        self._applied(outcome)
        self._acknowledge()
        self._send(outcome)
        for _, kind, ident in timers:
            if (kind, ident) not in outcome.due:
                # The turn raised and was parked: the actor must not lose its clock with it.
                self._wait_until(kind, ident, self._clock.now() + PARKED_TICK_S)
        self._count(outcome, self._clock.monotonic() - began)
        self._evict()

    async def _known(self, incoming: list[Incoming]) -> set[str]:
        """The operations among these commands that have begun before: their commands are repetitions."""
        asked = [one.envelope.operation for one in incoming if one.envelope.reply_to and not one.numbered]
        return await self._store.known(asked) if asked else set()

    async def _load(self, keys: list[tuple[str, str]]) -> None:
        missing: dict[str, dict[str, None]] = {}
        for key in keys:
            if key not in self._cache and key[0] in self._kinds:
                missing.setdefault(key[0], {})[key[1]] = None
        for kind, idents in missing.items():
            found = await self._store.load(kind, list(idents))
            for ident in idents:
                stored = found.get(ident)
                try:
                    state: ActorState | None = self._decoders[kind].decode(stored.state) if stored else None
                except msgspec.MsgspecError as error:
                    # Left out of the cache, so that what is said to it is parked and the others go on.
                    self._log.error("actor.unreadable", kind=kind, id=ident, error=str(error))
                    continue
                version = stored.version if stored else 0
                self._cache[kind, ident] = Cached(state, version, deque(maxlen=STORY_LENGTH))

    def _applied(self, outcome: Outcome) -> None:
        for row in outcome.batch.partitions:
            self._held[row.partition].row = row
        for (source, destination), (first, envelopes) in outcome.numbered.items():
            self._held[source].next_numbers[destination] = first + len(envelopes)
        for actor in outcome.batch.actors:
            self._cache[actor.kind, actor.id].stored = actor.version
        for (kind, ident), at in outcome.due.items():
            self._wait_until(kind, ident, at)
        for parked in outcome.batch.parked:
            self._log.error("message.parked", address=parked.address, error=parked.error, story=parked.story)

        if outcome.turned_away:
            host, why = outcome.turned_away[0]
            count = len(outcome.turned_away)
            self.stats.turned_away += count
            self._log.warning("host.turned_away", count=count, host=host, first=why)

    def _acknowledge(self) -> None:
        for held in self._held.values():
            if held.last is not None:
                held.mailbox.ack(held.last)
                held.last = None

    def _send(self, outcome: Outcome) -> None:
        stretches: dict[int, list[Stretch]] = {}
        for (source, destination), (first, envelopes) in outcome.numbered.items():
            stretches.setdefault(destination, []).append(Stretch(source, destination, first, envelopes))
        for destination, parts in stretches.items():
            if destination in self._held:
                self._held[destination].near.extend(map(Part, parts))
            else:
                self._post(destination, parts)
        for to, envelopes in outcome.direct.items():
            queue = queue_of(to, self._set.partitions)
            for bundle in bundles([Stretch(-1, -1, 0, envelopes)]):
                self._outbox.append(Parcel(queue.name, bundle, queue.fanout))
        while len(self._outbox) > OUTBOX_PARCELS_MAX:
            self._outbox.popleft()
            self.stats.publish_failures += 1
        if self._outbox:
            self._outbox_wake.set()

    def _post(self, destination: int, stretches: list[Stretch]) -> None:
        for bundle in bundles(stretches):
            self._outbox.append(Parcel(partition_queue(destination).name, bundle))

    def _count(self, outcome: Outcome, seconds: float) -> None:
        stats = self.stats
        stats.turns += outcome.turns
        stats.batches += 1
        stats.committed += len(outcome.batch.actors)
        stats.parked += len(outcome.batch.parked)
        stats.repeated = sum(held.streams.repeated for held in self._held.values())
        self._observer.batch(outcome.turns, seconds)
        for name, result, took in outcome.outcomes:
            self._observer.operation(name, result, took)

    def _evict(self) -> None:
        if len(self._cache) <= self._set.cache_max:
            return
        for key in list(self._cache)[: len(self._cache) - self._set.cache_max * 9 // 10]:
            del self._cache[key]

    def _partition(self, key: tuple[str, str]) -> int:
        return partition_of(f"{key[0]}/{key[1]}", self._set.partitions)

    # Output

    async def _publish_forever(self) -> None:
        while True:
            await self._outbox_wake.wait()
            self._outbox_wake.clear()
            while self._outbox:
                parcels = [self._outbox.popleft() for _ in range(min(len(self._outbox), 200))]
                try:
                    await self._declare_hosts(parcels)
                    await self._bus.publish(parcels)
                except BusUnavailable as error:
                    self._host_queues.clear()
                    # What was numbered is pulled by its receiver; what was not is said again by its sender.
                    self.stats.publish_failures += len(parcels)
                    self._log.warning("publish.failed", parcels=len(parcels), error=str(error))

    async def _declare_hosts(self, parcels: list[Parcel]) -> None:
        """Agents may declare nothing: make a host's queue, of any shape, before the first message to it."""
        for parcel in parcels:
            if parcel.queue not in self._host_queues and is_host(parcel.queue):
                try:
                    await self._bus.declare(Queue(parcel.queue))
                except QueueDiffers as error:
                    self._log.warning("host_queue.differs", queue=parcel.queue, error=str(error))
                self._host_queues.add(parcel.queue)

    async def _prune(self) -> None:
        now = self._clock.now()
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_S
            await self._store.prune(self.held, now - self._set.events_kept_s, PRUNE_LIMIT)
            if 0 in self._held:  # one worker is enough for what has no partition
                await self._store.forget(now - OPERATIONS_KEPT_S, PRUNE_LIMIT)

    async def _collect_forever(self) -> None:
        while True:
            await asyncio.sleep(self._set.collect_s)
            try:
                if self._held:
                    await self._store.collect(self.held)
                    await self._prune()
            except StoreUnavailable as error:
                self._log.warning("collect.failed", error=str(error))


class _BatchRefused(Exception):  # noqa: N818  named for what happened to the batch
    """The database refuses something that one of these made."""

    def __init__(self, why: str, items: list[tuple[str, ...]]) -> None:
        super().__init__(why)
        self.items = items


def _fingerprint(one: Incoming) -> tuple[str, ...]:
    """What a message is known by when it comes again."""
    envelope = one.envelope
    return (envelope.to, envelope.sender, envelope.operation, hashlib.sha256(envelope.body).hexdigest())
