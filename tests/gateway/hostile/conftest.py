"""One furnished cloud for all hostile tests: they must leave its first project as they found it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fixtures.postgres import Postgres
from tests.gateway.hostile.cloud import Cloud, open_cloud
from tests.gateway.hostile.furnish import furnish


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def cloud(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    """The cloud, with what alpha has; gone after the last test."""
    url = postgres.clone()
    folder: Path = tmp_path_factory.mktemp("hostile")
    try:
        async with open_cloud(url, folder) as opened:
            await furnish(opened)
            yield opened
    finally:
        postgres.drop(url)
