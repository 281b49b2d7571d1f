"""A project's limits: counts and sizes, told beside the usage, and kept from the first byte."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.services import ImageLimits
from tests.gateway.image.conftest import Images

MIB = 1 << 20


def limited(images: Images, **limits: int) -> None:
    """Set the limits of the running service."""
    settings = replace(images.services.settings, image_limits=ImageLimits(**limits))
    object.__setattr__(images.services, "settings", settings)


async def usage(images: Images) -> Any:
    return (await images.call("GET", "/v2/info/usage"))[1]["usage"]


async def test_usage_is_told_beside_the_limits(images: Images) -> None:
    limited(images, size_total=10, count_total=5)
    ident = await images.make()
    await images.fill(ident, bytes(2 * MIB + 1))
    await images.make()
    assert await usage(images) == {
        "image_size_total": {"limit": 10, "usage": 3},
        "image_stage_total": {"limit": -1, "usage": 0},
        "image_count_total": {"limit": 5, "usage": 2},
        "image_count_uploading": {"limit": -1, "usage": 0},
    }
    status, other, _ = await images.call("GET", "/v2/info/usage", who="bob")
    assert (status, other["usage"]["image_count_total"]["usage"]) == (200, 0)


async def test_a_project_has_so_many_images_and_no_more(images: Images) -> None:
    limited(images, count_total=1)
    first = await images.make()
    assert (await images.call("POST", "/v2/images", json={"name": "x"}))[0] == 413
    assert (await images.call("POST", "/v2/images", who="bob", json={"name": "x"}))[0] == 201
    await images.call("DELETE", f"/v2/images/{first}")
    assert (await images.call("POST", "/v2/images", json={"name": "x"}))[0] == 201


@pytest.mark.parametrize("announced", [True, False])
async def test_the_total_of_sizes_holds_announced_or_not(images: Images, announced: bool) -> None:
    limited(images, size_total=3)
    first, second = await images.make(), await images.make()
    assert (await images.fill(first, bytes(2 * MIB)))[0] == 204

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield bytes(MIB)

    assert (await images.fill(second, bytes(2 * MIB) if announced else pieces()))[0] == 413
    assert (await images.show(second))["status"] == "queued"
    assert (await images.fill(second, bytes(MIB)))[0] == 204
    third = await images.make()
    assert (await images.fill(third, b"x"))[0] == 413
    await images.call("DELETE", f"/v2/images/{first}")
    assert (await images.fill(third, b"x"))[0] == 204


async def test_uploads_at_the_same_time_are_counted(images: Images) -> None:
    limited(images, count_uploading=0)
    ident = await images.make()
    assert (await images.fill(ident))[0] == 413
    assert (await images.show(ident))["status"] == "queued"
