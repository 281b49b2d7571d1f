"""The bus on RabbitMQ (3.10 … 4.x): one connection, a channel for each mailbox, one for publishing.

A controller party (worker, scheduler, gateway) declares queues and publishes to them by name. A host
agent, made with ``host=<uuid>``, declares nothing, reads only its own queue and publishes only to
``host.in`` as itself; the broker enforces the same (see ``bus.enrolment``). What must not go in:
which message goes where, and retries of a publish.

Unroutable messages come back (``mandatory``): to a partition or the schedulers that is an outage, to
a gateway or a host that is gone it is counted and forgotten.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPChannelError, ChannelNotFoundEntity, ChannelPreconditionFailed

from bus import topology
from bus.consumer import AmqpMailbox
from bus.link import Link, describe, hang_up, unavailable
from bus.mailbox import BusUnavailable, Counters, Parcel, Queue, QueueDiffers
from bus.publisher import Publisher
from process.clock import Clock, SystemClock

TIMEOUT_S: Final = 5.0
"""How long any one exchange with the broker may take before it counts as BusUnavailable."""

RENEW_EACH_S: Final = 0.05
"""Allowed on top for each queue declared again after a reconnection (about 4 ms on a wiped broker)."""

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AmqpBus:
    """See ``bus.mailbox.Bus``. Dials on first use; every wait is bounded by ``timeout_s``.

    ``url`` is ``amqp://user:password@host:port/vhost``, or ``amqps://…?cafile=…`` for TLS (also
    ``certfile`` and ``keyfile``); ``name`` is shown by the broker; ``queue_type`` is ``classic`` on
    one broker, ``quorum`` on a cluster.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        queue_type: topology.QueueType = "classic",
        host: str = "",
        timeout_s: float = TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        self._queue_type = queue_type
        self._host = host
        self._declared: dict[str, Queue] = {}
        self._mailboxes: list[AmqpMailbox] = []
        self._link = Link(
            url, name=name, timeout_s=timeout_s, clock=clock or SystemClock(), renew=self._renew
        )
        if host and self._link.login != topology.login_of(host):
            raise ValueError(f"the agent of {host} must log in as {topology.login_of(host)}")
        self._publisher = Publisher(self._link, host=host)

    @property
    def counters(self) -> Counters:
        return self._link.counters

    async def connect(self) -> None:
        """Dial now rather than on first use. Raises BusUnavailable, and goes on trying."""
        await self._link.wire()

    async def declare(self, queue: Queue) -> None:
        if self._host:
            return
        try:
            await self._on_channel(f"declare {queue.name}", lambda channel: self._make(channel, queue))
        except BusUnavailable as error:
            if isinstance(error.__cause__, ChannelPreconditionFailed):
                raise QueueDiffers(str(error)) from error.__cause__
            raise
        if queue.durable:
            self._declared[queue.name] = queue

    async def open(
        self, queue: Queue, wake: asyncio.Event, prefetch: int = 200, priority: int = 0
    ) -> AmqpMailbox:
        if self._host:
            topology.check_reads(self._host, queue.name)
        mailbox = AmqpMailbox(
            self._link,
            queue,
            wake,
            prefetch=prefetch,
            priority=priority,
            declare=self._make,
            on_close=self._forget,
        )
        await mailbox.start()
        self._mailboxes.append(mailbox)
        return mailbox

    async def publish(self, parcels: list[Parcel]) -> None:
        await self._publisher.publish(parcels)

    async def waiting(self, queue: str) -> int:
        async def count(channel: AbstractChannel) -> int:
            try:
                return (await channel.queue_declare(queue, passive=True)).message_count or 0
            except ChannelNotFoundEntity:
                return 0

        return await self._on_channel(f"inspect {queue}", count)

    async def delete(self, queue: str) -> None:
        async def drop(channel: AbstractChannel) -> None:
            await channel.queue_delete(queue)

        self._declared.pop(queue, None)
        await self._on_channel(f"delete {queue}", drop)

    async def close(self) -> None:
        for mailbox in list(self._mailboxes):
            await mailbox.close()
        await self._link.close()

    async def _on_channel(self, doing: str, work: Callable[[AbstractChannel], Awaitable[T]]) -> T:
        """Do something on a channel of its own: a refusal closes the channel it happens on."""
        channel = await self._link.channel(confirms=False)
        try:
            with unavailable(doing):
                async with asyncio.timeout(self._link.timeout_s):
                    return await work(channel)
        finally:
            await hang_up(channel)

    async def _make(self, channel: AbstractChannel, queue: Queue) -> None:
        """Declare a queue with all it needs. Agents may not: theirs is made for them."""
        if self._host:
            return
        for exchange in topology.exchanges_for(queue):
            await channel.exchange_declare(exchange.name, exchange_type=exchange.kind, durable=True)
        await channel.queue_declare(
            queue.name,
            durable=queue.durable,
            # A transient queue is exclusive: gone with its connection, and still allowed on RabbitMQ 4,
            # where transient queues that are not exclusive are deprecated.
            exclusive=not queue.durable,
            auto_delete=not queue.durable,
            arguments=dict(topology.arguments_of(queue, self._queue_type)),
        )
        binding = topology.binding_of(queue)
        if binding is not None:
            await channel.queue_bind(queue.name, binding.exchange.name, binding.key)

    async def _renew(self, wire: AbstractConnection) -> None:
        """On each new connection: what was declared must exist again, the broker may have been wiped."""
        if self._host or not self._declared:
            return
        with unavailable("declare again"):
            async with asyncio.timeout(self._link.timeout_s + len(self._declared) * RENEW_EACH_S):
                channel = await wire.channel(publisher_confirms=False)
                for queue in list(self._declared.values()):
                    try:
                        await self._make(channel, queue)
                    except AMQPChannelError as error:
                        # One queue that somebody gave another shape must not keep all others away.
                        log.warning("bus.declare_refused", queue=queue.name, reason=describe(error))
                        channel = await wire.channel(publisher_confirms=False)
                await hang_up(channel)

    def _forget(self, mailbox: AmqpMailbox) -> None:
        if mailbox in self._mailboxes:
            self._mailboxes.remove(mailbox)
