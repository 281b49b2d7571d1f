"""Fixtures of the store's tests."""

from collections.abc import AsyncIterator

import pytest

from store.pool import open_pool
from store.turns import PostgresTurnStore
from tests.store.turn_harness import PARTITIONS, MemoryStoreHarness, PostgresStoreHarness, StoreHarness


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def turns(request: pytest.FixtureRequest) -> AsyncIterator[StoreHarness]:
    """Each twin of the turn store in turn, empty."""
    if request.param == "memory":
        yield MemoryStoreHarness()
        return
    url: str = request.getfixturevalue("database")
    async with (
        await open_pool(url, settings={"role": "starling_worker"}) as worker,
        await open_pool(url, connections_max=2) as admin,
    ):
        await PostgresTurnStore(worker).prepare(PARTITIONS)
        yield PostgresStoreHarness(worker, admin)
