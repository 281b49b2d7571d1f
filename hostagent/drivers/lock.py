"""One lock per instance, made when first wanted and forgotten when last released.

Drivers hold it for the whole of a verb, so that two verbs never work on one guest at the same time.
No lock here ever covers more than one instance.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class InstanceLocks:
    """Locks by instance id; fair: waiters are served in the order in which they asked."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    def held(self, instance: str) -> bool:
        """Whether a verb is at work on this instance, or waits to be."""
        return instance in self._users

    @asynccontextmanager
    async def hold(self, instance: str) -> AsyncIterator[None]:
        """Wait for the instance's lock, and hold it inside the ``async with``."""
        lock = self._locks.setdefault(instance, asyncio.Lock())
        self._users[instance] = self._users.get(instance, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[instance] -= 1
            if not self._users[instance]:
                del self._users[instance], self._locks[instance]
