"""Projects in a tree below each domain: what is above and below, tags, switches, what may not be changed."""

from typing import Any

import pytest

from tests.gateway.cloud import PASSWORDS, Cloud, body_for, project
from tests.gateway.identity.people import made

V3 = "/identity/v3"


async def tree(cloud: Cloud, admin: str) -> dict[str, str]:
    """a above b above c and d; the administrator is a member of a and c. Names to ids."""
    ids: dict[str, str] = {}
    for name, parent in (("a", ""), ("b", "a"), ("c", "b"), ("d", "b")):
        above = {"parent_id": ids[parent]} if parent else {}
        ids[name] = (await made(cloud, admin, "project", name=name, **above))["id"]
    _, roles = await cloud.call("GET", f"{V3}/roles?name=member", admin)
    for name in ("a", "c"):
        path = f"{V3}/projects/{ids[name]}/users/{cloud.ids.admin_user}/roles/{roles['roles'][0]['id']}"
        assert (await cloud.call("PUT", path, admin))[0] == 204
    return ids


async def test_what_is_above_and_below_a_project(cloud: Cloud) -> None:
    admin = await cloud.login()
    ids = await tree(cloud, admin)
    _, body = await cloud.call("GET", f"{V3}/projects/{ids['b']}?parents_as_ids&subtree_as_ids", admin)
    assert body["project"]["parents"] == {ids["a"]: {"default": None}}
    assert body["project"]["subtree"] == {ids["c"]: None, ids["d"]: None}
    _, body = await cloud.call("GET", f"{V3}/projects/{ids['b']}?parents_as_list&subtree_as_list=1", admin)
    assert [row["project"]["name"] for row in body["project"]["parents"]] == ["a"]
    assert [row["project"]["name"] for row in body["project"]["subtree"]] == ["c"]  # not d: no role there
    _, body = await cloud.call("GET", f"{V3}/projects/{ids['d']}?subtree_as_ids&parents_as_ids=0", admin)
    assert body["project"]["subtree"] is None
    assert "parents" not in body["project"]
    for both in ("parents_as_list&parents_as_ids", "subtree_as_list&subtree_as_ids"):
        assert (await cloud.call("GET", f"{V3}/projects/{ids['b']}?{both}", admin))[0] == 400


async def test_projects_by_parent(cloud: Cloud) -> None:
    admin = await cloud.login()
    ids = await tree(cloud, admin)
    for parent, names in ((ids["b"], {"c", "d"}), ("default", {"a", "admin", "demo"}), ("nobody", set())):
        _, body = await cloud.call("GET", f"{V3}/projects?parent_id={parent}", admin)
        assert {row["name"] for row in body["projects"]} == names


async def test_a_branch_is_switched_from_its_leaves_and_on_from_its_root(cloud: Cloud) -> None:
    admin = await cloud.login()
    ids = await tree(cloud, admin)

    async def switch(name: str, *, on: bool) -> int:
        change = {"project": {"enabled": on}}
        return (await cloud.call("PATCH", f"{V3}/projects/{ids[name]}", admin, json=change))[0]

    assert await switch("a", on=False) == 403
    for name in ("c", "d", "b", "a"):
        assert await switch(name, on=False) == 200
    assert await switch("c", on=True) == 403
    below = {"project": {"name": "e", "parent_id": ids["d"]}}
    assert (await cloud.call("POST", f"{V3}/projects", admin, json=below))[0] == 400
    for name in ("a", "b", "c"):
        assert await switch(name, on=True) == 200


async def test_a_tree_has_a_greatest_depth_and_one_domain(cloud: Cloud) -> None:
    admin = await cloud.login()
    parent: dict[str, Any] = {}
    for depth in range(5):
        row = await made(cloud, admin, "project", name=f"p{depth}", **parent)
        parent = {"parent_id": row["id"]}
    for members, status in (
        ({"name": "deeper", **parent}, 403),
        ({"name": "x", "parent_id": "nobody"}, 400),
        ({"name": "x", "domain_id": "nobody"}, 400),
        ({"name": "x", "is_domain": True, **parent}, 400),
    ):
        assert (await cloud.call("POST", f"{V3}/projects", admin, json={"project": members}))[0] == status
    other = await made(cloud, admin, "domain", name="other")
    elsewhere = {"name": "x", "domain_id": other["id"], **parent}
    assert (await cloud.call("POST", f"{V3}/projects", admin, json={"project": elsewhere}))[0] == 400
    inside = await made(cloud, admin, "project", name="inside", parent_id=other["id"])
    assert (inside["domain_id"], inside["parent_id"]) == (other["id"], other["id"])


async def test_a_domain_is_a_project_too(cloud: Cloud) -> None:
    admin = await cloud.login()
    domain = await made(cloud, admin, "project", name="acting", is_domain=True, description="d", tags=["t"])
    path = f"{V3}/projects/{domain['id']}"
    assert (domain["is_domain"], domain["parent_id"], domain["domain_id"]) == (True, None, None)
    assert domain["links"]["self"].endswith(path)
    assert (await cloud.call("GET", path, admin))[1]["project"] == domain
    _, body = await cloud.call("GET", f"{V3}/domains/{domain['id']}", admin)
    assert (body["domain"]["name"], body["domain"]["tags"]) == ("acting", ["t"])
    _, body = await cloud.call("GET", f"{V3}/projects?is_domain=true", admin)
    assert {row["name"] for row in body["projects"]} == {"Default", "acting"}
    _, body = await cloud.call("GET", f"{V3}/projects", admin)
    assert "acting" not in {row["name"] for row in body["projects"]}
    assert (await cloud.call("PATCH", path, admin, json={"project": {"is_domain": False}}))[0] == 400
    assert (await cloud.call("DELETE", path, admin))[0] == 403
    _, body = await cloud.call("PATCH", path, admin, json={"project": {"enabled": False}})
    assert body["project"]["enabled"] is False
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("GET", f"{V3}/domains/{domain['id']}", admin))[0] == 404


