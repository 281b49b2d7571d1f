"""One lock per name (an instance, an image), made when first wanted, forgotten when last released.

Drivers hold an instance's lock for the whole of a verb, so that two verbs never work on one guest at
the same time. No lock here ever covers more than one name.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class NamedLocks:
    """Locks by name; fair: waiters are served in the order in which they asked."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    def held(self, name: str) -> bool:
        """Whether somebody holds the name's lock, or waits for it."""
        return name in self._users

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Wait for the name's lock, and hold it inside the ``async with``."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._users[name] = self._users.get(name, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._locks[name]
