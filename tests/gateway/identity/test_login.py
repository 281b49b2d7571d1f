"""Logging in and what a token is: the documents, the refusals, the end of a token."""

from typing import Any

import pytest

from tests.gateway.cloud import PASSWORDS, Cloud, body_for, open_cloud, project

TOKENS = "/identity/v3/auth/tokens"


async def test_a_project_token_has_everything_clients_read(cloud: Cloud) -> None:
    body = body_for("demo", PASSWORDS["demo"], project("demo"))
    async with cloud.session.post(TOKENS, json=body) as response:
        assert response.status == 201
        assert response.headers["x-openstack-request-id"].startswith("req-")
        token = response.headers["X-Subject-Token"]
        document = (await response.json())["token"]
    assert len(token) < 255
    assert document["methods"] == ["password"]
    assert document["project"] == {
        "id": cloud.ids.demo_project,
        "name": "demo",
        "domain": {"id": "default", "name": "Default"},
    }
    assert document["user"]["name"] == "demo"
    assert sorted(role["name"] for role in document["roles"]) == ["member", "reader"]
    assert document["expires_at"].endswith("Z")
    assert len(document["audit_ids"][0]) == 22
    catalog = {entry["type"]: entry for entry in document["catalog"]}
    assert set(catalog) == {"identity", "compute", "image", "network"}
    endpoints = {end["interface"]: end for end in catalog["compute"]["endpoints"]}
    assert set(endpoints) == {"public", "internal", "admin"}
    assert endpoints["public"]["url"] == f"{cloud.url}/compute/v2.1"
    assert endpoints["public"]["region_id"] == "RegionOne"


async def test_the_catalog_follows_the_forwarded_origin(cloud: Cloud) -> None:
    headers = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "cloud.example",
        "X-Forwarded-Prefix": "/east",
    }
    body = body_for("demo", PASSWORDS["demo"], project("demo"))
    async with cloud.session.post(TOKENS, json=body, headers=headers) as response:
        catalog = (await response.json())["token"]["catalog"]
    urls = {end["url"] for entry in catalog if entry["type"] == "compute" for end in entry["endpoints"]}
    assert urls == {"https://cloud.example/east/compute/v2.1"}


@pytest.mark.parametrize(
    "scope",
    [
        {"domain": {"id": "default"}},
        {"project": {"id": "nowhere"}},
        project("admin"),
        {"system": {"all": True}},
    ],
)
async def test_a_scope_without_a_role_is_refused(cloud: Cloud, scope: Any) -> None:
    status, body = await cloud.call("POST", TOKENS, json=body_for("demo", PASSWORDS["demo"], scope))
    assert status == 401
    assert body["error"]["title"] == "Unauthorized"


@pytest.mark.parametrize(("name", "password"), [("demo", "wrong"), ("nobody", "demo-secret"), ("demo", "")])
async def test_wrong_credentials_look_all_alike(cloud: Cloud, name: str, password: str) -> None:
    async with cloud.session.post(TOKENS, json=body_for(name, password)) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == f'Keystone uri="{cloud.url}/identity"'
        message = (await response.json())["error"]["message"]
    assert message == "The request you have made requires authentication."


MALFORMED: list[Any] = [
    {},
    {"auth": {}},
    {"auth": {"identity": {"methods": []}}},
    {"auth": {"identity": {"methods": ["password"]}}},
    {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": {"name": "demo", "password": "x"}}}
        }
    },
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": 5, "password": "x"}}}}},
    body_for("demo", "demo-secret", {"project": {"name": "demo"}}),
    body_for("demo", "demo-secret", {"project": {"id": "x"}, "domain": {"id": "default"}}),
    body_for("demo", "demo-secret", {"galaxy": {"id": "x"}}),
    body_for("demo\0", "demo-secret"),
    [],
    "auth",
]


@pytest.mark.parametrize("body", MALFORMED)
async def test_a_malformed_login_is_a_bad_request(cloud: Cloud, body: Any) -> None:
    status, answer = await cloud.call("POST", TOKENS, json=body)
    assert status == 400
    assert answer["error"]["code"] == 400


async def test_an_unknown_method_is_refused(cloud: Cloud) -> None:
    body = {"auth": {"identity": {"methods": ["telepathy"]}}}
    assert (await cloud.call("POST", TOKENS, json=body))[0] == 401


async def test_an_unscoped_token_becomes_a_scoped_one_with_the_same_end(cloud: Cloud) -> None:
    unscoped = await cloud.login("demo", None)
    status, document = await cloud.call("GET", TOKENS, unscoped, X_Subject_Token=unscoped)
    assert status == 200
    assert "catalog" not in document["token"]
    assert "roles" not in document["token"]
    auth = {"identity": {"methods": ["token"], "token": {"id": unscoped}}, "scope": project("demo")}
    status, scoped = await cloud.call("POST", TOKENS, json={"auth": auth})
    assert status == 201
    assert scoped["token"]["methods"] == ["password", "token"]
    assert scoped["token"]["expires_at"] == document["token"]["expires_at"]
    assert scoped["token"]["audit_ids"][1] == document["token"]["audit_ids"][0]


