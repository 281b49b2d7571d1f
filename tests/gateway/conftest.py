"""Fixtures of the gateway's tests: a cloud's identity on a real database, served over HTTP."""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.cloud import Cloud, open_cloud


@pytest.fixture
async def cloud(database: str) -> AsyncIterator[Cloud]:
    """A bootstrapped cloud with the Identity API on the loopback."""
    async with open_cloud(database) as opened:
        yield opened
