"""Projects, users, groups, roles and the catalog over HTTP: what is made is shown, what is wrong refused."""

from typing import Any

import pytest

from tests.gateway.cloud import PASSWORDS, Cloud, body_for, project

V3 = "/identity/v3"


async def made(cloud: Cloud, token: str, word: str, **members: Any) -> dict[str, Any]:
    """Create one resource and return it."""
    status, body = await cloud.call("POST", f"{V3}/{word}s", token, json={word: members})
    assert status == 201, body
    found: dict[str, Any] = body[word]
    return found


async def test_a_project_lives_and_ends(cloud: Cloud) -> None:
    admin = await cloud.login()
    acme = await made(cloud, admin, "project", name="acme", tags=["b", "a"], colour="blue")
    path = f"{V3}/projects/{acme['id']}"
    assert acme == {
        "id": acme["id"],
        "name": "acme",
        "domain_id": "default",
        "parent_id": "default",
        "description": "",
        "enabled": True,
        "is_domain": False,
        "tags": ["b", "a"],
        "options": {},
        "colour": "blue",
        "links": {"self": f"{cloud.url}{path}"},
    }
    assert (await cloud.call("GET", path, admin))[1]["project"] == acme
    change = {"project": {"description": "new", "colour": None, "size": 3}}
    status, changed = await cloud.call("PATCH", path, admin, json=change)
    assert (status, changed["project"]["description"], changed["project"]["size"]) == (200, "new", 3)
    assert "colour" not in changed["project"]
    _, listed = await cloud.call("GET", f"{V3}/projects?name=acme&enabled=true", admin)
    assert [row["id"] for row in listed["projects"]] == [acme["id"]]
    assert (await cloud.call("GET", f"{V3}/projects?enabled=false", admin))[1]["projects"] == []
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("GET", path, admin))[0] == 404
    assert (await cloud.call("DELETE", path, admin))[0] == 404


async def test_names_are_unique_within_a_domain(cloud: Cloud) -> None:
    admin = await cloud.login()
    status, body = await cloud.call("POST", f"{V3}/projects", admin, json={"project": {"name": "demo"}})
    assert (status, body["error"]["title"]) == (409, "Conflict")
    other = await made(cloud, admin, "domain", name="other")
    assert (await made(cloud, admin, "project", name="demo", domain_id=other["id"]))["domain_id"] == other[
        "id"
    ]


@pytest.mark.parametrize(
    ("word", "members"),
    [
        ("project", {}),
        ("project", {"name": ""}),
        ("project", {"name": "x" * 65}),
        ("project", {"name": 5}),
        ("project", {"name": "x", "enabled": "yes"}),
        ("project", {"name": "x", "is_domain": True, "domain_id": "default"}),
        ("project", {"name": "x", "tags": ["a,b"]}),
        ("project", {"name": "x", "options": {"immutable": "yes"}}),
        ("project", {"name": "x", "options": {"lock_password": True}}),
        ("user", {"name": "x", "options": {"immutable": True}}),
        ("user", {"name": "x", "options": {"multi_factor_auth_rules": [["password"], []]}}),
        ("user", {"name": "x", "options": {"multi_factor_auth_rules": [["totp", "totp"]]}}),
        ("user", {"name": "x", "options": {"multi_factor_auth_rules": [["totp"], ["totp"]]}}),
        ("user", {"name": " "}),
        ("user", {"name": "x", "default_project_id": "default"}),
        ("project", {"name": "x", "extra": "y" * 20_000}),
        ("user", {"name": "x", "password": ""}),
        ("user", {"name": "x" * 256}),
        ("group", {"name": None}),
        ("role", {"name": "x", "domain_id": "nowhere"}),
        ("service", {"name": "x"}),
        ("service", {"type": "x", "colour": "blue"}),
        ("endpoint", {"service_id": "x", "interface": "sideways", "url": "http://x"}),
        ("endpoint", {"service_id": "x", "interface": "public", "url": "javascript:alert(1)"}),
    ],
)
async def test_bad_members_are_refused(cloud: Cloud, word: str, members: dict[str, Any]) -> None:
    admin = await cloud.login()
    status, body = await cloud.call("POST", f"{V3}/{word}s", admin, json={word: members})
    assert status in (400, 404)
    assert body["error"]["message"]


