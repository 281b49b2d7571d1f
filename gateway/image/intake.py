"""From bytes to durable data in a store: received, hashed, inspected, written, or nothing left behind.

Uploads, staging and moves all end here. Who may write, and telling the image's actor, is theirs; here is only
that somebody is told of progress, and may stop it by refusing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from gateway.commands import Unavailable
from gateway.image.inspect import Judged, judge
from gateway.image.store import Stores
from gateway.image.upload import Received, Receiver
from gateway.problem import Problem
from process.clock import Clock
from protocol.image import StoredData

KEEP_S: Final = 10.0
_INSPECTED: Final = frozenset({"bare", "docker", "ami", "ari", "aki"})
"""Container formats whose content is the disk itself."""

Keep = Callable[[int], Awaitable[None]]
"""Tells of progress, in bytes. Raises Problem when the data is no longer wanted, Unavailable."""


class Place(Struct, frozen=True, kw_only=True):
    """Where data goes: ids are UUIDs, ``store`` empty is the default; ``length`` in bytes, if announced."""

    image: str
    attempt: str
    store: str = ""
    length: int | None = None


class Wanted(Struct, frozen=True, kw_only=True):
    """What data must be: its formats, the disk it must fit into (GiB, 0: any), its bytes at most."""

    disk_format: str
    container_format: str
    min_disk: int
    bytes_max: int

    @property
    def declared(self) -> str | None:
        """The format its content must show; None: the content is a container's."""
        return self.disk_format if self.container_format in _INSPECTED else None


@asynccontextmanager
async def taking_in(
    stores: Stores, clock: Clock, place: Place, wanted: Wanted, body: AsyncIterator[bytes], keep: Keep
) -> AsyncIterator[StoredData]:
    """Take the body in; in the block say where it is. A Problem there means that it is not wanted.

    Anything else there leaves the data: its fate is unknown, and the sweep decides.
    Raises Problem, Unsafe, StoreFull or StoreFailed; then nothing is left.
    """
    writing = await stores.begin(place.image, place.attempt, place.length, store=place.store)
    try:
        receiver = Receiver(writing, clock, declared=wanted.declared, bytes_max=wanted.bytes_max)
        received = await _kept(receiver, body, keep)
        judged = _judged(received, wanted)
        await writing.commit()
    except BaseException:
        await writing.abandon()
        raise
    try:
        yield StoredData(
            location=writing.location,
            size_bytes=received.size_bytes,
            virtual_size_bytes=judged.virtual_bytes,
            md5=received.md5,
            sha512=received.sha512,
        )
    except Problem:
        await writing.abandon()
        raise


def _judged(received: Received, wanted: Wanted) -> Judged:
    if wanted.declared is None or received.sight is None:
        return Judged("", None)
    return judge(received.sight, wanted.declared, min_disk_gib=wanted.min_disk)


async def _kept(receiver: Receiver, body: AsyncIterator[bytes], keep: Keep) -> Received:
    keeper = asyncio.create_task(_keep(receiver, keep))
    try:
        return await receiver.receive(body)
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])


async def _keep(receiver: Receiver, keep: Keep) -> None:
    """Tell of progress; stop the receiver when the data is no longer wanted."""
    told = 0
    while True:
        await asyncio.sleep(KEEP_S)
        if receiver.received == told:
            continue
        told = receiver.received
        try:
            await keep(told)
        except Unavailable:
            continue  # the next word may get through; the actor waits longer than one of them
        except Problem as problem:
            receiver.stop(problem)
            return
