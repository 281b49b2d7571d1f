"""Unified limits: several made at once, what refers to what, who sees which."""

from typing import Any

import pytest

from tests.gateway.cloud import Cloud
from tests.gateway.identity.people import made, new_user

V3 = "/identity/v3"


async def service_id(cloud: Cloud, admin: str) -> str:
    _, body = await cloud.call("GET", f"{V3}/services?type=compute", admin)
    found: str = body["services"][0]["id"]
    return found


async def registered(cloud: Cloud, admin: str, *names: str, **members: Any) -> list[dict[str, Any]]:
    """Registered limits of compute, 10 each."""
    service = await service_id(cloud, admin)
    sent = [{"service_id": service, "resource_name": name, "default_limit": 10, **members} for name in names]
    status, body = await cloud.call(
        "POST", f"{V3}/registered_limits", admin, json={"registered_limits": sent}
    )
    assert status == 201, body
    found: list[dict[str, Any]] = body["registered_limits"]
    return found


async def limited(cloud: Cloud, admin: str, **members: Any) -> tuple[int, Any]:
    """Make one limit of 5 for a resource of compute."""
    sent = {"service_id": await service_id(cloud, admin), "resource_limit": 5, **members}
    return await cloud.call("POST", f"{V3}/limits", admin, json={"limits": [sent]})


async def test_registered_limits_live_and_end(cloud: Cloud) -> None:
    admin = await cloud.login()
    cores, ram = await registered(cloud, admin, "cores", "ram", region_id="RegionOne", description="d")
    path = f"{V3}/registered_limits/{cores['id']}"
    assert cores == {
        "id": cores["id"],
        "service_id": cores["service_id"],
        "region_id": "RegionOne",
        "resource_name": "cores",
        "default_limit": 10,
        "description": "d",
        "links": {"self": f"{cloud.url}{path}"},
    }
    demo = await cloud.login("demo")
    _, body = await cloud.call("GET", f"{V3}/registered_limits?resource_name=ram&region_id=RegionOne", demo)
    assert [row["id"] for row in body["registered_limits"]] == [ram["id"]]
    change = {"registered_limit": {"default_limit": -1, "description": None}}
    _, body = await cloud.call("PATCH", path, admin, json=change)
    assert (body["registered_limit"]["default_limit"], body["registered_limit"]["description"]) == (-1, None)
    assert (await cloud.call("PATCH", path, demo, json=change))[0] == 403
    again = {
        "registered_limits": [
            {k: ram[k] for k in ("service_id", "region_id", "resource_name", "default_limit")}
        ]
    }
    assert (await cloud.call("POST", f"{V3}/registered_limits", admin, json=again))[0] == 409
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("GET", path, admin))[0] == 404


async def test_several_are_made_or_none(cloud: Cloud) -> None:
    admin = await cloud.login()
    service = await service_id(cloud, admin)
    good = {"service_id": service, "resource_name": "cores", "default_limit": 1}
    for bad in ({**good, "service_id": "nobody", "resource_name": "x"}, good, {"resource_name": "y"}):
        sent = {"registered_limits": [good, bad]}
        assert (await cloud.call("POST", f"{V3}/registered_limits", admin, json=sent))[0] in (400, 409)
        assert (await cloud.call("GET", f"{V3}/registered_limits", admin))[1]["registered_limits"] == []


@pytest.mark.parametrize(
    "members",
    [
        {"default_limit": -2},
        {"default_limit": 2**31},
        {"default_limit": "5"},
        {"region_id": "nowhere"},
        {"resource_name": ""},
        {"colour": "blue"},
    ],
)
async def test_bad_registered_limits_are_refused(cloud: Cloud, members: dict[str, Any]) -> None:
    admin = await cloud.login()
    good = {"service_id": await service_id(cloud, admin), "resource_name": "cores", "default_limit": 1}
    sent = {"registered_limits": [{**good, **members}]}
    assert (await cloud.call("POST", f"{V3}/registered_limits", admin, json=sent))[0] == 400


