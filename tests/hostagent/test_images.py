"""The image cache: one download, verified, durable, bounded, and only files of its own."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hostagent import images
from hostagent.driver import DriverError
from hostagent.images import HttpFetch, ImageCache, ImageFigures, ImageLimits
from protocol.guest import GuestImage
from tests.hostagent.drivers.specs import ManualClock, quiet

DATA = bytes(range(256)) * 4_096 * 3
IDENT = "0a8cbe4b-1d7d-4d5a-8a57-4b8f1f0b6e01"
SECOND = "0a8cbe4b-1d7d-4d5a-8a57-4b8f1f0b6e02"


def _image(ident: str = IDENT, data: bytes = DATA, url: str = "http://store/x") -> GuestImage:
    sha512 = hashlib.sha512(data).hexdigest()
    return GuestImage(image=ident, url=url, sha512=sha512, size_bytes=len(data), disk_format="qcow2")


class _Store:
    """Serves the data in chunks and counts how often it was asked."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.asked = 0
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, url: str) -> AsyncIterator[bytes]:
        self.asked += 1
        self.reached.set()
        await self.gate.wait()
        for start in range(0, len(self.data), 1 << 20):
            yield self.data[start : start + (1 << 20)]


async def _cache(
    folder: Path, store: _Store, clock: ManualClock | None = None, **limits: float
) -> ImageCache:
    settings = ImageLimits(**{"free_bytes_min": 0, **limits})  # type: ignore[arg-type]
    cache = ImageCache(folder, store, settings, clock or ManualClock())
    await cache.open()
    return cache


async def test_concurrent_requests_share_one_download(tmp_path: Path) -> None:
    store = _Store()
    cache = await _cache(tmp_path, store)
    paths = await asyncio.gather(*(cache.path_of(_image(), quiet) for _ in range(5)))
    assert store.asked == 1
    assert {path.read_bytes() for path in paths} == {DATA}


async def test_an_image_survives_a_restart_and_a_partial_one_does_not(tmp_path: Path) -> None:
    path = await (await _cache(tmp_path, _Store())).path_of(_image(), quiet)
    partial = tmp_path / f"{SECOND}.0123456789abcdef.part"
    partial.write_bytes(b"half")
    store = _Store()
    cache = await _cache(tmp_path, store)
    assert not partial.exists()
    assert await cache.path_of(_image(), quiet) == path
    assert store.asked == 0


async def test_wrong_bytes_are_refused_and_not_kept(tmp_path: Path) -> None:
    store = _Store(DATA[:-1] + b"!")
    cache = await _cache(tmp_path, store)
    with pytest.raises(DriverError) as refused:
        await cache.path_of(_image(), quiet)
    assert refused.value.code == "image_corrupt"
    assert list(tmp_path.iterdir()) == []


async def test_more_bytes_than_recorded_are_cut_off_while_streaming(tmp_path: Path) -> None:
    store = _Store(DATA * 10)
    cache = await _cache(tmp_path, store)
    with pytest.raises(DriverError, match="longer"):
        await cache.path_of(_image(), quiet)
    assert list(tmp_path.iterdir()) == []


async def test_size_limit(tmp_path: Path) -> None:
    cache = await _cache(tmp_path, _Store(), image_bytes_max=len(DATA) - 1)
    with pytest.raises(DriverError) as refused:
        await cache.path_of(_image(), quiet)
    assert refused.value.code == "image_too_large"


async def test_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images, "_append", fails)
    cache = await _cache(tmp_path, _Store())
    with pytest.raises(DriverError) as refused:
        await cache.path_of(_image(), quiet)
    assert refused.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


async def test_full_disk_before_the_download(tmp_path: Path) -> None:
    store = _Store()
    cache = await _cache(tmp_path, store, free_bytes_min=1 << 60)
    with pytest.raises(DriverError) as refused:
        await cache.path_of(_image(), quiet)
    assert (refused.value.code, store.asked) == ("disk_full", 0)


async def test_a_cancelled_download_leaves_the_next_caller_to_fetch_it(tmp_path: Path) -> None:
    store = _Store()
    store.gate.clear()
    cache = await _cache(tmp_path, store)
    first = asyncio.create_task(cache.path_of(_image(), quiet))
    second = asyncio.create_task(cache.path_of(_image(), quiet))
    await store.reached.wait()
    first.cancel()
    store.gate.set()
    assert (await second).read_bytes() == DATA
    assert first.cancelled()
    assert store.asked == 2


@pytest.mark.parametrize("ident", ["../../etc/passwd", "", IDENT.upper(), f"{IDENT}/x", f"{IDENT}\n"])
async def test_ids_cannot_lead_out_of_the_folder(tmp_path: Path, ident: str) -> None:
    cache = await _cache(tmp_path, _Store())
    with pytest.raises(DriverError) as refused:
        await cache.path_of(_image(ident), quiet)
    assert refused.value.code == "image_corrupt"


async def test_check_decides_before_the_image_is_kept(tmp_path: Path) -> None:
    async def refuse(path: Path, image: GuestImage) -> None:
        assert path.read_bytes() == DATA
        raise DriverError("image_unsupported", f"{image.disk_format} with a backing file")

    cache = ImageCache(tmp_path, _Store(), ImageLimits(free_bytes_min=0), ManualClock(), check=refuse)
    await cache.open()
    with pytest.raises(DriverError, match="backing file"):
        await cache.path_of(_image(), quiet)
    assert list(tmp_path.iterdir()) == []


