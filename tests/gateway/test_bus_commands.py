"""Commands over the bus: answered, said again, refused, and heard again after the unforeseen."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog

from bus import topology
from bus.mailbox import Parcel
from bus.memory import MemoryBroker, MemoryBus
from gateway.bus_commands import BusCommands
from gateway.commands import Unavailable
from process.clock import SystemClock
from protocol.codec import decode_bundle, encode_bundle, encode_message
from protocol.command import Accepted, Caller
from protocol.errors import Refused
from protocol.ids import partition_of
from protocol.instance import StartInstance
from protocol.message import Bundle, Envelope, Message, Stretch

PARTITIONS = 4
TO = "instance/6f0c2f1e-8b1c-4a52-9a55-0d1f6d0a7c11"
WISH = StartInstance(by=Caller(user="u", project="p", request="r"))


class Actor:
    """Whoever lives at TO: hears commands one by one and answers as a test says."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._bus = MemoryBus(broker, name="worker")
        self._wake = asyncio.Event()
        self._heard: list[Envelope] = []

    async def open(self) -> None:
        queue = topology.partition(partition_of(TO, PARTITIONS))
        self._box = await self._bus.open(queue, self._wake)

    async def hears(self) -> Envelope:
        while not self._heard:
            await self._wake.wait()
            self._wake.clear()
            for delivery in self._box.take(100):
                self._heard += [e for s in decode_bundle(delivery.body).stretches for e in s.envelopes]
        return self._heard.pop(0)

    async def says(self, answer: Message, to: Envelope) -> None:
        envelope = Envelope(to.reply_to, TO, encode_message(answer), to.operation)
        await self.says_bytes(encode_bundle(Bundle([Stretch(-1, -1, 0, [envelope])])), to.reply_to)

    async def says_bytes(self, body: bytes, to: str) -> None:
        await self._bus.publish([Parcel(topology.queue_of(to, PARTITIONS).name, body)])


@asynccontextmanager
async def gateway() -> AsyncIterator[tuple[BusCommands, Actor]]:
    broker = MemoryBroker()
    actor = Actor(broker)
    await actor.open()
    commands = BusCommands(
        name="g", bus=MemoryBus(broker, name="g"), clock=SystemClock(), partitions=PARTITIONS,
        log=structlog.get_logger(),
    )  # fmt: skip
    yield commands, actor


def asked(commands: BusCommands, timeout_s: float = 5.0) -> asyncio.Task[Message]:
    return asyncio.create_task(commands.send(TO, WISH, operation="op", timeout_s=timeout_s))


async def test_a_command_is_answered() -> None:
    async with gateway() as (commands, actor), commands.running():
        answer = asked(commands)
        heard = await actor.hears()
        assert (heard.operation, heard.reply_to) == ("op", "gateway/g")
        await actor.says(Accepted(), heard)
        assert await answer == Accepted()


async def test_a_command_without_an_answer_is_said_again() -> None:
    async with gateway() as (commands, actor), commands.running():
        answer = asked(commands)
        first, second = await actor.hears(), await actor.hears()
        assert first == second
        await actor.says(Accepted(), second)
        assert await answer == Accepted()


async def test_a_refusal_counts_when_every_copy_is_refused() -> None:
    async with gateway() as (commands, actor), commands.running():
        answer = asked(commands)
        copies = [await actor.hears(), await actor.hears()]
        refused = Refused(code="conflict", reason="it is running")
        await actor.says(refused, copies[0])
        await asyncio.wait([answer], timeout=0.05)
        assert not answer.done()
        await actor.says(refused, copies[1])
        assert await answer == refused


async def test_silence_is_no_answer() -> None:
    async with gateway() as (commands, _), commands.running():
        with pytest.raises(Unavailable):
            await asked(commands, timeout_s=0.05)


async def test_whoever_runs_it_again_hears_again() -> None:
    async with gateway() as (commands, actor):
        await commands.open()
        running = asyncio.create_task(commands.run())
        await asyncio.sleep(0)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        async with commands.running():
            answer = asked(commands)
            await actor.says(Accepted(), await actor.hears())
            assert await answer == Accepted()


async def test_what_cannot_be_read_is_passed_over() -> None:
    async with gateway() as (commands, actor), commands.running():
        answer = asked(commands)
        heard = await actor.hears()
        await actor.says_bytes(b"\xff", heard.reply_to)
        await actor.says(Accepted(), heard)
        assert await answer == Accepted()
