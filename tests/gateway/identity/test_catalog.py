"""The catalog: regions in a tree, what a project sees of it; policies and settings kept for others."""

from typing import Any

import pytest

from gateway.identity.password_rules import PasswordRules
from tests.gateway.cloud import Cloud, open_cloud
from tests.gateway.identity.people import made

V3 = "/identity/v3"
FILTER = f"{V3}/OS-EP-FILTER"


async def types_in_catalog(cloud: Cloud, name: str = "demo") -> dict[str, set[str]]:
    """Interfaces by service type, as this project's token has them."""
    token = await cloud.login(name)
    _, body = await cloud.call("GET", f"{V3}/auth/catalog", token)
    _, own = await cloud.call("GET", f"{V3}/auth/tokens", token, X_Subject_Token=token)
    assert own["token"]["catalog"] == body["catalog"]
    return {row["type"]: {end["interface"] for end in row["endpoints"]} for row in body["catalog"]}


async def first(cloud: Cloud, admin: str, query: str) -> dict[str, Any]:
    plural = query.partition("?")[0]
    _, body = await cloud.call("GET", f"{V3}/{query}", admin)
    found: dict[str, Any] = body[plural][0]
    return found


async def test_regions_form_a_tree(cloud: Cloud) -> None:
    admin = await cloud.login()
    await made(cloud, admin, "region", id="world")
    await made(cloud, admin, "region", id="north", parent_region_id="world", description="cold")
    _, body = await cloud.call("GET", f"{V3}/regions?parent_region_id=world", admin)
    assert [row["id"] for row in body["regions"]] == ["north"]
    for change, status in (({"parent_region_id": "north"}, 400), ({"parent_region_id": "nowhere"}, 404)):
        assert (await cloud.call("PATCH", f"{V3}/regions/world", admin, json={"region": change}))[0] == status
    put = {"region": {"description": "south"}}
    assert (await cloud.call("PUT", f"{V3}/regions/south", admin, json=put))[0] == 201
    assert (await cloud.call("PUT", f"{V3}/regions/south", admin, json=put))[0] == 409
    assert (await cloud.call("PUT", f"{V3}/regions/east", admin, json={"region": {"id": "west"}}))[0] == 400
    service = await first(cloud, admin, "services?type=image")
    end = await made(
        cloud, admin, "endpoint", service_id=service["id"], interface="public", url="/x", region_id="north"
    )
    assert (await cloud.call("DELETE", f"{V3}/regions/world", admin))[0] == 403
    assert (await cloud.call("DELETE", f"{V3}/endpoints/{end['id']}", admin))[0] == 204
    assert (await cloud.call("DELETE", f"{V3}/regions/world", admin))[0] == 204
    assert (await cloud.call("GET", f"{V3}/regions/north", admin))[0] == 404