async def test_eviction_by_age_spares_what_guests_use(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = await _cache(tmp_path, _Store(), clock, unused_s=100)
    await cache.path_of(_image(), quiet)
    await cache.path_of(_image(SECOND), quiet)
    clock.time += 99
    assert await cache.evict(set()) == []
    clock.time += 2
    assert await cache.evict({IDENT}) == [SECOND]
    assert [path.name[:36] for path in tmp_path.iterdir()] == [IDENT]


async def test_eviction_under_pressure_takes_the_longest_unused_and_stops(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = await _cache(tmp_path, _Store(), clock, cache_bytes_max=len(DATA), grace_s=10)
    await cache.path_of(_image(SECOND), quiet)
    clock.time += 20
    await cache.path_of(_image(), quiet)
    clock.time += 11
    assert await cache.evict(set()) == [SECOND]


async def test_progress_ends_with_the_whole(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    cache = await _cache(tmp_path, _Store())
    await cache.path_of(_image(), lambda *step: told.append(step))
    assert told == [("image", 0, len(DATA)), ("image", len(DATA), len(DATA))]


async def test_http_streams_and_refuses_what_is_not_ok(tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.Response:
        if "signature" not in request.query:
            raise web.HTTPForbidden
        return web.Response(body=DATA)

    app = web.Application()
    app.router.add_get("/image", serve)
    limits = ImageLimits(free_bytes_min=0)
    async with TestServer(app) as server:
        url = str(server.make_url("/image"))
        cache = ImageCache(tmp_path, HttpFetch(limits), limits, ManualClock())
        await cache.open()
        with pytest.raises(DriverError, match="status 403"):
            await cache.path_of(_image(url=url), quiet)
        path = await cache.path_of(_image(url=f"{url}?signature=s"), quiet)
        assert path.read_bytes() == DATA
    with pytest.raises(DriverError, match="cannot be reached"):
        await cache.path_of(_image(SECOND, url=url), quiet)


async def test_use_counts_as_long_as_a_guest_is_made_of_the_image(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = await _cache(tmp_path, _Store(), clock, unused_s=100.0)
    await cache.path_of(_image(), quiet)
    clock.time += 1000
    assert await cache.evict({IDENT}) == []
    clock.time += 50
    assert await cache.evict(set()) == []
    clock.time += 100
    assert await cache.evict(set()) == [IDENT]


async def test_a_file_that_was_cut_is_fetched_again(tmp_path: Path) -> None:
    store = _Store()
    cache = await _cache(tmp_path, store)
    path = await cache.path_of(_image(), quiet)
    os.truncate(path, 100)
    assert (await cache.path_of(_image(), quiet)).read_bytes() == DATA
    assert store.asked == 2


async def test_figures_tell_of_hits_misses_and_what_is_there(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = await _cache(tmp_path, _Store(), clock, unused_s=100.0)
    for ident in (IDENT, SECOND, SECOND):
        await cache.path_of(_image(ident), quiet)
    with pytest.raises(DriverError):
        await cache.path_of(_image(IDENT, b"other"), quiet)
    clock.time += 101
    await cache.evict({SECOND})
    assert cache.figures == ImageFigures(
        image_hits=1,
        image_misses=3,
        image_failures=1,
        image_bytes_fetched=2 * len(DATA),
        images_evicted=1,
        images_cached=1,
        images_cached_bytes=len(DATA),
    )
    again = await _cache(tmp_path, _Store())
    assert (again.figures.images_cached, again.figures.images_cached_bytes) == (1, len(DATA))


class _Breaking:
    """A server that breaks off after each ``piece`` bytes, and after ``broken`` bytes says nothing more."""

    def __init__(self, piece: int, broken: int = len(DATA)) -> None:
        self.piece, self.broken = piece, broken
        self.asked: list[int] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        self.asked.append(start)
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(DATA) - start
        await response.prepare(request)
        stop = min(start + self.piece, self.broken)
        if start < stop:
            await response.write(DATA[start:stop])
        if stop < len(DATA) and request.transport is not None:
            request.transport.close()
        return response


async def _fetched(handler: _Breaking, folder: Path) -> Path:
    app = web.Application()
    app.router.add_get("/x", handler.answer)
    async with TestServer(app) as server:
        limits = ImageLimits(free_bytes_min=0)
        cache = ImageCache(folder, HttpFetch(limits), limits, ManualClock())
        await cache.open()
        return await cache.path_of(_image(url=str(server.make_url("/x"))), quiet)


async def test_a_download_goes_on_where_its_connection_broke(tmp_path: Path) -> None:
    handler = _Breaking(1 << 20)
    assert (await _fetched(handler, tmp_path)).read_bytes() == DATA
    assert len(handler.asked) > 2
    assert handler.asked == sorted(set(handler.asked)), "each time from further on"


async def test_a_server_that_gives_no_more_is_given_up(tmp_path: Path) -> None:
    handler = _Breaking(1 << 20, broken=1 << 20)
    with pytest.raises(DriverError) as refused:
        await _fetched(handler, tmp_path)
    assert refused.value.code == "image_unavailable"
    assert handler.asked[-images.RESUMES_MAX :] == [handler.asked[-1]] * images.RESUMES_MAX
    assert list(tmp_path.iterdir()) == []
