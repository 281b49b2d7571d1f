from typing import Any

import pytest

from tests.gateway.compute.cloud import Compute


def flavor(**members: Any) -> dict[str, Any]:
    return {"flavor": {"name": "big", "ram": 1024, "vcpus": 2, "disk": 10, "id": "big", **members}}


async def test_a_cloud_begins_with_flavors(compute: Compute) -> None:
    _, answer = await compute.call("GET", "/flavors/detail?sort_key=memory_mb&sort_dir=asc")
    found = {one["name"]: (one["vcpus"], one["ram"], one["disk"]) for one in answer["flavors"]}
    assert found == {
        "m1.nano": (1, 128, 1),
        "m1.tiny": (1, 512, 1),
        "m1.small": (1, 2048, 20),
        "m1.medium": (2, 4096, 40),
        "m1.large": (4, 8192, 80),
    }
    assert next(iter(found)) == "m1.nano"


async def test_the_life_of_a_flavor(compute: Compute) -> None:
    status, answer = await compute.call("POST", "/flavors", flavor(swap=64, description="d"), who="admin")
    shown = answer["flavor"]
    assert (status, shown["id"], shown["swap"], shown["description"]) == (200, "big", 64, "d")
    status, answer = await compute.call("POST", "/flavors", flavor(name="other"), who="admin")
    assert (status, "ID big" in answer["conflictingRequest"]["message"]) == (409, True)
    status, answer = await compute.call("POST", "/flavors", flavor(id=None), who="admin")
    assert (status, "name big" in answer["conflictingRequest"]["message"]) == (409, True)
    status, answer = await compute.call("PUT", "/flavors/big", {"flavor": {"description": None}}, who="admin")
    assert (status, answer["flavor"]["description"]) == (200, None)
    assert (await compute.call("DELETE", "/flavors/big", who="admin")) == (202, None)
    assert (await compute.call("DELETE", "/flavors/big", who="admin"))[0] == 404
    assert (await compute.call("GET", "/flavors/big"))[0] == 404


@pytest.mark.parametrize(
    ("member", "minor", "value"),
    [("swap", "2.74", ""), ("swap", "2.75", 0), ("description", "2.55", None), ("extra_specs", "2.61", {})],
)
async def test_members_by_microversion(compute: Compute, member: str, minor: str, value: Any) -> None:
    shown = (await compute.call("GET", "/flavors/1", version=minor))[1]["flavor"]
    assert shown[member] == value
    assert ("extra_specs" in shown) == (int(minor[2:]) >= 61)


async def test_members_do_not_manage_flavors(compute: Compute) -> None:
    for method, path, body in (
        ("POST", "/flavors", flavor()),
        ("DELETE", "/flavors/1", None),
        ("POST", "/flavors/1/os-extra_specs", {"extra_specs": {}}),
        ("GET", "/flavors/1/os-flavor-access", None),
    ):
        assert (await compute.call(method, path, body))[0] == 403


async def test_private_flavors_are_for_whom_they_are(compute: Compute) -> None:
    await compute.call("POST", "/flavors", flavor(**{"os-flavor-access:is_public": False}), who="admin")
    assert (await compute.call("GET", "/flavors/big"))[0] == 404
    action = {"addTenantAccess": {"tenant": "p1"}}
    status, answer = await compute.call("POST", "/flavors/big/action", action, who="admin")
    assert (status, answer) == (200, {"flavor_access": [{"flavor_id": "big", "tenant_id": "p1"}]})
    assert (await compute.call("POST", "/flavors/big/action", action, who="admin"))[0] == 409
    assert (await compute.call("GET", "/flavors/big"))[0] == 200
    assert (await compute.call("GET", "/flavors/big", who="other"))[0] == 404
    names = [one["name"] for one in (await compute.call("GET", "/flavors"))[1]["flavors"]]
    assert "big" in names
    private = (await compute.call("GET", "/flavors?is_public=false", who="admin"))[1]["flavors"]
    assert [one["name"] for one in private] == ["big"]
    everything = (await compute.call("GET", "/flavors?is_public=None", who="admin"))[1]["flavors"]
    assert len(everything) == 6
    action = {"removeTenantAccess": {"tenant": "p1"}}
    assert (await compute.call("POST", "/flavors/big/action", action, who="admin"))[0] == 200
    assert (await compute.call("POST", "/flavors/big/action", action, who="admin"))[0] == 404
    assert (await compute.call("GET", "/flavors/1/os-flavor-access", who="admin"))[0] == 404
    action = {"addTenantAccess": {"tenant": "p1"}}
    assert (await compute.call("POST", "/flavors/1/action", action, who="admin"))[0] == 409


async def test_extra_specs(compute: Compute) -> None:
    path = "/flavors/1/os-extra_specs"
    specs = {"extra_specs": {"hw:x": "1", "y": 2}}
    status, answer = await compute.call("POST", path, specs, who="admin")
    assert (status, answer) == (200, {"extra_specs": {"hw:x": "1", "y": "2"}})
    assert await compute.call("PUT", f"{path}/y", {"y": "3"}, who="admin") == (200, {"y": "3"})
    assert (await compute.call("PUT", f"{path}/y", {"z": "3"}, who="admin"))[0] == 400
    assert await compute.call("GET", f"{path}/y") == (200, {"y": "3"})
    assert await compute.call("DELETE", f"{path}/y", who="admin") == (200, None)
    assert (await compute.call("GET", f"{path}/y"))[0] == 404
    assert (await compute.call("DELETE", f"{path}/y", who="admin"))[0] == 404
    assert await compute.call("GET", path) == (200, {"extra_specs": {"hw:x": "1"}})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("minRam=4096", ["m1.medium", "m1.large"]),
        ("minDisk=80", ["m1.large"]),
        ("minRam=9999999999", []),
        ("limit=2", ["m1.tiny", "m1.small"]),
        ("limit=2&marker=2", ["m1.medium", "m1.large"]),
        ("sort_key=name&sort_dir=desc&limit=1", ["m1.tiny"]),
    ],
)
async def test_lists(compute: Compute, query: str, found: list[str]) -> None:
    answer = (await compute.call("GET", f"/flavors?{query}"))[1]
    assert [one["name"] for one in answer["flavors"]] == found


@pytest.mark.parametrize(
    "query", ["minRam=x", "marker=nope", "limit=x", "sort_key=x", "colour=1", "is_public=maybe"]
)
async def test_lists_that_mean_nothing(compute: Compute, query: str) -> None:
    assert (await compute.call("GET", f"/flavors?{query}", who="admin"))[0] == 400


@pytest.mark.parametrize(
    "members", [{"ram": 0}, {"vcpus": 0}, {"name": ""}, {"id": "a/b"}, {"rxtx_factor": -1}, {"x": 1}]
)
async def test_flavors_that_cannot_be(compute: Compute, members: dict[str, Any]) -> None:
    assert (await compute.call("POST", "/flavors", flavor(**members), who="admin"))[0] == 400
