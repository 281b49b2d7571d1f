"""A captured host's credentials, tried against a real broker in every way that would hurt."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import aiormq
import pytest
from aiormq import spec
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelPreconditionFailed

from bus import topology
from bus.amqp import AmqpBus
from bus.enrolment import (
    HOST_CONNECTIONS_MAX,
    Admin,
    ManagementApi,
    Rabbitmqctl,
    admin_of,
    enrol_host,
    enrol_role,
    retire_host,
)
from bus.mailbox import BusUnavailable, Parcel
from tests.bus.harness import AmqpHarness, bodies, parcels, receive
from tests.fixtures.rabbitmq import Rabbitmq

pytestmark = pytest.mark.rabbitmq

PASSWORD = "correct-horse"
QUEUE = topology.partition(4095)


@pytest.fixture(params=["rabbitmqctl", "management"])
def admin(request: pytest.FixtureRequest, rabbitmq: Rabbitmq) -> Admin:
    """Both back ends."""
    if request.param == "management":
        return ManagementApi(rabbitmq.management_url)
    return Rabbitmqctl(program=str(rabbitmq.programs / "rabbitmqctl"), environment=rabbitmq.env)


class Captured:
    """One enrolled host whose credentials leaked, beside an honest one and the controller."""

    def __init__(self, rabbitmq: Rabbitmq, controller: AmqpBus, admin: Admin) -> None:
        self.rabbitmq = rabbitmq
        self.controller = controller
        self.admin = admin
        self.host, self.victim = str(uuid.uuid4()), str(uuid.uuid4())
        self.connections: list[AbstractConnection] = []

    async def channel(self, host: str = "") -> AbstractChannel:
        """A raw channel with a host's credentials: no politeness of ours in between."""
        url = self.rabbitmq.url_as(topology.login_of(host or self.host), PASSWORD)
        connection = await aiormq.connect(url)
        self.connections.append(connection)
        return await connection.channel(on_return_raises=True)


@pytest.fixture
async def captured(rabbitmq: Rabbitmq, admin: Admin) -> AsyncIterator[Captured]:
    """The scene, cleaned up afterwards."""
    scene = Captured(rabbitmq, AmqpBus(rabbitmq.url, name="worker"), admin)
    for host in (scene.host, scene.victim):
        assert await enrol_host(admin, host, PASSWORD) == f"host-{host}"
        await scene.controller.declare(topology.host(host))
    await scene.controller.declare(QUEUE)
    await scene.controller.declare(topology.SCHEDULER)
    try:
        yield scene
    finally:
        for connection in scene.connections:
            await connection.close()
        for host in (scene.host, scene.victim):
            await scene.controller.delete(topology.host(host).name)
            await retire_host(admin, host)
        await scene.controller.delete(QUEUE.name)
        await scene.controller.delete(topology.SCHEDULER.name)
        await scene.controller.close()


Attempt = Callable[[AbstractChannel, Captured], Awaitable[object]]


async def _hear(message: object) -> None:
    raise AssertionError(message)


ATTEMPTS: dict[str, Attempt] = {
    "read another host's queue": lambda ch, at: ch.basic_consume(topology.host(at.victim).name, _hear),
    "take from another host's queue": lambda ch, at: ch.basic_get(topology.host(at.victim).name),
    "read a partition": lambda ch, _: ch.basic_consume(QUEUE.name, _hear),
    "empty a partition": lambda ch, _: ch.queue_purge(QUEUE.name),
    "delete its queue": lambda ch, at: ch.queue_delete(topology.host(at.host).name),
    "delete a partition": lambda ch, _: ch.queue_delete(QUEUE.name),
    "declare a queue": lambda ch, _: ch.queue_declare("mine"),
    "declare a queue named by the broker": lambda ch, _: ch.queue_declare(""),
    "declare an exchange": lambda ch, _: ch.exchange_declare("mine"),
    "delete the exchange": lambda ch, _: ch.exchange_delete(topology.HOST_IN),
    "bind its queue": lambda ch, at: ch.queue_bind(topology.host(at.host).name, topology.HOST_IN, "#"),
    "unbind a partition": lambda ch, _: ch.queue_unbind(QUEUE.name, topology.HOST_IN, "*.4095"),
    "publish under another host's key": lambda ch, at: ch.basic_publish(
        b"x", exchange=topology.HOST_IN, routing_key=f"{at.victim}.4095"
    ),
    "publish under its key and more": lambda ch, at: ch.basic_publish(
        b"x", exchange=topology.HOST_IN, routing_key=f"{at.host}.4095.4095"
    ),
    "publish to no partition": lambda ch, at: ch.basic_publish(
        b"x", exchange=topology.HOST_IN, routing_key=f"{at.host}.x"
    ),
    "publish to a partition by name": lambda ch, _: ch.basic_publish(b"x", routing_key=QUEUE.name),
    "publish to another host": lambda ch, at: ch.basic_publish(
        b"x", routing_key=topology.host(at.victim).name
    ),
    "publish to the schedulers": lambda ch, _: ch.basic_publish(b"x", routing_key="scheduler"),
    "publish to everyone": lambda ch, _: ch.basic_publish(b"x", exchange="amq.topic", routing_key="x"),
}


