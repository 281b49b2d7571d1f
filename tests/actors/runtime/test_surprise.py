"""A worker that fails in a way nobody foresaw is started again, and has passed nothing over."""

import asyncio

import structlog

from actors.kinds import KINDS
from actors.runtime.worker import Worker, WorkerSettings
from bus import topology
from bus.mailbox import Parcel
from bus.memory import MemoryBroker, MemoryBus
from process.clock import SystemClock
from process.run import Part, _keep_running
from protocol.codec import encode_bundle
from protocol.ids import address
from protocol.message import Bundle, Stretch
from protocol.project import QuotaLimits, ReserveQuota
from store.memory import MemoryDatabase, MemoryTurnStore
from store.turn import Batch
from tests.actors.runtime.batch import PARTITIONS, command, partition, unsealed
from tests.actors.stage import CREATE_COMMAND, INSTANCE_ID, OWNER, PROJECT_ID

RESERVE = ReserveQuota(by=OWNER, limits=QuotaLimits(10, 20, 51200), then=CREATE_COMMAND)


class Confused(MemoryTurnStore):
    """Fails once in the library's own words, when the instance is to be written."""

    confused = False

    async def commit(self, worker: str, batch: Batch) -> None:
        if not self.confused and any(row.kind == "instance" for row in batch.actors):
            self.confused = True
            raise RuntimeError("another operation is in progress")
        await super().commit(worker, batch)


async def test_what_was_taken_and_not_written_is_taken_again() -> None:
    clock = SystemClock()
    bus = MemoryBus(MemoryBroker(), name="w")
    database = MemoryDatabase(PARTITIONS, clock)
    store = Confused(database)
    worker = Worker(
        name="w", bus=bus, clock=clock, store=store, kinds=KINDS, seal=unsealed,
        settings=WorkerSettings(partitions=PARTITIONS, heartbeat_s=0.05, sweep_s=0.1),
        log=structlog.get_logger(),
    )  # fmt: skip
    project = address("project", PROJECT_ID)
    for p in range(PARTITIONS):
        await bus.declare(topology.partition(p))
    body = encode_bundle(Bundle([Stretch(-1, -1, 0, [command(project, RESERVE).envelope])]))
    await bus.publish([Parcel(topology.partition(partition(project)).name, body)])
    running = asyncio.create_task(
        _keep_running(Part("w", worker.run), structlog.get_logger(), asyncio.Event())
    )
    async with asyncio.timeout(20):
        while ("instance", INSTANCE_ID) not in database.actors:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert store.confused
    assert ("project", PROJECT_ID) in database.actors
