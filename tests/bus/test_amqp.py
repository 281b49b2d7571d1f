"""What only a real broker shows: restarts, lost disks, silent networks, wrong passwords."""

import asyncio

import pytest
from aiormq.exceptions import AMQPError

from bus import topology
from bus.amqp import AmqpBus
from bus.mailbox import Bus, BusUnavailable, Mailbox, Queue, QueueDiffers
from tests.bus.harness import AmqpHarness, bodies, parcels, publish_until_taken, receive, until
from tests.fixtures.rabbitmq import Rabbitmq

pytestmark = pytest.mark.rabbitmq

MESSAGES = 400


async def _collect(mailbox: Mailbox, wake: asyncio.Event, wanted: set[str]) -> list[str]:
    """Take and acknowledge until every wanted text was seen; all that was seen, in order."""
    seen: list[str] = []
    missing = set(wanted)
    async with asyncio.timeout(50):
        while missing:
            wake.clear()
            got = mailbox.take(50)
            if not got:
                await wake.wait()
                continue
            mailbox.ack(got[-1])
            seen += bodies(got)
            missing.difference_update(bodies(got))
    return seen


async def _send(bus: Bus, queue: Queue, texts: list[str]) -> None:
    for start in range(0, len(texts), 5):
        await publish_until_taken(bus, parcels(queue, *texts[start : start + 5]))


@pytest.mark.timeout(120)
async def test_nothing_confirmed_is_lost_when_the_broker_is_killed_mid_stream(
    amqp: AmqpHarness, rabbitmq: Rabbitmq
) -> None:
    sender, reader = await amqp.bus("sender"), await amqp.bus("reader")
    queue, wake = amqp.partition(), asyncio.Event()
    texts = [str(number) for number in range(MESSAGES)]
    mailbox = await reader.open(queue, wake, prefetch=20)
    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(_send(sender, queue, texts))
        collecting = tasks.create_task(_collect(mailbox, wake, set(texts)))
        await until(lambda: sender.counters.published >= MESSAGES // 4)
        assert not sending.done()
        await asyncio.to_thread(rabbitmq.kill)
        await asyncio.to_thread(rabbitmq.start)
    assert set(collecting.result()) == set(texts)
    assert reader.counters.reconnects >= 1
    assert sender.counters.reconnects >= 1


@pytest.mark.timeout(120)
async def test_everything_is_declared_again_after_the_broker_lost_its_disk(
    amqp: AmqpHarness, rabbitmq: Rabbitmq
) -> None:
    bus, read, unread = await amqp.bus("one"), amqp.partition(), amqp.partition()
    wake = asyncio.Event()
    mailbox = await bus.open(read, wake)
    await bus.declare(unread)
    await bus.publish(parcels(read, "a") + parcels(unread, "b"))
    await receive(mailbox, wake, 1)
    await asyncio.to_thread(rabbitmq.wipe)
    await publish_until_taken(bus, parcels(unread, "c"))
    assert await bus.waiting(unread.name) == 1
    await publish_until_taken(bus, parcels(read, "d"))
    assert bodies(await receive(mailbox, wake, 1)) == ["d"]


async def test_sixteen_mailboxes_survive_repeated_cuts_under_load(amqp: AmqpHarness) -> None:
    sender, reader = await amqp.bus("sender"), await amqp.bus("reader")
    queues = [amqp.partition() for _ in range(16)]
    texts = [str(number) for number in range(100)]
    boxes = []
    for queue in queues:
        wake = asyncio.Event()
        boxes.append((await reader.open(queue, wake, prefetch=20), wake))
    async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
        collecting = [tasks.create_task(_collect(box, wake, set(texts))) for box, wake in boxes]
        for queue in queues:
            tasks.create_task(_send(sender, queue, texts))
        for cut in (reader, sender, reader):
            enough = reader.counters.delivered + 100
            await until(lambda: reader.counters.delivered >= enough)  # noqa: B023  called within this turn
            amqp.proxy(cut).cut()
    assert all(set(done.result()) == set(texts) for done in collecting)
    assert reader.counters.reconnects == 2


async def test_a_silent_network_makes_publishing_fail_in_time_and_heals(amqp: AmqpHarness) -> None:
    bus, queue, wake = await amqp.bus("one"), amqp.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake)
    await bus.publish(parcels(queue, "first"))
    await receive(mailbox, wake, 1)
    amqp.proxy(bus).hold()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(BusUnavailable, match="Timeout"):
        await bus.publish(parcels(queue, "a"))
    assert loop.time() - began < 5
    amqp.proxy(bus).resume()
    await publish_until_taken(bus, parcels(queue, "b"))
    assert bodies(await receive(mailbox, wake, 2)) == ["a", "b"], "what was not confirmed may have arrived"
    assert bus.counters.reconnects == 0