async def test_a_captured_host_can_do_nothing_else(captured: Captured) -> None:
    refused = []
    for name, attempt in ATTEMPTS.items():
        channel = await captured.channel()
        try:
            await attempt(channel, captured)
        except ChannelAccessRefused:
            refused.append(name)
        await captured.connections.pop().close()
    assert refused == list(ATTEMPTS)
    assert await captured.controller.waiting(QUEUE.name) == 0


async def test_a_captured_host_cannot_name_another_as_sender(captured: Captured) -> None:
    channel = await captured.channel()
    properties = spec.Basic.Properties(user_id=topology.login_of(captured.victim))
    with pytest.raises(ChannelPreconditionFailed):
        await channel.basic_publish(
            b"x", exchange=topology.HOST_IN, routing_key=f"{captured.host}.4095", properties=properties
        )


async def test_a_message_without_a_validated_sender_is_dropped_and_counted(captured: Captured) -> None:
    channel, wake = await captured.channel(), asyncio.Event()
    mailbox = await captured.controller.open(QUEUE, wake, prefetch=2)
    key = f"{captured.host}.4095"
    for _ in range(5):
        await channel.basic_publish(b"anonymous", exchange=topology.HOST_IN, routing_key=key)
    honest = AmqpBus(
        captured.rabbitmq.url_as(topology.login_of(captured.victim), PASSWORD),
        name="agent",
        host=captured.victim,
    )
    await honest.publish(parcels(QUEUE, "one", "two"))
    first = await receive(mailbox, wake, 2)
    assert bodies(first) == ["one", "two"]
    assert {delivery.sender for delivery in first} == {captured.victim}
    assert captured.controller.counters.forged == 5
    mailbox.ack(first[1])
    await mailbox.close()
    assert await captured.controller.waiting(QUEUE.name) == 0
    await honest.close()


async def test_a_captured_host_cannot_hoard_connections(captured: Captured) -> None:
    for _ in range(HOST_CONNECTIONS_MAX):
        await captured.channel()
    with pytest.raises((AMQPError, OSError)):
        await captured.channel()
    await captured.channel(captured.victim)


async def test_enrolling_again_changes_the_password_and_retiring_locks_out(captured: Captured) -> None:
    channel = await captured.channel()
    gone = asyncio.Event()
    channel.closing.add_done_callback(lambda _: gone.set())
    await enrol_host(captured.admin, captured.host, "another")
    with pytest.raises((AMQPError, OSError)):
        await captured.channel()
    await retire_host(captured.admin, captured.host)
    await retire_host(captured.admin, captured.host)
    await asyncio.wait_for(gone.wait(), 10)
    with pytest.raises((AMQPError, OSError)):
        await captured.channel()
    await enrol_host(captured.admin, captured.host, PASSWORD)
    await captured.channel()


async def test_each_role_has_the_rights_it_needs(admin: Admin, amqp: AmqpHarness, rabbitmq: Rabbitmq) -> None:
    buses = {}
    for role in ("worker", "scheduler", "gateway"):
        await enrol_role(admin, role, role, PASSWORD)
        buses[role] = AmqpBus(rabbitmq.url_as(role, PASSWORD), name=role)
    partition, host = amqp.partition(), topology.host(str(uuid.uuid4()))
    gateway, feed = topology.gateway("g1"), topology.scheduler_feed("s1")
    wake = asyncio.Event()
    orders = await buses["worker"].open(partition, wake)
    await buses["worker"].declare(host)
    await buses["worker"].publish([topology.parcel_to("schedulers/all", b"nobody yet", 16)])
    requests = await buses["scheduler"].open(topology.SCHEDULER, wake)
    facts = await buses["scheduler"].open(feed, wake)
    answers = await buses["gateway"].open(gateway, wake)
    await buses["gateway"].publish(parcels(partition, "create"))
    assert bodies(await receive(orders, wake, 1)) == ["create"]
    everyone = topology.parcel_to("schedulers/all", b"host up", 16)
    await buses["worker"].publish([Parcel("scheduler", b"place"), everyone, Parcel(gateway.name, b"202")])
    assert bodies(await receive(requests, wake, 1)) == ["place"]
    assert bodies(await receive(facts, wake, 1)) == ["host up"]
    assert bodies(await receive(answers, wake, 1)) == ["202"]
    await buses["scheduler"].publish(parcels(partition, "placed"))
    assert bodies(await receive(orders, wake, 1)) == ["placed"]
    with pytest.raises(BusUnavailable, match="ACCESS_REFUSED"):
        await buses["gateway"].open(host, wake)
    with pytest.raises(BusUnavailable, match="ACCESS_REFUSED"):
        await buses["scheduler"].declare(partition)
    await buses["worker"].delete(host.name)
    for role, bus in buses.items():
        await bus.close()
        await admin.delete_user(role)


async def test_an_administration_that_does_not_answer_is_an_outage() -> None:
    for silent in (
        Rabbitmqctl(program="/nonexistent/rabbitmqctl"),
        Rabbitmqctl(program="false"),
        admin_of("http://guest:guest@127.0.0.1:1"),
    ):
        with pytest.raises(BusUnavailable) as refusal:
            await enrol_host(silent, str(uuid.uuid4()), PASSWORD)
        assert PASSWORD not in str(refusal.value)
    with pytest.raises(ValueError, match="administration"):
        admin_of("ldap://x")
    with pytest.raises(ValueError, match="one line"):
        await enrol_host(admin_of("rabbitmqctl"), str(uuid.uuid4()), "two\nlines")
