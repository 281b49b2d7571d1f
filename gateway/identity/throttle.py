"""Brakes on password attempts in one process: failures per minute, and one attempt at a time per account.

What is attempted and what is answered belong to ``attempt.py``.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from gateway.problem import Problem

BUCKETS_MAX: Final = 100_000  # users and addresses remembered, about 150 bytes each
MINUTE_S: Final = 60.0
PASSCODES_PER_MINUTE: Final = 6  # of a million, three are right: one guessed in 40 days


class WhoLogsIn(NamedTuple):
    """A user by id, or by name and a domain's id or name; or a program of that user."""

    id: str | None
    name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None
    program: str = ""


class Throttle:
    """Failures per minute, by user and by address. 0: as many as they like.

    An attempt is counted before it is made and taken back when it succeeds, so trying in parallel gains
    nothing. Whether a user exists makes no difference.
    """

    def __init__(self, *, user_per_minute: int = 0, address_per_minute: int = 0) -> None:
        self._limits = (user_per_minute, address_per_minute)
        self._buckets: OrderedDict[tuple[int, object], tuple[float, float]] = OrderedDict()

    def count(self, who: WhoLogsIn, address: str, now: float) -> None:
        """Count an attempt. Raises Problem 429 with Retry-After."""
        keys = ((0, who), (1, address))
        waits = [self._wait(key, limit, now) for key, limit in zip(keys, self._limits, strict=True)]
        if max(waits) > 0:
            after = {"Retry-After": str(int(max(waits)) + 1)}
            raise Problem(429, "Too many failed logins. Please try again later.", headers=after)
        for key, limit in zip(keys, self._limits, strict=True):
            self._add(key, limit, now, 1.0)

    def take_back(self, who: WhoLogsIn, address: str, now: float) -> None:
        """The attempt was right."""
        for key, limit in zip(((0, who), (1, address)), self._limits, strict=True):
            self._add(key, limit, now, -1.0)

    def _level(self, key: tuple[int, object], limit: int, now: float) -> float:
        level, at = self._buckets.get(key, (0.0, now))
        return max(0.0, level - (now - at) * limit / MINUTE_S)

    def _wait(self, key: tuple[int, object], limit: int, now: float) -> float:
        if not limit:
            return 0.0
        return max(0.0, (self._level(key, limit, now) + 1.0 - limit) * MINUTE_S / limit)

    def _add(self, key: tuple[int, object], limit: int, now: float, amount: float) -> None:
        if not limit:
            return
        level = max(0.0, self._level(key, limit, now) + amount)
        self._buckets.pop(key, None)
        if level > 0:
            self._buckets[key] = (level, now)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)


class Turns:
    """One attempt at a time per account in this process: attempts of one's own do not lock one out."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, key: object) -> AsyncIterator[None]:
        """Hold the account's turn."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            yield