async def test_a_domains_manager_does_not_change_it_as_a_project(cloud: Cloud) -> None:
    admin = await cloud.login()
    _, roles = await cloud.call("GET", f"{V3}/roles?name=manager", admin)
    grant = f"{V3}/domains/default/users/{cloud.ids.demo_user}/roles/{roles['roles'][0]['id']}"
    assert (await cloud.call("PUT", grant, admin))[0] == 204
    manager = await cloud.login("demo", {"domain": {"id": "default"}})
    path = f"{V3}/projects/default"
    assert (await cloud.call("GET", path, manager))[0] == 200
    assert (await cloud.call("PATCH", path, manager, json={"project": {"enabled": False}}))[0] == 403
    assert (await cloud.call("DELETE", path, manager))[0] == 403
    acting = {"project": {"name": "x", "is_domain": True}}
    assert (await cloud.call("POST", f"{V3}/projects", manager, json=acting))[0] == 403
    assert (await cloud.call("GET", f"{V3}/projects?is_domain=true", manager))[1]["projects"] == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("tags=x", {"one", "two"}),
        ("tags=x,y", {"two"}),
        ("tags-any=y,z", {"two", "three"}),
        ("not-tags=x,y", {"one", "three", "admin", "demo"}),
        ("not-tags-any=x,y", {"three", "admin", "demo"}),
        ("tags=x&not-tags=y", {"one"}),
    ],
)
async def test_projects_by_tags(cloud: Cloud, query: str, names: set[str]) -> None:
    admin = await cloud.login()
    for name, tags in (("one", ["x"]), ("two", ["x", "y"]), ("three", ["z"])):
        await made(cloud, admin, "project", name=name, tags=tags)
    _, body = await cloud.call("GET", f"{V3}/projects?{query}", admin)
    assert {row["name"] for row in body["projects"]} == names


@pytest.mark.parametrize("word", ["project", "domain", "role"])
async def test_what_is_immutable_stays_until_that_is_taken_back(cloud: Cloud, word: str) -> None:
    admin = await cloud.login()
    row = await made(cloud, admin, word, name="fixed", options={"immutable": True})
    assert row["options"] == {"immutable": True}
    path = f"{V3}/{word}s/{row['id']}"
    for change in ({"description": "x"}, {"options": {"immutable": False}, "description": "x"}):
        assert (await cloud.call("PATCH", path, admin, json={word: change}))[0] == 403
    assert (await cloud.call("DELETE", path, admin))[0] == 403
    if word == "project":
        assert (await cloud.call("PUT", f"{path}/tags/x", admin))[0] == 403
    status, body = await cloud.call("PATCH", path, admin, json={word: {"options": {"immutable": None}}})
    assert (status, body[word]["options"]) == (200, {})
    status, body = await cloud.call("PATCH", path, admin, json={word: {"description": "x"}})
    assert (status, body[word]["description"]) == (200, "x")


@pytest.mark.parametrize("word", ["project", "domain"])
async def test_what_is_enabled_again_does_not_bring_back_tokens(cloud: Cloud, word: str) -> None:
    admin = await cloud.login("admin", {"system": {"all": True}})
    other = await made(cloud, admin, "domain", name="other")
    member = await made(cloud, admin, "project", name="inside", domain_id=other["id"])
    _, roles = await cloud.call("GET", f"{V3}/roles?name=member", admin)
    role = roles["roles"][0]["id"]
    grant = f"{V3}/projects/{member['id']}/users/{cloud.ids.demo_user}/roles/{role}"
    assert (await cloud.call("PUT", grant, admin))[0] == 204
    token = await cloud.login("demo", {"project": {"id": member["id"]}})
    assert (await cloud.call("GET", f"{V3}/auth/projects", token))[0] == 200
    path = f"{V3}/{word}s/{member['id'] if word == 'project' else other['id']}"
    for enabled in (False, True):
        assert (await cloud.call("PATCH", path, admin, json={word: {"enabled": enabled}}))[0] == 200
        assert (await cloud.call("GET", f"{V3}/auth/projects", token))[0] == 401
    assert await cloud.login("demo", {"project": {"id": member["id"]}})


async def test_a_project_that_goes_is_nobodys_default(cloud: Cloud) -> None:
    admin = await cloud.login()
    row = await made(cloud, admin, "project", name="short-lived")
    user = await made(cloud, admin, "user", name="u", default_project_id=row["id"])
    assert user["default_project_id"] == row["id"]
    assert (await cloud.call("DELETE", f"{V3}/projects/{row['id']}", admin))[0] == 204
    _, body = await cloud.call("GET", f"{V3}/users/{user['id']}", admin)
    assert "default_project_id" not in body["user"]


async def test_without_a_default_project_of_ones_own_a_token_is_unscoped(cloud: Cloud) -> None:
    admin = await cloud.login()
    change = {"user": {"default_project_id": cloud.ids.admin_project}}
    await cloud.call("PATCH", f"{V3}/users/{cloud.ids.demo_user}", admin, json=change)
    body = body_for("demo", PASSWORDS["demo"])
    status, answer = await cloud.call("POST", f"{V3}/auth/tokens", json=body)
    assert (status, "project" in answer["token"]) == (201, False)
    assert (
        await cloud.call("POST", f"{V3}/auth/tokens", json=body_for("demo", "demo-secret", project("demo")))
    )[0] == 201