async def test_a_project_sees_the_endpoints_chosen_for_it(cloud: Cloud) -> None:
    admin = await cloud.login()
    everything = {
        name: {"public", "internal", "admin"} for name in ("identity", "compute", "image", "network")
    }
    assert await types_in_catalog(cloud) == everything
    service = await first(cloud, admin, "services?type=image")
    end = await first(cloud, admin, f"endpoints?service_id={service['id']}&interface=public")
    path = f"{FILTER}/projects/{cloud.ids.demo_project}/endpoints/{end['id']}"
    assert (await cloud.call("HEAD", path, admin))[0] == 404
    assert (await cloud.call("PUT", path, admin))[0] == 204
    assert (await cloud.call("GET", path, admin))[0] == 204
    assert await types_in_catalog(cloud) == {"image": {"public"}}
    assert await types_in_catalog(cloud, "admin") == everything
    _, body = await cloud.call("GET", f"{FILTER}/endpoints/{end['id']}/projects", admin)
    assert [row["name"] for row in body["projects"]] == ["demo"]
    compute = await first(cloud, admin, "services?type=compute")
    filters = {"service_id": compute["id"], "interface": "internal"}
    group = await made_group(cloud, admin, filters)
    joined = f"{FILTER}/endpoint_groups/{group['id']}/projects/{cloud.ids.demo_project}"
    assert (await cloud.call("GET", joined, admin))[0] == 404
    assert (await cloud.call("PUT", joined, admin))[0] == 204
    status, body = await cloud.call("GET", joined, admin)
    assert (status, body["project_endpoint_group"]["project_id"]) == (200, cloud.ids.demo_project)
    assert (await cloud.call("HEAD", joined, admin))[0] == 200
    assert await types_in_catalog(cloud) == {"image": {"public"}, "compute": {"internal"}}
    for path_of, plural, count in (
        (f"{FILTER}/projects/{cloud.ids.demo_project}/endpoints", "endpoints", 2),
        (f"{FILTER}/projects/{cloud.ids.admin_project}/endpoints", "endpoints", 12),
        (f"{FILTER}/projects/{cloud.ids.demo_project}/endpoint_groups", "endpoint_groups", 1),
        (f"{FILTER}/endpoint_groups/{group['id']}/endpoints", "endpoints", 1),
        (f"{FILTER}/endpoint_groups/{group['id']}/projects", "projects", 1),
    ):
        _, body = await cloud.call("GET", path_of, admin)
        assert len(body[plural]) == count, path_of
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("DELETE", path, admin))[0] == 404
    assert (await cloud.call("DELETE", joined, admin))[0] == 204
    assert await types_in_catalog(cloud) == everything


async def made_group(cloud: Cloud, admin: str, filters: dict[str, Any]) -> dict[str, Any]:
    sent = {"endpoint_group": {"name": "some", "description": "d", "filters": filters}}
    status, body = await cloud.call("POST", f"{FILTER}/endpoint_groups", admin, json=sent)
    assert status == 201, body
    found: dict[str, Any] = body["endpoint_group"]
    return found


async def test_an_endpoint_group_lives_and_ends(cloud: Cloud) -> None:
    admin = await cloud.login()
    group = await made_group(cloud, admin, {"interface": "admin"})
    path = f"{FILTER}/endpoint_groups/{group['id']}"
    assert group["links"]["self"] == f"{cloud.url}{path}"
    assert (await cloud.call("HEAD", path, admin))[0] == 200
    change = {"endpoint_group": {"filters": {"region_id": "RegionOne", "enabled": True}, "name": "more"}}
    _, body = await cloud.call("PATCH", path, admin, json=change)
    assert body["endpoint_group"]["filters"] == {"region_id": "RegionOne", "enabled": True}
    _, body = await cloud.call("GET", f"{path}/endpoints", admin)
    assert len(body["endpoints"]) == 12
    for bad in ({}, {"colour": "blue"}, {"interface": "sideways"}, None):
        sent = {"endpoint_group": {"name": "x", "filters": bad}}
        assert (await cloud.call("POST", f"{FILTER}/endpoint_groups", admin, json=sent))[0] == 400
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("GET", path, admin))[0] == 404


