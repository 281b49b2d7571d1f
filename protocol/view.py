"""What views and those who splice them agree on."""

import functools
from datetime import UTC, datetime
from typing import Final

BASE: Final = "@@base@@"
"""Stands in a stored view for the base URL of the request that will read it."""


@functools.lru_cache(maxsize=4096)
def stamp(at: float, zone: str = "Z") -> str:
    """Epoch seconds as ``2026-11-22T11:00:00Z`` (whole seconds)."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone
