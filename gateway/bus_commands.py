"""Commands over the bus: say it, wait for the answer, say it again while there is time.

One queue per gateway receives all answers; the operation's id finds who waits. A command is repeated
under the same operation until it is answered or too late, so a lost message costs a second at most
and the actor begins the operation once.

A refusal counts when every copy was refused or is too late: between two copies of one command the
actor may have come to another state, and who was told "no" must not see it happen all the same.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from bus.mailbox import Bus, BusUnavailable, Mailbox
from bus.topology import gateway
from gateway.commands import Unavailable
from gateway.outgoing import Outgoing
from process.clock import Clock
from protocol.codec import decode_bundle, decode_message, encode_message
from protocol.errors import Refused
from protocol.ids import address
from protocol.message import Envelope, Message

REPEAT_S: Final = 1.0
WAITING_MAX: Final = 10_000
TAKE_MAX: Final = 500


class _Asked(Struct):
    """An operation somebody waits for: its copies on their way, and the refusals heard so far."""

    waiting: list[asyncio.Future[Message]]
    copies: int = 0
    refusals: int = 0
    refusal: Refused | None = None


class BusCommands:
    """``gateway.commands.CommandClient`` on a bus. ``run`` must be running for answers to arrive."""

    def __init__(
        self, *, name: str, bus: Bus, clock: Clock, partitions: int, log: FilteringBoundLogger
    ) -> None:
        self.address = address("gateway", name)
        self._queue = gateway(name)
        self._bus, self._clock, self._partitions, self._log = bus, clock, partitions, log
        self._asked: dict[str, _Asked] = {}
        self._wake = asyncio.Event()
        self._mailbox: Mailbox | None = None
        self._outgoing = Outgoing(bus, partitions, log)

    async def open(self) -> None:
        """Make the queue of answers. Raises BusUnavailable."""
        self._mailbox = await self._bus.open(self._queue, self._wake)

    async def run(self) -> None:
        """Send commands and hand answers to those who wait, until cancelled."""
        if self._mailbox is None:
            await self.open()
        mailbox, self._mailbox = self._mailbox, None  # closed at the end: who runs this again opens another
        if mailbox is None:
            raise BusUnavailable("the queue of answers is not open")
        sending = asyncio.create_task(self._outgoing.run(), name="commands")
        sending.add_done_callback(lambda _: self._wake.set())
        try:
            while True:
                deliveries = mailbox.take(TAKE_MAX)
                for delivery in deliveries:
                    self._hear(delivery.body)
                if deliveries:
                    mailbox.ack(deliveries[-1])
                elif sending.done():
                    sending.result()
                else:
                    await self._wake.wait()
                    self._wake.clear()
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            await mailbox.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run in the background for the length of a block."""
        task = asyncio.create_task(self.run(), name="answers")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _hear(self, body: bytes) -> None:
        try:
            for stretch in decode_bundle(body).stretches:
                for envelope in stretch.envelopes:
                    self._resolve(envelope.operation, decode_message(envelope.body))
        except msgspec.MsgspecError as error:
            self._log.error("answer.unreadable", error=str(error))

    def _resolve(self, operation: str, answer: Message) -> None:
        asked = self._asked.get(operation)
        if asked is None:
            return
        if isinstance(answer, Refused):
            asked.refusals += 1
            asked.refusal = answer
            if asked.refusals < asked.copies:
                return
        for waiting in asked.waiting:
            if not waiting.done():
                waiting.set_result(answer)

    def expect(self, ticket: str) -> asyncio.Future[Message]:
        """A future for an answer that will come under ``ticket``; give it back with ``forget``."""
        if len(self._asked) >= WAITING_MAX:
            raise Unavailable("too many commands are waiting; try again later")
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(ticket, _Asked([])).waiting.append(future)
        return future

    def forget(self, ticket: str, future: asyncio.Future[Message]) -> None:
        """Nobody waits for this any more."""
        asked = self._asked.get(ticket)
        if asked is None:
            return
        if future in asked.waiting:
            asked.waiting.remove(future)
        if not asked.waiting:
            del self._asked[ticket]

    async def send(
        self, to: str, message: Message, *, operation: str, timeout_s: float, trace: str = ""
    ) -> Message:
        answer_by = self._clock.now() + timeout_s
        envelope = Envelope(
            to, self.address, encode_message(message), operation, self.address, answer_by, trace
        )
        answer = self.expect(operation)
        asked = self._asked[operation]
        deadline = self._clock.monotonic() + timeout_s
        try:
            while (left := deadline - self._clock.monotonic()) > 0:
                if asked.refusal is None:
                    asked.copies += self._outgoing.put(envelope)
                done, _ = await asyncio.wait([answer], timeout=min(REPEAT_S, left))
                if done:
                    return answer.result()
            # One copy was refused, perhaps; another may have been lost, or may have begun it all the same.
            raise Unavailable("no answer in time; the operation's row tells what became of it")
        finally:
            self.forget(operation, answer)
