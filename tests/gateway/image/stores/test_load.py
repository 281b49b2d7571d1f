"""Stores made from settings, and several of them as one."""

from pathlib import Path
from typing import Any

import pytest

from gateway.image.store import StoreFailed, Stores
from gateway.image.stores.load import make_stores
from process.clock import SystemClock
from process.plugin import DriverNotInstalledError, DriverOptionsError
from tests.gateway.image.stores.harness import whole
from tests.gateway.image.stores.test_conformance import fresh


def two(tmp_path: Path, default: str = "") -> Stores:
    configured = {
        name: {"kind": "file", "options": {"path": str(tmp_path / name)}} for name in ("fast", "cheap")
    }
    return make_stores(configured, default, SystemClock())


async def put(stores: Stores, content: bytes, **where: str) -> str:
    writing = await stores.begin(*fresh(), None, **where)
    await writing.write(content)
    await writing.commit()
    return writing.location


async def test_data_goes_to_the_default_or_where_it_is_sent(tmp_path: Path) -> None:
    stores = two(tmp_path)
    one, other = await put(stores, b"one"), await put(stores, b"other", store="cheap")
    assert (one.partition(":")[0], other.partition(":")[0]) == ("fast", "cheap")
    assert len(list((tmp_path / "cheap").iterdir())) == 1
    assert (await whole(stores, one), await whole(stores, other)) == (b"one", b"other")
    assert two(tmp_path, "cheap").default == "cheap"
    with pytest.raises(StoreFailed, match="no image store 'gone'"):
        await stores.begin(*fresh(), None, store="gone")
    with pytest.raises(StoreFailed, match="no image store 'gone'"):
        await stores.open("gone:" + one.partition(":")[2])
    await stores.close()


async def test_a_sweep_goes_through_all_stores_though_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = two(tmp_path)
    kept, _ = await put(stores, b"kept"), await put(stores, b"left", store="cheap")
    assert await stores.sweep({kept}, 1e11) == 1
    await put(stores, b"left", store="cheap")

    async def fails(*_: object) -> int:
        raise StoreFailed("away")

    monkeypatch.setattr(next(iter(stores)).driver, "sweep", fails)
    with pytest.raises(StoreFailed, match="fast: away"):
        await stores.sweep({kept}, 1e11)
    assert list((tmp_path / "cheap").iterdir()) == []
    await stores.close()


@pytest.mark.parametrize(
    ("configured", "default", "says"),
    [
        ({"a b": {"kind": "file"}}, "", "not a name"),
        ({"a:b": {"kind": "file"}}, "", "not a name"),
        ({"a": {}}, "", "kind"),
        ({"a": {"kind": "file", "options": {}}}, "", "path"),
        ({"a": {"kind": "file", "options": {"path": "x", "pth": "y"}}}, "", "pth"),
        ({"a": {"kind": "file", "options": {"path": "x"}}}, "b", "no image store 'b'"),
    ],
)
def test_what_is_wrong_in_the_settings_is_said(configured: Any, default: str, says: str) -> None:
    with pytest.raises(DriverOptionsError, match=says):
        make_stores(configured, default, SystemClock())


def test_an_unknown_kind_lists_what_is_installed() -> None:
    with pytest.raises(DriverNotInstalledError, match="'tape'; installed: file, s3, swift"):
        make_stores({"a": {"kind": "tape"}}, "", SystemClock())
