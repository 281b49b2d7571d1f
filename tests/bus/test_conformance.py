"""What both twins of the bus promise, in one suite."""

import asyncio
import uuid

import pytest

from bus import topology
from bus.mailbox import BODY_BYTES_MAX, BusUnavailable, Parcel, Queue
from tests.bus.harness import Harness, bodies, parcels, publish_until_taken, receive, settled


async def test_delivers_in_order_and_forgets_what_is_acknowledged(harness: Harness) -> None:
    bus, queue, wake = await harness.bus("one"), harness.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake)
    await bus.publish(parcels(queue, "a", "b", "c"))
    got = await receive(mailbox, wake, 3)
    assert bodies(got) == ["a", "b", "c"]
    assert {delivery.sender for delivery in got} == {""}
    mailbox.ack(got[-1])
    await mailbox.close()
    assert await bus.waiting(queue.name) == 0
    assert bus.counters.published == bus.counters.delivered == 3


async def test_returns_what_is_unacknowledged_in_order_when_closed(harness: Harness) -> None:
    bus, queue, wake = await harness.bus("one"), harness.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake)
    await bus.publish(parcels(queue, "a", "b", "c", "d", "e"))
    got = await receive(mailbox, wake, 4)
    mailbox.ack(got[1])
    await mailbox.close()
    assert mailbox.take(10) == []
    await settled(bus, queue, 3)
    again = await bus.open(queue, wake)
    assert bodies(await receive(again, wake, 3)) == ["c", "d", "e"]


async def test_an_acknowledgement_covers_all_before_and_may_repeat(harness: Harness) -> None:
    bus, queue, wake = await harness.bus("one"), harness.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake, prefetch=2)
    await bus.publish(parcels(queue, "a", "b", "c", "d"))
    first = await receive(mailbox, wake, 2)
    mailbox.ack(first[1])
    mailbox.ack(first[1])
    mailbox.ack(first[0])
    rest = await receive(mailbox, wake, 2)
    assert bodies(rest) == ["c", "d"]
    mailbox.ack(rest[0])
    await mailbox.close()
    await settled(bus, queue, 1)


async def test_prefetch_bounds_what_is_unacknowledged(harness: Harness) -> None:
    bus, queue, wake = await harness.bus("one"), harness.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake, prefetch=2)
    await bus.publish(parcels(queue, "a", "b", "c", "d", "e"))
    got = await receive(mailbox, wake, 2)
    await settled(bus, queue, 3)
    assert mailbox.depth() == 0
    mailbox.ack(got[0])
    assert bodies(await receive(mailbox, wake, 1)) == ["c"]


async def test_readers_of_one_queue_compete(harness: Harness) -> None:
    left, right = await harness.bus("left"), await harness.bus("right")
    queue, left_wake, right_wake = harness.partition(), asyncio.Event(), asyncio.Event()
    left_box = await left.open(queue, left_wake, prefetch=1)
    right_box = await right.open(queue, right_wake, prefetch=1)
    await left.publish(parcels(queue, "a", "b", "c"))
    got = await receive(left_box, left_wake, 1) + await receive(right_box, right_wake, 1)
    assert sorted(bodies(got)) == ["a", "b"]
    await left.close()
    right_box.ack(got[1])
    rest = await receive(right_box, right_wake, 1)
    right_box.ack(rest[0])
    rest += await receive(right_box, right_wake, 1)
    assert sorted([*bodies(rest), got[1].body.decode()]) == ["a", "b", "c"]


async def test_the_reader_of_higher_priority_is_served_while_it_has_room(harness: Harness) -> None:
    old, new = await harness.bus("old"), await harness.bus("new")
    queue, old_wake, new_wake = harness.partition(), asyncio.Event(), asyncio.Event()
    old_box = await old.open(queue, old_wake, priority=1)
    new_box = await new.open(queue, new_wake, prefetch=3, priority=2)
    await old.publish(parcels(queue, "a", "b", "c"))
    got = await receive(new_box, new_wake, 3)
    assert (bodies(got), old_box.depth()) == (["a", "b", "c"], 0)
    await old.publish(parcels(queue, "d"))
    assert bodies(await receive(old_box, old_wake, 1)) == ["d"]


