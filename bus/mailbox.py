"""The bus as the rest of the program sees it: queues with names, bundles as bytes.

Two twins implement it: ``bus.amqp`` (RabbitMQ) and ``bus.memory`` (one process). Neither promises
more than this: a published body arrives at least once while the queue lives; order holds for one
publisher and one queue most of the time; a broker may lose everything. The runtime's numbered
streams and the agents' retries make that enough. No routing decision belongs here.
"""

import asyncio
from typing import Final, Protocol

from msgspec import Struct

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""The largest body a bus carries. Bundles are 64 kB by intent; one envelope alone may be larger."""


class BusUnavailable(Exception):  # noqa: N818  named for what the caller does: try again later
    """The broker cannot be reached or did not confirm in time. Try again later."""


class QueueDiffers(BusUnavailable):
    """The queue exists in another shape than the one asked for. It serves; only its limits are others."""


class Queue(Struct, frozen=True):
    """One mailbox. ``durable`` survives the broker's restart; others vanish with their reader.

    Several readers of a durable queue compete for its messages; a transient queue belongs to one
    connection. ``fanout`` names the fan-out exchange it listens to.
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


class Counters(Struct):
    """What one connection has seen since it was made, for the metrics page."""

    published: int = 0
    unconfirmed: int = 0
    unroutable: int = 0
    refused: int = 0
    delivered: int = 0
    stale_acks: int = 0
    forged: int = 0
    reconnects: int = 0


class Mailbox(Protocol):
    """An open consumer. ``wake`` (given at opening) is set whenever something is there to take.

    After a cut it reopens by itself and sets ``wake``. What was received before the cut and not
    acknowledged comes again; deliveries not yet taken are forgotten, acknowledging a taken one does
    nothing.
    """

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

    @property
    def counters(self) -> Counters:
        """Live figures; ``reconnects`` rises when what was sent before may have been lost."""
        ...

    async def declare(self, queue: Queue) -> None:
        """Make the queue exist, again after each reconnection. Idempotent; agents may not, and need not.

        Raises BusUnavailable; QueueDiffers when there is one of another shape.
        """
        ...

    async def open(
        self, queue: Queue, wake: asyncio.Event, prefetch: int = 200, priority: int = 0
    ) -> Mailbox:
        """Declare and consume. ``prefetch`` bounds deliveries not yet acknowledged.

        Among competing readers those of the highest ``priority`` are served as long as they have room.
        An agent's queue is not declared: it must exist. Raises BusUnavailable; ValueError when an
        agent asks for another queue than its own.
        """
        ...

    async def publish(self, parcels: list[Parcel]) -> None:
        """Hand over all parcels and wait for the broker's confirms.

        Raises BusUnavailable when any was not confirmed; some may have arrived all the same. A
        parcel to a gateway or host whose queue is gone or full counts as delivered (see
        ``topology.must_route``). Raises ValueError for a body over BODY_BYTES_MAX, and when an
        agent publishes to anything but a partition.
        """
        ...

    async def waiting(self, queue: str) -> int:
        """Messages ready in the queue, as the broker counts them; 0 when there is no such queue."""
        ...

    async def delete(self, queue: str) -> None:
        """Remove a queue and what is in it. Idempotent."""
        ...

    async def close(self) -> None:
        """Hand back what is unacknowledged and disconnect."""
        ...
