"""From the agent's queue to orders: opening, checking and acknowledging, in order of arrival.

A delivery is acknowledged when ``admit`` has returned for all its orders. What cannot be read or
was not written by the controller is logged and dropped: an agent has nobody to hand it back to, and
the controller's deadlines notice. What must not go in: what an order is worth.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from structlog.typing import FilteringBoundLogger

from bus.mailbox import Bus, BusUnavailable, Delivery, Mailbox
from bus.topology import host as host_queue
from hostagent.console import ConsoleReader
from hostagent.lease import Lease
from hostagent.orders import Order
from hostagent.warming import Warmer
from protocol.agent import CacheImage, GuestCommand, HeartbeatHeard, ReadGuestConsole
from protocol.codec import decode_bundle, decode_message
from protocol.ids import HostId, address
from protocol.message import Envelope

PREFETCH: Final = 200
"""Deliveries taken from the bus and not yet acknowledged."""

RETRY_S: Final = 2.0
"""Pause before the agent's queue is opened again."""


class Intake:
    """The reading end of one agent."""

    def __init__(
        self,
        host: HostId,
        bus: Bus,
        lease: Lease,
        console: ConsoleReader,
        warmer: Warmer,
        log: FilteringBoundLogger,
    ) -> None:
        self._host = host
        self._address = address("agent", host)
        self._bus = bus
        self._lease = lease
        self._console = console
        self._warmer = warmer
        self._log = log
        self._wake = asyncio.Event()
        self._stopping = False
        self._stopped = asyncio.Event()
        self.unreadable = 0

    async def run(self, admit: Callable[[list[Order]], Awaitable[None]]) -> None:
        """Take messages until cancelled or stopped."""
        mailbox = await self._open()
        try:
            while not self._stopping:
                deliveries = mailbox.take(PREFETCH)
                if deliveries:
                    await admit(self._orders(deliveries))
                    mailbox.ack(deliveries[-1])
                else:
                    await self._wake.wait()
                    self._wake.clear()
        finally:
            self._stopped.set()
            await mailbox.close()

    async def stop(self) -> None:
        """Take no more; returns when what was taken has been admitted."""
        self._stopping = True
        self._wake.set()
        await self._stopped.wait()

    async def _open(self) -> Mailbox:
        while True:
            try:
                return await self._bus.open(host_queue(self._host), self._wake, PREFETCH)
            except BusUnavailable as error:
                self._log.warning("queue.unavailable", reason=str(error))
                await asyncio.sleep(RETRY_S)

    def _orders(self, deliveries: list[Delivery]) -> list[Order]:
        envelopes = [envelope for delivery in deliveries for envelope in self._envelopes(delivery)]
        return [order for order in map(self._read, envelopes) if order is not None]

    def _envelopes(self, delivery: Delivery) -> list[Envelope]:
        if delivery.sender:
            self._drop("message.forged", sender=delivery.sender, reason="a host wrote to another host")
            return []
        try:
            bundle = decode_bundle(delivery.body)
        except msgspec.DecodeError as error:
            self._drop("message.unreadable", reason=str(error), bytes=len(delivery.body))
            return []
        return [envelope for stretch in bundle.stretches for envelope in stretch.envelopes]

    def _read(self, envelope: Envelope) -> Order | None:
        """The order in this envelope; other messages are taken up at once."""
        try:
            message = decode_message(envelope.body)
        except msgspec.DecodeError as error:
            self._drop("message.unreadable", reason=str(error), operation=envelope.operation)
            return None
        kind = type(message).__name__
        if envelope.to != self._address:
            self._drop("message.misdirected", to=envelope.to, kind=kind)
            return None
        match message:
            case GuestCommand():
                return Order(message, envelope.body, envelope.operation, envelope.trace)
            case HeartbeatHeard():
                self._lease.heard(message.sent_at, message.heard_at)
            case ReadGuestConsole():
                self._console.begin(message, envelope.trace)
            case CacheImage():
                self._warmer.take(message.image)
            case _:
                self._drop("message.unexpected", kind=kind)
        return None

    def _drop(self, event: str, **details: str | int) -> None:
        self.unreadable += 1
        self._log.error(event, **details)
