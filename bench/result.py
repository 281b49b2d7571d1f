"""What a benchmark says: one figure against its limit, with the details that explain it.

No measuring goes in here; see ``meter.py``.
"""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct


class Result(Struct, kw_only=True):
    """One benchmark's line. ``ratio`` is value to limit; ``holds`` says on which side of it the value is.

    ``floor`` true: the value must be at least the limit, else at most.
    """

    bench: str
    value: float
    unit: str
    limit: float
    floor: bool = False
    details: dict[str, Any] = {}
    also: list["Result"] = []

    @property
    def holds(self) -> bool:
        """Whether this figure and all beside it are within their limits."""
        own = self.value >= self.limit if self.floor else self.value <= self.limit
        return own and all(other.holds for other in self.also)

    def line(self) -> str:
        """One line of JSON."""
        return msgspec.json.encode(self._shown() | {"machine": machine()}).decode()

    def _shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "bench": self.bench,
            "value": _short(self.value),
            "unit": self.unit,
            "limit": self.limit,
            "ratio": _short(self.value / self.limit),
            "holds": self.holds,
            **{name: _short(value) for name, value in self.details.items()},
        }
        if self.also:
            shown["also"] = [other._shown() for other in self.also]
        return shown


Bench = Callable[[], Result]


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3 - min(3, len(str(int(abs(value)))) - 1)) if abs(value) >= 1 else round(value, 4)
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    return value


def machine() -> str:
    """The processor, the number of cores this process may use, and Python."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def progress(text: str) -> None:
    """A word to whoever watches, beside the result."""
    print(text, file=sys.stderr, flush=True)
