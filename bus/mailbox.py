"""The bus as the rest of the program sees it: queues with names, bundles as bytes.

Two twins implement it: ``bus.amqp`` (RabbitMQ) and ``bus.memory`` (one process). Neither promises
more than this: a published body arrives at least once while the queue lives; order holds for one
publisher and one queue most of the time; a broker may lose everything. The runtime's numbered
streams and the agents' retries make that enough. No routing decision belongs here.
"""

import asyncio
from typing import Protocol

from msgspec import Struct


class BusUnavailable(Exception):  # noqa: N818  named for what the caller does: try again later
    """The broker cannot be reached or did not confirm in time. Try again later."""


class Queue(Struct, frozen=True):
    """One mailbox. ``durable`` survives the broker's restart; others vanish with their reader.

    ``shared`` queues have competing consumers; ``fanout`` names the fan-out exchange it listens to.
    """

    name: str
    durable: bool = True
    fanout: str = ""


class Parcel(Struct, frozen=True):
    """One bus message: to a queue by name, or to every queue of a fan-out when ``fanout`` is set."""

    queue: str
    body: bytes
    fanout: str = ""


class Delivery(Struct, frozen=True):
    """One received bus message. ``sender`` is the host id the broker vouches for, else empty."""

    body: bytes
    tag: int
    sender: str = ""


class Mailbox(Protocol):
    """An open consumer. ``wake`` (given at opening) is set whenever something is there to take."""

    def take(self, limit: int) -> list[Delivery]:
        """Up to ``limit`` deliveries in order of arrival, at once; perhaps none."""
        ...

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge this delivery and all before it in this mailbox. Never raises."""
        ...

    def depth(self) -> int:
        """Deliveries received and not yet taken."""
        ...

    async def close(self) -> None:
        """Stop receiving; what is not acknowledged goes back to the queue."""
        ...


class Bus(Protocol):
    """A connection to the bus; reconnects by itself, mailboxes reopen by themselves."""

    async def declare(self, queue: Queue) -> None:
        """Make the queue exist. Idempotent."""
        ...

    async def open(self, queue: Queue, wake: asyncio.Event, prefetch: int = 200) -> Mailbox:
        """Declare and consume. ``prefetch`` bounds deliveries not yet acknowledged."""
        ...

    async def publish(self, parcels: list[Parcel]) -> None:
        """Hand over all parcels and wait for the broker's confirms.

        Raises BusUnavailable when any was not confirmed; some may have arrived all the same.
        """
        ...

    async def waiting(self, queue: str) -> int:
        """Messages ready in the queue, as the broker counts them."""
        ...

    async def delete(self, queue: str) -> None:
        """Remove a queue and what is in it. Idempotent."""
        ...

    async def close(self) -> None:
        """Hand back what is unacknowledged and disconnect."""
        ...
