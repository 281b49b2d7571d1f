"""Hypervisors, services and zones; and the API as a table."""

import pytest

from gateway.compute.host import host_number
from gateway.compute.routes import API, RULES
from tests.gateway.compute.cloud import HOST_ID, Compute

UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def test_hypervisors(compute: Compute) -> None:
    server = await compute.boot()
    status, answer = await compute.call("GET", "/os-hypervisors?with_servers=true", who="admin")
    found = answer["hypervisors"][0]
    assert (found["id"], found["state"], found["servers"][0]["uuid"]) == (HOST_ID, "up", server)
    status, answer = await compute.call("GET", "/os-hypervisors/detail", who="admin", version="2.87")
    assert (answer["hypervisors"][0]["vcpus"], answer["hypervisors"][0]["free_ram_mb"]) == (8, 16384)
    assert (
        "vcpus" not in (await compute.call("GET", f"/os-hypervisors/{HOST_ID}", who="admin"))[1]["hypervisor"]
    )
    number = host_number(HOST_ID)
    status, answer = await compute.call("GET", f"/os-hypervisors/{number}", who="admin", version="2.52")
    assert (status, answer["hypervisor"]["id"]) == (200, number)


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [
        (f"/os-hypervisors/{UNKNOWN}", "2.100", 404),
        ("/os-hypervisors/1", "2.100", 400),
        ("/os-hypervisors/x", "2.52", 404),
        ("/os-hypervisors?hypervisor_hostname_pattern=mars", "2.100", 404),
        ("/os-hypervisors?hypervisor_hostname_pattern=ho_t", "2.100", 200),
        ("/os-hypervisors?hypervisor_hostname_pattern=host&limit=1", "2.100", 400),
        ("/os-hypervisors?marker=x", "2.100", 400),
        ("/os-hypervisors?limit=1", "2.100", 200),
        ("/os-hypervisors/host/search", "2.52", 200),
        ("/os-hypervisors/mars/search", "2.52", 404),
        ("/os-hypervisors/host/search", "2.53", 404),
        ("/os-hypervisors/statistics", "2.87", 200),
        ("/os-hypervisors/statistics", "2.88", 404),
        (f"/os-hypervisors/{HOST_ID}/uptime", "2.87", 501),
        ("/os-services?colour=1", "2.100", 400),
    ],
)
async def test_operators_paths(compute: Compute, path: str, version: str, status: int) -> None:
    assert (await compute.call("GET", path, who="admin", version=version))[0] == status
    assert (await compute.call("GET", path, version=version))[0] in {403, 404}


async def test_services_are_set_through_the_host(compute: Compute) -> None:
    status, answer = await compute.call("GET", "/os-services?host=host-1&binary=nova-compute", who="admin")
    service = answer["services"][0]
    assert (service["id"], service["status"], service["state"]) == (HOST_ID, "enabled", "up")
    assert (await compute.call("GET", "/os-services?binary=nova-conductor", who="admin"))[1] == {
        "services": []
    }
    path = f"/os-services/{HOST_ID}"
    wish = {"status": "disabled", "disabled_reason": "rack moves", "forced_down": True}
    status, answer = await compute.call("PUT", path, wish, who="admin")
    shown = answer["service"]
    assert (status, shown["status"], shown["disabled_reason"]) == (200, "disabled", "rack moves")
    assert (shown["forced_down"], shown["state"]) == (True, "down")
    zone = (await compute.call("GET", "/os-availability-zone"))[1]["availabilityZoneInfo"][0]
    assert zone["zoneState"] == {"available": False}
    assert (await compute.call("PUT", path, {}, who="admin"))[0] == 400
    assert (await compute.call("PUT", path, {"disabled_reason": "x"}, who="admin"))[0] == 400
    assert (await compute.call("PUT", f"/os-services/{UNKNOWN}", wish, who="admin"))[0] == 404
    assert (await compute.call("PUT", "/os-services/x", wish, who="admin"))[0] == 400
    assert (await compute.call("DELETE", path, who="admin"))[0] == 204
    assert (await compute.call("DELETE", path, who="admin"))[0] == 404
    assert (await compute.call("GET", "/os-services", who="admin"))[1] == {"services": []}


async def test_services_were_set_by_name_up_to_2_52(compute: Compute) -> None:
    named = {"host": "host-1", "binary": "nova-compute"}
    for action, more, status in (
        ("disable-log-reason", {"disabled_reason": "r"}, 200),
        ("disable-log-reason", {}, 400),
        ("enable", {}, 200),
        ("disable", {}, 200),
        ("force-down", {"forced_down": True}, 200),
        ("force-down", {}, 400),
        ("explode", {}, 404),
        ("enable", {"host": "mars"}, 404),
        ("enable", {"binary": "nova-api"}, 400),
    ):
        found = await compute.call(
            "PUT", f"/os-services/{action}", {**named, **more}, who="admin", version="2.52"
        )
        assert found[0] == status, (action, found)
    assert (await compute.call("PUT", "/os-services/force-down", named, who="admin", version="2.10"))[
        0
    ] == 404


async def test_a_path_may_name_the_tokens_own_project(compute: Compute) -> None:
    server = await compute.boot()
    assert (await compute.call("GET", f"/p1/servers/{server}"))[0] == 200
    assert (await compute.call("GET", "/p1/servers/detail"))[0] == 200
    status, answer = await compute.call("GET", "/p2/servers")
    assert (status, "project_id 'p2'" in answer["badRequest"]["message"]) == (400, True)


async def test_versions_need_no_token(compute: Compute) -> None:
    async with compute.session.get("/compute/") as response:
        entry = (await response.json())["versions"][0]
    assert (response.status, entry["id"], entry["version"], entry["min_version"]) == (
        200,
        "v2.1",
        "2.100",
        "2.1",
    )
    async with compute.session.get("/compute/v2.1/") as response:
        assert (await response.json())["version"]["links"][0]["href"].endswith("/compute/v2.1/")
    async with compute.session.get("/compute/v2.1/servers") as response:
        assert response.status == 401


async def test_microversions_are_negotiated(compute: Compute) -> None:
    status, answer = await compute.call("GET", "/servers", version="2.101")
    assert (status, answer["computeFault"]["code"]) == (406, 406)
    await compute.call("GET", "/servers", version="latest")
    assert compute.headers["OpenStack-API-Version"] == "compute 2.100"
    assert compute.headers["X-OpenStack-Nova-API-Version"] == "2.100"


def test_every_rule_is_used_and_every_row_is_served_twice() -> None:
    used = {route.policy for route in API.routes}
    inner = {"compute:servers:list_all", "compute:servers:create:forced_host", "compute:servers:act"}
    inner |= {"compute:servers:administer", "compute:server_groups:list_all"}
    inner |= {"compute:limits:other_project", "compute:instance_actions:events"}
    inner |= {"compute:flavors:add_access", "compute:flavors:remove_access"}
    assert set(RULES) == used | inner
    plain = {(r.method, r.path, r.microversions) for r in API.routes if "{project_id}" not in r.path}
    named = {
        (r.method, r.path.replace("/{project_id}", ""), r.microversions)
        for r in API.routes
        if "{project_id}" in r.path
    }
    assert plain - named == {("GET", "/", None), ("GET", "/v2.1", None)}
