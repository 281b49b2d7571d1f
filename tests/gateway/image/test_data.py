"""Image data: in by pieces and out again, and what happens when it goes wrong on the way."""

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.image import intake as intake_module
from gateway.image import upload as upload_module
from gateway.image.store import StoreFailed
from gateway.image.stores.file import FileSink, _Part
from gateway.image.sweep import ORPHAN_AGE_S, sweep_once
from process.signed_url import signed_query
from protocol.image import BeginUpload, FailUpload, FinishUpload, KeepUpload
from tests.gateway.image.actors import unavailable
from tests.gateway.image.conftest import OCTETS, URL_KEY, Images
from tests.gateway.image.headers import HOSTILE, OTHERS, qcow2

MIB = 1 << 20


async def test_data_goes_in_and_comes_out(images: Images) -> None:
    ident = await images.make()
    assert (await images.call("GET", f"/v2/images/{ident}/file"))[0] == 204
    content = os.urandom(9 * MIB + 17)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 300_000):
            yield content[at : at + 300_000]

    assert (await images.fill(ident, pieces()))[0] == 204
    image = await images.show(ident)
    assert image["status"] == "active"
    assert image["size"] == image["virtual_size"] == len(content)
    assert image["checksum"] == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert image["os_hash_algo"] == "sha512"
    assert image["os_hash_value"] == hashlib.sha512(content).hexdigest()
    status, body, response = await images.call("GET", f"/v2/images/{ident}/file")
    assert (status, body) == (200, content)
    assert response.headers["Content-MD5"] == image["checksum"]
    assert response.headers["Content-Length"] == str(len(content))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["x-openstack-request-id"].startswith("req-")
    status, body, response = await images.call(
        "GET", f"/v2/images/{ident}/file", headers={"Range": "bytes=100-199"}
    )
    assert (status, body) == (206, content[100:200])
    assert response.headers["Content-Range"] == f"bytes 100-199/{len(content)}"
    bad = {"Range": f"bytes={len(content)}-"}
    assert (await images.call("GET", f"/v2/images/{ident}/file", headers=bad))[0] == 416


async def test_qcow2_tells_its_virtual_size(images: Images) -> None:
    ident = await images.make(disk_format="qcow2")
    assert (await images.fill(ident, qcow2(5 << 30)))[0] == 204
    assert (await images.show(ident))["virtual_size"] == 5 << 30


@pytest.mark.parametrize("name", ["backing file", "external data name", "absurd size", "cut off tables"])
async def test_hostile_data_leaves_nothing_behind(images: Images, name: str) -> None:
    ident = await images.make(disk_format="qcow2")
    status, body = await images.fill(ident, HOSTILE[name][0])
    assert status == 400
    assert HOSTILE[name][1].encode() in body
    assert images.files() == []
    assert (await images.show(ident))["status"] == "queued"
    assert (await images.fill(ident, qcow2()))[0] == 204


async def test_another_format_is_refused_long_before_its_end(images: Images) -> None:
    ident = await images.make()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield OTHERS["qcow2"]
        while sent < 50:
            sent += 1
            yield bytes(MIB)
            await asyncio.sleep(0.01)

    status, body = await images.fill(ident, endless())
    assert status == 400
    assert b"content is qcow2" in body
    assert sent < 50
    assert images.files() == []


async def test_the_limit_holds_announced_or_not(images: Images) -> None:
    ident = await images.make()
    assert (await images.fill(ident, bytes(65 * MIB)))[0] == 413
    assert not [m for m in images.actors.heard if isinstance(m, BeginUpload)]

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield bytes(MIB)

    assert (await images.fill(ident, pieces()))[0] == 413
    assert (await images.show(ident))["status"] == "queued"
    assert images.files() == []


async def test_a_client_that_goes_away_leaves_nothing_behind(images: Images) -> None:
    ident = await images.make()
    begun, never = asyncio.Event(), asyncio.Event()

    async def cut() -> AsyncIterator[bytes]:
        yield bytes(5 * MIB)
        begun.set()
        await never.wait()

    task = asyncio.create_task(images.fill(ident, cut()))
    await begun.wait()
    async with asyncio.timeout(10):
        while not images.files():
            await asyncio.sleep(0.01)
        task.cancel()
        while not [m for m in images.actors.heard if isinstance(m, FailUpload)]:
            await asyncio.sleep(0.01)
    assert images.files() == []
    assert (await images.show(ident))["status"] == "queued"


async def test_a_client_that_stalls_is_given_up(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "STALL_S", 0.2)
    ident = await images.make()
    never = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await never.wait()

    status, body = await images.fill(ident, stalling())
    assert status == 400
    assert b"Nothing was received" in body
    assert images.files() == []


async def test_one_upload_at_a_time_and_none_over_data(images: Images) -> None:
    ident = await images.make()
    go = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        await go.wait()

    first = asyncio.create_task(images.fill(ident, slow()))
    async with asyncio.timeout(10):
        while (await images.show(ident))["status"] != "saving":
            await asyncio.sleep(0.01)
    assert (await images.fill(ident, b"second"))[0] == 409
    go.set()
    assert (await first)[0] == 204
    assert (await images.fill(ident, b"third"))[0] == 409
    assert (await images.call("GET", f"/v2/images/{ident}/file"))[1] == b"first"


