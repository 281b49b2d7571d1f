"""Server groups through the API: rows, members, quotas, and what a new server is told of them."""

from typing import Any

import pytest

from protocol.instance import ServerGroup
from tests.gateway.compute.cloud import HOST_ID, Compute

PATH = "/os-server-groups"


async def make(compute: Compute, policy: str = "anti-affinity", **more: Any) -> dict[str, Any]:
    body = {"server_group": {"name": "g", "policy": policy, **more}}
    status, answer = await compute.call("POST", PATH, body)
    assert status == 200, answer
    group: dict[str, Any] = answer["server_group"]
    return group


async def test_a_group_is_made_shown_and_deleted(compute: Compute) -> None:
    group = await make(compute, rules={"max_server_per_host": 3})
    assert group == {
        "id": group["id"], "name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 3},
        "members": [], "project_id": "p1", "user_id": "u1",
    }  # fmt: skip
    assert (await compute.call("GET", f"{PATH}/{group['id']}"))[1]["server_group"] == group
    assert (await compute.call("GET", PATH))[1]["server_groups"] == [group]
    assert (await compute.call("GET", PATH, who="other"))[1]["server_groups"] == []
    assert (await compute.call("GET", f"{PATH}?all_projects=true", who="admin"))[1]["server_groups"] == [
        group
    ]
    for who, method, status in (
        ("other", "GET", 404), ("other", "DELETE", 404), ("reader", "GET", 200), ("reader", "DELETE", 403),
        ("member", "DELETE", 204), ("member", "DELETE", 404),
    ):  # fmt: skip
        assert (await compute.call(method, f"{PATH}/{group['id']}", who=who))[0] == status


async def test_older_versions_name_policies(compute: Compute) -> None:
    body = {"server_group": {"name": "g", "policies": ["affinity"]}}
    status, answer = await compute.call("POST", PATH, body, version="2.1")
    shown = answer["server_group"]
    assert (status, shown["policies"], shown["metadata"], "project_id" in shown) == (
        200,
        ["affinity"],
        {},
        False,
    )
    assert (await compute.call("POST", PATH, body, version="2.64"))[0] == 400
    soft = {"server_group": {"name": "g", "policies": ["soft-affinity"]}}
    assert (await compute.call("POST", PATH, soft, version="2.14"))[0] == 400
    assert (await compute.call("POST", PATH, soft, version="2.15"))[0] == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "none"}, {}, {"policy": "affinity", "rules": {"max_server_per_host": 2}},
        {"policy": "anti-affinity", "rules": {"max_server_per_host": 0}}, {"policy": "affinity", "x": 1},
        {"policy": "affinity", "name": ""},
    ],
)  # fmt: skip
async def test_what_no_group_can_be(compute: Compute, wrong: dict[str, Any]) -> None:
    status, _ = await compute.call("POST", PATH, {"server_group": {"name": "g", **wrong}})
    assert status == 400


async def test_groups_and_members_have_quotas(compute: Compute) -> None:
    limits = {"quota_set": {"server_groups": 1, "server_group_members": 1}}
    assert (await compute.call("PUT", "/os-quota-sets/p1", limits, who="admin"))[0] == 200
    group = await make(compute)
    assert (await compute.call("POST", PATH, {"server_group": {"name": "h", "policy": "affinity"}}))[0] == 403
    first = await compute.boot_in(group["id"])
    assert first[0] == 202
    assert (await compute.boot_in(group["id"]))[0] == 403


async def test_a_server_knows_its_group_until_that_is_gone(compute: Compute) -> None:
    group = await make(compute, rules={"max_server_per_host": 2})
    _, answer = await compute.boot_in(group["id"])
    server = answer["server"]["id"]
    state = compute.actors.states[f"instance/{server}"]
    assert state.request.group == ServerGroup(group["id"], "anti-affinity", 2)
    assert (await compute.call("GET", f"/servers/{server}"))[1]["server"]["server_groups"] == [group["id"]]
    assert (await compute.call("GET", f"{PATH}/{group['id']}"))[1]["server_group"]["members"] == [server]
    assert (await compute.call("DELETE", f"{PATH}/{group['id']}"))[0] == 204
    assert (await compute.call("GET", f"/servers/{server}"))[1]["server"]["server_groups"] == []


async def test_hints_name_groups_and_servers_of_ones_own(compute: Compute) -> None:
    group = await make(compute)
    for wrong in ("00000000-0000-4000-8000-000000000000", "x"):
        assert (await compute.boot_in(wrong))[0] == 400
    assert (await compute.boot_in(group["id"], who="other"))[0] == 400
    server = await compute.boot()
    _, answer = await compute.boot_in(None, same_host=server, different_host=[server])
    request = compute.actors.states[f"instance/{answer['server']['id']}"].request
    assert (request.same_hosts, request.different_hosts) == ((HOST_ID,), (HOST_ID,))
    _, answer = await compute.boot_in(None, who="other", same_host=server)
    assert compute.actors.states[f"instance/{answer['server']['id']}"].request.same_hosts == ()