@pytest.mark.parametrize("body", [{}, {"project": {"name": "x"}, "user": {}}, {"user": {"name": "x"}}])
async def test_the_wrapper_must_be_the_right_one(cloud: Cloud, body: Any) -> None:
    assert (await cloud.call("POST", f"{V3}/projects", await cloud.login(), json=body))[0] == 400


async def test_lists_are_paged(cloud: Cloud) -> None:
    admin = await cloud.login()
    wanted = {(await made(cloud, admin, "project", name=f"p{n}"))["id"] for n in range(5)}
    seen: list[str] = []
    path = f"{V3}/projects?limit=2&domain_id=default"
    while path:
        status, body = await cloud.call("GET", path, admin)
        assert status == 200
        seen += [row["id"] for row in body["projects"]]
        path = body["links"]["next"]
    assert len(seen) == len(set(seen)) == 7
    assert wanted <= set(seen)


async def test_project_tags(cloud: Cloud) -> None:
    admin = await cloud.login()
    tags = f"{V3}/projects/{cloud.ids.demo_project}/tags"
    assert (await cloud.call("PUT", tags, admin, json={"tags": ["a", "b"]}))[1]["tags"] == ["a", "b"]
    assert (await cloud.call("PUT", tags, admin, json={"tags": ["a", "b", "a"]}))[0] == 400
    assert (await cloud.call("PUT", f"{tags}/c", admin))[0] == 201
    assert (await cloud.call("GET", f"{tags}/c", admin))[0] == 204
    assert (await cloud.call("DELETE", f"{tags}/a", admin))[0] == 204
    assert (await cloud.call("GET", f"{tags}/a", admin))[0] == 404
    assert (await cloud.call("GET", tags, admin))[1]["tags"] == ["b", "c"]
    assert (await cloud.call("DELETE", tags, admin))[0] == 204
    assert (await cloud.call("PUT", f"{tags}/a%2Cb", admin))[0] == 400


async def test_a_project_with_children_stays(cloud: Cloud) -> None:
    admin = await cloud.login()
    parent = await made(cloud, admin, "project", name="parent")
    child = await made(cloud, admin, "project", name="child", parent_id=parent["id"])
    assert child["parent_id"] == parent["id"]
    assert (await cloud.call("DELETE", f"{V3}/projects/{parent['id']}", admin))[0] == 403
    assert (await cloud.call("DELETE", f"{V3}/projects/{child['id']}", admin))[0] == 204
    assert (await cloud.call("DELETE", f"{V3}/projects/{parent['id']}", admin))[0] == 204


async def test_a_domain_must_be_disabled_before_it_goes_with_all_in_it(cloud: Cloud) -> None:
    admin = await cloud.login()
    domain = await made(cloud, admin, "domain", name="d")
    user = await made(cloud, admin, "user", name="u", domain_id=domain["id"])
    path = f"{V3}/domains/{domain['id']}"
    assert (await cloud.call("DELETE", path, admin))[0] == 403
    assert (await cloud.call("PATCH", path, admin, json={"domain": {"enabled": False}}))[0] == 200
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("GET", f"{V3}/users/{user['id']}", admin))[0] == 404


async def test_a_user_never_shows_the_password(cloud: Cloud) -> None:
    admin = await cloud.login()
    user = await made(cloud, admin, "user", name="eve", password="s3cret!", email="eve@example.org")
    assert user["email"] == "eve@example.org"
    assert "s3cret!" not in str(user)
    assert "password" not in user


