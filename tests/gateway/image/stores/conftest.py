"""The stores that the conformance suite runs over: a folder, and a real Swift by two of its APIs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.image.stores.file import FileStore
from gateway.image.stores.s3 import S3Options, S3Store
from gateway.image.stores.swift import SwiftOptions, SwiftStore
from process.clock import SystemClock
from tests.fixtures.swift import ACCOUNT, KEY, USER, Swift, swift
from tests.gateway.image.stores.harness import MIB, Rig

__all__ = ["swift"]


@asynccontextmanager
async def file_rig(folder: Path) -> AsyncIterator[Rig]:
    store = FileStore(folder)

    async def left() -> list[str]:
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    yield Rig("file", store, left)
    await store.close()


def s3_options(swift: Swift, **more: Any) -> S3Options:
    return S3Options(
        **{
            "bucket": f"images-{SystemClock().uuid()[:8]}",
            "endpoint_url": swift.url,
            "access_key_id": f"{ACCOUNT}:{USER}",
            "secret_access_key": KEY,
            "addressing_style": "path",
            "prefix": "glance/",
            **more,
        }
    )


@asynccontextmanager
async def s3_rig(swift: Swift) -> AsyncIterator[Rig]:
    store = S3Store(s3_options(swift))
    client = await store.client()
    bucket = {"Bucket": store.options.bucket}
    await client.create_bucket(**bucket)

    async def left() -> list[str]:
        objects = await client.list_objects_v2(**bucket)
        uploads = await client.list_multipart_uploads(**bucket)
        return [found["Key"] for found in (*objects.get("Contents", []), *uploads.get("Uploads", []))]

    yield Rig("s3", store, left)
    await store.close()


def swift_options(swift: Swift, **more: Any) -> SwiftOptions:
    return SwiftOptions(
        **{
            "auth_version": "1",
            "auth_url": swift.auth_url,
            "user": f"{ACCOUNT}:{USER}",
            "key": KEY,
            "container": f"images-{SystemClock().uuid()[:8]}",
            "segment_bytes": 5 * MIB,
            **more,
        }
    )


@asynccontextmanager
async def swift_rig(swift: Swift) -> AsyncIterator[Rig]:
    store = SwiftStore(swift_options(swift), SystemClock())

    async def left() -> list[str]:
        containers = store.options.container, store.segments
        return [found.name for container in containers async for found in store.listed(container)]

    yield Rig("swift", store, left)
    await store.close()


@pytest.fixture(params=["file", "s3", "swift"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    if request.param == "file":
        making = file_rig(tmp_path / "images")
    else:
        make = s3_rig if request.param == "s3" else swift_rig
        making = make(request.getfixturevalue("swift"))
    async with making as made:
        yield made
