"""The scheduler as a process: it answers over the bus, and its view is news, mended from the database."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from actors.scheduler import filters, service
from actors.scheduler.service import REFRESH_S, Scheduler, filters_found, weighers_found
from bus.mailbox import BusUnavailable, Delivery, Parcel
from bus.memory import MemoryBroker, MemoryBus
from bus.topology import SCHEDULER, SCHEDULERS, partition
from protocol.codec import decode_bundle, decode_message, encode_bundle, encode_message
from protocol.host import HostChanged, HostView
from protocol.ids import address, partition_of
from protocol.instance import Amount, PlaceInstance
from protocol.message import Bundle, Envelope, Message, Stretch
from protocol.scheduling import PlacementProposed
from store.turn import StoreUnavailable
from tests.actors.scheduler.hosts import host, question
from tests.actors.stage import NOW

PARTITIONS = 4
ME = address("instance", question().instance)
ANSWERS = partition(partition_of(ME, PARTITIONS))


class HandClock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.at = NOW
        self._random = random.Random(5)

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def uuid(self) -> str:
        return "00000000-0000-4000-8000-000000000000"

    @property
    def random(self) -> random.Random:
        return self._random


class Cloud:
    """A scheduler on a bus, a table of hosts, and an instance that asks."""

    def __init__(self, **chains: Any) -> None:
        self.broker = MemoryBroker()
        self.clock = HandClock()
        self.table: list[HostView] = []
        self.unreadable = False
        self.reads = 0
        self.scheduler = Scheduler(
            name="s1",
            bus=MemoryBus(self.broker, name="s1"),
            hosts=self._read,
            clock=self.clock,
            partitions=PARTITIONS,
            log=structlog.get_logger(),
            **chains,
        )
        self.bus = MemoryBus(self.broker, name="worker")
        self.wake = asyncio.Event()

    async def _read(self) -> list[HostView]:
        self.reads += 1
        if self.unreadable:
            raise StoreUnavailable("away")
        return list(self.table)

    async def open(self) -> None:
        self.mailbox = await self.bus.open(ANSWERS, self.wake)

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not happened():
                await asyncio.sleep(0)

    async def tell(self, *views: HostView) -> None:
        """News of hosts, as their actors send it."""
        before = self.scheduler.stats.news
        body = bundle(*(HostChanged(view=view) for view in views), sender="host/h")
        await self.bus.publish([Parcel("", body, SCHEDULERS)])
        await self.until(lambda: self.scheduler.stats.news == before + len(views))

    async def ask(self, *asked: PlaceInstance) -> list[PlacementProposed]:
        """The answers, in order."""
        await self.bus.publish([Parcel(SCHEDULER.name, bundle(*asked, sender=ME))])
        return await self.answers(len(asked))

    async def answers(self, count: int) -> list[PlacementProposed]:
        found: list[PlacementProposed] = []

        def enough() -> bool:
            for delivery in self.mailbox.take(10):
                found.extend(proposals(delivery))
            return len(found) >= count

        await self.until(enough)
        return found


def bundle(*messages: Message, sender: str) -> bytes:
    envelopes = [Envelope("scheduler/any", sender, encode_message(m), "op-1", trace="00-t") for m in messages]
    return encode_bundle(Bundle([Stretch(-1, -1, 0, envelopes)]))


def proposals(delivery: Delivery) -> list[PlacementProposed]:
    found = []
    for stretch in decode_bundle(delivery.body).stretches:
        assert stretch.source == -1
        for envelope in stretch.envelopes:
            assert (envelope.to, envelope.sender) == (ME, "scheduler/s1")
            assert (envelope.operation, envelope.trace) == ("op-1", "00-t")
            message = decode_message(envelope.body)
            assert isinstance(message, PlacementProposed)
            found.append(message)
    return found


@asynccontextmanager
async def running(cloud: Cloud) -> AsyncIterator[Cloud]:
    await cloud.open()
    task = asyncio.create_task(cloud.scheduler.run())
    await cloud.until(lambda: cloud.reads > 0)
    yield cloud
    assert not task.done(), task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def refreshed(cloud: Cloud) -> None:
    """Time for the next reading of the table has come."""
    before = cloud.reads
    cloud.clock.at += REFRESH_S
    cloud.scheduler._wake.set()
    await cloud.until(lambda: cloud.reads > before)


async def test_a_question_is_answered_where_the_asker_lives() -> None:
    cloud = Cloud()
    cloud.table = [host("a")]
    async with running(cloud):
        (answer,) = await cloud.ask(question())
    assert (answer.hosts, answer.number) == (("a",), 7)
    assert (cloud.scheduler.stats.placed, cloud.scheduler.stats.refused) == (1, 0)


async def test_no_host_is_an_answer_too() -> None:
    cloud = Cloud()
    async with running(cloud):
        (answer,) = await cloud.ask(question())
    assert (answer.hosts, answer.considered) == ((), 0)
    assert cloud.scheduler.stats.refused == 1


async def test_news_is_taken_by_version() -> None:
    async with running(Cloud()) as cloud:
        await cloud.tell(host("a", version=5, state="up"))
        await cloud.tell(host("a", version=4, state="down"), host("b", version=1))
        (answer,) = await cloud.ask(question())
        assert set(answer.hosts) == {"a", "b"}
        await cloud.tell(host("a", version=6, state="down"))
        (answer,) = await cloud.ask(question())
        assert answer.hosts == ("b",)


async def test_its_own_proposals_count_until_the_host_says_better() -> None:
    async with running(Cloud()) as cloud:
        room = {"memory_mib_used": 16384 - 2048}
        await cloud.tell(host("a", version=1, **room))
        first, second, third = await cloud.ask(question(), question(), question())
        assert [bool(answer.hosts) for answer in (first, second, third)] == [True, True, False]
        assert third.refusals[0].example == "0 MiB of memory free, 1024 wanted"
        await cloud.tell(host("a", version=2, **room))
        assert (await cloud.ask(question()))[0].hosts == ("a",)


async def test_what_is_counted_is_all_of_the_amount() -> None:
    async with running(Cloud()) as cloud:
        await cloud.tell(host("a", cpu_ratio=1.0))
        await cloud.ask(question(amount=Amount(7, 16, 195)))
        (answer,) = await cloud.ask(question())
        assert answer.refusals[0].filter == "vcpus"
        (answer,) = await cloud.ask(question(amount=Amount(1, 16, 10)))
        assert answer.refusals[0].filter == "disk"


async def test_a_reading_mends_what_news_missed() -> None:
    async with running(Cloud()) as cloud:
        cloud.table = [host("a", version=3)]
        await refreshed(cloud)
        assert (await cloud.ask(question()))[0].hosts == ("a",)


async def test_a_reading_of_the_same_version_forgets_unclaimed_proposals() -> None:
    async with running(Cloud()) as cloud:
        full = host("a", version=3, memory_mib_used=16384 - 1024)
        cloud.table = [full]
        await refreshed(cloud)
        assert [bool(a.hosts) for a in await cloud.ask(question(), question())] == [True, False]
        await refreshed(cloud)
        assert (await cloud.ask(question()))[0].hosts == ("a",)


async def test_a_reading_older_than_the_news_changes_nothing() -> None:
    async with running(Cloud()) as cloud:
        await cloud.tell(host("a", version=9, state="down"))
        cloud.table = [host("a", version=8)]
        await refreshed(cloud)
        assert (await cloud.ask(question()))[0].hosts == ()


async def test_a_database_that_is_away_leaves_the_view_as_it_is() -> None:
    cloud = Cloud()
    cloud.table = [host("a")]
    async with running(cloud):
        cloud.unreadable = True
        with capture_logs() as logs:
            cloud.scheduler._log = structlog.get_logger()
            await refreshed(cloud)
            await cloud.until(lambda: bool(logs))
        assert logs[0]["event"] == "hosts.unreadable"
        assert (await cloud.ask(question()))[0].hosts == ("a",)


async def test_what_cannot_be_read_hinders_nobody() -> None:
    cloud = Cloud()
    cloud.table = [host("a")]
    async with running(cloud):
        stranger = bundle(question(), sender="nobody/here")
        await cloud.bus.publish(
            [Parcel("", b"\xff", SCHEDULERS)]
            + [
                Parcel(SCHEDULER.name, body)
                for body in (b"\xff", stranger, bundle(HostChanged(view=host("z")), sender=ME))
            ]
        )
        assert (await cloud.ask(question()))[0].hosts == ("a",)


async def test_a_broken_plug_in_hinders_nobody_else() -> None:
    def moody(asked: PlaceInstance, _: HostView) -> str:
        if asked.extra_specs:
            raise ZeroDivisionError("a plug-in's bug")
        return ""

    cloud = Cloud(filters={**filters.DEFAULT, "moody": moody})
    cloud.table = [host("a")]
    async with running(cloud):
        body = bundle(question(extra_specs={"x": "y"}), question(), sender=ME)
        await cloud.bus.publish([Parcel(SCHEDULER.name, body)])
        (answer,) = await cloud.answers(1)
        assert answer.hosts == ("a",)
        assert cloud.scheduler.stats.failed == 1


async def test_a_broker_that_is_away_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud()
    cloud.table = [host("a")]
    async with running(cloud):
        publish: Callable[[list[Parcel]], Awaitable[None]] = cloud.scheduler._bus.publish
        failures = iter([True])

        async def once_away(parcels: list[Parcel]) -> None:
            if next(failures, False):
                raise BusUnavailable("away")
            await publish(parcels)

        monkeypatch.setattr(cloud.scheduler._bus, "publish", once_away)
        await cloud.bus.publish([Parcel(SCHEDULER.name, bundle(question(number=1), sender=ME))])
        await cloud.until(lambda: cloud.scheduler.stats.placed == 1)
        (answer,) = await cloud.ask(question(number=2))
        assert answer.number == 2


# Plug-ins


class Point:
    """An entry point of an installed package."""

    def __init__(self, name: str, loaded: Any) -> None:
        self.name, self._loaded = name, loaded

    def load(self) -> Any:
        return self._loaded


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Point]]:
    """Entry points by group."""
    points: dict[str, list[Point]] = {}
    monkeypatch.setattr(service, "entry_points", lambda group: points.get(group, []))
    return points


def test_without_plug_ins_there_are_the_defaults(installed: dict[str, list[Point]]) -> None:
    assert filters_found() == filters.DEFAULT
    assert list(weighers_found()) == ["free_memory", "free_vcpus", "quiet", "soft_group"]


async def test_plug_ins_are_found_and_take_part(installed: dict[str, list[Point]]) -> None:
    installed["starling.filters"] = [Point("odd", lambda _, view: "odd" if view.host == "a" else "")]
    installed["starling.weighers"] = [Point("likes_c", lambda _, view: 9.0 * (view.host == "c"))]
    cloud = Cloud()
    cloud.table = [host("a"), host("b"), host("c")]
    async with running(cloud):
        (answer,) = await cloud.ask(question())
    assert answer.hosts == ("c", "b")
    assert [(r.filter, r.hosts) for r in answer.refusals] == [("odd", 1)]


def test_a_plug_in_may_replace_a_default(installed: dict[str, list[Point]]) -> None:
    installed["starling.filters"] = [Point("memory", lambda *_: "never")]
    assert filters_found()["memory"](question(), host("a")) == "never"
    assert list(filters_found()) == list(filters.DEFAULT)