async def test_nocatalog_leaves_the_catalog_out(cloud: Cloud) -> None:
    body = body_for("demo", PASSWORDS["demo"], project("demo"))
    status, document = await cloud.call("POST", f"{TOKENS}?nocatalog", json=body)
    assert status == 201
    assert "catalog" not in document["token"]


async def test_domain_and_system_scope(cloud: Cloud) -> None:
    system = await cloud.login("admin", {"system": {"all": True}})
    _, document = await cloud.call("GET", TOKENS, system, X_Subject_Token=system)
    assert document["token"]["system"] == {"all": True}
    role = await role_id(cloud, system, "admin")
    path = f"/identity/v3/domains/default/users/{cloud.ids.admin_user}/roles/{role}"
    assert (await cloud.call("PUT", path, system))[0] == 204
    scoped = await cloud.login("admin", {"domain": {"name": "Default"}})
    _, document = await cloud.call("GET", TOKENS, scoped, X_Subject_Token=scoped)
    assert document["token"]["domain"] == {"id": "default", "name": "Default"}


async def role_id(cloud: Cloud, token: str, name: str) -> str:
    _, body = await cloud.call("GET", f"/identity/v3/roles?name={name}", token)
    found: str = body["roles"][0]["id"]
    return found


async def test_head_has_the_length_of_get(cloud: Cloud) -> None:
    token = await cloud.login("demo")
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    async with (
        cloud.session.get(TOKENS, headers=headers) as got,
        cloud.session.head(TOKENS, headers=headers) as head,
    ):
        assert (got.status, head.status) == (200, 200)
        assert got.headers["Content-Length"] == head.headers["Content-Length"]
        assert await head.read() == b""


async def test_a_revoked_token_is_void(cloud: Cloud) -> None:
    token, other = await cloud.login("demo"), await cloud.login("demo")
    assert (await cloud.call("DELETE", TOKENS, token, X_Subject_Token=token))[0] == 204
    assert (await cloud.call("GET", "/identity/v3/auth/projects", token))[0] == 401
    assert (await cloud.call("GET", "/identity/v3/auth/projects", other))[0] == 200
    admin = await cloud.login()
    status, body = await cloud.call("GET", TOKENS, admin, X_Subject_Token=token)
    assert (status, body["error"]["title"]) == (404, "Not Found")


async def test_another_gateway_hears_of_a_revocation(cloud: Cloud, database: str) -> None:
    async with open_cloud(database) as second:
        token = await cloud.login("demo")
        assert (await second.call("GET", "/identity/v3/auth/projects", token))[0] == 200
        assert (await cloud.call("DELETE", TOKENS, token, X_Subject_Token=token))[0] == 204
        await second.services.tokens.refresh()
        assert (await second.call("GET", "/identity/v3/auth/projects", token))[0] == 401


async def test_others_may_not_look_at_a_token(cloud: Cloud) -> None:
    demo, admin = await cloud.login("demo"), await cloud.login()
    assert (await cloud.call("GET", TOKENS, demo, X_Subject_Token=admin))[0] == 403
    assert (await cloud.call("DELETE", TOKENS, demo, X_Subject_Token=admin))[0] == 403
    assert (await cloud.call("GET", TOKENS, admin, X_Subject_Token=demo))[0] == 200
    assert (await cloud.call("GET", TOKENS, admin))[0] == 404


@pytest.mark.parametrize("token", ["", "x", "gAAAAA", "x" * 5000, "é"])
async def test_what_is_not_a_token_is_unauthorized(cloud: Cloud, token: str) -> None:
    async with cloud.session.get("/identity/v3/auth/projects", headers={"X-Auth-Token": token}) as response:
        assert response.status == 401


async def test_what_the_user_can_reach(cloud: Cloud) -> None:
    demo, admin = await cloud.login("demo"), await cloud.login()
    _, projects = await cloud.call("GET", "/identity/v3/auth/projects", demo)
    assert [row["name"] for row in projects["projects"]] == ["demo"]
    assert (await cloud.call("GET", "/identity/v3/auth/domains", demo))[1]["domains"] == []
    assert (await cloud.call("GET", "/identity/v3/auth/system", demo))[1]["system"] == []
    assert (await cloud.call("GET", "/identity/v3/auth/system", admin))[1]["system"] == [{"all": True}]
    status, catalog = await cloud.call("GET", "/identity/v3/auth/catalog", demo)
    assert status == 200
    assert len(catalog["catalog"]) == 4


async def test_discovery_needs_no_token(cloud: Cloud) -> None:
    async with cloud.session.get("/identity", allow_redirects=False) as response:
        assert response.status == 300
        assert response.headers["Location"] == f"{cloud.url}/identity/v3/"
        values = (await response.json())["versions"]["values"]
    assert values[0]["links"] == [{"rel": "self", "href": f"{cloud.url}/identity/v3/"}]
    for path in ("/identity/v3", "/identity/v3/"):
        status, body = await cloud.call("GET", path)
        assert (status, body["version"]["id"], body["version"]["status"]) == (200, "v3.14", "stable")
    assert (await cloud.call("GET", "/"))[1]["versions"]["values"] == values
