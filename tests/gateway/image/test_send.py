"""Downloads from a store that has no local file: whole, in part, and broken off."""

from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest

from gateway.image.store import ImageData, NamedStore, Sink, StoreFailed
from tests.gateway.image.conftest import Images

CONTENT = bytes(range(256)) * 40


class Memory:
    """A store of this process. ``breaks_at``: reads fail there."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.breaks_at: int | None = None

    async def begin(self, key: str, length: int | None) -> Sink:
        return MemorySink(self, key)

    async def open(self, key: str) -> ImageData | None:
        return MemoryData(self, self.held[key]) if key in self.held else None

    async def delete(self, key: str) -> None:
        self.held.pop(key, None)

    async def sweep(self, wanted: object, older_than: float) -> int:
        return 0

    async def close(self) -> None:
        self.held.clear()


class MemorySink:
    def __init__(self, store: Memory, key: str) -> None:
        self.store, self.key, self.blocks = store, key, bytearray()

    async def write(self, block: bytes) -> None:
        self.blocks += block

    async def commit(self) -> None:
        self.store.held[self.key] = bytes(self.blocks)

    async def abandon(self) -> None:
        await self.store.delete(self.key)


class MemoryData:
    path: Path | None = None

    def __init__(self, store: Memory, content: bytes) -> None:
        self.store, self.content, self.size_bytes = store, content, len(content)

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, stop, 1000):
            if self.store.breaks_at is not None and at >= self.store.breaks_at:
                raise StoreFailed("broken")
            yield self.content[at : min(at + 1000, stop)]


@pytest.fixture
def memory(images: Images) -> Memory:
    """Makes the running service's store one without files."""
    store, stores = Memory(), images.services.images
    stores._stores = {"far": NamedStore("far", "memory", "", store)}
    stores.default = "far"
    return store


async def filled(images: Images) -> str:
    ident = await images.make()
    assert (await images.fill(ident, CONTENT))[0] == 204
    return ident


async def test_a_whole_image(images: Images, memory: Memory) -> None:
    ident = await filled(images)
    status, body, response = await images.call("GET", f"/v2/images/{ident}/file")
    assert (status, body) == (200, CONTENT)
    assert response.headers["Content-MD5"] == (await images.show(ident))["checksum"]
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.content_length == len(CONTENT)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-0", 0, 1), ("100-2099", 100, 2100), ("10000-", 10_000, 10_240), ("-5", 10_235, 10_240),
     ("0-99999999", 0, 10_240), ("-99999999", 0, 10_240)],
)  # fmt: skip
async def test_a_range(images: Images, memory: Memory, asked: str, start: int, stop: int) -> None:
    ident = await filled(images)
    status, body, response = await images.call(
        "GET", f"/v2/images/{ident}/file", headers={"Range": f"bytes={asked}"}
    )
    assert (status, body) == (206, CONTENT[start:stop])
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    assert response.content_length == stop - start


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=5-1", "bytes=a-b", "bytes=0-1,4-5"])
async def test_a_range_that_is_none(images: Images, memory: Memory, asked: str) -> None:
    ident = await filled(images)
    status, _, response = await images.call("GET", f"/v2/images/{ident}/file", headers={"Range": asked})
    assert (status, response.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


async def test_a_condition_on_a_range_sends_all(images: Images, memory: Memory) -> None:
    ident = await filled(images)
    headers = {"Range": "bytes=1-2", "If-Range": '"x"'}
    status, body, _ = await images.call("GET", f"/v2/images/{ident}/file", headers=headers)
    assert (status, body) == (200, CONTENT)


async def test_a_store_that_breaks_off_cuts_the_connection(images: Images, memory: Memory) -> None:
    ident = await filled(images)
    memory.breaks_at = 3000
    with pytest.raises(aiohttp.ClientError):
        await images.call("GET", f"/v2/images/{ident}/file")
    memory.breaks_at = None
    assert (await images.call("GET", f"/v2/images/{ident}/file"))[0] == 200


async def test_data_that_is_gone_or_whose_store_is(images: Images, memory: Memory) -> None:
    ident = await filled(images)
    held, memory.held = memory.held, {}
    assert (await images.call("GET", f"/v2/images/{ident}/file"))[0] == 404
    memory.held = held
    images.services.images._stores = {}
    assert (await images.call("GET", f"/v2/images/{ident}/file"))[0] == 503