async def test_the_most_particular_policy_counts(cloud: Cloud) -> None:
    admin = await cloud.login()
    await made(cloud, admin, "region", id="world")
    await made(cloud, admin, "region", id="north", parent_region_id="world")
    service = await first(cloud, admin, "services?type=image")
    where = {"service_id": service["id"], "interface": "public", "url": "/x", "region_id": "north"}
    end = await made(cloud, admin, "endpoint", **where)
    ids = {}
    for name in ("of service", "of region", "of endpoint"):
        sent = {"policy": {"type": "application/json", "blob": f'"{name}"', "note": name}}
        status, body = await cloud.call("POST", f"{V3}/policies", admin, json=sent)
        assert (status, body["policy"]["note"]) == (201, name)
        ids[name] = body["policy"]["id"]

    async def counts() -> str:
        status, body = await cloud.call("GET", f"{V3}/endpoints/{end['id']}/OS-ENDPOINT-POLICY/policy", admin)
        return str(body["policy"]["note"]) if status == 200 else f"{status}"

    assert await counts() == "404"
    for name, place in (
        ("of service", f"services/{service['id']}"),
        ("of region", f"services/{service['id']}/regions/world"),
        ("of endpoint", f"endpoints/{end['id']}"),
    ):
        path = f"{V3}/policies/{ids[name]}/OS-ENDPOINT-POLICY/{place}"
        assert (await cloud.call("GET", path, admin))[0] == 404
        assert (await cloud.call("PUT", path, admin))[0] == 204
        assert (await cloud.call("HEAD", path, admin))[0] == 204
        assert await counts() == name
    for name, reached in (("of endpoint", 1), ("of region", 0), ("of service", 3)):
        _, body = await cloud.call("GET", f"{V3}/policies/{ids[name]}/OS-ENDPOINT-POLICY/endpoints", admin)
        assert len(body["endpoints"]) == reached, name
    taken = f"{V3}/policies/{ids['of service']}/OS-ENDPOINT-POLICY/endpoints/{end['id']}"
    assert (await cloud.call("PUT", taken, admin))[0] == 204
    assert await counts() == "of service"
    assert (await cloud.call("DELETE", taken, admin))[0] == 204
    assert (await cloud.call("DELETE", taken, admin))[0] == 404
    assert await counts() == "of region"
    assert (await cloud.call("DELETE", f"{V3}/policies/{ids['of region']}", admin))[0] == 204
    assert await counts() == "of service"


async def test_settings_of_a_domain_live_and_end(cloud: Cloud) -> None:
    admin = await cloud.login()
    path = f"{V3}/domains/default/config"
    assert (await cloud.call("GET", path, admin))[0] == 404
    config = {
        "identity": {"driver": "ldap"},
        "ldap": {"url": "ldap://x", "password": "s3cret", "page_size": 5},
    }
    status, body = await cloud.call("PUT", path, admin, json={"config": config})
    shown = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://x", "page_size": 5}}
    assert (status, body["config"]) == (201, shown)
    assert (await cloud.call("PUT", path, admin, json={"config": config}))[0] == 200
    assert (await cloud.call("GET", f"{path}/ldap", admin))[1]["config"] == {"ldap": shown["ldap"]}
    assert (await cloud.call("GET", f"{path}/ldap/url", admin))[1]["config"] == {"url": "ldap://x"}
    assert (await cloud.call("GET", f"{path}/ldap/password", admin))[0] == 404
    for where, change in (
        ("", {"identity": {"list_limit": 3}}),
        ("/ldap", {"ldap": {"url": "ldap://y"}}),
        ("/ldap/page_size", {"page_size": 7}),
    ):
        status, body = await cloud.call("PATCH", path + where, admin, json={"config": change})
        assert status == 200, body
    assert body["config"] == {
        "identity": {"driver": "ldap", "list_limit": 3},
        "ldap": {"url": "ldap://y", "page_size": 7},
    }
    async with cloud.services.pool.acquire() as c:
        assert "s3cret" not in await c.fetchval("SELECT string_agg(value, ' ') FROM identity.domain_config")
    assert (await cloud.call("DELETE", f"{path}/identity/driver", admin))[0] == 204
    assert (await cloud.call("DELETE", f"{path}/identity/driver", admin))[0] == 404
    assert (await cloud.call("DELETE", f"{path}/identity", admin))[0] == 204
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("GET", path, admin))[0] == 404


