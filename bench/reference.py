"""The reference loop: what a recorded worker did on its wires, done again by the bare drivers.

The same messages are taken in the same batches, the same statements with the same rows are
committed, the same bodies are published and confirmed, the same deliveries acknowledged. Between
them nothing is decided, decoded or encoded: all of it was made before. So its CPU is what aiormq,
asyncpg and the event loop take by themselves, and what a worker uses more is what Starling adds.
"""

import asyncio
import pickle
import sys
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import aiormq
import asyncpg
import msgspec
import uvloop
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage
from msgspec import Struct

from bench.meter import used_s
from bench.recording import COMMIT, PUBLISH, READ, TAKE, Step
from process.run import calm_collector

PREFETCH: Final = 200


class Errand(Struct, frozen=True):
    """What a reference process is started with."""

    amqp: str
    database: str
    recording: str


class Wires:
    """One connection to each server, as a worker has them: a channel for each queue, one for publishing."""

    def __init__(self) -> None:
        self.inboxes: dict[str, deque[int]] = {}
        self.channels: dict[str, AbstractChannel] = {}
        self.arrived = asyncio.Event()

    async def open(self, errand: Errand, queues: set[str]) -> None:
        self._connection = await aiormq.connect(errand.amqp)
        self.publisher = await self._connection.channel(publisher_confirms=True)
        self.database = await asyncpg.connect(errand.database)
        await self.database.execute("SET ROLE starling_worker")
        for queue in sorted(queues):
            channel = self.channels[queue] = await self._connection.channel(publisher_confirms=False)
            self.inboxes[queue] = deque()
            await channel.basic_qos(prefetch_count=PREFETCH)
            await channel.basic_consume(queue, partial(self._receive, self.inboxes[queue]))

    async def _receive(self, inbox: deque[int], message: DeliveredMessage) -> None:
        inbox.append(message.delivery_tag or 0)
        self.arrived.set()

    async def take(self, queue: str) -> int:
        """The next delivery of a queue, however long it takes."""
        inbox = self.inboxes[queue]
        while not inbox:
            self.arrived.clear()
            await self.arrived.wait()
        return inbox.popleft()

    async def publish(self, parcels: list[tuple[str, str, bytes]]) -> None:
        """Send these and wait until all are confirmed."""
        sent = [
            self.publisher.basic_publish(  # type: ignore[call-arg]  # the abstract class lacks wait
                body,
                exchange=fanout,
                routing_key="" if fanout else queue,
                properties=spec.Basic.Properties(content_type="application/msgpack", delivery_mode=2),
                wait=False,
            )
            for queue, fanout, body in parcels
        ]
        await asyncio.gather(*sent)


def read(path: str) -> Iterator[Step]:
    """The steps of a recording."""
    with open(path, "rb") as file:
        while True:
            try:
                yield pickle.load(file)  # noqa: S301  written by this benchmark a moment ago
            except EOFError:
                return


async def repeat(wires: Wires, steps: list[Step]) -> list[float]:
    """Do it all again. Returns the CPU seconds used up to each commit."""
    used: list[float] = []
    tags: dict[str, int] = {}
    publishing: asyncio.Task[None] | None = None
    for step in steps:
        if step[0] == TAKE:
            tags[step[1]] = await wires.take(step[1])
        elif step[0] == READ:
            await wires.database.fetch(step[1], *step[2])
        elif step[0] == COMMIT:
            await wires.database.fetchrow(step[1], *step[2])
            used.append(used_s())
            for queue, tag in tags.items():
                await wires.channels[queue].basic_ack(tag, multiple=True, wait=False)
            tags.clear()
        elif step[0] == PUBLISH:
            if publishing is not None:
                await publishing
            publishing = asyncio.create_task(wires.publish(step[1]))
    if publishing is not None:
        await publishing
    return used


async def main(errand: Errand) -> None:
    """Print the CPU seconds used up to each commit."""
    steps: list[Any] = list(read(errand.recording))
    wires = Wires()
    await wires.open(errand, {step[1] for step in steps if step[0] == TAKE})
    calm_collector()
    used = await repeat(wires, steps)
    print(msgspec.json.encode(used).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Errand)))
