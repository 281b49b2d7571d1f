"""A host's queue that somebody gave another shape serves, and nobody's mail waits for it."""

import asyncio

import structlog

from actors.kinds import KINDS
from actors.runtime.worker import Worker, WorkerSettings
from bus import topology
from bus.mailbox import Parcel, Queue, QueueDiffers
from bus.memory import MemoryBroker, MemoryBus
from process.clock import SystemClock
from protocol.agent import Heartbeat
from protocol.codec import encode_bundle, encode_message
from protocol.host import EnrolHost
from protocol.ids import address
from protocol.message import Bundle, Envelope, Stretch
from store.memory import MemoryDatabase, MemoryTurnStore
from tests.actors.runtime.batch import PARTITIONS, command, partition, unsealed
from tests.actors.stage import ADMIN, HOSTS


class OfAnotherRelease(MemoryBus):
    """The queues of hosts are there already, in another shape."""

    async def declare(self, queue: Queue) -> None:
        await super().declare(queue)
        if topology.is_host(queue.name):
            raise QueueDiffers(queue.name)


async def test_all_hosts_are_answered() -> None:
    broker, clock = MemoryBroker(), SystemClock()
    worker = Worker(
        name="w", bus=OfAnotherRelease(broker, name="w"), clock=clock, kinds=KINDS, seal=unsealed,
        store=MemoryTurnStore(MemoryDatabase(PARTITIONS, clock)),
        settings=WorkerSettings(partitions=PARTITIONS, heartbeat_s=0.05), log=structlog.get_logger(),
    )  # fmt: skip
    control = MemoryBus(broker, name="control")
    for p in range(PARTITIONS):
        await control.declare(topology.partition(p))
    for host in HOSTS:
        to, beat = address("host", host), Heartbeat(session="s", sent_at=1.0)
        enrol = command(
            to, EnrolHost(by=ADMIN, hostname=f"node-{host[-1]}"), operation=f"enrol-{host}"
        ).envelope
        said = Envelope(to, address("agent", host), encode_message(beat))
        queue = topology.partition(partition(to)).name
        await control.publish([Parcel(queue, encode_bundle(Bundle([Stretch(-1, -1, 0, [enrol])])))])
        agent = MemoryBus(broker, name=host, host=host)
        await agent.publish([Parcel(queue, encode_bundle(Bundle([Stretch(-1, -1, 0, [said])])))])
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        for host in HOSTS:
            while not await control.waiting(topology.host(host).name):
                await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert worker.stats.publish_failures == 0
