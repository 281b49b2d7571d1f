"""Roles: of a domain, implied, inherited; and the list of who has which, by every filter."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.gateway.cloud import Cloud
from tests.gateway.identity.people import made
from tests.gateway.identity.test_hierarchy import tree

V3 = "/identity/v3"
Found = set[tuple[str, str, str]]


async def roles_of(cloud: Cloud, admin: str) -> dict[str, str]:
    _, body = await cloud.call("GET", f"{V3}/roles", admin)
    return {row["name"]: row["id"] for row in body["roles"]}


async def test_a_chain_of_implied_roles(cloud: Cloud) -> None:
    admin = await cloud.login()
    roles = await roles_of(cloud, admin)
    boss = await made(cloud, admin, "role", name="boss")
    path = f"{V3}/roles/{boss['id']}/implies"
    status, body = await cloud.call("PUT", f"{path}/{roles['member']}", admin)
    assert status == 201
    inference = body["role_inference"]
    assert (inference["prior_role"]["name"], inference["implies"]["name"]) == ("boss", "member")
    assert (await cloud.call("GET", f"{path}/{roles['member']}", admin))[1] == body
    assert (await cloud.call("HEAD", f"{path}/{roles['member']}", admin))[0] == 204
    assert (await cloud.call("HEAD", f"{path}/{roles['reader']}", admin))[0] == 404
    _, body = await cloud.call("GET", path, admin)
    assert [row["name"] for row in body["role_inference"]["implies"]] == ["member"]
    _, body = await cloud.call("GET", f"{V3}/role_inferences", admin)
    steps = {
        (row["prior_role"]["name"], one["name"]) for row in body["role_inferences"] for one in row["implies"]
    }
    assert steps == {("admin", "manager"), ("manager", "member"), ("member", "reader"), ("boss", "member")}
    grant = f"{V3}/projects/{cloud.ids.admin_project}/users/{cloud.ids.demo_user}/roles/{boss['id']}"
    assert (await cloud.call("PUT", grant, admin))[0] == 204
    token = await cloud.login("demo", {"project": {"id": cloud.ids.admin_project}})
    _, body = await cloud.call("GET", f"{V3}/auth/tokens", token, X_Subject_Token=token)
    assert {row["name"] for row in body["token"]["roles"]} == {"boss", "member", "reader"}
    assert (await cloud.call("DELETE", f"{path}/{roles['member']}", admin))[0] == 204
    _, body = await cloud.call("GET", f"{V3}/auth/tokens", token, X_Subject_Token=token)
    assert {row["name"] for row in body["token"]["roles"]} == {"boss"}
    assert (await cloud.call("DELETE", f"{path}/{roles['member']}", admin))[0] == 404


async def test_admin_is_never_implied(cloud: Cloud) -> None:
    admin = await cloud.login()
    roles = await roles_of(cloud, admin)
    assert (await cloud.call("PUT", f"{V3}/roles/{roles['member']}/implies/{roles['admin']}", admin))[
        0
    ] == 403
    for path in (f"{roles['member']}/implies/nobody", f"nobody/implies/{roles['member']}"):
        assert (await cloud.call("PUT", f"{V3}/roles/{path}", admin))[0] == 404


async def test_a_role_of_a_domain_is_what_it_implies_there(cloud: Cloud) -> None:
    admin = await cloud.login()
    roles = await roles_of(cloud, admin)
    # Named like a role of the cloud on purpose: its name alone must give nothing.
    local = await made(cloud, admin, "role", name="admin", domain_id="default")
    other = await made(cloud, admin, "domain", name="other")
    far = await made(cloud, admin, "project", name="far", domain_id=other["id"])
    assert local["domain_id"] == "default"
    assert "admin" in await roles_of(cloud, admin)
    _, body = await cloud.call("GET", f"{V3}/roles?domain_id=default", admin)
    assert [row["id"] for row in body["roles"]] == [local["id"]]
    assert (await cloud.call("PUT", f"{V3}/roles/{local['id']}/implies/{roles['reader']}", admin))[0] == 201
    assert (await cloud.call("PUT", f"{V3}/roles/{roles['member']}/implies/{local['id']}", admin))[0] == 403
    user = f"users/{cloud.ids.demo_user}/roles/{local['id']}"
    assert (await cloud.call("PUT", f"{V3}/projects/{cloud.ids.admin_project}/{user}", admin))[0] == 204
    assert (await cloud.call("PUT", f"{V3}/projects/{far['id']}/{user}", admin))[0] == 403
    assert (await cloud.call("PUT", f"{V3}/domains/{other['id']}/{user}", admin))[0] == 403
    assert (await cloud.call("PUT", f"{V3}/system/{user}", admin))[0] == 400
    token = await cloud.login("demo", {"project": {"id": cloud.ids.admin_project}})
    _, body = await cloud.call("GET", f"{V3}/auth/tokens", token, X_Subject_Token=token)
    assert [row["name"] for row in body["token"]["roles"]] == ["reader"]
    assert (await cloud.call("GET", f"{V3}/users", token))[0] == 403
    change = {"role": {"domain_id": other["id"]}}
    assert (await cloud.call("PATCH", f"{V3}/roles/{local['id']}", admin, json=change))[0] == 400


@dataclass
class Given:
    """A cloud with a tree of projects, a group, and roles given in every way."""

    cloud: Cloud
    admin: str
    ids: dict[str, str]
    roles: dict[str, str]
    group: str

    async def rows(self, query: str) -> list[dict[str, Any]]:
        status, body = await self.cloud.call(
            "GET", f"{V3}/role_assignments?include_names&{query.format(**self.ids)}", self.admin
        )
        assert status == 200, body
        rows: list[dict[str, Any]] = body["role_assignments"]
        return rows

    async def found(self, query: str) -> Found:
        """(actor, where, role); what comes from inheritance has a star."""
        return {_short(row) for row in await self.rows(query)}


def _short(row: dict[str, Any]) -> tuple[str, str, str]:
    scope = row["scope"]
    where = scope.get("project", scope.get("domain", {"name": "system"}))["name"]
    actor = row["user"]["name"] if "user" in row else f"%{row['group']['name']}"
    return actor, where + ("*" if "OS-INHERIT:inherited_to" in scope else ""), row["role"]["name"]


@pytest.fixture
async def given(cloud: Cloud) -> Given:
    admin = await cloud.login()
    ids = await tree(cloud, admin)
    roles = await roles_of(cloud, admin)
    group = (await made(cloud, admin, "group", name="team"))["id"]
    demo = cloud.ids.demo_user
    for path in (
        f"groups/{group}/users/{demo}",
        f"OS-INHERIT/projects/{ids['a']}/users/{demo}/roles/{roles['member']}/inherited_to_projects",
        f"OS-INHERIT/domains/default/groups/{group}/roles/{roles['reader']}/inherited_to_projects",
        f"projects/{ids['d']}/groups/{group}/roles/{roles['manager']}",
        f"domains/default/users/{demo}/roles/{roles['reader']}",
        f"system/groups/{group}/roles/{roles['reader']}",
    ):
        status, body = await cloud.call("PUT", f"{V3}/{path}", admin)
        assert status == 204, body
    return Given(
        cloud,
        admin,
        {**ids, "demo": demo, "group": group, **{f"r_{n}": i for n, i in roles.items()}},
        roles,
        group,
    )


async def test_inherited_roles_count_below_and_not_on_their_target(given: Given) -> None:
    cloud, demo = given.cloud, {"a": {"reader"}, "b": {"member", "reader"}, "c": {"member", "reader"}}
    for name, wanted in demo.items():
        token = await cloud.login("demo", {"project": {"id": given.ids[name]}})
        _, body = await cloud.call("GET", f"{V3}/auth/tokens", token, X_Subject_Token=token)
        assert {row["name"] for row in body["token"]["roles"]} == wanted, name
    token = await cloud.login("demo")
    _, body = await cloud.call("GET", f"{V3}/auth/projects", token)
    assert {row["name"] for row in body["projects"]} == {"a", "b", "c", "d", "admin", "demo"}
    _, body = await cloud.call("GET", f"{V3}/auth/domains", token)
    assert [row["id"] for row in body["domains"]] == ["default"]
    path = (
        f"{V3}/OS-INHERIT/projects/{given.ids['a']}/users/{given.ids['demo']}/roles/{given.roles['member']}"
        "/inherited_to_projects"
    )
    _, body = await cloud.call("GET", path.replace(f"/{given.roles['member']}/", "/"), given.admin)
    assert [row["name"] for row in body["roles"]] == ["member"]
    token = await cloud.login("demo", {"project": {"id": given.ids["b"]}})
    assert (await cloud.call("HEAD", path, given.admin))[0] == 204
    assert (await cloud.call("DELETE", path, given.admin))[0] == 204
    assert (await cloud.call("HEAD", path, given.admin))[0] == 404
    _, body = await cloud.call("GET", f"{V3}/auth/tokens", token, X_Subject_Token=token)
    assert {row["name"] for row in body["token"]["roles"]} == {"reader"}


DIRECT: list[tuple[str, Found]] = [
    (
        "user.id={demo}",
        {("demo", "demo", "member"), ("demo", "a*", "member"), ("demo", "Default", "reader")},
    ),
    (
        "group.id={group}",
        {("%team", "Default*", "reader"), ("%team", "d", "manager"), ("%team", "system", "reader")},
    ),
    ("scope.project.id={d}", {("%team", "d", "manager")}),
    (
        "scope.project.id={a}&include_subtree",
        {
            ("demo", "a*", "member"),
            ("%team", "d", "manager"),
            ("admin", "a", "member"),
            ("admin", "c", "member"),
        },
    ),
    ("scope.domain.id=default", {("%team", "Default*", "reader"), ("demo", "Default", "reader")}),
    ("scope.system=all", {("%team", "system", "reader"), ("admin", "system", "admin")}),
    ("scope.OS-INHERIT:inherited_to=projects", {("demo", "a*", "member"), ("%team", "Default*", "reader")}),
    ("role.id={r_manager}", {("%team", "d", "manager")}),
    ("user.id=nobody", set()),
]


@pytest.mark.parametrize(("query", "wanted"), DIRECT)
async def test_assignments_as_they_were_given(given: Given, query: str, wanted: Found) -> None:
    assert await given.found(query) == wanted


def demo(where: str, *roles: str) -> Found:
    return {("demo", where, role) for role in roles}


EFFECTIVE: list[tuple[str, Found]] = [
    (
        "user.id={demo}",
        {
            *demo("demo", "member", "reader"),
            *demo("Default", "reader"),
            *demo("system", "reader"),
            *demo("d", "manager", "member", "reader"),
            *demo("b*", "member", "reader"),
            *demo("c*", "member", "reader"),
            *demo("d*", "member", "reader"),
            *demo("a*", "reader"),
            *demo("demo*", "reader"),
            *demo("admin*", "reader"),
        },
    ),
    ("user.id={demo}&scope.project.id={c}", demo("c*", "member", "reader")),
    ("user.id={demo}&scope.project.id={a}", demo("a*", "reader")),
    (
        "scope.project.id={c}",
        {*demo("c*", "member", "reader"), ("admin", "c", "member"), ("admin", "c", "reader")},
    ),
    (
        "scope.project.id={b}&include_subtree&user.id={demo}",
        {
            *demo("b*", "member", "reader"),
            *demo("c*", "member", "reader"),
            *demo("d*", "member", "reader"),
            *demo("d", "manager", "member", "reader"),
        },
    ),
    ("scope.domain.id=default", demo("Default", "reader")),
    ("role.id={r_manager}&user.id={demo}", demo("d", "manager")),
    (
        "user.id={demo}&scope.OS-INHERIT:inherited_to=projects&scope.project.id={d}",
        demo("d*", "member", "reader"),
    ),
    (
        "user.id={demo}&scope.OS-INHERIT:inherited_to=x&scope.project.id={d}",
        demo("d", "manager", "member", "reader"),
    ),
]


@pytest.mark.parametrize(("query", "wanted"), EFFECTIVE)
async def test_what_follows_from_assignments(given: Given, query: str, wanted: Found) -> None:
    assert await given.found(f"effective&{query}") == wanted


async def test_a_row_says_where_it_comes_from(given: Given) -> None:
    ids, roles, base = given.ids, given.roles, f"{given.cloud.url}/identity/v3"
    rows = {
        (
            row["scope"]["project"]["name"],
            row["role"]["name"],
            "OS-INHERIT:inherited_to" in row["scope"],
        ): row["links"]
        for row in await given.rows("effective&user.id={demo}&scope.project.id={d}")
    }
    assert rows["d", "reader", False] == {
        "assignment": f"{base}/projects/{ids['d']}/groups/{given.group}/roles/{roles['manager']}",
        "membership": f"{base}/groups/{given.group}/users/{ids['demo']}",
        "prior_role": f"{base}/prior_role/{roles['member']}/implies/{roles['reader']}",
    }
    assert rows["d", "member", True] == {
        "assignment": f"{base}/OS-INHERIT/projects/{ids['a']}/users/{ids['demo']}/roles/{roles['member']}"
        "/inherited_to_projects"
    }


@pytest.mark.parametrize(
    "query",
    [
        "user.id=x&group.id=y",
        "scope.project.id=x&scope.domain.id=y",
        "scope.project.id=x&scope.system=all",
        "scope.domain.id=x&scope.system=all",
        "effective&group.id=x",
        "effective&scope.domain.id=x&scope.OS-INHERIT:inherited_to=projects",
        "include_subtree",
    ],
)
async def test_filters_that_exclude_each_other_are_refused(cloud: Cloud, query: str) -> None:
    admin = await cloud.login()
    assert (await cloud.call("GET", f"{V3}/role_assignments?{query}", admin))[0] == 400


async def test_a_reader_of_a_domain_sees_what_is_in_it(given: Given) -> None:
    reader = await given.cloud.login("demo", {"domain": {"id": "default"}})
    _, body = await given.cloud.call("GET", f"{V3}/role_assignments?include_names", reader)
    names = {_short(row)[1] for row in body["role_assignments"]}
    assert names == {"admin", "demo", "a", "a*", "c", "d", "Default", "Default*"}
