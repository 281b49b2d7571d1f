"""Objects, properties, tags, associations: one life each. Schemas; what a new cloud begins with."""

from typing import Any

import asyncpg
import pytest

from gateway.image.metadef.bootstrap import NAMESPACES as FIRST
from gateway.image.metadef.bootstrap import bootstrap
from gateway.image.metadef.schema import SCHEMAS
from process.clock import SystemClock
from tests.gateway.image.metadef.conftest import NAMESPACES, ONE, PROPERTY, Call

PARTS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("objects", "paint", {"name": "wood"}, {"name": "stone", "properties": {"a": PROPERTY}}),
    ("properties", "colour", {**PROPERTY, "name": "size"}, {**PROPERTY, "name": "width", "title": "W"}),
]


@pytest.mark.parametrize(("collection", "there", "new", "changed"), PARTS)
async def test_made_shown_replaced_deleted(
    acme: Call, collection: str, there: str, new: dict[str, Any], changed: dict[str, Any]
) -> None:
    path = f"{ONE}/{collection}"
    status, made = await acme("POST", path, json=new)
    assert status == 201
    assert new.items() <= made.items()
    assert (await acme("POST", path, json=new))[0] == 409
    assert await acme("GET", f"{path}/{new['name']}", who="ann") == (200, made)
    status, shown = await acme("PUT", f"{path}/{new['name']}", json=changed)
    assert status == 200
    assert changed.items() <= shown.items()
    assert (await acme("GET", f"{path}/{new['name']}"))[0] == 404
    assert (await acme("PUT", f"{path}/{changed['name']}", json={**changed, "name": there}))[0] == 409
    assert (await acme("DELETE", f"{path}/{changed['name']}"))[0] == 204
    assert (await acme("DELETE", f"{path}/{changed['name']}"))[0] == 404
    assert (await acme("PUT", f"{path}/{changed['name']}", json=changed))[0] == 404
    assert (await acme("GET", f"{path}/{there}"))[0] == 200
    assert (await acme("DELETE", path))[0] == 204
    assert (await acme("GET", f"{path}/{there}"))[0] == 404


async def test_objects_are_listed_in_pages(acme: Call) -> None:
    for name in ("wood", "stone"):
        await acme("POST", f"{ONE}/objects", json={"name": name})
    status, page = await acme("GET", f"{ONE}/objects?sort_key=name&sort_dir=asc", who="eve")
    assert status == 200
    assert [one["name"] for one in page["objects"]] == ["paint", "stone", "wood"]
    assert page["objects"][1].keys() == {
        "name", "required", "properties", "created_at", "updated_at", "self", "schema",
    }  # fmt: skip
    assert page["schema"] == "v2/schemas/metadefs/objects"
    _, page = await acme("GET", f"{ONE}/objects?sort_key=name&sort_dir=asc&limit=1&marker=paint")
    assert [one["name"] for one in page["objects"]] == ["stone"]
    assert (await acme("GET", f"{ONE}/objects?marker=nowhere"))[0] == 404
    assert (await acme("GET", f"{ONE}/objects?sort_key=body"))[0] == 400


async def test_properties_are_listed_by_name(acme: Call) -> None:
    assert await acme("GET", f"{ONE}/properties", who="ann") == (200, {"properties": {"colour": PROPERTY}})


async def test_a_property_is_found_as_a_resource_type_calls_it(acme: Call) -> None:
    status, shown = await acme("GET", f"{ONE}/properties/acme:colour?resource_type=OS::Glance::Image")
    assert (status, shown["name"]) == (200, "colour")
    for name, resource_type in (
        ("colour", "OS::Glance::Image"), ("colour", "OS::Nova::Flavor"), ("acme:size", "OS::Glance::Image"),
    ):  # fmt: skip
        path = f"{ONE}/properties/{name}?resource_type={resource_type}"
        assert (await acme("GET", path))[0] == 404


@pytest.mark.parametrize(
    ("collection", "said", "status"),
    [
        ("objects", {}, 400),
        ("objects", {"name": "x" * 81}, 400),
        ("objects", {"name": "o", "properties": {"p": {"title": "t", "type": "colour"}}}, 400),
        ("objects", {"name": "o", "properties": {"p": {**PROPERTY, "unknown": 1}}}, 400),
        ("objects", {"name": "o", "schema": "x"}, 403),
        ("properties", PROPERTY, 400),
        ("properties", {**PROPERTY, "name": "p", "minLength": -1}, 400),
        ("properties", {**PROPERTY, "name": "p", "enum": [{"deep": 1}]}, 400),
        ("properties", {**PROPERTY, "name": "p", "items": {"enum": ["a"]}}, 400),
        ("properties", {**PROPERTY, "name": "p", "updated_at": "x"}, 403),
        ("tags", {"tags": [{"name": ""}]}, 400),
        ("tags", {"tags": "bright"}, 400),
        ("tags", {"tags": [{"name": "a"}, {"name": "a"}]}, 409),
        ("resource_types", {"prefix": "p"}, 400),
        ("resource_types", {"name": "OS::Nova::Flavor"}, 409),
        ("resource_types", {"name": "x", "created_at": "x"}, 403),
    ],
)
async def test_what_may_not_be_said_is_refused(
    acme: Call, collection: str, said: dict[str, Any], status: int
) -> None:
    _, before = await acme("GET", ONE)
    answered, body = await acme("POST", f"{ONE}/{collection}", json=said)
    assert answered == status, body
    assert (await acme("GET", ONE))[1] == before


