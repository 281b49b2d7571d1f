"""Time, identifiers and randomness: the only module that may ask the system for any of them.

The simulation passes its own ``Clock``; nothing else in the program may import ``time``,
``random``, ``secrets`` or call ``datetime.now`` (tests/test_tidy.py keeps it so).
"""

import random
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """What a process may know of time and chance."""

    def now(self) -> float:
        """UTC as epoch seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def uuid(self) -> str:
        """A fresh random UUID."""
        ...

    @property
    def random(self) -> random.Random:
        """Jitter and choice; never for secrets."""
        ...


class SystemClock:
    """The machine's own clock and entropy."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311  jitter only; secrets come from process.secret

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def uuid(self) -> str:
        return str(uuid.uuid4())

    @property
    def random(self) -> random.Random:
        return self._random
