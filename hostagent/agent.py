"""The host agent: command → journal → driver → journal → answer.

A command is acknowledged to the bus only when it is in the journal, answered or ignored. It is
recorded before the driver is asked and its answer is recorded before it is sent, so a crash at any
point leaves one of: nothing (the controller sends it again), a command without an answer (done
again at the next start; drivers look at what is, then act), or an answer (sent again when asked).
Guests nobody knows are reported and never touched; only a tombstone destroys.

What must not go in: decisions about lifecycles (the actors'), how a hypervisor does it (drivers').
Everything here runs on one event loop with nothing but the ``Clock`` and asyncio, so that the
simulator can drive it. Source: docs/architecture.md, "Host agent".
"""

import asyncio
from typing import Final

import msgspec
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from bus.mailbox import Bus
from hostagent.console import ConsoleReader
from hostagent.desk import Desk
from hostagent.driver import Driver, DriverError, GuestEvent, Progress
from hostagent.intake import Intake
from hostagent.journal import Journal, JournalBroken, JournalEntry, JournalFull, Pair
from hostagent.lease import Lease
from hostagent.orders import UNASKED, Order, Verdict, failed, judge, perform, seen
from hostagent.outbox import Outbox
from hostagent.presence import Presence
from hostagent.warming import Warmer
from process.clock import Clock
from protocol.agent import (
    DestroyGuest,
    GuestCommand,
    GuestFact,
    GuestFailed,
    GuestProgress,
    GuestSeen,
    LookAtGuest,
)
from protocol.codec import decode_message, encode_message
from protocol.guest import GuestState, PowerState
from protocol.ids import HostId, address

DESKS_MAX: Final = 5000
"""Guests worked on at once; a command for one more is left to the controller's next try."""

LOOK_S: Final = 10.0
"""How long a failure's answer waits for the guest's power state."""

PROGRESS_S: Final = 2.0
"""Progress of one guest is reported no more often than this."""

RETRY_S: Final = 2.0
"""Pause before the driver is opened again."""


class AgentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may turn.

    ``operations_max``: spawns, starts and hard reboots at once; ``patient_operations_max``: all else
    (shutting down is mostly waiting, destroying is quick). ``tombstone_s``: how long a tombstone
    outlives ForgetGuest, against commands still on their way.
    """

    heartbeat_s: float = 10.0
    report_s: float = 60.0
    lease_s: float = 60.0
    operations_max: int = 10
    patient_operations_max: int = 100
    outbox_max: int = 10_000
    tombstone_s: float = 900.0


class AgentMetrics(Struct, frozen=True, kw_only=True):
    """One look at the agent's figures. ``commands`` counts by (kind, outcome) since the start.

    ``driver`` holds what the driver counts of its own, by name.
    """

    commands: dict[tuple[str, str], int]
    unreadable: int
    working: int
    outbox_depth: int
    facts_confirmed: int
    facts_dropped: int
    publish_retries: int
    journal_entries: int
    journal_syncs: int
    lease_remaining_s: float
    clock_offset_s: float
    driver: dict[str, float]


class Agent:
    """One host's agent. Opens and closes its journal and driver; the bus is lent to it."""

    def __init__(  # noqa: PLR0913  all that an agent is made of
        self,
        *,
        host: HostId,
        bus: Bus,
        driver: Driver,
        journal: Journal,
        clock: Clock,
        partitions: int,
        settings: AgentSettings,
        log: FilteringBoundLogger,
    ) -> None:
        self.lease = Lease(clock, settings.lease_s)
        self._bus = bus
        self._driver = driver
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._log = log.bind(host=host)
        self._outbox = Outbox(
            sender=address("agent", host),
            bus=bus,
            clock=clock,
            partitions=partitions,
            facts_max=settings.outbox_max,
            log=self._log,
        )
        self._presence = Presence(
            host=host,
            outbox=self._outbox,
            driver=driver,
            lease=self.lease,
            clock=clock,
            over=lambda: {entry.instance: self._over(entry) for entry in journal.entries()},
            tombstones=lambda: (
                (entry.instance, entry.generation)
                for entry in journal.entries()
                if entry.deleted and entry.answer and entry.forgotten_at is None
            ),
            log=self._log,
        )
        self._console = ConsoleReader(driver, journal, self._outbox, self._log)
        self._warmer = Warmer(driver, self._log)
        self._intake = Intake(host, bus, self.lease, self._console, self._warmer, self._log)
        self._places = asyncio.Semaphore(settings.operations_max)
        self._patient_places = asyncio.Semaphore(settings.patient_operations_max)
        self._desks: dict[str, Desk] = {}
        self._admitting: dict[tuple[str, Pair], Order] = {}
        self._concluding: set[tuple[str, Pair]] = set()
        """Orders whose answer is being written: nobody may hear it before it is."""
        self._unrecorded: dict[str, Pair] = {}
        self._commands: dict[tuple[str, str], int] = {}
        self._reconnects = 0
        self._driver_ready = asyncio.Event()
        self._broken: JournalBroken | None = None
        self._broke = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled. Raises what the journal's opening raises, and JournalBroken."""
        await self._journal.open()
        settings = self._settings
        loops = [
            asyncio.create_task(self._outbox.run(self._after_publish), name="outbox"),
            asyncio.create_task(self._presence.beat(settings.heartbeat_s), name="heartbeat"),
            asyncio.create_task(self._attend_driver(), name="driver"),
            asyncio.create_task(
                self._presence.report(settings.report_s, self._driver_ready, self._reconcile), name="report"
            ),
            asyncio.create_task(self._sweep_tombstones(), name="tombstones"),
            asyncio.create_task(self._take_in(), name="intake"),
            asyncio.create_task(self._warmer.run(self._driver_ready), name="warmer"),
            asyncio.create_task(self._fail_when_broken(), name="broken"),
        ]
        self._log.info("agent.started", journal_entries=len(self._journal.entries()))
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_EXCEPTION)
            for loop in loops:
                if loop in done:
                    loop.result()
        finally:
            await self._close(loops)

    async def drain(self, limit_s: float) -> bool:
        """Take no more commands, finish those taken and send their answers; then cancel ``run``.

        False when that was not done after ``limit_s``; nothing is lost then either.
        """
        try:
            async with asyncio.timeout(limit_s):
                await self._intake.stop()
                while self._desks:
                    await asyncio.wait([desk.task for desk in self._desks.values() if desk.task])
                await self._outbox.wait_until_empty()
        except TimeoutError:
            return False
        return True

    def metrics(self) -> AgentMetrics:
        """The figures now."""
        return AgentMetrics(
            commands=dict(self._commands),
            unreadable=self._intake.unreadable,
            working=len(self._desks),
            outbox_depth=len(self._outbox),
            facts_confirmed=self._outbox.confirmed,
            facts_dropped=self._outbox.dropped,
            publish_retries=self._outbox.retries,
            journal_entries=len(self._journal.entries()),
            journal_syncs=self._journal.syncs,
            lease_remaining_s=self.lease.remaining(),
            clock_offset_s=self.lease.clock_offset_s,
            driver=self._driver.figures(),
        )

    async def _close(self, loops: list[asyncio.Task[None]]) -> None:
        desks = [desk.task for desk in self._desks.values() if desk.task is not None]
        tasks = [*loops, *desks, *self._console.tasks()]
        for task in tasks:
            task.cancel()
        # A second cancellation while this waits must still leave driver and journal closed.
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            try:
                await self._driver.close()
            except DriverError as error:
                self._log.warning("driver.close_failed", code=error.code, reason=error.reason)
            finally:
                await self._journal.close()

    async def _fail_when_broken(self) -> None:
        await self._broke.wait()
        if self._broken is not None:
            raise self._broken

    # What comes in.

    async def _take_in(self) -> None:
        await self._driver_ready.wait()
        self._resume()
        await self._intake.run(self._admit_all)

    def _resume(self) -> None:
        """Do again what a crash left without an answer."""
        for entry in self._journal.entries():
            if entry.answer:
                continue
            order = self._recorded_order(entry)
            if order is not None:
                self._hand_over(order)

    def _recorded_order(self, entry: JournalEntry) -> Order | None:
        try:
            command = decode_message(entry.command)
        except msgspec.DecodeError as error:
            # Only another version of the protocol explains it; the controller's next command moves on.
            self._log.error("journal.unreadable_command", instance=entry.instance, reason=str(error))
            return None
        if not isinstance(command, GuestCommand):
            self._log.error("journal.not_a_command", instance=entry.instance, kind=type(command).__name__)
            return None
        return Order(command, entry.command, entry.operation, entry.trace)

    # What becomes of a command.

    async def _admit_all(self, orders: list[Order]) -> None:
        # Tasks start in this order and each decides before its first await; one sync serves them all.
        await asyncio.gather(*(self._admit(order) for order in orders))

    async def _admit(self, order: Order) -> None:
        instance = order.command.instance
        entry = self._journal.get(instance)
        verdict = judge(entry, order)
        begins = verdict in (Verdict.ACT, Verdict.LOOK, Verdict.UNANSWERED)
        if begins and instance not in self._desks and len(self._desks) >= DESKS_MAX:
            self._count(order, "deferred")
        elif verdict is Verdict.ACT:
            await self._accept(order)
        elif verdict is Verdict.LOOK:
            self._hand_over(order)
        elif verdict is Verdict.STALE:
            self._refuse(order, "stale", "A later command for this instance has arrived before.")
        elif verdict is Verdict.ANSWERED and entry is not None:
            if (instance, order.pair) in self._concluding:
                self._count(order, "ignored")  # its answer is on its way to the disk, and then to the bus
                return
            self._count(order, "answered_again")
            self._answer(order, entry.answer)
        elif verdict is Verdict.UNANSWERED and (instance, order.pair) not in self._admitting:
            self._hand_over(order)
        elif verdict is Verdict.FORGET and entry is not None:
            await self._forget(entry)
        else:
            self._count(order, "ignored")

    async def _accept(self, order: Order) -> None:
        command = order.command
        entry = JournalEntry(
            instance=command.instance,
            generation=command.generation,
            number=command.number,
            command=order.body,
            operation=order.operation,
            trace=order.trace,
            deleted=isinstance(command, DestroyGuest),
        )
        key = (command.instance, order.pair)
        self._admitting[key] = order
        try:
            await self._journal.record(entry)
        except JournalFull as error:
            self._log.error("journal.full", instance=command.instance, reason=str(error))
            if isinstance(command, DestroyGuest):
                # Nobody can do without it: let it be asked again, at the controller's pace.
                self._count(order, "journal_full")
            else:
                self._refuse(order, "journal_full", "The host has no space to keep its journal.")
            return
        finally:
            del self._admitting[key]
        self._hand_over(order)

    async def _forget(self, entry: JournalEntry) -> None:
        forgotten = msgspec.structs.replace(entry, forgotten_at=self._clock.now())
        try:
            await self._journal.record(forgotten)
        except JournalFull as error:
            self._log.warning("tombstone.kept", instance=entry.instance, reason=str(error))

    def _hand_over(self, order: Order) -> None:
        instance = order.command.instance
        desk = self._desks.get(instance)
        if desk is None:
            desk = self._desks[instance] = Desk(instance)
            desk.put(order)
            desk.task = asyncio.create_task(self._work(desk), name=f"desk {instance}")
        elif desk.holds(order) and not isinstance(order.command, LookAtGuest):
            self._count(order, "ignored")
        else:
            for replaced in desk.put(order):
                self._count(replaced, "superseded")

    async def _work(self, desk: Desk) -> None:
        try:
            while (order := desk.next()) is not None:
                await self._carry_out(desk, order)
        except JournalBroken as error:
            self._broken = error
            self._broke.set()
        except Exception:  # noqa: BLE001  a bug here must not end the others' work; asked again, it is tried again
            self._log.exception("desk.broke", instance=desk.instance)
        finally:
            del self._desks[desk.instance]

    async def _carry_out(self, desk: Desk, order: Order) -> None:
        command = order.command
        entry = self._journal.get(command.instance)
        looks = isinstance(command, LookAtGuest)
        if looks and entry is not None and self._is_late(entry, order):
            if command.number != UNASKED:
                self._refuse(order, "stale", "A later command for this instance has arrived before.")
            return
        began = self._clock.monotonic()
        after, sight = self._over(entry), self._presence.next_sight()
        fact = await self._attempt(desk, order)
        outcome = "interrupted"
        if isinstance(fact, GuestSeen):
            session = self._presence.session
            fact = msgspec.structs.replace(fact, after=after, session=session, sight=sight)
        if fact is not None:
            self._presence.changed(fact)
            outcome = fact.code if isinstance(fact, GuestFailed) else "done"
            if not looks:
                await self._conclude(order, fact)
            elif command.number != UNASKED:
                self._answer(order, encode_message(fact))
            elif not isinstance(fact, GuestFailed):
                self._tell(fact)
        self._count(order, outcome)
        self._log.info(
            "command.handled",
            kind=_kind(order),
            instance=command.instance,
            generation=command.generation,
            number=command.number,
            operation=order.operation,
            outcome=outcome,
            duration_ms=round((self._clock.monotonic() - began) * 1000),
        )

    def _over(self, entry: JournalEntry | None) -> int:
        """The number of the last command to a guest that is over: done, failed or ended by another."""
        if entry is None:
            return 0
        over = entry.answer or self._unrecorded.get(entry.instance) == entry.pair
        return entry.number if over else entry.number - 1

    def _is_late(self, entry: JournalEntry, order: Order) -> bool:
        if order.command.number == UNASKED:
            return order.command.generation < entry.generation
        return order.pair < entry.pair

    async def _attempt(self, desk: Desk, order: Order) -> GuestFact | None:
        """Let the driver do it; the one place where its exceptions become facts. None: interrupted."""
        desk.act = asyncio.create_task(self._drive(order), name=f"driver {desk.instance}")
        try:
            return await desk.act
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not desk.interrupted or (task is not None and task.cancelling()):
                raise
            return None
        except DriverError as error:
            code, reason = error.code, error.reason
        except Exception:  # noqa: BLE001  a driver's bug fails its command, never the agent
            self._log.exception("command.broke", kind=_kind(order), instance=desk.instance)
            code, reason = "internal", "The host agent failed unexpectedly; its operator can see why."
        if desk.interrupted:
            return None
        return failed(order.command, code, reason, await self._power_state(desk.instance))

    async def _drive(self, order: Order) -> GuestFact:
        await self._driver_ready.wait()
        async with self._patient_places if order.patient else self._places:
            return await perform(self._driver, order.command, self._progress_of(order))

    async def _power_state(self, instance: str) -> PowerState | None:
        try:
            async with asyncio.timeout(LOOK_S):
                state = await self._driver.guest(instance)
        except (DriverError, TimeoutError):
            return None
        except Exception:  # noqa: BLE001  the failure being reported matters more
            self._log.exception("look.broke", instance=instance)
            return None
        return PowerState.NOSTATE if state is None else state.power_state

    async def _conclude(self, order: Order, fact: GuestFact) -> None:
        """Journal the answer, then send it; nothing when a later command has been recorded since."""
        self._outbox.drop(("progress", fact.instance))
        entry = self._journal.get(fact.instance)
        if entry is None or entry.pair != order.pair:
            return
        answer = encode_message(fact)
        key = (fact.instance, order.pair)
        self._concluding.add(key)
        try:
            await self._journal.record(msgspec.structs.replace(entry, command=b"", answer=answer))
            self._unrecorded.pop(fact.instance, None)
        except JournalFull as error:
            self._unrecorded[fact.instance] = order.pair
            # It is done, so say so. Asked again before there is space, it is done again: that is safe.
            self._log.warning("answer.not_journaled", instance=fact.instance, reason=str(error))
        finally:
            self._concluding.discard(key)
        self._answer(order, answer)

    # What goes out.

    def _answer(self, order: Order, body: bytes) -> None:
        instance = order.command.instance
        key = ("answer", instance, str(order.pair), _kind(order))
        self._outbox.put(key, address("instance", instance), body, order.operation, order.trace)

    def _refuse(self, order: Order, code: str, reason: str) -> None:
        self._count(order, code)
        self._answer(order, encode_message(failed(order.command, code, reason)))

    def _tell(self, fact: GuestFact) -> None:
        self._outbox.say(("seen", fact.instance), address("instance", fact.instance), fact)

    def _progress_of(self, order: Order) -> Progress:
        command = order.command
        told_at = -PROGRESS_S

        def progress(what: str, done: int, total: int) -> None:
            nonlocal told_at
            now = self._clock.monotonic()
            if now - told_at < PROGRESS_S:
                return
            told_at = now
            fact = GuestProgress(
                instance=command.instance,
                generation=command.generation,
                number=command.number,
                what=what,
                done=done,
                total=total,
            )
            to = address("instance", command.instance)
            self._outbox.say(("progress", command.instance), to, fact, order.operation, order.trace)

        return progress

    def _after_publish(self) -> None:
        reconnects = self._bus.counters.reconnects
        if reconnects != self._reconnects:
            self._reconnects = reconnects
            self._presence.due.set()

    def _count(self, order: Order, outcome: str) -> None:
        key = (_kind(order), outcome)
        self._commands[key] = self._commands.get(key, 0) + 1

    # What the host does of its own accord.

    async def _attend_driver(self) -> None:
        """Keep the driver open and pass on its events; the end of its events is a lost connection."""
        while True:
            try:
                await self._driver.open()
                events = self._driver.events()
                self._driver_ready.set()
                self._presence.due.set()
                async for event in events:
                    self._on_event(event)
                self._log.warning("driver.lost", reason="its events ended")
            except DriverError as error:
                self._log.warning("driver.unavailable", code=error.code, reason=error.reason)
            except Exception:  # noqa: BLE001  a driver's bug: open it anew rather than end the agent
                self._log.exception("driver.broke")
            self._driver_ready.clear()
            await asyncio.sleep(RETRY_S)

    def _on_event(self, event: GuestEvent) -> None:
        entry = self._journal.get(event.instance)
        if entry is not None and entry.deleted:
            return
        look = LookAtGuest(instance=event.instance, generation=event.state.generation, number=UNASKED)
        desk = self._desks.get(event.instance)
        if desk is not None:
            # It may be the work's own doing: look when the work is done.
            desk.put(Order(look, b""))
            return
        state = msgspec.structs.replace(event.state, reason=event.reason or event.state.reason)
        session, sight = self._presence.session, self._presence.next_sight()
        fact = seen(look, state, self._over(entry))
        fact = msgspec.structs.replace(fact, session=session, sight=sight)
        self._presence.changed(fact)
        self._tell(fact)

    def _reconcile(self, guests: list[GuestState]) -> None:
        """Destroy again what has a tombstone and is here all the same."""
        for guest in guests:
            entry = self._journal.get(guest.instance)
            if entry is None or not entry.deleted or guest.generation > entry.generation:
                continue
            if guest.instance in self._desks or not entry.answer:
                continue
            self._log.warning("guest.destroyed_again", instance=guest.instance, generation=guest.generation)
            command = DestroyGuest(instance=entry.instance, generation=entry.generation, number=entry.number)
            self._hand_over(Order(command, encode_message(command), entry.operation, entry.trace))

    async def _sweep_tombstones(self) -> None:
        while True:
            await asyncio.sleep(self._settings.report_s)
            before = self._clock.now() - self._settings.tombstone_s
            for entry in self._journal.entries():
                if entry.forgotten_at is None or entry.forgotten_at > before:
                    continue
                if self._journal.get(entry.instance) is not entry or entry.instance in self._desks:
                    continue
                try:
                    await self._journal.purge(entry.instance)
                except JournalFull as error:
                    self._log.warning("tombstone.kept", instance=entry.instance, reason=str(error))
                    break


def _kind(order: Order) -> str:
    return type(order.command).__name__
