"""Commands on their way out: one bus message for all that are said to one queue while the last was confirmed.

A busy gateway so pays for a bus message once in many commands; an idle one sends each at once. What must not
go in: answers, and saying a command again.
"""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from bus.mailbox import BODY_BYTES_MAX, Bus, BusUnavailable, Parcel
from bus.topology import queue_of
from protocol.codec import encode_bundle
from protocol.message import Bundle, Envelope, Stretch

BUNDLE_BYTES_MAX: Final = 64 * 1024
ENVELOPE_BYTES_MAX: Final = BODY_BYTES_MAX - 1024


class Outgoing:
    """Put envelopes in; ``run`` publishes them until cancelled."""

    def __init__(self, bus: Bus, partitions: int, log: FilteringBoundLogger) -> None:
        self._bus, self._partitions, self._log = bus, partitions, log
        self._waiting: dict[str, dict[str, Envelope]] = {}
        self._wake = asyncio.Event()

    def put(self, envelope: Envelope) -> bool:
        """Send it as soon as possible; false when a copy of its operation has not left yet.

        Raises ValueError for an address nobody answers to and for a message too large for the bus.
        """
        if len(envelope.body) > ENVELOPE_BYTES_MAX:
            raise ValueError(f"{len(envelope.body)} bytes are too many for one message")
        waiting = self._waiting.setdefault(queue_of(envelope.to, self._partitions).name, {})
        fresh = envelope.operation not in waiting
        waiting[envelope.operation] = envelope
        self._wake.set()
        return fresh

    async def run(self) -> None:
        """Publish until cancelled. What the broker does not take is said again by whoever waits for it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                parcels = [
                    Parcel(queue, body)
                    for queue, commands in waiting.items()
                    for body in _bundles(list(commands.values()))
                ]
                try:
                    await self._bus.publish(parcels)
                except BusUnavailable as error:
                    self._log.warning("commands.unsent", parcels=len(parcels), error=str(error))


def _bundles(envelopes: list[Envelope]) -> list[bytes]:
    """The envelopes as bodies of at most BUNDLE_BYTES_MAX (one envelope may be larger by itself)."""
    bodies: list[bytes] = []
    some: list[Envelope] = []
    size = 0
    for envelope in envelopes:
        if some and size + len(envelope.body) > BUNDLE_BYTES_MAX:
            bodies.append(_body(some))
            some, size = [], 0
        some.append(envelope)
        size += len(envelope.body)
    return [*bodies, _body(some)]


def _body(envelopes: list[Envelope]) -> bytes:
    return encode_bundle(Bundle([Stretch(-1, -1, 0, envelopes)]))