async def test_disabling_a_user_ends_the_tokens_for_good(cloud: Cloud) -> None:
    admin, demo = await cloud.login(), await cloud.login("demo")
    path = f"{V3}/users/{cloud.ids.demo_user}"
    assert (await cloud.call("GET", path, demo))[0] == 200
    for enabled in (False, True):
        assert (await cloud.call("PATCH", path, admin, json={"user": {"enabled": enabled}}))[0] == 200
        assert (await cloud.call("GET", path, demo))[0] == 401
    assert (await cloud.call("GET", path, await cloud.login("demo")))[0] == 200


async def test_a_new_password_ends_the_tokens(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    path = f"{V3}/users/{cloud.ids.demo_user}/password"
    wrong = {"user": {"original_password": "wrong", "password": "new"}}
    right = {"user": {"original_password": PASSWORDS["demo"], "password": "new"}}
    assert (await cloud.call("POST", path, demo, json=wrong))[0] == 401
    assert (await cloud.call("POST", path, demo, json=right))[0] == 204
    assert (await cloud.call("GET", f"{V3}/auth/projects", demo))[0] == 401
    assert (await cloud.call("POST", f"{V3}/auth/tokens", json=body_for("demo", PASSWORDS["demo"])))[0] == 401
    await cloud.login("demo", password="new")
    admin = await cloud.login()
    change = {"user": {"password": "newer"}}
    assert (await cloud.call("PATCH", f"{V3}/users/{cloud.ids.demo_user}", admin, json=change))[0] == 200
    await cloud.login("demo", password="newer")


async def test_a_role_taken_back_is_gone_at_once(cloud: Cloud) -> None:
    admin = await cloud.login()
    roles = {row["name"]: row["id"] for row in (await cloud.call("GET", f"{V3}/roles", admin))[1]["roles"]}
    grants = f"{V3}/projects/{cloud.ids.demo_project}/users/{cloud.ids.demo_user}/roles"
    demo = await cloud.login("demo")
    assert (await cloud.call("GET", f"{V3}/users", demo))[0] == 403
    assert (await cloud.call("PUT", f"{grants}/{roles['admin']}", admin))[0] == 204
    assert (await cloud.call("GET", f"{V3}/users", demo))[0] == 200
    assert (await cloud.call("HEAD", f"{grants}/{roles['admin']}", admin))[0] == 204
    _, given = await cloud.call("GET", grants, admin)
    assert [row["name"] for row in given["roles"]] == ["admin", "member"]
    for name in ("admin", "member"):
        assert (await cloud.call("DELETE", f"{grants}/{roles[name]}", admin))[0] == 204
    assert (await cloud.call("GET", f"{V3}/auth/projects", demo))[0] == 401
    assert (await cloud.call("DELETE", f"{grants}/{roles['admin']}", admin))[0] == 404


@pytest.mark.parametrize("missing", ["project", "user", "role"])
async def test_a_grant_needs_all_its_parts(cloud: Cloud, missing: str) -> None:
    admin = await cloud.login()
    _, body = await cloud.call("GET", f"{V3}/roles?name=member", admin)
    parts = {"project": cloud.ids.demo_project, "user": cloud.ids.demo_user, "role": body["roles"][0]["id"]}
    parts[missing] = "nowhere"
    path = f"{V3}/projects/{parts['project']}/users/{parts['user']}/roles/{parts['role']}"
    for method in ("PUT", "HEAD", "DELETE"):
        assert (await cloud.call(method, path, admin))[0] == 404


async def test_a_group_passes_its_roles_on(cloud: Cloud) -> None:
    admin = await cloud.login()
    group = await made(cloud, admin, "group", name="devs")
    _, body = await cloud.call("GET", f"{V3}/roles?name=reader", admin)
    role = body["roles"][0]["id"]
    member = f"{V3}/groups/{group['id']}/users/{cloud.ids.demo_user}"
    path = f"{V3}/projects/{cloud.ids.admin_project}/groups/{group['id']}/roles/{role}"
    assert (await cloud.call("PUT", path, admin))[0] == 204
    assert (await cloud.call("PUT", member, admin))[0] == 204
    assert (await cloud.call("HEAD", member, admin))[0] == 204
    token = await cloud.login("demo", project("admin"))
    _, effective = await cloud.call(
        "GET", f"{V3}/role_assignments?effective&user.id={cloud.ids.demo_user}&include_names", admin
    )
    rows = {(row["scope"]["project"]["name"], row["role"]["name"]) for row in effective["role_assignments"]}
    assert rows == {("demo", "member"), ("demo", "reader"), ("admin", "reader")}
    assert (await cloud.call("GET", f"{V3}/groups/{group['id']}/users", admin))[1]["users"][0][
        "name"
    ] == "demo"
    assert (await cloud.call("DELETE", member, admin))[0] == 204
    assert (await cloud.call("GET", f"{V3}/auth/projects", token))[0] == 401


async def test_role_assignments(cloud: Cloud) -> None:
    admin = await cloud.login()
    _, body = await cloud.call("GET", f"{V3}/role_assignments?include_names=1", admin)
    assert len(body["role_assignments"]) == 3
    _, body = await cloud.call("GET", f"{V3}/role_assignments?scope.system=all", admin)
    assert [row["scope"] for row in body["role_assignments"]] == [{"system": {"all": True}}]
    _, body = await cloud.call(
        "GET", f"{V3}/role_assignments?scope.project.id={cloud.ids.demo_project}", admin
    )
    assert body["role_assignments"][0]["user"] == {"id": cloud.ids.demo_user}


async def test_the_manager_of_a_domain_stays_within_it(cloud: Cloud) -> None:
    admin = await cloud.login()
    domain = await made(cloud, admin, "domain", name="d")
    boss = await made(cloud, admin, "user", name="boss", domain_id=domain["id"], password="boss-secret")
    roles = {row["name"]: row["id"] for row in (await cloud.call("GET", f"{V3}/roles", admin))[1]["roles"]}
    grant = f"{V3}/domains/{domain['id']}/users/{boss['id']}/roles/{roles['manager']}"
    assert (await cloud.call("PUT", grant, admin))[0] == 204
    user = {"id": boss["id"], "password": "boss-secret"}
    auth = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"domain": {"name": "d"}},
    }
    async with cloud.session.post(f"{V3}/auth/tokens", json={"auth": auth}) as response:
        token = response.headers["X-Subject-Token"]
    inside = await made(cloud, token, "project", name="inside")
    assert inside["domain_id"] == domain["id"]
    _, listed = await cloud.call("GET", f"{V3}/users", token)
    assert [row["name"] for row in listed["users"]] == ["boss"]
    assert (await cloud.call("GET", f"{V3}/users?domain_id=default", token))[1]["users"][0]["name"] == "boss"
    for method, path, json in (
        ("GET", f"{V3}/users/{cloud.ids.demo_user}", None),
        ("PATCH", f"{V3}/users/{cloud.ids.demo_user}", {"user": {"password": "stolen"}}),
        ("DELETE", f"{V3}/projects/{cloud.ids.demo_project}", None),
        ("POST", f"{V3}/users", {"user": {"name": "x", "domain_id": "default"}}),
        ("PUT", f"{V3}/domains/{domain['id']}/users/{boss['id']}/roles/{roles['admin']}", None),
        ("PUT", f"{V3}/projects/{cloud.ids.demo_project}/users/{boss['id']}/roles/{roles['member']}", None),
        ("PUT", f"{V3}/system/users/{boss['id']}/roles/{roles['reader']}", None),
    ):
        assert (await cloud.call(method, path, token, json=json))[0] == 403, (method, path)
    chief = await made(cloud, admin, "user", name="chief", domain_id=domain["id"])
    admins = await made(cloud, admin, "group", name="admins", domain_id=domain["id"])
    for actor in (f"users/{chief['id']}", f"groups/{admins['id']}"):
        path = f"{V3}/domains/{domain['id']}/{actor}/roles/{roles['admin']}"
        assert (await cloud.call("PUT", path, admin))[0] == 204
    for method, path, json in (
        ("PATCH", f"{V3}/users/{chief['id']}", {"user": {"password": "stolen"}}),
        ("DELETE", f"{V3}/users/{chief['id']}", None),
        ("PUT", f"{V3}/groups/{admins['id']}/users/{boss['id']}", None),
    ):
        assert (await cloud.call(method, path, token, json=json))[0] == 403, (method, path)
    mine = f"{V3}/projects/{inside['id']}/users/{boss['id']}/roles/{roles['member']}"
    assert (await cloud.call("PUT", mine, token))[0] == 204
    _, rows = await cloud.call("GET", f"{V3}/role_assignments", token)
    assert len(rows["role_assignments"]) == 4


