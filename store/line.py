"""One pooled connection, kept between uses that follow each other closely.

Taking a connection from asyncpg's pool and giving it back costs 70 µs of wall time and 65 µs of CPU, more
than the shortest query; a worker's loop asks some hundred times a second. What must not go in: SQL.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import asyncpg

from store.pool import Pool

PooledConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

KEEP_S: Final = 0.05
"""A connection not used for this long goes back to its pool: closing the pool waits no longer than this."""


class Line:
    """For one user at a time; others wait."""

    def __init__(self, pool: Pool, take_max_s: float) -> None:
        self._pool, self._take_max_s = pool, take_max_s
        self._lock = asyncio.Lock()
        self._kept: PooledConnection | None = None
        self._used_at = 0.0
        self._returning: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[PooledConnection]:
        """The connection. After an exception it goes back to the pool, which keeps it only if it is sound."""
        async with self._lock:
            if self._kept is None:
                self._kept = await self._pool.acquire(timeout=self._take_max_s)
            try:
                yield self._kept
            except BaseException:
                await self._give_back()
                raise
            self._used_at = asyncio.get_running_loop().time()
            if self._returning is None or self._returning.done():
                self._returning = asyncio.create_task(self._return_when_idle(), name="line")

    async def _return_when_idle(self) -> None:
        while self._kept is not None:
            left = self._used_at + KEEP_S - asyncio.get_running_loop().time()
            if left > 0:
                await asyncio.sleep(left)
                continue
            async with self._lock:
                if self._used_at + KEEP_S <= asyncio.get_running_loop().time():
                    await self._give_back()

    async def _give_back(self) -> None:
        connection, self._kept = self._kept, None
        if connection is not None:
            await self._pool.release(connection)
