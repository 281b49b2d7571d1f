"""What only the in-process twin does: faults on demand, restarts in no time, the same run twice."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import topology
from bus.fault import DELIVERED, DUPLICATED, LOST, OVERTAKEN, REFUSED, UNCONFIRMED, Fate
from bus.mailbox import BusUnavailable, Delivery, Parcel, Queue
from bus.memory import MemoryBroker, MemoryBus
from tests.bus.harness import bodies, parcels, receive, until

QUEUE = topology.partition(0)


class Script:
    """Fates in order, then normal delivery."""

    def __init__(self, *fates: Fate) -> None:
        self._fates = list(fates)
        self.publishers: list[str] = []

    def fate(self, parcel: Parcel, publisher: str) -> Fate:
        assert parcel.body
        self.publishers.append(publisher)
        return self._fates.pop(0) if self._fates else DELIVERED


async def _heard(fates: list[Fate], *sent: str, fails: bool = False) -> list[str]:
    """What a reader hears when texts are published, one call each, under these fates."""
    faults = Script(*fates)
    bus, wake = MemoryBus(MemoryBroker(faults), name="one"), asyncio.Event()
    mailbox = await bus.open(QUEUE, wake)
    failed = False
    for text in sent:
        try:
            await bus.publish(parcels(QUEUE, text))
        except BusUnavailable:
            failed = True
    assert failed is fails
    assert faults.publishers == ["one"] * len(sent)
    await asyncio.sleep(0.1)  # longer than any delay below and than HOLD_MAX_S
    return bodies(mailbox.take(10))


async def test_faults() -> None:
    assert await _heard([LOST], "a", "b") == ["b"]
    assert await _heard([REFUSED], "a", "b", fails=True) == ["b"]
    assert await _heard([UNCONFIRMED], "a", "b", fails=True) == ["a", "b"]
    assert await _heard([DUPLICATED], "a", "b") == ["a", "a", "b"]
    assert await _heard([OVERTAKEN], "a", "b", "c") == ["b", "a", "c"]
    assert await _heard([OVERTAKEN], "a") == ["a"]
    assert await _heard([Fate(delay_s=0.01)], "a", "b", "c") == ["b", "c", "a"]
    assert await _heard([Fate(copies=2, delay_s=0.01)], "a", "b") == ["b", "a", "a"]


async def test_a_restart_keeps_durable_queues_and_a_wipe_nothing() -> None:
    broker = MemoryBroker()
    bus, wake = MemoryBus(broker, name="one"), asyncio.Event()
    other = topology.partition(1)
    mailbox = await bus.open(QUEUE, wake)
    await bus.declare(other)
    await bus.publish(parcels(QUEUE, "a", "b") + parcels(other, "c"))
    got = await receive(mailbox, wake, 1)
    broker.restart(0.01)
    mailbox.ack(got[0])
    with pytest.raises(BusUnavailable):
        await bus.waiting(other.name)
    assert bodies(await receive(mailbox, wake, 2)) == ["a", "b"]
    assert await bus.waiting(other.name) == 1
    broker.wipe()
    wake.clear()
    await wake.wait()
    assert mailbox.depth() == await bus.waiting(other.name) == 0
    await bus.publish(parcels(QUEUE, "d") + parcels(other, "e"))
    assert bodies(await receive(mailbox, wake, 1)) == ["d"]
    assert bus.counters.reconnects == 2


async def test_a_wipe_takes_what_is_still_under_way() -> None:
    broker = MemoryBroker(Script(Fate(delay_s=0.02), OVERTAKEN))
    bus, wake = MemoryBus(broker, name="one"), asyncio.Event()
    mailbox = await bus.open(QUEUE, wake)
    await bus.publish(parcels(QUEUE, "late", "held"))
    broker.wipe()
    await asyncio.sleep(0.1)
    assert mailbox.depth() == 0


async def test_a_longer_cut_and_a_stopped_broker_outlast_a_shorter_one() -> None:
    broker = MemoryBroker()
    bus, wake = MemoryBus(broker, name="one"), asyncio.Event()
    await bus.open(QUEUE, wake)
    bus.cut(0.01)
    broker.restart(0.05)
    await asyncio.sleep(0.03)
    with pytest.raises(BusUnavailable):
        await bus.publish(parcels(QUEUE, "a"))
    await asyncio.sleep(0.05)
    await bus.publish(parcels(QUEUE, "a"))
    assert bus.counters.reconnects == 1


async def test_the_transient_queue_of_a_frozen_reader_forgets_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topology, "TRANSIENT_BYTES_MAX", 2)
    bus, wake = MemoryBus(MemoryBroker(), name="one"), asyncio.Event()
    queue = topology.gateway("g")
    mailbox = await bus.open(queue, wake, prefetch=1)
    await bus.publish(parcels(queue, "a", "b", "c", "d"))
    heard = []
    for _ in range(3):
        (got,) = await receive(mailbox, wake, 1)
        mailbox.ack(got)
        heard.append(got.body)
    assert heard == [b"a", b"c", b"d"]


_STEPS = st.lists(
    st.sampled_from(["publish", "take", "ack", "take other", "ack other", "reopen", "cut", "restart"]),
    max_size=60,
)


@given(_STEPS)
def test_nothing_is_lost_while_the_broker_lives(steps: list[str]) -> None:
    first = asyncio.run(_play(steps))
    assert first == asyncio.run(_play(steps)), "the same steps tell the same story"


async def _play(steps: list[str]) -> list[str]:
    """Do the steps, then read what is left: exactly what nobody acknowledged, in order."""
    broker, queue, wake = MemoryBroker(), topology.partition(1), asyncio.Event()
    buses = [MemoryBus(broker, name=name) for name in ("left", "right")]
    boxes = [await bus.open(queue, wake, prefetch=3) for bus in buses]
    taken: list[list[Delivery]] = [[], []]
    story: list[str] = []
    acked: set[str] = set()
    sent = 0
    for step in steps:
        which = 1 if step.endswith("other") else 0
        if step == "publish":
            await buses[1].publish(parcels(queue, str(sent)))
            sent += 1
        elif step.startswith("take"):
            taken[which] += boxes[which].take(2)
            story += bodies(taken[which])
        elif step.startswith("ack"):
            if taken[which]:
                boxes[which].ack(taken[which][-1])
            acked.update(bodies(taken[which]))
            taken[which].clear()
        elif step == "reopen":
            taken[0].clear()
            await boxes[0].close()
            boxes[0] = await buses[0].open(queue, wake, prefetch=3)
        else:
            taken = [[], taken[1]] if step == "cut" else [[], []]
            before = buses[0].counters.reconnects
            if step == "cut":
                buses[0].cut(0)
            else:
                broker.restart()
            await until(lambda: buses[0].counters.reconnects > before)  # noqa: B023  called within this turn
    for bus in buses:
        await bus.close()
    rest = await _drain(broker, queue)
    assert rest == [str(number) for number in range(sent) if str(number) not in acked]
    return story + rest


async def _drain(broker: MemoryBroker, queue: Queue) -> list[str]:
    bus = MemoryBus(broker, name="last")
    mailbox = await bus.open(queue, asyncio.Event(), prefetch=10_000)
    return bodies(mailbox.take(10_000))
