"""The scheduler process: keeps a view of the hosts, answers placement questions.

Questions come on a queue shared by all schedulers; news of hosts on a fan-out. The view is filled from
the database at start and mended from it now and then, so a lost piece of news is only ever a poorer
proposal. Between its own proposal and the host's news it counts the proposed amount as used.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import entry_points
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from actors.scheduler import filters as filter_chain
from actors.scheduler import weighers as weigher_chain
from actors.scheduler.choice import choose
from actors.scheduler.filters import Filter
from actors.scheduler.weighers import Weigher
from bus.mailbox import Bus, BusUnavailable, Delivery, Parcel
from bus.topology import SCHEDULER, queue_of, scheduler_feed
from process.clock import Clock
from protocol.codec import decode_bundle, decode_message, encode_bundle, encode_message
from protocol.host import HostChanged, HostView
from protocol.instance import PlaceInstance
from protocol.message import Bundle, Envelope, Stretch
from store.turn import StoreUnavailable

REFRESH_S: Final = 15.0
TAKE_MAX: Final = 200
AHEAD_MAX: Final = 20
"""Bus messages with questions a scheduler takes ahead: more would wait while another is idle."""
HOLD_S: Final = 0.005
"""So long an answer may wait for those to the other questions of its bus message."""

HostReader = Callable[[], Awaitable[list[HostView]]]


class SchedulerStats(Struct):
    """Counters since the start."""

    placed: int = 0
    refused: int = 0
    failed: int = 0
    news: int = 0


def filters_found() -> dict[str, Filter]:
    """The default filters and those that plug-ins add under ``starling.filters``."""
    extra = {point.name: point.load() for point in entry_points(group="starling.filters")}
    return {**filter_chain.DEFAULT, **extra}


def weighers_found() -> dict[str, tuple[Weigher, float]]:
    """The default weighers and those that plug-ins add under ``starling.weighers`` (multiplier 1)."""
    extra = {point.name: (point.load(), 1.0) for point in entry_points(group="starling.weighers")}
    return {**weigher_chain.DEFAULT, **extra}


class Scheduler:
    """One scheduler. Any number may compete for the questions."""

    def __init__(  # noqa: PLR0913  its surroundings
        self,
        *,
        name: str,
        bus: Bus,
        hosts: HostReader,
        clock: Clock,
        partitions: int,
        log: FilteringBoundLogger,
        filters: Mapping[str, Filter] | None = None,
        weighers: Mapping[str, tuple[Weigher, float]] | None = None,
    ) -> None:
        self.name = name
        self.stats = SchedulerStats()
        self._bus, self._read, self._clock, self._partitions = bus, hosts, clock, partitions
        self._log = log.bind(scheduler=name)
        self._filters = filters_found() if filters is None else filters
        self._weighers = weighers_found() if weighers is None else weighers
        self._view: dict[str, HostView] = {}
        self._wake = asyncio.Event()
        self._refresh_at = 0.0

    async def run(self) -> None:
        """Answer until cancelled."""
        async with AsyncExitStack() as open_mailboxes:
            feed = await self._bus.open(scheduler_feed(self.name), self._wake)
            open_mailboxes.push_async_callback(feed.close)
            await self._refresh()
            questions = await self._bus.open(SCHEDULER, self._wake, prefetch=AHEAD_MAX)
            open_mailboxes.push_async_callback(questions.close)
            while True:
                for news in feed.take(TAKE_MAX):
                    self._hear(news)
                    feed.ack(news)
                asked = questions.take(1)
                for delivery in asked:
                    await self._answer(delivery)
                    questions.ack(delivery)
                if self._clock.now() >= self._refresh_at:
                    await self._refresh()
                if not asked and not feed.depth():
                    await self._sleep()

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(max(self._refresh_at - self._clock.now(), 0.01)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _refresh(self) -> None:
        self._refresh_at = self._clock.now() + REFRESH_S
        try:
            hosts = await self._read()
        except StoreUnavailable as error:
            self._log.warning("hosts.unreadable", error=str(error))
            return
        for host in hosts:
            self._note(host, mend=True)

    def _hear(self, news: Delivery) -> None:
        try:
            for stretch in decode_bundle(news.body).stretches:
                for envelope in stretch.envelopes:
                    message = decode_message(envelope.body)
                    if isinstance(message, HostChanged):
                        self.stats.news += 1
                        self._note(message.view, mend=False)
        except msgspec.MsgspecError as error:
            self._log.error("news.unreadable", error=str(error))

    def _note(self, host: HostView, *, mend: bool) -> None:
        if host.state == "removed":
            self._view.pop(host.host, None)
            return
        known = self._view.get(host.host)
        if known is None or host.version > known.version or (mend and host.version == known.version):
            self._view[host.host] = host

    async def _answer(self, delivery: Delivery) -> None:
        """Answer the questions of one bus message; those that took long do not wait for the others."""
        answers: dict[str, list[Envelope]] = {}
        began = self._clock.monotonic()
        try:
            stretches = decode_bundle(delivery.body).stretches
            for envelope in (e for stretch in stretches for e in stretch.envelopes):
                question = decode_message(envelope.body)
                if isinstance(question, PlaceInstance):
                    queue = queue_of(envelope.sender, self._partitions).name
                    answers.setdefault(queue, []).extend(self._propose(question, envelope))
                if self._clock.monotonic() - began > HOLD_S:
                    await self._send(answers)
                    answers, began = {}, self._clock.monotonic()
        except (msgspec.MsgspecError, ValueError) as error:
            self._log.error("question.unreadable", error=str(error))
        await self._send(answers)

    async def _send(self, answers: dict[str, list[Envelope]]) -> None:
        parcels = [
            Parcel(queue, encode_bundle(Bundle([Stretch(-1, -1, 0, envelopes)])))
            for queue, envelopes in answers.items()
            if envelopes
        ]
        if not parcels:
            return
        try:
            await self._bus.publish(parcels)
        except BusUnavailable as error:
            self._log.warning("answers.unsent", parcels=len(parcels), error=str(error))

    def _propose(self, question: PlaceInstance, envelope: Envelope) -> list[Envelope]:
        """The answer; none when a plug-in raises, and the asker's deadline says so."""
        question = self._where_its_group_is(question)
        try:
            proposed = choose(
                question, self._view.values(), self._filters, self._weighers, self._clock.random
            )
        except Exception:  # noqa: BLE001  a plug-in's bug must not end everybody else's placement
            self.stats.failed += 1
            self._log.exception("question.failed", instance=question.instance)
            return []
        if proposed.hosts:
            self.stats.placed += 1
            self._count_in(question, proposed.hosts[0])
        else:
            self.stats.refused += 1
        answer = Envelope(
            to=envelope.sender,
            sender=f"scheduler/{self.name}",
            body=encode_message(proposed),
            operation=envelope.operation,
            trace=envelope.trace,
        )
        return [answer]

    def _where_its_group_is(self, question: PlaceInstance) -> PlaceInstance:
        """Under affinity, the hosts with members as far as is known here; the group's ledger knows better."""
        group = question.group
        if group is None or group.policy != "affinity" or question.together:
            return question
        there = tuple(host.host for host in self._view.values() if group.id in host.groups)
        return replace(question, together=there)

    def _count_in(self, question: PlaceInstance, host: str) -> None:
        known, amount, group = self._view[host], question.amount, question.group
        groups = known.groups
        if group is not None:
            groups = {**groups, group.id: groups.get(group.id, 0) + 1}
        self._view[host] = replace(
            known,
            vcpus_used=known.vcpus_used + amount.vcpus,
            memory_mib_used=known.memory_mib_used + amount.memory_mib,
            disk_gib_used=known.disk_gib_used + amount.disk_gib,
            groups=groups,
        )
