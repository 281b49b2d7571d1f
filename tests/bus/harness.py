"""One face for both twins, so that a single suite can judge them."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final, Protocol

from bus import topology
from bus.amqp import AmqpBus
from bus.enrolment import Rabbitmqctl, enrol_host, retire_host
from bus.mailbox import Bus, BusUnavailable, Delivery, Mailbox, Parcel, Queue
from bus.memory import MemoryBroker, MemoryBus
from tests.fixtures.proxy import Proxy
from tests.fixtures.rabbitmq import Rabbitmq

PATIENCE_S: Final = 20.0
_AMQP_TIMEOUT_S: Final = 1.5
_PASSWORD: Final = "correct horse"
_NUMBERS: Final = itertools.count(1)


class Harness(Protocol):
    """Makes connections of one twin and breaks them."""

    def partition(self) -> Queue:
        """A durable queue no other test uses."""
        ...

    async def bus(self, name: str) -> Bus:
        """A controller party's connection."""
        ...

    async def agent(self, host: str) -> Bus:
        """An enrolled host agent's connection."""
        ...

    async def cut(self, bus: Bus) -> None:
        """Cut one connection for longer than a publish is willing to wait."""
        ...

    async def close(self) -> None:
        """Remove every trace."""
        ...


class MemoryHarness:
    """Connections to one in-process broker."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def partition(self) -> Queue:
        return topology.partition(next(_NUMBERS))

    async def bus(self, name: str) -> Bus:
        return MemoryBus(self.broker, name=name)

    async def agent(self, host: str) -> Bus:
        return MemoryBus(self.broker, name=host, host=host)

    async def cut(self, bus: Bus) -> None:
        assert isinstance(bus, MemoryBus)
        bus.cut(0.05)

    async def close(self) -> None:
        """Nothing outlives the broker object."""


class AmqpHarness:
    """Connections to a real broker, each through a proxy of its own."""

    def __init__(self, broker: Rabbitmq) -> None:
        self._broker = broker
        self._queues: list[Queue] = []
        self._hosts: list[str] = []
        self._buses: list[tuple[AmqpBus, Proxy]] = []
        self.admin = Rabbitmqctl(program=str(broker.programs / "rabbitmqctl"), environment=broker.env)

    def partition(self) -> Queue:
        queue = topology.partition(next(_NUMBERS))
        self._queues.append(queue)
        return queue

    async def bus(self, name: str) -> Bus:
        return await self._connect("guest", "guest", name, "")

    async def agent(self, host: str) -> Bus:
        login = await enrol_host(self.admin, host, _PASSWORD)
        self._hosts.append(host)
        return await self._connect(login, _PASSWORD.replace(" ", "%20"), host, host)

    async def cut(self, bus: Bus) -> None:
        proxy = self.proxy(bus)
        proxy.cut(refuse=True)
        asyncio.get_running_loop().call_later(_AMQP_TIMEOUT_S + 0.5, proxy.resume)

    def proxy(self, bus: Bus) -> Proxy:
        """The proxy in front of a connection."""
        return next(proxy for known, proxy in self._buses if known is bus)

    async def close(self) -> None:
        for bus, proxy in self._buses:
            await bus.close()
            await proxy.close()
        sweeper = AmqpBus(self._broker.url, name="sweeper")
        for queue in self._queues:
            await sweeper.delete(queue.name)
        for host in self._hosts:
            await sweeper.delete(topology.host(host).name)
            await retire_host(self.admin, host)
        await sweeper.close()

    async def _connect(self, login: str, password: str, name: str, host: str) -> AmqpBus:
        proxy = Proxy()
        port = await proxy.start("127.0.0.1", self._broker.port)
        url = self._broker.url_as(login, password, port)
        bus = AmqpBus(url, name=name, host=host, timeout_s=_AMQP_TIMEOUT_S)
        self._buses.append((bus, proxy))
        return bus


def parcels(queue: Queue, *bodies: str) -> list[Parcel]:
    """One parcel for each text."""
    return [Parcel(queue.name, body.encode()) for body in bodies]


def bodies(deliveries: list[Delivery]) -> list[str]:
    """The texts that were sent."""
    return [delivery.body.decode() for delivery in deliveries]


async def receive(mailbox: Mailbox, wake: asyncio.Event, count: int) -> list[Delivery]:
    """Exactly ``count`` deliveries; fails when they do not come, or more do."""
    got: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(got) < count:
            wake.clear()
            got += mailbox.take(count - len(got))
            if len(got) < count:
                await wake.wait()
    return got


async def publish_until_taken(bus: Bus, batch: list[Parcel]) -> None:
    """Publish as the runtime does: again while the broker is unavailable."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await bus.publish(batch)
            except BusUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def settled(bus: Bus, queue: Queue, ready: int) -> None:
    """Wait until the broker counts ``ready`` messages: it hears of closed channels a little later."""
    async with asyncio.timeout(PATIENCE_S):
        while await bus.waiting(queue.name) != ready:
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until a condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)
