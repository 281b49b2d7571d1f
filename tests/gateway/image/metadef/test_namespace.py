"""Namespaces of metadata definitions: what they show, who sees them, how they are listed and changed."""

import asyncio
from typing import Any

import pytest

from tests.gateway.image.metadef.conftest import NAMESPACES, ONE, PAINT, PROPERTY, Call


async def names(call: Call, query: str = "", who: str = "root") -> list[str]:
    status, page = await call("GET", f"{NAMESPACES}?{query}", who=who)
    assert status == 200, page
    return [namespace["namespace"] for namespace in page["namespaces"]]


async def make(call: Call, name: str, **members: Any) -> None:
    status, body = await call("POST", NAMESPACES, json={"namespace": name, **members})
    assert status == 201, body


async def test_a_namespace_shows_what_was_said_and_what_it_holds(acme: Call) -> None:
    status, shown = await acme("GET", ONE)
    assert status == 200
    times = {"created_at": shown["created_at"], "updated_at": shown["updated_at"]}
    assert times["created_at"].endswith("Z")
    assert shown == {
        "namespace": "Acme",
        "display_name": "Acme's",
        "description": "of Acme",
        "visibility": "private",
        "protected": False,
        "owner": "p1",
        "properties": {"colour": PROPERTY},
        "objects": [
            {
                **PAINT,
                **times,
                "self": "/v2/metadefs/namespaces/Acme/objects/paint",
                "schema": "/v2/schemas/metadefs/object",
            }
        ],
        "resource_type_associations": [
            {"name": "OS::Glance::Image", "prefix": "acme:", **times},
            {"name": "OS::Nova::Flavor", **times},
        ],
        "tags": [{"name": "bright"}],
        **times,
        "self": "/v2/metadefs/namespaces/Acme",
        "schema": "/v2/schemas/metadefs/namespace",
    }


async def test_a_bare_namespace_shows_no_empty_members(call: Call) -> None:
    status, shown = await call("POST", NAMESPACES, json={"namespace": "bare"})
    assert status == 201
    assert shown.keys() == {
        "namespace", "visibility", "protected", "owner", "created_at", "updated_at", "self", "schema",
    }  # fmt: skip
    assert (shown["visibility"], shown["protected"], shown["owner"]) == ("private", False, "p0")


async def test_properties_are_called_as_they_are_on_a_resource_type(acme: Call) -> None:
    _, shown = await acme("GET", f"{ONE}?resource_type=OS::Glance::Image")
    assert shown["properties"].keys() == {"acme:colour"}
    assert shown["objects"][0]["properties"].keys() == {"acme:colour"}
    assert shown["objects"][0]["required"] == ["acme:colour"]
    for other in ("OS::Nova::Flavor", "OS::Nowhere"):
        _, shown = await acme("GET", f"{ONE}?resource_type={other}")
        assert shown["properties"].keys() == {"colour"}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 400),
        ({"namespace": ""}, 400),
        ({"namespace": "x" * 81}, 400),
        ({"namespace": 5}, 400),
        ({"namespace": "a", "colour": "red"}, 400),
        ({"namespace": "a", "visibility": "shared"}, 400),
        ({"namespace": "a", "protected": "yes"}, 400),
        ({"namespace": "a", "description": "x" * 501}, 400),
        ({"namespace": "a", "display_name": None}, 400),
        ({"namespace": "a", "self": "/"}, 403),
        ({"namespace": "a", "created_at": "2026-01-01T00:00:00Z"}, 403),
        ({"namespace": "a", "properties": {"p": {"title": "t"}}}, 400),
        ({"namespace": "a", "properties": {"p": {**PROPERTY, "type": "text"}}}, 400),
        ({"namespace": "a", "properties": {"p" * 81: PROPERTY}}, 400),
        ({"namespace": "a", "objects": [{"name": "o", "required": ["x", "x"]}]}, 400),
        ({"namespace": "a", "objects": [{"name": "o"}, {"name": "o"}]}, 409),
        ({"namespace": "a", "tags": [{"name": "t"}, {"name": "t"}]}, 409),
        ({"namespace": "a", "tags": [{"name": f"t{n}"} for n in range(1001)]}, 413),
        ({"namespace": "a", "resource_type_associations": [{"name": "x", "prefix": "p" * 81}]}, 400),
    ],
)
async def test_what_may_not_be_said_is_refused_whole(call: Call, said: dict[str, Any], status: int) -> None:
    answered, body = await call("POST", NAMESPACES, json=said)
    assert answered == status, body
    assert b"<title>" in body
    assert await names(call) == []


async def test_a_private_namespace_is_seen_by_its_project_and_admins(acme: Call) -> None:
    for who, seen in {"ann": True, "eve": True, "root": True, "bob": False}.items():
        status, body = await acme("GET", ONE, who=who)
        assert status == (200 if seen else 404), body
        assert await names(acme, who=who) == (["Acme"] if seen else [])
    assert (await acme("PUT", ONE, json={"namespace": "Acme", "visibility": "public"}))[0] == 200
    assert await names(acme, who="bob") == ["Acme"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", {"namespace": "mine"}),
        ("DELETE", "", None),
        ("POST", "/objects", {"name": "mine"}),
        ("DELETE", "/objects", None),
        ("PUT", "/objects/paint", {"name": "mine"}),
        ("DELETE", "/objects/paint", None),
        ("POST", "/properties", {**PROPERTY, "name": "mine"}),
        ("DELETE", "/properties", None),
        ("PUT", "/properties/colour", {**PROPERTY, "name": "mine"}),
        ("DELETE", "/properties/colour", None),
        ("POST", "/tags", {"tags": []}),
        ("DELETE", "/tags", None),
        ("POST", "/tags/mine", None),
        ("PUT", "/tags/bright", {"name": "mine"}),
        ("DELETE", "/tags/bright", None),
        ("POST", "/resource_types", {"name": "mine"}),
        ("DELETE", "/resource_types/OS::Nova::Flavor", None),
    ],
)
async def test_only_admins_change_and_strangers_learn_nothing(
    acme: Call, method: str, path: str, body: Any
) -> None:
    _, before = await acme("GET", ONE)
    sent = {} if body is None else {"json": body}
    assert (await acme(method, ONE + path, who="ann", **sent))[0] == 403
    assert (await acme(method, ONE + path, who="bob", **sent))[0] == 404
    assert (await acme("GET", ONE))[1] == before
    assert (await acme(method, ONE + path, **sent))[0] in {200, 201, 204}


