"""Facts on their way to the controller: bounded, grouped, sent again until the bus confirms.

Every fact has a key, and a later fact of the same key replaces the earlier one. Losing a fact is
allowed when the outbox overflows: the controller repeats its commands and the next report says what
is. What must not go in: what the facts mean, except which of them stand for the same thing.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from bus.mailbox import BODY_BYTES_MAX, Bus, BusUnavailable, Parcel
from bus.topology import queue_of
from process.clock import Clock
from protocol.codec import encode_bundle, encode_message
from protocol.ids import Address, partition_of
from protocol.message import Bundle, Envelope, Message, Stretch

BUNDLE_BYTES_MAX: Final = 64_000
"""A bundle is closed at this size; a larger fact travels alone."""

FACT_BYTES_MAX: Final = BODY_BYTES_MAX - 4096
"""A larger fact is not sent at all: the bus would refuse it for ever."""

BATCH_MAX: Final = 1000
"""Facts published, and confirmed, together at most."""

RETRY_MIN_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
"""Pause after a publish that was not confirmed: doubling, with up to half of it as jitter."""

UNNUMBERED: Final = -1
"""The stretch source of parties without a partition."""

_ENVELOPE_BYTES: Final = 32

Key = tuple[str, ...]


class Outbox:
    """The facts of one sender not yet confirmed, oldest first."""

    def __init__(
        self,
        *,
        sender: Address,
        bus: Bus,
        clock: Clock,
        partitions: int,
        facts_max: int,
        log: FilteringBoundLogger,
    ) -> None:
        self._sender = sender
        self._bus = bus
        self._clock = clock
        self._partitions = partitions
        self._facts_max = facts_max
        self._log = log
        self._facts: dict[Key, Envelope] = {}
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.confirmed = 0
        self.dropped = 0
        self.retries = 0

    def __len__(self) -> int:
        return len(self._facts)

    def say(self, key: Key, to: Address, fact: Message, operation: str = "", trace: str = "") -> None:
        """Encode and ``put``."""
        self.put(key, to, encode_message(fact), operation, trace)

    def put(self, key: Key, to: Address, body: bytes, operation: str = "", trace: str = "") -> None:
        """Send this as soon as possible, in place of an earlier fact of this key."""
        if len(body) > FACT_BYTES_MAX:
            self.dropped += 1
            self._log.error("fact.too_large", to=to, bytes=len(body))
            return
        self._facts.pop(key, None)
        self._facts[key] = Envelope(to, self._sender, body, operation, trace=trace)
        if len(self._facts) > self._facts_max:
            oldest = next(iter(self._facts))
            del self._facts[oldest]
            self.dropped += 1
            self._log.warning("fact.dropped", key=oldest, outbox_max=self._facts_max)
        self._empty.clear()
        self._wake.set()

    def drop(self, key: Key) -> None:
        """Do not send what waits under this key."""
        self._facts.pop(key, None)

    async def wait_until_empty(self) -> None:
        """Return when everything put so far was confirmed or dropped."""
        await self._empty.wait()

    async def run(self, on_confirmed: Callable[[], None]) -> None:
        """Send until cancelled; calls ``on_confirmed`` after each publish that was confirmed."""
        pause_s = RETRY_MIN_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._facts:
                if await self._publish(list(self._facts.items())[:BATCH_MAX]):
                    on_confirmed()
                    pause_s = RETRY_MIN_S
                else:
                    await asyncio.sleep(pause_s * (1 + self._clock.random.random() / 2))
                    pause_s = min(RETRY_MAX_S, pause_s * 2)
            self._empty.set()

    async def _publish(self, batch: list[tuple[Key, Envelope]]) -> bool:
        parcels = bundle_up([envelope for _, envelope in batch], self._partitions)
        try:
            await self._bus.publish(parcels)
        except BusUnavailable as error:
            self.retries += 1
            self._log.info("facts.unconfirmed", facts=len(batch), reason=str(error))
            return False
        for key, envelope in batch:
            if self._facts.get(key) is envelope:  # not when it was replaced meanwhile
                del self._facts[key]
        self.confirmed += len(batch)
        return True


def bundle_up(envelopes: list[Envelope], partitions: int) -> list[Parcel]:
    """The bus messages that carry these facts: by partition, in order, each within BUNDLE_BYTES_MAX."""
    parcels: list[Parcel] = []
    open_bundles: dict[int, list[Envelope]] = {}
    sizes: dict[int, int] = {}
    for envelope in envelopes:
        destination = partition_of(envelope.to, partitions)
        size = _ENVELOPE_BYTES + len(envelope.body) + len(envelope.to) + len(envelope.sender)
        size += len(envelope.operation) + len(envelope.trace)
        if destination in open_bundles and sizes[destination] + size > BUNDLE_BYTES_MAX:
            parcels.append(_parcel(destination, open_bundles.pop(destination), partitions))
        open_bundles.setdefault(destination, []).append(envelope)
        sizes[destination] = size + (sizes[destination] if len(open_bundles[destination]) > 1 else 0)
    parcels += [_parcel(destination, bundle, partitions) for destination, bundle in open_bundles.items()]
    return parcels


def _parcel(destination: int, envelopes: list[Envelope], partitions: int) -> Parcel:
    queue = queue_of(envelopes[0].to, partitions).name
    return Parcel(queue, encode_bundle(Bundle([Stretch(UNNUMBERED, destination, 0, envelopes)])))
