"""The end of the event log, followed once per process for all subscribers, and only while there are any.

Each poll is one query over all partitions. An event's bytes are made once, those of an audience joined
once, and handed to each subscriber's transport, whose own buffer is the subscriber's queue: who does not
read fast enough is let go, with the reason.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.commands import Unavailable
from gateway.own.cursor import Cursors
from gateway.own.frame import Audience, Position, event_frame, in_order, notice
from store.event import LoggedEvent, events, extent
from store.pool import Pool, is_outage

POLL_S: Final = 0.05
RETRY_S: Final = 1.0
READY_MAX_S: Final = 5.0
PAGE: Final = 500
"""Events of one partition in one query."""
BUFFER_BYTES_MAX: Final = 1 << 20
"""What may wait for one subscriber to read."""
SUBSCRIBERS_MAX: Final = 5000


class Subscriber:
    """One client at the end of the log. ``ended`` tells its handler why it was let go."""

    def __init__(self, transport: asyncio.WriteTransport, audience: Audience, *, chunked: bool) -> None:
        self.audience = audience
        self.chunked = chunked
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._transport = transport

    def write(self, framed: bytes, plain: bytes) -> None:
        """Hand over bytes, with or without the frame of a chunk."""
        if self._transport.is_closing():
            self.end("gone")
            return
        self._transport.write(framed if self.chunked else plain)
        if self._transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            self.end("slow")

    def end(self, reason: str) -> None:
        """Let go."""
        if not self.ended.done():
            self.ended.set_result(reason)


def chunk(plain: bytes) -> bytes:
    """One chunk of a chunked HTTP body."""
    return b"%x\r\n%b\r\n" % (len(plain), plain)


class EventTail:
    """The one follower of a process. Its task lives while ``used`` is entered."""

    def __init__(self, pool: Pool, log: FilteringBoundLogger, cursors: Cursors) -> None:
        self._pool, self._log, self.cursors = pool, log, cursors
        self._users = 0
        self._task: asyncio.Task[None] | None = None
        self._position = Position((), cursors)
        self._ready = asyncio.Event()
        self._audiences: dict[Audience, dict[Subscriber, None]] = {}
        self._stopped = False

    @property
    def full(self) -> bool:
        """Whether this process takes no more subscribers, for now or because it ends."""
        return self._users >= SUBSCRIBERS_MAX or self._stopped

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Position]:
        """Keep following while inside; gives the position, which moves on by itself.

        Raises Unavailable when the log cannot be read.
        """
        self._users += 1
        if self._task is None or self._task.done():
            self._ready.clear()
            self._task = asyncio.create_task(self._follow(), name="event-tail")
        try:
            await self._until_ready()
            yield self._position
        finally:
            self._users -= 1
            if not self._users and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_MAX_S):
                await self._ready.wait()
        except TimeoutError as error:
            raise Unavailable from error

    def join(self, subscriber: Subscriber) -> None:
        """From now on. The caller has told the subscriber everything up to the present position."""
        self._audiences.setdefault(subscriber.audience, {})[subscriber] = None

    def leave(self, subscriber: Subscriber) -> None:
        """No more."""
        group = self._audiences.get(subscriber.audience, {})
        group.pop(subscriber, None)
        if not group:
            self._audiences.pop(subscriber.audience, None)

    def stop(self) -> None:
        """The process ends: let everybody go, take nobody new."""
        self._stopped = True
        self._end_all("shutdown")

    def _end_all(self, reason: str) -> None:
        for group in self._audiences.values():
            for subscriber in group:
                subscriber.end(reason)

    async def _follow(self) -> None:
        try:
            while True:
                try:
                    more = await self._once()
                except Exception as error:
                    if not is_outage(error):
                        raise
                    self._log.warning("events.unavailable", error=repr(error))
                    await asyncio.sleep(RETRY_S)
                    continue
                await asyncio.sleep(0 if more else POLL_S)
        except Exception as error:  # noqa: BLE001  a bug: nobody may wait for events that do not come
            self._log.error("bug", where="event tail", exc_info=error)
            self._end_all("failed")

    async def _once(self) -> bool:
        """One poll; whether there may be more at once."""
        async with self._pool.acquire() as c:
            if not self._ready.is_set():
                self._position.jump((await extent(c)).last)
                self._ready.set()
            found = await events(c, self._position.numbers, limit=PAGE)
        if found:
            self._tell(self._position, in_order(found))
        return len(found) >= PAGE

    def _tell(self, position: Position, found: list[LoggedEvent]) -> None:
        """Move on past these events and hand them out; all in one step, so that joining is exact."""
        parts: dict[Audience, list[bytes]] = {audience: [] for audience in self._audiences}
        for event in found:
            gap = event.n != position.numbers[event.partition] + 1
            position.move(event.partition, event.n)
            cursor = position.cursor
            if gap:
                # Retention has overtaken us: what lies between can no longer be told.
                reset = notice("reset", cursor, {"reason": "Events were removed before they could be told."})
                for told in parts.values():
                    told.append(reset)
            frame = event_frame(event, self.cursors.event_id(event.partition, event.n), cursor)
            for audience, told in parts.items():
                if audience.wants(event):
                    told.append(frame)
        for audience, told in parts.items():
            if told:
                plain = b"".join(told)
                framed = chunk(plain)
                for subscriber in list(self._audiences[audience]):
                    subscriber.write(framed, plain)