async def test_members_make_no_namespaces(call: Call) -> None:
    assert (await call("POST", NAMESPACES, who="ann", json={"namespace": "a"}))[0] == 403


async def test_a_change_replaces_what_was_said_and_keeps_what_is_held(acme: Call) -> None:
    status, shown = await acme("PUT", ONE, json={"namespace": "Other", "description": "new"})
    assert status == 200
    assert (shown["namespace"], shown["description"]) == ("Other", "new")
    assert "display_name" not in shown
    assert shown["owner"] == "p0"
    assert (await acme("GET", ONE))[0] == 404
    _, whole = await acme("GET", f"{NAMESPACES}/Other")
    assert whole["tags"] == [{"name": "bright"}]
    await make(acme, "Acme")
    assert (await acme("PUT", ONE, json={"namespace": "Other"}))[0] == 409


async def test_a_name_belongs_to_one_namespace(acme: Call) -> None:
    assert (await acme("POST", NAMESPACES, json={"namespace": "Acme"}))[0] == 409
    answers = await asyncio.gather(*(acme("POST", NAMESPACES, json={"namespace": "b"}) for _ in range(4)))
    assert sorted(status for status, _ in answers) == [201, 409, 409, 409]


async def test_nothing_of_a_protected_namespace_is_deleted(acme: Call) -> None:
    said = {"namespace": "Acme", "protected": True, "visibility": "private", "owner": "p1"}
    assert (await acme("PUT", ONE, json=said))[0] == 200
    _, before = await acme("GET", ONE)
    for path in (
        "", "/objects", "/properties", "/tags", "/objects/paint", "/properties/colour", "/tags/bright",
        "/resource_types/OS::Nova::Flavor",
    ):  # fmt: skip
        assert (await acme("DELETE", ONE + path))[0] == 403, path
    assert (await acme("GET", ONE))[1] == before
    await acme("PUT", ONE, json={**said, "protected": False})
    assert (await acme("DELETE", ONE))[0] == 204
    assert (await acme("GET", ONE))[0] == 404
    assert (await acme("DELETE", ONE))[0] == 404


async def test_a_list_is_filtered_sorted_and_paged(acme: Call) -> None:
    await make(acme, "beta", visibility="public", resource_type_associations=[{"name": "OS::Cinder::Volume"}])
    await make(acme, "gamma", visibility="public")
    assert await names(acme) == ["gamma", "beta", "Acme"]
    assert await names(acme, "visibility=public") == ["gamma", "beta"]
    assert await names(acme, "resource_types=OS::Cinder::Volume,OS::Nova::Flavor") == ["beta", "Acme"]
    assert await names(acme, "resource_types=OS::Nowhere") == []
    assert await names(acme, "sort_key=namespace&sort_dir=asc") == ["Acme", "beta", "gamma"]
    assert await names(acme, "sort_dir=asc") == ["Acme", "beta", "gamma"]
    assert await names(acme, "limit=0") == []
    seen: list[list[str]] = []
    path = f"{NAMESPACES}?limit=2&sort_key=visibility"
    while path:
        _, page = await acme("GET", path)
        seen.append([namespace["namespace"] for namespace in page["namespaces"]])
        assert page["first"] == f"{NAMESPACES}?limit=2&sort_key=visibility"
        assert page["schema"] == "/v2/schemas/metadefs/namespaces"
        path = page.get("next", "")
    assert [len(page) for page in seen] == [2, 1]
    assert sorted(seen[0] + seen[1]) == ["Acme", "beta", "gamma"]


async def test_a_list_shows_associations_and_nothing_else_that_is_held(acme: Call) -> None:
    _, page = await acme("GET", NAMESPACES)
    (shown,) = page["namespaces"]
    assert [one["name"] for one in shown["resource_type_associations"]] == [
        "OS::Glance::Image", "OS::Nova::Flavor",
    ]  # fmt: skip
    assert not {"objects", "properties", "tags"} & shown.keys()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("visibility=shared", 400),
        ("sort_dir=up", 400),
        ("sort_key=colour", 400),
        ("limit=-1", 400),
        ("limit=x", 400),
        ("marker=nowhere", 404),
        ("resource_types=" + ",".join(map(str, range(101))), 400),
        ("unknown=filter", 200),
    ],
)
async def test_queries_that_make_no_sense_are_refused(call: Call, query: str, status: int) -> None:
    assert (await call("GET", f"{NAMESPACES}?{query}"))[0] == status


async def test_a_marker_of_another_project_is_not_found(acme: Call) -> None:
    assert (await acme("GET", f"{NAMESPACES}?marker=Acme", who="bob"))[0] == 404