async def test_a_fanout_reaches_every_listener_and_nobody_is_fine(harness: Harness) -> None:
    speaker, left, right = [await harness.bus(name) for name in ("speaker", "left", "right")]
    queue, left_wake, right_wake = harness.partition(), asyncio.Event(), asyncio.Event()
    everyone = topology.parcel_to("schedulers/all", b"host up", 16)
    await speaker.declare(queue)
    await speaker.publish([everyone])
    left_box = await left.open(topology.scheduler_feed("left"), left_wake)
    right_box = await right.open(topology.scheduler_feed("right"), right_wake)
    await speaker.publish([everyone, *parcels(queue, "for one")])
    assert bodies(await receive(left_box, left_wake, 1)) == ["host up"]
    assert bodies(await receive(right_box, right_wake, 1)) == ["host up"]
    assert await speaker.waiting(queue.name) == 1


async def test_counts_what_waits_and_deletes_it(harness: Harness) -> None:
    bus, queue = await harness.bus("one"), harness.partition()
    assert await bus.waiting(queue.name) == 0
    await bus.declare(queue)
    await bus.declare(queue)
    await bus.publish(parcels(queue, "a", "b"))
    assert await bus.waiting(queue.name) == 2
    await bus.delete(queue.name)
    await bus.delete(queue.name)
    assert await bus.waiting(queue.name) == 0
    with pytest.raises(BusUnavailable, match=queue.name):
        await bus.publish(parcels(queue, "c"))


async def test_a_message_to_a_gateway_that_is_gone_is_counted_and_forgotten(harness: Harness) -> None:
    bus, queue = await harness.bus("one"), harness.partition()
    await bus.declare(queue)
    await bus.publish([Parcel("gateway.gone", b"answer"), *parcels(queue, "a")])
    assert bus.counters.unroutable == 1
    assert await bus.waiting(queue.name) == 1


async def test_a_transient_queue_belongs_to_one_connection_and_dies_with_its_reader(harness: Harness) -> None:
    bus, other, wake = await harness.bus("one"), await harness.bus("other"), asyncio.Event()
    queue = topology.gateway(str(uuid.uuid4()))
    mailbox = await bus.open(queue, wake)
    await other.publish(parcels(queue, "answer"))
    assert bodies(await receive(mailbox, wake, 1)) == ["answer"]
    with pytest.raises(BusUnavailable):
        await other.open(queue, asyncio.Event())
    await mailbox.close()
    taken_over = await other.open(queue, wake)
    assert taken_over.take(1) == []


async def test_a_cut_connection_refuses_to_publish_and_recovers(harness: Harness) -> None:
    bus, queue, wake = await harness.bus("one"), harness.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake)
    await bus.publish(parcels(queue, "a", "b", "c"))
    before = await receive(mailbox, wake, 3)
    mailbox.ack(before[0])
    await settled(bus, queue, 0)
    wake.clear()
    await harness.cut(bus)
    with pytest.raises(BusUnavailable):
        await bus.publish(parcels(queue, "d"))
    await publish_until_taken(bus, parcels(queue, "e"))
    await asyncio.wait_for(wake.wait(), 10)
    again = await receive(mailbox, wake, 3)
    assert bodies(again) == ["b", "c", "e"]
    stale = bus.counters.stale_acks
    mailbox.ack(before[2])
    assert bus.counters.stale_acks == stale + 1
    assert bus.counters.reconnects == 1


async def test_a_transient_queue_is_there_again_after_a_cut(harness: Harness) -> None:
    gateway, worker, wake = await harness.bus("gateway"), await harness.bus("worker"), asyncio.Event()
    queue = topology.gateway(str(uuid.uuid4()))
    mailbox = await gateway.open(queue, wake)
    wake.clear()
    await harness.cut(gateway)
    await worker.publish(parcels(queue, "lost, perhaps"))
    await asyncio.wait_for(wake.wait(), 10)
    await worker.publish(parcels(queue, "answer"))
    assert bodies(await receive(mailbox, wake, 1)) == ["answer"]


async def test_a_mailbox_reopens_when_its_queue_was_deleted(harness: Harness) -> None:
    bus, other = await harness.bus("one"), await harness.bus("other")
    queue, wake = harness.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake)
    await other.delete(queue.name)
    await publish_until_taken(other, parcels(queue, "a"))
    assert bodies(await receive(mailbox, wake, 1)) == ["a"]


async def test_one_publisher_keeps_its_order_over_many_calls(harness: Harness) -> None:
    bus, queue, wake = await harness.bus("one"), harness.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake, prefetch=50)
    sent = [str(number) for number in range(200)]
    async with asyncio.TaskGroup() as calls:
        for start in range(0, 200, 20):
            calls.create_task(bus.publish(parcels(queue, *sent[start : start + 20])))
        got = []
        for _ in range(20):
            some = await receive(mailbox, wake, 10)
            mailbox.ack(some[-1])
            got += bodies(some)
    assert got == sent


async def test_an_agent_speaks_as_itself_and_hears_its_own_queue(harness: Harness) -> None:
    host = str(uuid.uuid4())
    worker, queue, wake = await harness.bus("worker"), harness.partition(), asyncio.Event()
    mailbox = await worker.open(queue, wake)
    agent, agent_wake = await harness.agent(host), asyncio.Event()
    with pytest.raises(BusUnavailable):
        await agent.open(topology.host(host), agent_wake)
    await worker.declare(topology.host(host))
    await agent.declare(topology.host(host))
    orders = await agent.open(topology.host(host), agent_wake)
    await worker.publish([Parcel(topology.host(host).name, b"start")])
    assert bodies(await receive(orders, agent_wake, 1)) == ["start"]
    await agent.publish(parcels(queue, "started"))
    (fact,) = await receive(mailbox, wake, 1)
    assert (fact.body, fact.sender) == (b"started", host)


async def test_an_agent_waits_for_its_queue_to_come_back(harness: Harness) -> None:
    host = str(uuid.uuid4())
    worker, wake = await harness.bus("worker"), asyncio.Event()
    agent = await harness.agent(host)
    await worker.declare(topology.host(host))
    orders = await agent.open(topology.host(host), wake)
    await worker.delete(topology.host(host).name)
    await worker.declare(topology.host(host))
    await worker.publish([Parcel(topology.host(host).name, b"start")])
    assert bodies(await receive(orders, wake, 1)) == ["start"]


async def test_an_agent_may_not_ask_for_more(harness: Harness) -> None:
    host, stranger = str(uuid.uuid4()), str(uuid.uuid4())
    agent = await harness.agent(host)
    with pytest.raises(ValueError, match="may not read"):
        await agent.open(topology.host(stranger), asyncio.Event())
    for parcel in (
        Parcel(topology.host(stranger).name, b"x"),
        topology.parcel_to("schedulers/all", b"x", 16),
        Parcel("scheduler", b"x"),
    ):
        with pytest.raises(ValueError, match="partitions only"):
            await agent.publish([parcel])


async def test_refuses_a_body_over_the_limit(harness: Harness) -> None:
    bus, queue, wake = await harness.bus("one"), harness.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake)
    with pytest.raises(ValueError, match="too many"):
        await bus.publish([Parcel(queue.name, bytes(BODY_BYTES_MAX + 1))])
    await bus.publish([Parcel(queue.name, bytes(BODY_BYTES_MAX)), Parcel(queue.name, b"")])
    assert [len(got.body) for got in await receive(mailbox, wake, 2)] == [BODY_BYTES_MAX, 0]


async def test_a_full_queue_refuses(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "DURABLE_BYTES_MAX", 1000)
    bus, full, free = await harness.bus("one"), harness.partition(), harness.partition()
    await bus.declare(full)
    await bus.declare(free)
    await bus.publish([Parcel(full.name, bytes(1000))])
    with pytest.raises(BusUnavailable, match=full.name):
        await bus.publish([Parcel(full.name, b"x"), Parcel(free.name, b"x")])
    assert await bus.waiting(full.name) == 1
    assert await bus.waiting(free.name) == 1
    assert bus.counters.unconfirmed == 1


async def test_the_full_queue_of_a_host_stops_nobody_else(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "DURABLE_BYTES_MAX", 1000)
    bus, free, host = await harness.bus("one"), harness.partition(), topology.host(str(uuid.uuid4()))
    await bus.declare(free)
    await bus.declare(host)
    await bus.publish([Parcel(host.name, bytes(1000))])
    await bus.publish([Parcel(host.name, b"x"), Parcel(free.name, b"x")])
    assert await bus.waiting(free.name) == 1
    assert (bus.counters.refused, bus.counters.unconfirmed) == (1, 0)
    await bus.delete(host.name)


async def test_a_closed_bus_hands_everything_back(harness: Harness) -> None:
    bus, other = await harness.bus("one"), await harness.bus("other")
    queues: list[Queue] = [harness.partition() for _ in range(3)]
    wake = asyncio.Event()
    mailboxes = [await bus.open(queue, wake) for queue in queues]
    for queue, mailbox in zip(queues, mailboxes, strict=True):
        await bus.publish(parcels(queue, "a", "b"))
        got = await receive(mailbox, wake, 2)
        mailbox.ack(got[0])
    await bus.close()
    for queue in queues:
        await settled(other, queue, 1)
    with pytest.raises(BusUnavailable):
        await bus.publish(parcels(queues[0], "c"))