@pytest.mark.parametrize(
    ("method", "where", "config", "status"),
    [
        ("PUT", "", {}, 403),
        ("PUT", "", {"galaxy": {"x": 1}}, 403),
        ("PUT", "", {"ldap": {"colour": 1}}, 403),
        ("PUT", "", {"ldap": {}}, 403),
        ("PATCH", "/ldap", {"identity": {"driver": "x"}}, 403),
        ("PATCH", "/ldap", {"ldap": {"url": "x"}}, 404),
        ("PATCH", "/ldap/url", {"suffix": "x"}, 403),
        ("GET", "/galaxy", None, 403),
        ("GET", "/ldap/colour", None, 403),
        ("PUT", "", {"ldap": {"url": "x" * 9000}}, 400),
    ],
)
async def test_settings_nobody_has_are_refused(
    cloud: Cloud, method: str, where: str, config: Any, status: int
) -> None:
    sent = None if config is None else {"config": config}
    answer = await cloud.call(method, f"{V3}/domains/default/config{where}", await cloud.login(), json=sent)
    assert answer[0] == status


async def test_default_settings(cloud: Cloud) -> None:
    admin = await cloud.login()
    _, body = await cloud.call("GET", f"{V3}/domains/config/default", admin)
    assert set(body["config"]) == {"identity", "ldap"}
    _, body = await cloud.call("GET", f"{V3}/domains/config/default/identity/driver", admin)
    assert body["config"] == {"driver": "sql"}
    assert (await cloud.call("GET", f"{V3}/domains/config/default/ldap/password", admin))[0] == 403


async def test_the_form_of_passwords_is_told_to_everybody(database: str) -> None:
    rules = PasswordRules(regex=".{7}", regex_description="7 characters")
    async with open_cloud(database, password_rules=rules) as cloud:
        demo = await cloud.login("demo")
        path = f"{V3}/domains/default/config"
        _, body = await cloud.call("GET", f"{path}/security_compliance", demo)
        told = {"password_regex": ".{7}", "password_regex_description": "7 characters"}
        assert body["config"] == {"security_compliance": told}
        _, body = await cloud.call("GET", f"{path}/security_compliance/password_regex", demo)
        assert body["config"] == {"password_regex": ".{7}"}
        assert (await cloud.call("GET", f"{path}/security_compliance/lockout", demo))[0] == 403
        assert (await cloud.call("GET", path, demo))[0] == 403


async def test_a_consumers_secret_is_shown_once(cloud: Cloud) -> None:
    admin = await cloud.login()
    path = f"{V3}/OS-OAUTH1/consumers"
    status, body = await cloud.call("POST", path, admin, json={"consumer": {"description": "a program"}})
    consumer = body["consumer"]
    assert (status, len(consumer["secret"])) == (201, 86)
    one = f"{path}/{consumer['id']}"
    assert consumer["links"]["self"] == f"{cloud.url}{one}"
    _, shown = await cloud.call("GET", one, admin)
    assert shown["consumer"] == {name: consumer[name] for name in ("id", "description", "links")}
    _, shown = await cloud.call("PATCH", one, admin, json={"consumer": {"description": "x"}})
    assert shown["consumer"]["description"] == "x"
    assert (await cloud.call("PATCH", one, admin, json={"consumer": {"secret": "x"}}))[0] == 400
    assert "secret" not in str(await cloud.call("GET", path, admin))
    assert (await cloud.call("DELETE", one, admin))[0] == 204
    assert (await cloud.call("GET", one, admin))[0] == 404


async def test_revocations_are_told(cloud: Cloud) -> None:
    admin = await cloud.login()
    demo = await cloud.login("demo")
    _, body = await cloud.call("GET", f"{V3}/auth/tokens", demo, X_Subject_Token=demo)
    assert (await cloud.call("DELETE", f"{V3}/auth/tokens", demo, X_Subject_Token=demo))[0] == 204
    _, events = await cloud.call("GET", f"{V3}/OS-REVOKE/events", admin)
    assert body["token"]["audit_ids"][0] in {event.get("audit_id") for event in events["events"]}
    _, events = await cloud.call("GET", f"{V3}/OS-REVOKE/events?since=2100-01-01T00:00:00Z", admin)
    assert events["events"] == []
    assert (await cloud.call("GET", f"{V3}/OS-REVOKE/events?since=soon", admin))[0] == 400
