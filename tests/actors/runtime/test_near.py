"""Messages between partitions of one worker: they take no way over the bus, and are written all the same."""

import asyncio

import structlog

from actors.kinds import KINDS
from actors.runtime.worker import Worker, WorkerSettings
from bus import topology
from bus.mailbox import Parcel
from bus.memory import MemoryBroker, MemoryBus
from process.clock import SystemClock
from protocol.codec import decode_bundle, encode_bundle, encode_message
from protocol.command import Caller
from protocol.ids import address, partition_of
from protocol.instance import CreateInstance, Flavor, ServerRequest
from protocol.message import Bundle, Envelope, Stretch
from protocol.project import QuotaLimits, ReserveQuota
from store.memory import MemoryDatabase, MemoryTurnStore

PARTITIONS = 4
PROJECT = address("project", "p")
INSTANCE = next(
    address("instance", f"i{n}")
    for n in range(99)
    if partition_of(f"instance/i{n}", PARTITIONS) != partition_of(PROJECT, PARTITIONS)
)
FLAVOR = Flavor(id="1", name="m1", vcpus=1, memory_mib=128, disk_gib=1)


class WatchedBus(MemoryBus):
    published: list[str]

    async def publish(self, parcels: list[Parcel]) -> None:
        self.published += [parcel.queue for parcel in parcels]
        await super().publish(parcels)


async def test_actors_of_one_worker_speak_without_the_bus() -> None:
    broker, clock = MemoryBroker(), SystemClock()
    database = MemoryDatabase(PARTITIONS, clock)
    outside = MemoryBus(broker, name="outside")
    bus = WatchedBus(broker, name="w")
    bus.published = []
    woken = asyncio.Event()
    questions = await outside.open(topology.SCHEDULER, woken)
    worker = Worker(
        name="w",
        bus=bus,
        store=MemoryTurnStore(database),
        clock=clock,
        kinds=KINDS,
        seal=lambda _to, message, _now: message,
        settings=WorkerSettings(partitions=PARTITIONS),
        log=structlog.get_logger(),
    )
    running = asyncio.create_task(worker.run())
    for p in range(PARTITIONS):
        await outside.declare(topology.partition(p))
    await outside.publish([topology.parcel_to(PROJECT, _reservation(), PARTITIONS)])
    async with asyncio.timeout(10):
        while not (asked := questions.take(1)):
            await woken.wait()
            woken.clear()
    worker.stop()
    await running
    (stretch,) = decode_bundle(asked[0].body).stretches
    assert stretch.envelopes[0].sender == INSTANCE
    assert bus.published == [topology.SCHEDULER.name]
    assert [(s.source, s.destination, s.first, s.last) for s, _ in database.segments.values()] == [
        (partition_of(PROJECT, PARTITIONS), partition_of(INSTANCE, PARTITIONS), 1, 1)
    ]
    assert database.partitions[partition_of(INSTANCE, PARTITIONS)].marks[partition_of(PROJECT, PARTITIONS)]


def _reservation() -> bytes:
    by = Caller("u", "p", "req-1")
    request = ServerRequest(name="x", flavor=FLAVOR, image=None, hostname="x")
    wish = CreateInstance(by=by, instance=INSTANCE.partition("/")[2], request=request)
    reserve = ReserveQuota(by=by, limits=QuotaLimits(-1, -1, -1), then=wish)
    envelope = Envelope(PROJECT, "", encode_message(reserve), "op-1")
    return encode_bundle(Bundle([Stretch(-1, -1, 0, [envelope])]))
