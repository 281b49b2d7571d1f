"""Fixtures of the Compute API's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.compute.cloud import Compute, open_compute


@pytest.fixture
async def compute(database: str) -> AsyncIterator[Compute]:
    """The Compute API on a fresh database, with flavors, an image, a network and a host."""
    async with open_compute(database) as opened:
        yield opened