async def test_a_cancelled_publish_is_cancelled_and_the_bus_goes_on(amqp: AmqpHarness) -> None:
    bus, queue, wake = await amqp.bus("one"), amqp.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake)
    await bus.publish(parcels(queue, "first"))
    await receive(mailbox, wake, 1)
    amqp.proxy(bus).hold()
    publishing = asyncio.create_task(bus.publish(parcels(queue, "a", "b")))
    await asyncio.sleep(0.05)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    amqp.proxy(bus).resume()
    await bus.publish(parcels(queue, "c"))
    assert bodies(await receive(mailbox, wake, 3)) == ["a", "b", "c"]


async def test_closing_while_the_broker_is_away_does_not_hang(amqp: AmqpHarness) -> None:
    bus, queue = await amqp.bus("one"), amqp.partition()
    await bus.open(queue, asyncio.Event())
    amqp.proxy(bus).cut(refuse=True)
    async with asyncio.timeout(5):
        await bus.close()


async def test_a_wrong_password_is_an_outage_that_names_no_secret(
    rabbitmq: Rabbitmq, caplog: pytest.LogCaptureFixture
) -> None:
    bus = AmqpBus(rabbitmq.url_as("guest", "hunter2"), name="thief", timeout_s=1.0)
    with pytest.raises(BusUnavailable) as refusal:
        await bus.connect()
    await bus.close()
    assert "hunter2" not in str(refusal.value)
    assert "hunter2" not in caplog.text


async def test_nobody_listening_is_an_outage() -> None:
    bus = AmqpBus("amqp://guest:guest@127.0.0.1:1/", name="early", timeout_s=0.3)
    with pytest.raises(BusUnavailable, match="early waits"):
        await bus.publish(parcels(topology.partition(0), "a"))
    await bus.close()


async def test_an_agent_must_log_in_as_its_host() -> None:
    with pytest.raises(ValueError, match="must log in as host-"):
        AmqpBus("amqp://guest:guest@x/", name="agent", host="0b1e1b0c-7f5d-4f0e-9d6e-3f6f1c2a4b5d")


async def test_quorum_queues_serve_as_well(amqp: AmqpHarness, rabbitmq: Rabbitmq) -> None:
    bus = AmqpBus(rabbitmq.url, name="cluster", queue_type="quorum")
    queue, wake = amqp.partition(), asyncio.Event()
    mailbox = await bus.open(queue, wake)
    await bus.publish(parcels(queue, "a", "b"))
    got = await receive(mailbox, wake, 2)
    mailbox.ack(got[0])
    await mailbox.close()
    mailbox = await bus.open(queue, wake)
    assert bodies(await receive(mailbox, wake, 1)) == ["b"]
    await bus.close()


async def test_a_queue_of_another_shape_is_an_outage_and_not_a_crash(
    amqp: AmqpHarness, rabbitmq: Rabbitmq
) -> None:
    bus, queue = await amqp.bus("one"), amqp.partition()
    await bus.declare(queue)
    other = AmqpBus(rabbitmq.url, name="other", queue_type="quorum")
    with pytest.raises(QueueDiffers, match="PRECONDITION_FAILED") as refusal:
        await other.declare(queue)
    assert isinstance(refusal.value.__cause__, AMQPError)
    await other.close()
