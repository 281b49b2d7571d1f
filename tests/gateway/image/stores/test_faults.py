"""Stores whose server is away, refuses, or breaks off: always told, never taken for success."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.exceptions import ClientError

from gateway.image.store import ImageStore, NamedStore, StoreFailed, StoreFull, Stores, Writing
from gateway.image.stores import s3
from gateway.image.stores.load import make_stores
from gateway.image.stores.s3 import S3Store
from gateway.image.stores.swift import SwiftOptions, SwiftStore
from process.clock import SystemClock
from process.plugin import DriverOptionsError
from tests.fixtures.proxy import Proxy
from tests.fixtures.swift import ACCOUNT, Swift
from tests.gateway.image.stores.conftest import s3_options, swift_options
from tests.gateway.image.stores.harness import MIB, Rig, whole
from tests.gateway.image.stores.test_conformance import fresh, put

LIMITS = {"connect_timeout_s": 1.0, "read_timeout_s": 1.0}


async def drained(blocks: AsyncIterator[bytes]) -> None:
    async for _ in blocks:
        continue


async def filled(writing: Writing) -> None:
    for _ in range(20):
        await writing.write(bytes(9 * MIB))


class Behind(Rig):
    """A store that reaches its server through a proxy."""

    proxy: Proxy


@pytest.fixture(params=["s3", "swift"])
async def behind(request: pytest.FixtureRequest, swift: Swift) -> AsyncIterator[Behind]:
    proxy = Proxy()
    url = f"http://127.0.0.1:{await proxy.start('127.0.0.1', swift.port)}"
    driver: S3Store | SwiftStore
    if request.param == "s3":
        driver = S3Store(s3_options(swift, **LIMITS, endpoint_url=url))
        await (await driver.client()).create_bucket(Bucket=driver.options.bucket)
    else:
        endpoint = f"{url}/v1/AUTH_{ACCOUNT}"
        given = {"auth_url": f"{url}/auth/v1.0", "endpoint_url": endpoint, "segment_bytes": 32 * MIB}
        driver = SwiftStore(swift_options(swift, **LIMITS, **given), SystemClock())
    made = Behind(request.param, driver, lambda: asyncio.sleep(0, []))
    made.proxy = proxy
    yield made
    await driver.close()
    await proxy.close()


async def test_a_server_that_is_away_is_told_of(behind: Behind) -> None:
    location = await put(behind, b"data")
    behind.proxy.cut(refuse=True)
    stores = behind.stores()
    for work in (
        stores.open(location),
        stores.delete(location),
        stores.sweep(set(), 1e11),
        put(behind, os.urandom(9 * MIB)),
    ):
        with pytest.raises(StoreFailed):
            await work
    behind.proxy.resume()
    assert await whole(stores, location) == b"data"


async def test_a_server_that_says_nothing_is_given_up(behind: Behind) -> None:
    location = await put(behind, b"data")
    behind.proxy.hold()
    async with asyncio.timeout(30):
        with pytest.raises(StoreFailed):
            await behind.stores().open(location)


async def test_a_read_that_breaks_off_is_no_short_image(behind: Behind) -> None:
    location = await put(behind, os.urandom(24 * MIB))
    data = await behind.stores().open(location)
    assert data is not None
    blocks = data.read(0, data.size_bytes)
    assert await anext(blocks)
    behind.proxy.cut()
    with pytest.raises(StoreFailed):
        await drained(blocks)


async def test_an_upload_that_breaks_off_fails_and_shows_nothing(behind: Behind) -> None:
    stores = behind.stores()
    writing = await stores.begin(*fresh(), None)
    await writing.write(os.urandom(9 * MIB))
    behind.proxy.cut(refuse=True)
    with pytest.raises(StoreFailed):
        await filled(writing)
    await writing.abandon()
    behind.proxy.resume()
    assert await stores.open(writing.location) is None
    assert await stores.sweep(set(), 1e11) in {0, 1}


@pytest.mark.parametrize("kind", ["s3", "swift"])
async def test_a_wrong_secret_is_refused_and_not_repeated_in_the_text(swift: Swift, kind: str) -> None:
    driver: ImageStore
    if kind == "s3":
        driver = S3Store(s3_options(swift, secret_access_key="hunter2hunter2"))
    else:
        driver = SwiftStore(swift_options(swift, key="hunter2hunter2"), SystemClock())
    stores = Stores([NamedStore("far", kind, "", driver)])
    with pytest.raises(StoreFailed) as failed:
        await stores.sweep(set(), 0.0)
    assert "hunter2" not in str(failed.value)
    await stores.close()


async def test_a_token_that_is_no_longer_taken_is_renewed(swift: Swift) -> None:
    store = SwiftStore(swift_options(swift), SystemClock())
    rig = Rig("swift", store, lambda: asyncio.sleep(0, []))
    location = await put(rig, os.urandom(6 * MIB))
    assert store._grant is not None
    store._grant = type(store._grant)("AUTH_tknone", store._grant.url, store._grant.renew_at)
    assert len(await whole(rig.stores(), location)) == 6 * MIB
    store._grant = type(store._grant)("AUTH_tknone", store._grant.url, store._grant.renew_at)
    await put(rig, os.urandom(6 * MIB))
    await store.close()


@pytest.mark.parametrize(
    ("status", "raised"), [(413, StoreFull), (507, StoreFull), (503, StoreFailed), (201, StoreFailed)]
)
async def test_a_segment_that_swift_ends_early(status: int, raised: type[Exception]) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/auth":
            headers = {"X-Auth-Token": "t", "X-Storage-Url": str(request.url.with_path("/v1/a"))}
            return web.Response(headers=headers)
        if request.path.count("/") > 3 and request.method == "PUT":
            await request.content.readany()
            return web.Response(status=status)
        return web.Response(status=404 if request.method == "GET" else 204)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        given = SwiftOptions(auth_version="1", auth_url=str(server.make_url("/auth")), user="u", key="k")
        rig = Rig("swift", SwiftStore(given, SystemClock()), lambda: asyncio.sleep(0, []))
        with pytest.raises(raised):
            await put(rig, bytes(64 * MIB), piece=4 * MIB)
        await rig.driver.close()


@pytest.mark.parametrize(
    ("code", "raised"),
    [("QuotaExceeded", StoreFull), ("EntityTooLarge", StoreFull), ("SlowDown", StoreFailed)],
)
def test_what_s3_says_of_a_full_bucket(code: str, raised: type[Exception]) -> None:
    with pytest.raises(raised), s3._told("upload"):
        raise ClientError({"Error": {"Code": code}}, "PutObject")


SWIFT = {"auth_url": "http://k/v3"}


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("s3", {}, "bucket"),
        ("s3", {"bucket": "b", "part_bytes": 1}, "part_bytes"),
        ("s3", {"bucket": "b", "access_key_id": "x"}, "belong together"),
        ("swift", {}, "auth_url"),
        ("swift", SWIFT, "username, password, project_name"),
        ("swift", {**SWIFT, "application_credential_id": "x"}, "application_credential_secret"),
        ("swift", {**SWIFT, "auth_version": "1"}, "user, key"),
        ("swift", {**SWIFT, "auth_version": "2"}, "auth_version"),
    ],
)
def test_options_are_checked_at_the_start(kind: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(DriverOptionsError, match=says):
        make_stores({"far": {"kind": kind, "options": options}}, "", SystemClock())
