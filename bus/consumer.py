"""Receiving from one RabbitMQ queue: a channel of its own, a deque, and coalesced acknowledgements.

Each mailbox has its own channel because ``multiple`` acknowledges by channel. What must not go in:
what a body means.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage, FieldTable

from bus import topology
from bus.link import CLOSE_MAX_S, Link, hang_up, unavailable
from bus.mailbox import BODY_BYTES_MAX, BusUnavailable, Delivery, Queue

_PRIORITY_MAX: Final = 2**31 - 1
"""Of RabbitMQ. Source: RabbitMQ documentation, "Consumer Priorities"."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AmqpMailbox:
    """See ``bus.mailbox.Mailbox``. ``declare`` makes the queue exist, or does nothing for an agent."""

    def __init__(
        self,
        link: Link,
        queue: Queue,
        wake: asyncio.Event,
        *,
        prefetch: int,
        priority: int,
        declare: Callable[[AbstractChannel, Queue], Awaitable[None]],
        on_close: Callable[["AmqpMailbox"], None],
    ) -> None:
        self._link = link
        self._queue = queue
        self._wake = wake
        self._prefetch = prefetch
        self._priority = min(priority, _PRIORITY_MAX)
        self._declare = declare
        self._backoff = link.backoff()
        self._counters = link.counters
        self._on_close = on_close
        self._inbox: deque[Delivery] = deque()
        self._wire: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._gone = asyncio.Event()
        # Our tags go on rising over reconnections; the broker's begin again at 1 on each channel.
        self._base = 0
        self._last = 0
        self._acked = 0
        self._flushed = 0
        self._flusher: asyncio.Task[None] | None = None
        self._rejections: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    def take(self, limit: int) -> list[Delivery]:
        inbox = self._inbox
        taken = [inbox.popleft() for _ in range(min(limit, len(inbox)))]
        self._counters.delivered += len(taken)
        return taken

    def ack(self, delivery: Delivery) -> None:
        if delivery.tag <= self._base or self._channel is None:
            self._counters.stale_acks += 1
            return
        if delivery.tag <= self._acked:
            return
        self._acked = delivery.tag
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(self._channel))

    def depth(self) -> int:
        return len(self._inbox)

    async def start(self) -> None:
        """Consume for the first time. Raises BusUnavailable."""
        await self._attach(await self._link.wire())
        self._keeper = asyncio.create_task(self._keep_open(), name=f"bus mailbox {self._queue.name}")

    async def close(self) -> None:
        self._on_close(self)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._flusher is not None:
            await asyncio.wait([self._flusher], timeout=CLOSE_MAX_S)
        channel = self._detach()
        if channel is not None:
            await hang_up(channel)

    async def _keep_open(self) -> None:
        while True:
            await self._gone.wait()
            channel = self._detach()
            if channel is not None:
                await hang_up(channel)
            if self._wire is not None and not self._wire.is_closed:
                await self._backoff.wait()  # only the channel or the consumer is gone: not too eagerly
            await self._reopen()
            self._wake.set()

    async def _reopen(self) -> None:
        while True:
            wire = await self._link.established()
            try:
                await self._attach(wire)
            except BusUnavailable as error:
                log.warning("bus.mailbox_unavailable", queue=self._queue.name, reason=str(error))
            except Exception:  # a surprise in the library must not leave it deaf
                log.exception("bus.mailbox_failed", queue=self._queue.name)
            else:
                self._backoff.reset()
                return
            await self._backoff.wait()

    async def _attach(self, wire: AbstractConnection) -> None:
        with unavailable(f"open {self._queue.name}"):
            async with asyncio.timeout(self._link.timeout_s):
                self._wire = wire
                channel = await wire.channel(publisher_confirms=False)
                try:
                    await self._declare(channel, self._queue)
                    await self._consume(channel)
                except BaseException:
                    self._detach()
                    await hang_up(channel)
                    raise

    async def _consume(self, channel: AbstractChannel) -> None:
        self._gone = gone = asyncio.Event()
        self._channel = channel
        channel.closing.add_done_callback(lambda _: gone.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: gone.set())
        await channel.basic_qos(prefetch_count=self._prefetch)
        priority: FieldTable = {"x-priority": self._priority}
        await channel.basic_consume(self._queue.name, partial(self._receive, channel), arguments=priority)

    def _detach(self) -> AbstractChannel | None:
        channel, self._channel = self._channel, None
        self._base = self._acked = self._flushed = self._last
        self._inbox.clear()
        # On a dead connection these may wait for ever, and what they say no longer matters.
        for telling in (*self._rejections, *([self._flusher] if self._flusher else [])):
            telling.cancel()
        self._flusher = None
        return channel

    async def _receive(self, channel: AbstractChannel, message: DeliveredMessage) -> None:
        tag = message.delivery_tag
        if channel is not self._channel or tag is None:
            return  # from a channel already given up; the broker delivers it again
        sender = ""
        if message.exchange == topology.HOST_IN:
            sender = topology.sender_of(message.routing_key or "", message.header.properties.user_id or "")
            if not sender or len(message.body) > BODY_BYTES_MAX:
                self._reject(channel, tag, message)
                return
        self._last = self._base + tag
        self._inbox.append(Delivery(message.body, self._last, sender))
        self._wake.set()

    def _reject(self, channel: AbstractChannel, tag: int, message: DeliveredMessage) -> None:
        self._counters.forged += 1
        if self._counters.forged.bit_count() == 1:  # a captured host must not fill the log: 1, 2, 4, 8 …
            log.error("bus.forged", queue=self._queue.name, key=message.routing_key, size=len(message.body))
        task = asyncio.create_task(_settle(channel.basic_reject(tag, requeue=False, wait=False)))
        self._rejections.add(task)
        task.add_done_callback(self._rejections.discard)

    async def _flush(self, channel: AbstractChannel) -> None:
        while channel is self._channel and self._flushed < self._acked:
            self._flushed = tag = self._acked
            await _settle(channel.basic_ack(tag - self._base, multiple=True, wait=False))


async def _settle(sending: Awaitable[None]) -> None:
    """Tell the broker what became of a delivery. If that fails the channel is lost: it comes again."""
    try:
        with unavailable("acknowledge"):
            await sending
    except BusUnavailable as error:
        log.debug("bus.ack_lost", reason=str(error))
