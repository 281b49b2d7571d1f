"""Passwords: argon2id in threads, few at a time, the same effort whether or not the user exists.

Storing hashes is store.identity's business. Source: OWASP password storage (argon2id, 19 MiB, 2 passes).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.commands import Unavailable

PASSWORD_LENGTH_MAX: Final = 1024
QUEUE_MAX: Final = 200  # logins waiting; at 20 ms each the last of them waits two seconds on two threads
THREADS: Final = 2
_MEMORY_KIB: Final = 19_456
_PASSES: Final = 2

T = TypeVar("T")


class Passwords:
    """Hashes and verifies off the event loop. ``memory_kib`` and ``passes`` are argon2's cost."""

    def __init__(
        self, *, memory_kib: int = _MEMORY_KIB, passes: int = _PASSES, threads: int = THREADS
    ) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._nobody = self._hasher.hash("nobody has this password")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The hash to store. Raises Unavailable when too many are waiting."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Whether the password is right; None (no such user) costs as much and is never right.

        Raises Unavailable when too many are waiting.
        """
        right = await self._run(lambda: self._matches(hashed or self._nobody, password))
        return right and hashed is not None

    def close(self) -> None:
        """Stop the threads once what they do is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= QUEUE_MAX:
            msg = "too many logins are waiting"
            raise Unavailable(msg)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
