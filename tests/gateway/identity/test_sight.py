"""What people may look at beyond their own, and what they are not told."""

import pytest

from tests.gateway.cloud import Cloud, project
from tests.gateway.identity.people import grant, made, new_user

V3 = "/identity/v3"


async def test_a_project_sees_the_domain_it_is_in_and_no_other(cloud: Cloud) -> None:
    admin, demo = await cloud.login(), await cloud.login("demo")
    other = await made(cloud, admin, "domain", name="other")
    status, body = await cloud.call("GET", f"{V3}/domains/default", demo)
    assert (status, body["domain"]["name"]) == (200, "Default")
    assert (await cloud.call("GET", f"{V3}/domains/{other['id']}", demo))[0] == 403
    assert (await cloud.call("PATCH", f"{V3}/domains/default", demo, json={"domain": {}}))[0] == 403
    unscoped = await cloud.login("demo", None)
    assert (await cloud.call("GET", f"{V3}/domains/default", unscoped))[0] == 403


@pytest.mark.parametrize("plural", ["users", "groups", "projects", "domains"])
async def test_who_may_not_look_is_not_told_what_there_is_not(cloud: Cloud, plural: str) -> None:
    admin = await cloud.login()
    eve = await new_user(cloud, "eve")
    other = await made(cloud, admin, "domain", name="other")
    reader = next(
        role["id"] for role in (await cloud.call("GET", f"{V3}/roles?name=reader", admin))[1]["roles"]
    )
    path = f"{V3}/domains/{other['id']}/users/{eve.id}/roles/{reader}"
    assert (await cloud.call("PUT", path, admin))[0] == 204
    token = await cloud.login("eve", {"domain": {"id": other["id"]}}, "eve-secret")
    there = {"users": cloud.ids.demo_user, "projects": cloud.ids.demo_project, "domains": "default"}
    idents = [there[plural], "nowhere"] if plural in there else ["nowhere"]
    for ident in idents:
        assert (await cloud.call("GET", f"{V3}/{plural}/{ident}", token))[0] == 403
    assert (await cloud.call("GET", f"{V3}/{plural}/nowhere", admin))[0] == 404


async def test_the_older_word_for_a_region_makes_it(cloud: Cloud) -> None:
    admin = await cloud.login()
    service = await made(cloud, admin, "service", type="object-store", name="swift")
    members = {"service_id": service["id"], "interface": "public", "url": "/object"}
    status, _ = await cloud.call(
        "POST", f"{V3}/endpoints", admin, json={"endpoint": {**members, "region_id": "north"}}
    )
    assert status == 404
    endpoint = await made(cloud, admin, "endpoint", **members, region="north")
    assert (endpoint["region_id"], endpoint["region"]) == ("north", "north")
    assert (await cloud.call("GET", f"{V3}/regions/north", admin))[0] == 200
    path = f"{V3}/endpoints/{endpoint['id']}"
    assert (await cloud.call("PATCH", path, admin, json={"endpoint": {"region": "south"}}))[0] == 200
    assert (await cloud.call("GET", f"{V3}/regions/south", admin))[0] == 200


async def test_services_have_a_role_that_implies_nothing(cloud: Cloud) -> None:
    admin = await cloud.login()
    nova = await new_user(cloud, "nova")
    await grant(cloud, nova.id, "service", cloud.ids.demo_project)
    token = await cloud.login("nova", project("demo"), "nova-secret")
    _, body = await cloud.call("GET", f"{V3}/auth/tokens", token, X_Subject_Token=token)
    assert [role["name"] for role in body["token"]["roles"]] == ["service"]
    assert (await cloud.call("GET", f"{V3}/users", token))[0] == 403
    assert (await cloud.call("GET", f"{V3}/users", admin))[0] == 200