async def test_every_member_of_a_property_is_kept(acme: Call) -> None:
    said = {
        "name": "all",
        "title": "t",
        "type": "array",
        "operators": ["<or>"],
        "minimum": 1,
        "maximum": 2.5,
        "minLength": 0,
        "pattern": "[a",
        "readonly": True,
        "default": ["a", 1],
        "items": {"type": "string", "enum": ["a", 1, True]},
        "minItems": 1,
        "uniqueItems": True,
        "additionalItems": False,
    }
    assert await acme("POST", f"{ONE}/properties", json=said) == (201, said)


async def tags(call: Call, query: str = "") -> list[str]:
    status, body = await call("GET", f"{ONE}/tags?{query}", who="ann")
    assert status == 200
    return [tag["name"] for tag in body["tags"]]


async def test_tags_one_by_one(acme: Call) -> None:
    status, made = await acme("POST", f"{ONE}/tags/dark")
    assert (status, made["name"]) == (201, "dark")
    assert made.keys() == {"name", "created_at", "updated_at"}
    assert (await acme("POST", f"{ONE}/tags/dark"))[0] == 409
    assert (await acme("POST", f"{ONE}/tags/{'x' * 81}"))[0] == 400
    assert await tags(acme) == ["dark", "bright"]
    assert await tags(acme, "limit=1&marker=dark") == ["bright"]
    assert (await acme("PUT", f"{ONE}/tags/dark", json={"name": "bright"}))[0] == 409
    assert (await acme("PUT", f"{ONE}/tags/dark", json={"name": "dim"}))[1]["name"] == "dim"
    assert (await acme("GET", f"{ONE}/tags/dark"))[0] == 404
    assert (await acme("GET", f"{ONE}/tags/dim", who="ann"))[0] == 200
    assert (await acme("DELETE", f"{ONE}/tags/dim"))[0] == 204
    assert await tags(acme) == ["bright"]


async def test_tags_together_replace_or_append(acme: Call) -> None:
    both = {"tags": [{"name": "a"}, {"name": "b"}]}
    assert await acme("POST", f"{ONE}/tags", json=both) == (201, both)
    assert sorted(await tags(acme)) == ["a", "b"]
    append = {"X-Openstack-Append": "True"}
    more = {"tags": [{"name": "c"}]}
    assert (await acme("POST", f"{ONE}/tags", json=more, headers=append))[0] == 201
    assert (await acme("POST", f"{ONE}/tags", json=more, headers=append))[0] == 409
    assert sorted(await tags(acme)) == ["a", "b", "c"]
    assert (await acme("DELETE", f"{ONE}/tags"))[0] == 204
    assert await tags(acme) == []


async def test_an_association_makes_its_resource_type_known(acme: Call) -> None:
    said = {"name": "Acme::Lamp", "prefix": "lamp_", "properties_target": "image"}
    status, made = await acme("POST", f"{ONE}/resource_types", json=said)
    assert status == 201
    assert said.items() <= made.items()
    _, found = await acme("GET", f"{ONE}/resource_types", who="ann")
    assert [one["name"] for one in found["resource_type_associations"]] == [
        "OS::Glance::Image", "OS::Nova::Flavor", "Acme::Lamp",
    ]  # fmt: skip
    assert (await acme("DELETE", f"{ONE}/resource_types/Acme::Lamp"))[0] == 204
    assert (await acme("DELETE", f"{ONE}/resource_types/Acme::Lamp"))[0] == 404
    _, types = await acme("GET", "/v2/metadefs/resource_types", who="bob")
    assert [one["name"] for one in types["resource_types"]] == [
        "Acme::Lamp", "OS::Glance::Image", "OS::Nova::Flavor",
    ]  # fmt: skip


async def test_names_with_signs_of_urls_are_reached(acme: Call) -> None:
    status, made = await acme("POST", f"{ONE}/objects", json={"name": "a/b c?"})
    assert status == 201
    assert made["self"].endswith("/objects/a%2Fb%20c%3F")
    status, shown = await acme("GET", f"{ONE}/objects/" + "a%2Fb%20c%3F")
    assert (status, shown["name"]) in {(200, "a/b c?"), (404, "")}


@pytest.mark.parametrize("name", SCHEMAS)
async def test_schemas_are_served(call: Call, name: str) -> None:
    status, schema = await call("GET", f"/v2/schemas/metadefs/{name}", who="bob")
    assert status == 200
    assert schema["name"].removesuffix("s").startswith(name.removesuffix("s").removesuffix("ie"))
    assert schema["properties"]


async def test_a_new_cloud_has_definitions_and_what_was_made_is_left(call: Call, database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await bootstrap(connection, "p0", SystemClock())
        _, page = await call("GET", NAMESPACES, who="bob")
        assert {one["namespace"] for one in page["namespaces"]} == {one["namespace"] for one in FIRST}
        name = FIRST[0]["namespace"]
        await call("PUT", f"{NAMESPACES}/{name}", json={"namespace": "mine"})
        await bootstrap(connection, "p0", SystemClock())
    finally:
        await connection.close()
    _, page = await call("GET", NAMESPACES)
    assert len(page["namespaces"]) == len(FIRST)
