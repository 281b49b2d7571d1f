"""One connection to RabbitMQ that is kept up: dial, notice the loss, dial again with backoff.

What must not go in: queues, messages, or anything that differs between an agent and a worker.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import aio_pika
import aio_pika.abc
import structlog
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

from bus.mailbox import BusUnavailable, Counters
from process.clock import Clock

HEARTBEAT_S: Final = 10
"""The broker gives up on a silent client after two of these, the client on a silent broker after 33 s."""

RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 5.0
CLOSE_MAX_S: Final = 3.0
"""How long to wait for a polite goodbye before the socket is dropped."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)
logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it says of lost connections is said here


@contextmanager
def unavailable(doing: str) -> Iterator[None]:
    """Turn whatever the AMQP library raises on a lost, refused or late exchange into BusUnavailable.

    The library also ends pending calls of a closed connection with CancelledError (told apart here
    from a real cancellation of the caller), with RuntimeError and with StopAsyncIteration.
    """
    try:
        yield
    except (AMQPError, OSError, TimeoutError, RuntimeError, StopAsyncIteration) as error:
        raise BusUnavailable(f"{doing}: {describe(error)}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BusUnavailable(f"{doing}: connection closed") from error


def describe(error: BaseException) -> str:
    """An error in one line, without credentials."""
    return f"{type(error).__name__} {error}".strip()[:300]


class Backoff:
    """Seconds to wait before the next try: doubling, with jitter, bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_s = RETRY_MIN_S

    def reset(self) -> None:
        """The last try went well."""
        self._next_s = RETRY_MIN_S

    async def wait(self) -> None:
        """Sleep between half and all of the current delay, then double it."""
        delay_s = self._next_s * self._clock.random.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, RETRY_MAX_S)
        await asyncio.sleep(delay_s)


class Link:
    """A connection that is either up, or being dialled. ``timeout_s`` bounds each exchange on it.

    ``renew`` is called on each new connection before anybody else may use it; when it raises
    BusUnavailable the connection is dropped and dialled again.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        timeout_s: float,
        clock: Clock,
        renew: Callable[[AbstractConnection], Awaitable[None]],
    ) -> None:
        self._url = URL(url).update_query(heartbeat=str(HEARTBEAT_S), name=name)
        self.timeout_s = timeout_s
        self.counters = Counters()
        self._name = name
        self._clock = clock
        self._backoff = self.backoff()
        self._renew = renew
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._wire: AbstractConnection | None = None
        self._up = asyncio.Event()
        self._failure = "not connected yet"
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._dialled = False

    @property
    def login(self) -> str:
        """The broker user this connection logs in as."""
        return self._url.user or ""

    def backoff(self) -> Backoff:
        """A fresh backoff on this connection's clock."""
        return Backoff(self._clock)

    async def wire(self) -> AbstractConnection:
        """The connection, waiting ``timeout_s`` for it at most. Raises BusUnavailable."""
        if self._wire is not None and not self._wire.is_closed:
            return self._wire
        if self._closed:
            raise BusUnavailable(f"{self._name} was closed")
        if self._task is None:
            self._task = asyncio.create_task(self._keep_up(), name=f"bus link {self._name}")
        with unavailable(f"{self._name} waits for the broker ({self._failure})"):
            async with asyncio.timeout(self.timeout_s):
                return await self.established()

    async def established(self) -> AbstractConnection:
        """The connection, however long it takes."""
        while True:
            await self._up.wait()
            if self._wire is not None and not self._wire.is_closed:
                return self._wire
            # The loss is known here before the keeper has noticed: let it.
            await asyncio.sleep(0)

    async def channel(self, *, confirms: bool) -> AbstractChannel:
        """A fresh channel. Raises BusUnavailable."""
        wire = await self.wire()
        with unavailable("open a channel"):
            async with asyncio.timeout(self.timeout_s):
                return await wire.channel(publisher_confirms=confirms, on_return_raises=True)

    async def close(self) -> None:
        """Say goodbye; afterwards every use raises BusUnavailable."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._drop()

    async def _keep_up(self) -> None:
        while True:
            try:
                self._wire = await self._dial()
            except BusUnavailable as error:
                self._failure = str(error)
                log.warning("bus.unreachable", connection=self._name, reason=self._failure)
            except Exception as error:  # a surprise in the library must not end the redialling
                self._failure = describe(error)
                log.exception("bus.dial_failed", connection=self._name)
            else:
                self._backoff.reset()
                self.counters.reconnects += self._dialled
                self._dialled = True
                self._up.set()
                log.info("bus.connected", connection=self._name)
                await asyncio.wait([self._wire.closing])
                self._failure = "connection lost"
                log.warning("bus.lost", connection=self._name)
            await self._drop()
            await self._backoff.wait()

    async def _dial(self) -> AbstractConnection:
        with unavailable("dial"):
            async with asyncio.timeout(self.timeout_s):
                # Kept: the library hangs up when this object is collected.
                self._connection = await aio_pika.connect(self._url)
        transport = self._connection.transport
        if transport is None:
            raise BusUnavailable("dial: closed at once")
        await self._renew(transport.connection)
        return transport.connection

    async def _drop(self) -> None:
        self._up.clear()
        self._wire = None
        connection, self._connection = self._connection, None
        if connection is not None:
            await hang_up(connection)


class Closable(Protocol):
    """A connection or channel of either library."""

    async def close(self) -> object:
        """Say goodbye."""
        ...


async def hang_up(closable: Closable) -> None:
    """Close a connection or channel, politely if the other side still answers. Never raises."""
    closing = asyncio.create_task(_close(closable))
    done, _ = await asyncio.wait([closing], timeout=CLOSE_MAX_S)
    if not done:
        closing.cancel()
        done, _ = await asyncio.wait([closing], timeout=CLOSE_MAX_S)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("bus.close_failed", reason=describe(error))


async def _close(closable: Closable) -> None:
    await closable.close()