async def test_a_limit_needs_a_registered_one_and_keeps_it_as_it_is(cloud: Cloud) -> None:
    admin = await cloud.login()
    project = {"project_id": cloud.ids.demo_project, "resource_name": "cores"}
    assert (await limited(cloud, admin, **project))[0] == 403
    cores, _ = await registered(cloud, admin, "cores", "ram")
    status, body = await limited(cloud, admin, **project, description="more")
    assert status == 201
    limit = body["limits"][0]
    path = f"{V3}/limits/{limit['id']}"
    assert {name: limit[name] for name in ("project_id", "domain_id", "resource_limit", "description")} == {
        "project_id": cloud.ids.demo_project,
        "domain_id": None,
        "resource_limit": 5,
        "description": "more",
    }
    assert (await limited(cloud, admin, **project))[0] == 409
    assert (await limited(cloud, admin, **project, region_id="RegionOne"))[0] == 403
    one = f"{V3}/registered_limits/{cores['id']}"
    assert (await cloud.call("DELETE", one, admin))[0] == 403
    assert (await cloud.call("PATCH", one, admin, json={"registered_limit": {"default_limit": 3}}))[0] == 403
    _, body = await cloud.call("PATCH", path, admin, json={"limit": {"resource_limit": 7}})
    assert body["limit"]["resource_limit"] == 7
    assert (await cloud.call("PATCH", path, admin, json={"limit": {"project_id": "x"}}))[0] == 400
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("DELETE", one, admin))[0] == 204


async def test_a_limit_is_of_a_project_or_of_a_domain(cloud: Cloud) -> None:
    admin = await cloud.login()
    await registered(cloud, admin, "cores")
    for owner, status in (
        ({}, 400),
        ({"project_id": cloud.ids.demo_project, "domain_id": "default"}, 400),
        ({"project_id": "nobody"}, 400),
        ({"domain_id": "nobody"}, 400),
        ({"domain_id": "default"}, 201),
    ):
        assert (await limited(cloud, admin, resource_name="cores", **owner))[0] == status
    _, body = await cloud.call("GET", f"{V3}/limits?domain_id=default", admin)
    assert len(body["limits"]) == 1


async def test_limits_are_seen_by_those_they_concern(cloud: Cloud) -> None:
    admin = await cloud.login()
    other = await made(cloud, admin, "domain", name="other")
    far = await made(cloud, admin, "project", name="far", domain_id=other["id"])
    await registered(cloud, admin, "cores")
    ids = {}
    for name, owner in (
        ("demo", {"project_id": cloud.ids.demo_project}),
        ("admin", {"project_id": cloud.ids.admin_project}),
        ("default", {"domain_id": "default"}),
        ("far", {"project_id": far["id"]}),
    ):
        _, body = await limited(cloud, admin, resource_name="cores", **owner)
        ids[name] = body["limits"][0]["id"]
    reader = await new_user(cloud, "reader")
    _, roles = await cloud.call("GET", f"{V3}/roles?name=reader", admin)
    grant = f"{V3}/domains/default/users/{reader.id}/roles/{roles['roles'][0]['id']}"
    assert (await cloud.call("PUT", grant, admin))[0] == 204
    for token, names in (
        (admin, {"demo", "admin", "default", "far"}),
        (await cloud.login("demo"), {"demo"}),
        (
            await cloud.login("reader", {"domain": {"id": "default"}}, reader.password),
            {"demo", "admin", "default"},
        ),
        (reader.token, set()),
    ):
        _, body = await cloud.call("GET", f"{V3}/limits", token)
        assert {row["id"] for row in body["limits"]} == {ids[name] for name in names}
        for name, ident in ids.items():
            status, _ = await cloud.call("GET", f"{V3}/limits/{ident}", token)
            assert status == (200 if name in names else 403), name
    _, body = await cloud.call("GET", f"{V3}/limits?project_id={far['id']}", await cloud.login("demo"))
    assert body["limits"] == []


async def test_limits_end_with_their_project_and_service(cloud: Cloud) -> None:
    admin = await cloud.login()
    await registered(cloud, admin, "cores")
    project = await made(cloud, admin, "project", name="p")
    assert (await limited(cloud, admin, resource_name="cores", project_id=project["id"]))[0] == 201
    assert (await limited(cloud, admin, resource_name="cores", domain_id="default"))[0] == 201
    assert (await cloud.call("DELETE", f"{V3}/projects/{project['id']}", admin))[0] == 204
    assert len((await cloud.call("GET", f"{V3}/limits", admin))[1]["limits"]) == 1
    assert (await cloud.call("DELETE", f"{V3}/services/{await service_id(cloud, admin)}", admin))[0] == 204
    assert (await cloud.call("GET", f"{V3}/limits", admin))[1]["limits"] == []
    assert (await cloud.call("GET", f"{V3}/registered_limits", admin))[1]["registered_limits"] == []


async def test_the_model_is_flat(cloud: Cloud) -> None:
    _, body = await cloud.call("GET", f"{V3}/limits/model", await cloud.login("demo"))
    assert body["model"]["name"] == "flat"
