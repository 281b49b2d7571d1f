from typing import Any

import pytest

from actors.instance.model import V
from tests.gateway.compute.cloud import HOST_ID, IMAGE_ID, Compute


async def names(compute: Compute, query: str, **call: Any) -> list[str]:
    status, answer = await compute.call("GET", f"/servers?{query}", **call)
    assert status == 200, answer
    return [one["name"] for one in answer["servers"]]


@pytest.fixture
async def three(compute: Compute) -> Compute:
    """Servers a (tagged x y), b (stopped, tagged y), c (of another project)."""
    await compute.boot(name="a", tags=["x", "y"], metadata={"k": "v"})
    b = await compute.boot(name="b", tags=["y"], flavorRef="2", hostname="bee")
    await compute.actors.settle(b, vm_state=V.STOPPED)
    await compute.boot(name="c", who="other")
    return compute


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["b", "a"]),
        ("name=a", ["a"]),
        ("name=^(a|b)$", ["b", "a"]),
        ("status=ACTIVE", ["a"]),
        ("status=ACTIVE&status=SHUTOFF", ["b", "a"]),
        ("status=ERROR", []),
        ("flavor=2", ["b"]),
        (f"image={IMAGE_ID}", ["b", "a"]),
        ("ip=10.20.", ["b", "a"]),
        ("ip=^192", []),
        ("ip6=.*", []),
        ("tags=x,y", ["a"]),
        ("tags-any=x,y", ["b", "a"]),
        ("not-tags=x", ["b"]),
        ("not-tags-any=x,y", []),
        ("vm_state=stopped", ["b"]),
        ("power_state=1", ["b", "a"]),
        ("locked=false", ["b", "a"]),
        ("config_drive=false", ["b", "a"]),
        ("availability_zone=mars", []),
        ("hostname=bee", ["b", "a"]),  # a filter of admins only: ignored
        ("changes-since=2001-01-01T00:00:00Z", ["b", "a"]),
        ("changes-before=2001-01-01T00:00:00Z", []),
        ("sort_key=display_name&sort_dir=asc", ["a", "b"]),
        ("sort_key=vm_state&sort_dir=desc&sort_key=display_name", ["b", "a"]),
        ("limit=1", ["b"]),
        ("limit=0", []),
        ("all_tenants=0", ["b", "a"]),
    ],
)
async def test_filters_and_sorting(three: Compute, query: str, found: list[str]) -> None:
    assert await names(three, query) == found


@pytest.mark.parametrize(
    "query",
    [
        "name=(", "colour=red", "status=NONSENSE", "limit=-1", "marker=nope", "sort_key=colour",
        "sort_dir=up&sort_key=uuid", "changes-since=yesterday", "all_tenants=perhaps", "locked=perhaps",
        "marker=00000000-0000-4000-8000-000000000000", "name=" + "x" * 256,
        "changes-since=2002-01-01T00:00:00Z&changes-before=2001-01-01T00:00:00Z",
    ],
)  # fmt: skip
async def test_what_no_list_can_mean(three: Compute, query: str) -> None:
    status, answer = await three.call("GET", f"/servers?{query}")
    assert (status, list(answer)) == (400, ["badRequest"])


async def test_admins_list_everywhere_and_by_host(three: Compute) -> None:
    assert await names(three, "all_tenants=1&sort_key=display_name&sort_dir=asc", who="admin") == [
        "a",
        "b",
        "c",
    ]
    assert await names(three, "all_tenants=True&tenant_id=p2", who="admin") == ["c"]
    assert await names(three, "all_tenants&host=host-1&hostname=bee", who="admin") == ["b"]
    assert await names(three, "", who="admin") == []
    status, _ = await three.call("GET", "/servers?all_tenants=1")
    assert status == 403
    status, _ = await three.call("GET", "/servers?sort_key=host")
    assert status == 403


async def test_pages_follow_each_other(three: Compute) -> None:
    for n in range(3):
        await three.boot(name=f"n{n}")
    seen, path = [], "/servers/detail?limit=2&sort_key=vm_state&sort_dir=asc"
    while path:
        status, answer = await three.call("GET", path)
        assert status == 200
        seen += [one["name"] for one in answer["servers"]]
        links = answer.get("servers_links", [])
        path = links[0]["href"].partition("/compute/v2.1")[2] if links else ""
    assert sorted(seen) == ["a", "b", "n0", "n1", "n2"]
    assert seen[-1] == "b"


async def test_old_microversions_ignore_what_they_do_not_know(three: Compute) -> None:
    assert await names(three, "colour=red", version="2.74") == ["b", "a"]
    assert await names(three, "tags=x", version="2.25") == ["b", "a"]
    assert await names(three, "sort_key=memory_mb", version="2.74") == ["b", "a"]
    assert await names(three, "status=NONSENSE", version="2.37") == []


async def test_deleted_servers_are_for_admins_and_changes_since(three: Compute) -> None:
    a = (await three.call("GET", "/servers?name=a"))[1]["servers"][0]["id"]
    await three.actors.settle(a, vm_state=V.DELETED, life="gone", deleted_at=2e9)
    assert await names(three, "") == ["b"]
    assert await names(three, "changes-since=2001-01-01T00:00:00Z") == ["b", "a"]
    assert await names(three, "all_tenants=1&deleted=true", who="admin") == ["a"]
    assert (await three.call("GET", "/servers?status=DELETED"))[0] == 403
    assert (await three.call("GET", f"/servers/{a}"))[0] == 404


async def test_details_show_the_host_to_admins(three: Compute) -> None:
    status, answer = await three.call("GET", "/servers/detail?all_tenants=1", who="admin")
    assert status == 200
    assert {one["host_status"] for one in answer["servers"]} == {"UP"}
    assert {one["OS-EXT-SRV-ATTR:host"] for one in answer["servers"]} == {"host-1"}
    assert HOST_ID not in str(answer)
