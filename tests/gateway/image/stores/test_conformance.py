"""What every image store does alike, on the real servers."""

import asyncio
import os
import uuid

import pytest

from gateway.image.store import StoreFailed
from tests.gateway.image.stores.harness import MIB, Rig, whole

FUTURE = 1e11


def fresh() -> tuple[str, str]:
    return str(uuid.uuid4()), str(uuid.uuid4())


async def put(rig: Rig, content: bytes, *, piece: int = 3 * MIB + 7, announced: bool = False) -> str:
    writing = await rig.stores().begin(*fresh(), len(content) if announced else None)
    for at in range(0, len(content), piece):
        await writing.write(content[at : at + piece])
    await writing.commit()
    return writing.location


@pytest.mark.parametrize("size", [0, 1, 3 * MIB, 8 * MIB, 19 * MIB + 3])
@pytest.mark.parametrize("announced", [False, True])
async def test_what_goes_in_comes_out(rig: Rig, size: int, announced: bool) -> None:
    content = os.urandom(size)
    location = await put(rig, content, announced=announced)
    assert location.startswith(f"{rig.name}:")
    data = await rig.stores().open(location)
    assert data is not None
    assert data.size_bytes == size
    assert await whole(rig.stores(), location) == content


async def test_any_range_can_be_read(rig: Rig) -> None:
    content = os.urandom(18 * MIB)
    location = await put(rig, content)
    for start, stop in [(0, 1), (5, 5), (8 * MIB - 1, 8 * MIB + 1), (len(content) - 1, len(content))]:
        assert await whole(rig.stores(), location, start, stop) == content[start:stop]


async def test_reading_can_end_early(rig: Rig) -> None:
    location = await put(rig, os.urandom(10 * MIB))
    data = await rig.stores().open(location)
    assert data is not None
    blocks = data.read(0, data.size_bytes)
    assert await anext(blocks)
    await blocks.aclose()
    assert len(await whole(rig.stores(), location)) == 10 * MIB


async def test_nothing_is_there_before_the_commit_nor_after_a_cut_upload(rig: Rig) -> None:
    stores = rig.stores()
    writing = await stores.begin(*fresh(), None)
    await writing.write(os.urandom(17 * MIB))
    assert await stores.open(writing.location) is None
    await writing.abandon()
    assert await stores.open(writing.location) is None
    assert await rig.left() == []


async def test_an_upload_cut_while_it_writes_leaves_nothing(rig: Rig) -> None:
    writing = await rig.stores().begin(*fresh(), None)
    await writing.write(os.urandom(9 * MIB))
    task = asyncio.create_task(writing.write(os.urandom(9 * MIB)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await writing.abandon()
    assert await rig.left() == []


async def test_committed_data_can_still_be_abandoned(rig: Rig) -> None:
    writing = await rig.stores().begin(*fresh(), None)
    await writing.write(os.urandom(17 * MIB))
    await writing.commit()
    assert await rig.left() != []
    await writing.abandon()
    assert await rig.left() == []


async def test_deleting_removes_all_of_it_and_may_be_repeated(rig: Rig) -> None:
    stores = rig.stores()
    location, other = await put(rig, os.urandom(17 * MIB)), await put(rig, b"other")
    for _ in range(2):
        await stores.delete(location)
    assert await stores.open(location) is None
    assert await whole(stores, other) == b"other"
    await stores.delete(other)
    assert await rig.left() == []


async def test_the_sweep_removes_what_is_old_and_not_wanted(rig: Rig) -> None:
    stores = rig.stores()
    wanted, unwanted = await put(rig, os.urandom(9 * MIB)), await put(rig, os.urandom(9 * MIB))
    cut = await stores.begin(*fresh(), None)  # its process has died: neither committed nor abandoned
    await cut.write(os.urandom(17 * MIB))
    assert await stores.sweep({wanted}, 0.0) == 0
    assert await stores.sweep({wanted}, FUTURE) == 2
    assert await stores.open(unwanted) is None
    assert len(await whole(stores, wanted)) == 9 * MIB
    await stores.delete(wanted)
    assert await rig.left() == []
    await cut.abandon()


async def test_uploads_and_reads_at_the_same_time(rig: Rig) -> None:
    contents = [os.urandom(5 * MIB + n) for n in range(6)]
    locations = await asyncio.gather(*(put(rig, content) for content in contents))
    assert len(set(locations)) == 6
    assert await asyncio.gather(*(whole(rig.stores(), location) for location in locations)) == contents


@pytest.mark.parametrize("key", ["../../etc/passwd", "", "a/b", f"{uuid.uuid4()}.{'0' * 31}", "x" * 70])
async def test_only_keys_of_ours_are_looked_up(rig: Rig, key: str) -> None:
    with pytest.raises(StoreFailed):
        await rig.stores().open(f"{rig.name}:{key}")
    with pytest.raises(StoreFailed):
        await rig.stores().delete(f"{rig.name}:{key}")


async def test_keys_are_unknown_to_a_store_that_never_had_them(rig: Rig) -> None:
    key = f"{uuid.uuid4()}.{uuid.uuid4().hex}"
    assert await rig.stores().open(f"{rig.name}:{key}") is None
    await rig.stores().delete(f"{rig.name}:{key}")
