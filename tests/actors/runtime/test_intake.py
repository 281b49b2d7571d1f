"""What a worker takes in one batch, what it acknowledges, and what it does with what cannot be written."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from actors.kinds import KINDS
from actors.runtime.worker import Worker, WorkerSettings
from bus import topology
from bus.mailbox import Mailbox, Parcel
from bus.memory import MemoryBroker, MemoryBus
from process.clock import SystemClock
from protocol.codec import decode_bundle, decode_message, encode_bundle
from protocol.command import Accepted
from protocol.errors import Refused
from protocol.ids import address
from protocol.instance import CreateInstance, Flavor, ServerRequest
from protocol.message import Bundle, Envelope, Message, Stretch
from protocol.project import QuotaLimits, ReserveQuota
from store.memory import MemoryDatabase, MemoryTurnStore
from store.turn import Batch
from tests.actors.runtime.batch import PARTITIONS, command, partition, unsealed
from tests.actors.stage import GATEWAY, OWNER, PROJECT_ID

PROJECT = address("project", PROJECT_ID)
HERE = partition(PROJECT)
QUEUE = topology.partition(HERE).name
UNLIMITED = QuotaLimits(-1, -1, -1)


class Watched(MemoryTurnStore):
    """Remembers how many operations each commit wrote."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.sizes: list[int] = []

    async def commit(self, worker: str, batch: Batch) -> None:
        await super().commit(worker, batch)
        self.sizes.append(len(batch.operations))


@dataclass
class Running:
    """A worker at work and a gateway outside."""

    worker: Worker
    store: Watched
    database: MemoryDatabase
    bus: MemoryBus
    answers: Mailbox
    heard: dict[str, Message]

    async def say(self, *envelopes: Envelope, stretch: Stretch | None = None) -> None:
        body = encode_bundle(Bundle([stretch or Stretch(-1, -1, 0, list(envelopes))]))
        await self.bus.publish([Parcel(QUEUE, body)])

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                for delivery in self.answers.take(100):
                    for part in decode_bundle(delivery.body).stretches:
                        for one in part.envelopes:
                            self.heard[one.operation] = decode_message(one.body)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(batch_max: int = 500) -> AsyncIterator[Running]:
    clock, broker = SystemClock(), MemoryBroker()
    outside = MemoryBus(broker, name="outside")
    database = MemoryDatabase(PARTITIONS, clock)
    store = Watched(database)
    worker = Worker(
        name="w", bus=MemoryBus(broker, name="w"), store=store, clock=clock, kinds=KINDS, seal=unsealed,
        settings=WorkerSettings(partitions=PARTITIONS, batch_max=batch_max), log=structlog.get_logger(),
    )  # fmt: skip
    answers = await outside.open(topology.gateway(GATEWAY.partition("/")[2]), asyncio.Event())
    for p in range(PARTITIONS):
        await outside.declare(topology.partition(p))
    task = asyncio.create_task(worker.run())
    try:
        yield Running(worker, store, database, outside, answers, {})
    finally:
        worker.stop()
        await task


def creation(n: int, vcpus: int = 1) -> Envelope:
    flavor = Flavor(id="1", name="m1", vcpus=vcpus, memory_mib=128, disk_gib=1)
    request = ServerRequest(name=f"vm{n}", hostname=f"vm{n}", flavor=flavor, image=None)
    then = CreateInstance(by=OWNER, instance=f"i{n}", request=request)
    reserve = ReserveQuota(by=OWNER, limits=UNLIMITED, then=then)
    return command(PROJECT, reserve, operation=f"op-{n}").envelope


async def test_a_batch_is_no_larger_than_allowed_whatever_arrives_at_once() -> None:
    async with running(batch_max=7) as there:
        await there.say(*(creation(n) for n in range(60)))
        await there.until(lambda: len(there.heard) == 60)
        assert max(there.store.sizes) <= 7
        assert await there.bus.waiting(QUEUE) == 0


async def test_repetitions_are_acknowledged() -> None:
    again = Stretch(0, HERE, 1, [Envelope(PROJECT, PROJECT, b"{}")])
    async with running() as there:
        for _ in range(500):  # more than one reader may hold unacknowledged
            await there.say(stretch=again)
        await there.say(creation(1))
        await there.until(lambda: "op-1" in there.heard)
        assert isinstance(there.heard["op-1"], Accepted)


async def test_what_the_database_refuses_is_parked_and_the_rest_is_done() -> None:
    sizes = [1] * 20
    sizes[11] = 2**63  # more than any column holds
    async with running() as there:
        await there.say(*(creation(n, vcpus) for n, vcpus in enumerate(sizes)))
        await there.until(lambda: len(there.heard) == 20)
        refused = {operation for operation, answer in there.heard.items() if isinstance(answer, Refused)}
        assert refused == {"op-11"}
        (parked,) = there.database.parked
        assert "out of range" in parked.error
        assert there.database.columns("project", PROJECT_ID) == (19, 19, 19 * 128)