async def test_built_in_roles_stay(cloud: Cloud) -> None:
    admin = await cloud.login()
    _, body = await cloud.call("GET", f"{V3}/roles?name=admin", admin)
    path = f"{V3}/roles/{body['roles'][0]['id']}"
    assert (await cloud.call("DELETE", path, admin))[0] == 403
    assert (await cloud.call("PATCH", path, admin, json={"role": {"name": "x"}}))[0] == 403
    own = await made(cloud, admin, "role", name="ResellerAdmin")
    assert (await cloud.call("DELETE", f"{V3}/roles/{own['id']}", admin))[0] == 204


async def test_the_catalog_follows_its_rows(cloud: Cloud) -> None:
    admin = await cloud.login()
    region = await made(cloud, admin, "region", id="east")
    service = await made(cloud, admin, "service", type="object-store", name="swift")
    members = {
        "service_id": service["id"],
        "interface": "public",
        "region_id": region["id"],
        "url": "/object/v1",
    }
    endpoint = await made(cloud, admin, "endpoint", **members)
    assert endpoint["url"] == f"{cloud.url}/object/v1"
    assert endpoint["region"] == "east"
    _, body = await cloud.call("GET", f"{V3}/auth/catalog", admin)
    shown = {entry["type"]: entry["endpoints"] for entry in body["catalog"]}
    assert shown["object-store"][0]["url"] == f"{cloud.url}/object/v1"
    assert (await cloud.call("DELETE", f"{V3}/regions/east", admin))[0] == 403
    path = f"{V3}/endpoints/{endpoint['id']}"
    change = {"endpoint": {"url": "https://elsewhere/v1", "enabled": False}}
    assert (await cloud.call("PATCH", path, admin, json=change))[1]["endpoint"][
        "url"
    ] == "https://elsewhere/v1"
    _, body = await cloud.call("GET", f"{V3}/auth/catalog", admin)
    assert "object-store" not in {entry["type"] for entry in body["catalog"]}
    _, listed = await cloud.call("GET", f"{V3}/endpoints?service_id={service['id']}", admin)
    assert [row["id"] for row in listed["endpoints"]] == [endpoint["id"]]
    assert (await cloud.call("DELETE", f"{V3}/services/{service['id']}", admin))[0] == 204
    assert (await cloud.call("GET", path, admin))[0] == 404
    assert (await cloud.call("PUT", f"{V3}/regions/west", admin, json={"region": {}}))[0] == 201


async def test_ordinary_users_see_themselves_only(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    assert (await cloud.call("GET", f"{V3}/users/{cloud.ids.demo_user}", demo))[0] == 200
    assert (await cloud.call("GET", f"{V3}/users/{cloud.ids.demo_user}/projects", demo))[0] == 200
    assert (await cloud.call("GET", f"{V3}/projects/{cloud.ids.demo_project}", demo))[0] == 200
    admin_user = f"users/{cloud.ids.admin_user}"
    lists = ("users", "projects", "domains", "role_assignments", "services", "endpoints")
    for path in (*lists, admin_user, f"{admin_user}/projects", f"projects/{cloud.ids.admin_project}"):
        assert (await cloud.call("GET", f"{V3}/{path}", demo))[0] == 403, path
