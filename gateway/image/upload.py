"""Receiving image data: read, hash, inspect and write, block by block, never whole in memory.

Two blocks are in hand at most: one is hashed and written in threads while the next is read. What the
image's actor is told, and when, is data.py's business.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

from gateway.image.inspect import Inspector, Sight, Unsafe
from gateway.image.store import Sink
from gateway.problem import Problem
from process.clock import Clock

BLOCK_BYTES: Final = 4 << 20
FLUSH_S: Final = 10.0
"""A slow client's bytes are written this often, so that its file does not look abandoned."""
STALL_S: Final = 55.0
"""A client that sends nothing for so long has given up; less than the actor's own patience."""


class Received(Struct, frozen=True):
    """Complete data: its size in bytes, its hashes in hexadecimal, what inspection has kept of it."""

    size_bytes: int
    md5: str
    sha512: str
    sight: Sight | None


class Receiver:
    """One upload on its way into a sink. ``declared`` is the format its beginning must show, if any."""

    def __init__(self, sink: Sink, clock: Clock, *, declared: str | None, bytes_max: int) -> None:
        self.received = 0
        self._sink, self._clock = sink, clock
        self._bytes_max = bytes_max
        self._inspector = None if declared is None else Inspector(declared)
        self._md5, self._sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
        self._lost: Problem | None = None

    def stop(self, problem: Problem) -> None:
        """Give up at the next chunk, with this answer."""
        self._lost = problem

    async def receive(self, body: AsyncIterator[bytes]) -> Received:
        """Take it all in. Raises Problem, Unsafe, StoreFull or StoreFailed."""
        writing: asyncio.Task[None] | None = None
        chunks: list[bytes] = []
        held, flushed_at = 0, self._clock.monotonic()
        try:
            async for chunk in _steady(body):
                self._count(chunk)
                chunks.append(chunk)
                held += len(chunk)
                now = self._clock.monotonic()
                if held >= BLOCK_BYTES or now - flushed_at > FLUSH_S:
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(self._write(b"".join(chunks)))
                    chunks, held, flushed_at = [], 0, now
            if writing is not None:
                await writing
                writing = None
            if chunks:
                await self._write(b"".join(chunks))
        finally:
            if writing is not None:
                # What failed first is on its way up already; the sink must be at rest before it is removed.
                await asyncio.wait([writing])
                writing.cancelled() or writing.exception()
        sight = None if self._inspector is None else self._inspector.seen()
        return Received(self.received, self._md5.hexdigest(), self._sha512.hexdigest(), sight)

    def _count(self, chunk: bytes) -> None:
        if self._lost is not None:
            raise self._lost
        self.received += len(chunk)
        if self.received > self._bytes_max:
            raise Problem(413, f"The image is larger than {self._bytes_max} bytes.")
        if self._inspector is not None:
            self._inspector.feed(chunk)

    async def _write(self, block: bytes) -> None:
        """Hash twice and write, all at once in threads; none is left running when one fails."""
        works = (
            asyncio.to_thread(self._md5.update, block),
            asyncio.to_thread(self._sha512.update, block),
            self._sink.write(block),
        )
        done = await asyncio.gather(*works, return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome


async def _steady(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of a client that keeps sending. Raises Problem 400 when it stalls."""
    while True:
        try:
            async with asyncio.timeout(STALL_S):
                chunk = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Problem(400, f"Nothing was received for {STALL_S:g} seconds.") from error
        yield chunk


def refused(unsafe: Unsafe) -> Problem:
    """How an inspection's verdict is told to the client."""
    return Problem(400, f"The image data was refused: {unsafe}")
