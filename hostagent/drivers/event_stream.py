"""The queue between a hypervisor's callbacks and the agent that reads ``Driver.events()``.

It is bounded and drops the oldest: an agent that has fallen so far behind compares all guests with
``Driver.guests()`` anyway. It decides nothing about which events are worth telling.
"""

import asyncio
from collections import deque
from typing import Final, Self

from hostagent.driver import GuestEvent

EVENTS_MAX: Final = 10_000


class EventStream:
    """An async iterator for one reader; ``put`` and ``close`` belong to the loop's own thread."""

    def __init__(self, limit: int = EVENTS_MAX) -> None:
        self._waiting: deque[GuestEvent] = deque(maxlen=limit)
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, event: GuestEvent) -> None:
        """Add an event; without effect after ``close``."""
        if not self._closed:
            self._waiting.append(event)
            self._wake.set()

    def close(self) -> None:
        """End the iteration once everything put before has been read."""
        self._closed = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GuestEvent:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()