async def test_a_long_upload_says_that_it_goes_on(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "KEEP_S", 0.02)
    ident = await images.make()

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"piece"
            await asyncio.sleep(0.01)

    images.actors.fault = unavailable(KeepUpload, 1)
    assert (await images.fill(ident, slow()))[0] == 204
    kept = [m.received for m in images.actors.heard if isinstance(m, KeepUpload)]
    assert len(kept) > 1
    assert kept == sorted(set(kept))


async def test_an_upload_whose_image_is_deleted_ends(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "KEEP_S", 0.02)
    ident = await images.make()
    deleted = False

    async def slow() -> AsyncIterator[bytes]:
        nonlocal deleted
        for _ in range(500):
            yield b"piece"
            await asyncio.sleep(0.01)
            if not deleted:
                deleted = (await images.call("DELETE", f"/v2/images/{ident}"))[0] == 204

    async with asyncio.timeout(4):
        status, _ = await images.fill(ident, slow())
    assert status == 404
    assert images.files() == []


async def test_data_survives_a_bus_that_is_slow_to_answer(images: Images) -> None:
    ident = await images.make()
    images.actors.fault = unavailable(FinishUpload, 2)
    assert (await images.fill(ident))[0] == 204
    assert (await images.show(ident))["status"] == "active"


async def test_data_whose_fate_is_unknown_is_left_to_the_sweep(images: Images) -> None:
    ident = await images.make()
    images.actors.fault = unavailable(FinishUpload, 3)
    assert (await images.fill(ident))[0] == 503
    assert (await images.show(ident))["status"] == "queued"
    assert len(images.files()) == 1
    services = images.services
    assert await sweep_once(services.pool, services.images, services.clock) == 0
    old = time.time() - ORPHAN_AGE_S - 1
    os.utime(images.folder / images.files()[0], (old, old))
    assert await sweep_once(services.pool, services.images, services.clock) == 1


async def test_the_sweep_keeps_what_is_wanted_or_not_ours(images: Images) -> None:
    ident = await images.make()
    await images.fill(ident)
    (images.folder / "lost+found").mkdir()
    (images.folder / "notes.txt").write_text("mine")
    left = images.folder / (images.files()[0][:37] + "0" * 32 + ".part")
    left.write_text("abandoned")
    old = time.time() - ORPHAN_AGE_S - 1
    for name in images.files():
        os.utime(images.folder / name, (old, old))
    services = images.services
    assert await sweep_once(services.pool, services.images, services.clock) == 1
    assert len(images.files()) == 3
    assert (await images.call("GET", f"/v2/images/{ident}/file"))[1] == b"data"


async def test_deleting_an_image_removes_its_data(images: Images) -> None:
    ident = await images.make()
    await images.fill(ident)
    assert len(images.files()) == 1
    assert (await images.call("DELETE", f"/v2/images/{ident}"))[0] == 204
    assert images.files() == []
    assert (await images.call("GET", f"/v2/images/{ident}/file"))[0] == 404


async def test_a_full_disk_is_told_and_cleaned_up(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any, __: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    ident = await images.make()
    with monkeypatch.context() as patched:
        patched.setattr(_Part, "write", full)
        status, body = await images.fill(ident)
    assert status == 413
    assert b"no room" in body
    assert images.files() == []
    assert (await images.fill(ident))[0] == 204


async def test_a_broken_store_is_our_fault_not_the_clients(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: FileSink) -> str:
        raise StoreFailed("the folder has gone")

    ident = await images.make()
    monkeypatch.setattr(FileSink, "commit", broken)
    status, body = await images.fill(ident)
    assert status == 503
    assert b"folder" not in body
    assert images.files() == []
    assert (await images.show(ident))["status"] == "queued"


async def test_formats_must_be_known_before_data_comes(images: Images) -> None:
    ident = await images.make(disk_format=None)
    assert (await images.fill(ident))[0] == 400
    other = await images.make()
    assert (await images.fill(other, b"x", headers={"Content-Type": "text/plain"}))[0] == 415
    assert (await images.fill(other, b"x", who="bob"))[0] == 404
    assert (await images.fill(other, b"x", who="eve"))[0] == 403


async def test_a_signed_url_needs_no_token(images: Images) -> None:
    ident = await images.make(visibility="private")
    await images.fill(ident)
    expires = int(time.time()) + 60
    path = f"/image/v2/images/{ident}/file?"

    async def fetch(query: str) -> int:
        async with images.session.get(path + query) as response:
            body = await response.read()
            assert (response.status == 200) == (body == b"data")
            return response.status

    good = signed_query(URL_KEY, image=ident, host="h1", generation=3, expires=expires)
    assert await fetch(good) == 200
    assert await fetch(good.replace("host=h1", "host=h2")) == 403
    assert await fetch(good.replace("generation=3", "generation=4")) == 403
    assert await fetch(good.replace(f"expires={expires}", f"expires={expires + 1}")) == 403
    assert await fetch(good[:-1] + ("0" if good[-1] != "0" else "1")) == 403
    assert await fetch(good.replace("generation=3", "generation=x")) == 403
    assert await fetch("signature=") == 403
    late = signed_query(URL_KEY, image=ident, host="h1", generation=3, expires=expires - 120)
    assert await fetch(late) == 403
    other = signed_query(b"another", image=ident, host="h1", generation=3, expires=expires)
    assert await fetch(other) == 403
    assert await fetch("") == 401


async def test_uploads_wait_for_their_right_before_a_byte_is_asked_for(images: Images) -> None:
    ident = await images.make()
    await images.fill(ident)
    asked = False

    async def never() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b"x"

    status, _ = await images.fill(ident, never(), expect100=True, headers=OCTETS)
    assert status == 409
    assert not asked
