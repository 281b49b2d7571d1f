"""The stores that the conformance suite runs over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.image.stores.file import FileStore
from tests.gateway.image.stores.harness import Rig


@asynccontextmanager
async def file_rig(folder: Path) -> AsyncIterator[Rig]:
    store = FileStore(folder)

    async def left() -> list[str]:
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    yield Rig("file", store, left)
    await store.close()


@pytest.fixture(params=["file"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with file_rig(tmp_path / "images") as made:
        yield made
