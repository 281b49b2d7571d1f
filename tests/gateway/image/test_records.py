"""Image records: what may be said of them, who sees them, and how changes by several meet."""

import asyncio
import uuid
from typing import Any

import pytest

from gateway.image.limits import PROPERTIES_MAX
from tests.gateway.image.conftest import PATCH, Images


async def patch(images: Images, ident: str, *changes: dict[str, Any], who: str = "ann") -> tuple[int, Any]:
    status, body, _ = await images.call("PATCH", f"/v2/images/{ident}", who=who, json=changes, headers=PATCH)
    return status, body


async def test_a_record_has_what_was_said_and_what_clients_read(images: Images) -> None:
    ident = str(uuid.uuid4())
    said = {
        "id": ident,
        "name": "cirros",
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk": 1,
        "min_ram": 64,
        "visibility": "private",
        "protected": False,
        "os_hidden": False,
        "tags": ["b", "a", "b"],
        "os_distro": "cirros",
        "hw_disk_bus": "virtio",
    }
    status, image, response = await images.call("POST", "/v2/images", json=said)
    assert status == 201
    assert response.headers["Location"] == f"{images.url}/image/v2/images/{ident}"
    assert sorted(image.pop("tags")) == ["a", "b"]
    del said["tags"]
    assert said.items() <= image.items()
    assert image["status"] == "queued"
    assert image["owner"] == "p1"
    assert image["size"] is None
    assert image["self"] == f"/v2/images/{ident}"
    assert image["file"] == f"/v2/images/{ident}/file"
    assert image["schema"] == "/v2/schemas/image"
    assert image["created_at"].endswith("Z")
    assert (await images.show(ident))["os_distro"] == "cirros"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"id": "x"}, 400),
        ({"name": 5}, 400),
        ({"name": "x" * 256}, 400),
        ({"disk_format": "floppy"}, 400),
        ({"min_disk": -1}, 400),
        ({"min_ram": True}, 400),
        ({"min_ram": 1 << 31}, 400),
        ({"protected": "yes"}, 400),
        ({"tags": "a"}, 400),
        ({"tags": [str(n) for n in range(129)]}, 413),
        ({"prop": 5}, 400),
        ({f"p{n}": "v" for n in range(PROPERTIES_MAX + 1)}, 413),
        ({"status": "active"}, 403),
        ({"checksum": "0"}, 403),
        ({"locations": []}, 403),
        ({"os_glance_import": "x"}, 403),
        ({"visibility": "public"}, 403),
        ({"visibility": "everyone"}, 400),
        ({"owner": "p2"}, 403),
    ],
)
async def test_what_may_not_be_said_is_refused(images: Images, said: dict[str, Any], status: int) -> None:
    answered, body, response = await images.call("POST", "/v2/images", json=said)
    assert answered == status
    assert response.content_type == "text/html"
    assert b"<title>" in body
    assert not images.actors.heard


async def test_an_id_in_use_is_a_conflict_even_after_deletion(images: Images) -> None:
    ident = await images.make()
    assert (await images.call("POST", "/v2/images", json={"id": ident}))[0] == 409
    assert (await images.call("DELETE", f"/v2/images/{ident}"))[0] == 204
    assert (await images.call("POST", "/v2/images", json={"id": ident}))[0] == 409


async def test_an_admin_makes_images_for_others(images: Images) -> None:
    ident = await images.make(who="root", owner="p2", visibility="public")
    assert (await images.show(ident, "bob"))["owner"] == "p2"


async def test_who_sees_what(images: Images) -> None:
    public = await images.make(who="root", visibility="public")
    private = await images.make(visibility="private")
    community = await images.make(visibility="community")
    shared = await images.make(visibility="shared")
    hidden = await images.make(os_hidden=True)

    async def seen(who: str, query: str = "") -> set[str]:
        _, page, _ = await images.call("GET", f"/v2/images{query}", who=who)
        return {image["id"] for image in page["images"]}

    assert await seen("ann") == {public, private, community, shared}
    assert await seen("ann", "?os_hidden=true") == {hidden}
    assert await seen("bob") == {public}
    assert await seen("bob", "?visibility=community") == {community}
    assert await seen("bob", "?visibility=all") == {public, community}
    assert await seen("root") == {public, private, community, shared}
    for ident, status in ((public, 200), (private, 404), (community, 200), (shared, 404)):
        assert (await images.call("GET", f"/v2/images/{ident}", who="bob"))[0] == status
    for ident, status in ((public, 403), (private, 404), (community, 403)):
        assert (await images.call("DELETE", f"/v2/images/{ident}", who="bob"))[0] == status
    assert (await images.call("DELETE", f"/v2/images/{private}", who="eve"))[0] == 403
    assert (await images.call("DELETE", f"/v2/images/{private}", who="root"))[0] == 204


async def test_a_member_sees_a_shared_image_and_lists_it_once_it_has_accepted(images: Images) -> None:
    ident = await images.make()
    path = f"/v2/images/{ident}/members"
    assert (await images.call("GET", path, who="bob"))[0] == 404
    status, member, _ = await images.call("POST", path, json={"member": "p2"})
    assert (status, member["status"], member["schema"]) == (200, "pending", "/v2/schemas/member")
    assert (await images.call("POST", path, json={"member": "p2"}))[0] == 409
    assert (await images.call("GET", f"/v2/images/{ident}", who="bob"))[0] == 200
    listed = "/v2/images?visibility=shared"
    assert (await images.call("GET", listed, who="bob"))[1]["images"] == []
    pending = await images.call("GET", listed + "&member_status=pending", who="bob")
    assert [image["id"] for image in pending[1]["images"]] == [ident]
    assert (await images.call("PUT", path + "/p2", json={"status": "accepted"}))[0] == 403
    assert (await images.call("PUT", path + "/p2", who="bob", json={"status": "x"}))[0] == 400
    assert (await images.call("PUT", path + "/p2", who="bob", json={"status": "accepted"}))[0] == 200
    assert [image["id"] for image in (await images.call("GET", listed, who="bob"))[1]["images"]] == [ident]
    assert (await images.call("POST", path, who="bob", json={"member": "p3"}))[0] == 403
    assert (await images.call("DELETE", path + "/p2"))[0] == 204
    assert (await images.call("DELETE", path + "/p2"))[0] == 404
    assert (await images.call("GET", f"/v2/images/{ident}", who="bob"))[0] == 404


async def test_lists_are_paged_sorted_and_filtered(images: Images) -> None:
    idents = [
        await images.make(name=f"n{n % 3}", tags=["even"] if n % 2 == 0 else [], x=str(n)) for n in range(7)
    ]

    async def names(query: str) -> list[str]:
        seen: list[str] = []
        path = f"/v2/images?{query}"
        while path:
            status, page, _ = await images.call("GET", path)
            assert status == 200, page
            assert page["schema"] == "/v2/schemas/images"
            assert page["first"].startswith("/v2/images")
            seen += [image["id"] for image in page["images"]]
            path = page.get("next", "")
        return seen

    assert await names("limit=2") == idents[::-1]
    assert await names("limit=2&sort_key=created_at&sort_dir=asc") == idents
    by_name = await names("limit=3&sort=name:asc,created_at:asc")
    assert by_name == [idents[n] for n in (0, 3, 6, 1, 4, 2, 5)]
    assert await names("limit=3&sort_key=name&sort_key=created_at&sort_dir=asc") == by_name
    assert (await names("limit=3&sort_key=name&sort_key=created_at&sort_dir=asc&sort_dir=desc"))[0] == idents[
        6
    ]
    assert set(await names("tag=even")) == {idents[n] for n in (0, 2, 4, 6)}
    assert await names("x=3") == [idents[3]]
    assert set(await names("name=in:n1,n2")) == {idents[n] for n in (1, 4, 2, 5)}
    assert set(await names(f'id=in:"{idents[0]}",{idents[1]}')) == set(idents[:2])
    assert await names("created_at=gt:2999-01-01T00:00:00Z") == []
    assert len(await names("created_at=lte:2999-01-01T00:00:00&status=queued&size_min=0")) == 0
    assert (await images.call("GET", "/v2/images?limit=0"))[1]["images"] == []
    for bad in (
        "limit=-1",
        "sort_key=x",
        "visibility=x",
        "created_at=x",
        "marker=nope",
        "size_min=x",
        "name=in:%22a",
        "sort=name&sort_key=id",
        "sort_key=name&sort_key=id&sort_key=size&sort_dir=asc&sort_dir=asc",
        "sort_dir=up",
        "changes-since=2020-01-01",
        "protected=maybe",
        "member_status=friend",
    ):
        assert (await images.call("GET", f"/v2/images?{bad}"))[0] == 400, bad


async def test_a_patch_changes_the_record_in_order(images: Images) -> None:
    ident = await images.make(a="1", b="2")
    status, image = await patch(
        images,
        ident,
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/c", "value": "3"},
        {"op": "replace", "path": "/a", "value": "x/y"},
        {"op": "remove", "path": "/b"},
        {"op": "add", "path": "/d~1e", "value": "slash"},
        {"op": "replace", "path": "/tags", "value": ["t"]},
        {"op": "replace", "path": "/protected", "value": True},
    )
    assert status == 200, image
    assert (image["name"], image["a"], image["c"], image["d/e"], image["tags"]) == (
        "new",
        "x/y",
        "3",
        "slash",
        ["t"],
    )
    assert "b" not in image
    assert (await images.call("DELETE", f"/v2/images/{ident}"))[0] == 403


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"op": "replace", "path": "/id", "value": "x"}, 403),
        ({"op": "replace", "path": "/owner", "value": "x"}, 403),
        ({"op": "add", "path": "/checksum", "value": "x"}, 403),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "remove", "path": "/nope"}, 409),
        ({"op": "replace", "path": "/nope", "value": "x"}, 409),
        ({"op": "move", "path": "/name", "value": "x"}, 400),
        ({"op": "add", "path": "name", "value": "x"}, 400),
        ({"op": "add", "path": "/a/b", "value": "x"}, 400),
        ({"op": "add", "path": "/a"}, 400),
        ({"op": "add", "path": "/a", "value": 5}, 400),
        ({"op": "remove", "path": "/owner"}, 403),
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "replace", "path": "/os_glance_importing_to_stores", "value": "x"}, 403),
        ({"op": "add", "path": "/locations/-", "value": {}}, 403),
        ({"op": "add", "path": "/tags/-", "value": "x"}, 400),
        ({"op": "add", "path": "/x~2", "value": "x"}, 400),
        ({"op": "add", "path": "/ ", "value": "x"}, 400),
        ({"path": "/name", "value": "x"}, 400),
        ({"op": "replace", "value": "x"}, 400),
        ({"op": "replace", "path": 5, "value": "x"}, 400),
        ({"op": "replace", "path": "/min_disk", "value": -1}, 400),
        ({"op": "replace", "path": "/protected", "value": "true"}, 400),
    ],
)
async def test_what_a_patch_may_not_do(images: Images, change: dict[str, Any], status: int) -> None:
    ident = await images.make()
    assert (await patch(images, ident, change))[0] == status


async def test_a_patch_has_its_own_media_type(images: Images) -> None:
    ident = await images.make()
    plain = {"Content-Type": "application/json-patch+json"}
    assert (await images.call("PATCH", f"/v2/images/{ident}", json=[], headers=plain))[0] == 415
    old = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
    status, image, _ = await images.call(
        "PATCH", f"/v2/images/{ident}", json=[{"replace": "/name", "value": "old"}], headers=old
    )
    assert (status, image["name"]) == (200, "old")


async def test_the_older_patch_adds_only_what_is_not_there(images: Images) -> None:
    ident = await images.make(a="1")
    old = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
    path = f"/v2/images/{ident}"
    for change, status in (
        ({"add": "/a", "value": "2"}, 409),
        ({"add": "/b", "value": "2"}, 200),
        ({"remove": "/b"}, 200),
        ({"remove": "/b", "add": "/c"}, 400),
        ({"value": "x"}, 400),
    ):
        assert (await images.call("PATCH", path, json=[change], headers=old))[0] == status, change
    newer = [{"op": "add", "path": "/a", "value": "2"}]
    assert (await images.call("PATCH", path, json=newer, headers=PATCH))[1]["a"] == "2"


async def test_a_patch_is_judged_before_anything_of_it_is_done(images: Images) -> None:
    ident = await images.make()
    good = {"op": "replace", "path": "/name", "value": "new"}
    assert (await patch(images, ident, good, {"op": "add", "path": "/id", "value": "x"}))[0] == 403
    assert (await images.show(ident))["name"] == "disk"
    assert (await patch(images, str(uuid.uuid4()), {"op": "add", "path": "/id", "value": "x"}))[0] == 403
    assert (await patch(images, str(uuid.uuid4()), good))[0] == 404


async def test_an_admin_gives_an_image_to_another_project(images: Images) -> None:
    ident = await images.make()
    give = {"op": "replace", "path": "/owner", "value": "p2"}
    assert (await patch(images, ident, give))[0] == 403
    status, image = await patch(images, ident, give, who="root")
    assert (status, image["owner"]) == (200, "p2")
    assert (await images.call("GET", f"/v2/images/{ident}"))[0] == 404
    assert (await images.call("DELETE", f"/v2/images/{ident}", who="bob"))[0] == 204


async def test_a_deactivated_image_keeps_its_data_from_all_but_admins(images: Images) -> None:
    ident = await images.make(visibility="community")
    act = f"/v2/images/{ident}/actions/"
    assert (await images.call("POST", act + "deactivate"))[0] == 403
    await images.fill(ident)
    assert (await images.call("POST", act + "deactivate", who="bob"))[0] == 403
    assert (await images.call("POST", act + "deactivate", who="eve"))[0] == 403
    for _ in range(2):
        assert (await images.call("POST", act + "deactivate"))[0] == 204
    assert (await images.show(ident))["status"] == "deactivated"
    for who, status in (("ann", 403), ("bob", 403), ("root", 200)):
        assert (await images.call("GET", f"/v2/images/{ident}/file", who=who))[0] == status
    assert (await images.fill(ident))[0] == 409
    for _ in range(2):
        assert (await images.call("POST", act + "reactivate"))[0] == 204
    assert (await images.call("GET", f"/v2/images/{ident}/file", who="bob"))[1] == b"data"


async def test_only_shared_images_have_members(images: Images) -> None:
    ident = await images.make()
    path = f"/v2/images/{ident}/members"
    await images.call("POST", path, json={"member": "p2"})
    assert (await images.call("PUT", path + "/p2", who="ann", json={"status": "accepted"}))[0] == 403
    assert (await images.call("PUT", path + "/p1", who="bob", json={"status": "accepted"}))[0] == 403
    await patch(images, ident, {"op": "replace", "path": "/visibility", "value": "community"})
    assert (await images.call("GET", path))[0] == 403
    assert (await images.call("GET", path + "/p2"))[0] == 404
    assert (await images.call("POST", path, json={"member": "p3"}))[0] == 403
    assert (await images.call("PUT", path + "/p2", who="bob", json={"status": "accepted"}))[0] == 403
    assert (await images.call("DELETE", path + "/p2"))[0] == 403


async def test_a_stranger_accepts_nothing(images: Images) -> None:
    ident = await images.make(visibility="private")
    path = f"/v2/images/{ident}/members/p2"
    for status in ("accepted", "rejected", "pending"):
        assert (await images.call("PUT", path, who="bob", json={"status": status}))[0] == 404
    assert (await images.call("GET", f"/v2/images/{ident}", who="bob"))[0] == 404


async def test_changes_at_the_same_time_are_all_kept(images: Images) -> None:
    ident = await images.make()
    tags = [f"t{n}" for n in range(5)]
    answers = await asyncio.gather(*(images.call("PUT", f"/v2/images/{ident}/tags/{tag}") for tag in tags))
    assert {status for status, _, _ in answers} == {204}
    assert sorted((await images.show(ident))["tags"]) == tags
    assert (await images.call("DELETE", f"/v2/images/{ident}/tags/t1"))[0] == 204
    assert (await images.call("DELETE", f"/v2/images/{ident}/tags/t1"))[0] == 404


async def test_discovery_and_schemas(images: Images) -> None:
    for path, status in (("", 300), ("/", 300), ("/versions", 200)):
        async with images.session.get("/image" + path) as response:
            assert response.status == status
            versions = (await response.json())["versions"]
        assert versions[0]["status"] == "CURRENT"
        assert versions[0]["links"] == [{"rel": "self", "href": f"{images.url}/image/v2/"}]
    for name in ("image", "images", "member", "members"):
        status, schema, _ = await images.call("GET", f"/v2/schemas/{name}")
        assert (status, schema["name"]) == (200, name)
    assert (await images.call("GET", "/v2/info/import"))[1]["import-methods"]["value"] == []
    assert (await images.call("GET", "/v2/info/stores"))[1]["stores"][0]["id"] == "file"
    assert (await images.call("POST", f"/v2/images/{uuid.uuid4()}/import", json={}))[0] == 501


async def test_an_image_without_an_id_is_not_found(images: Images) -> None:
    for method in ("GET", "DELETE", "PATCH"):
        status, body, _ = await images.call(method, "/v2/images/")
        assert status == 404
        assert b"<title>404 Not Found" in body
    assert (await images.call("GET", "/v2/images"))[0] == 200


async def test_what_is_not_seen_is_not_found_also_by_those_who_only_read(images: Images) -> None:
    private, open_to_all = await images.make(who="bob"), await images.make(who="root", visibility="public")
    for method, path, sent in (
        ("DELETE", "", {}),
        ("PATCH", "", {"json": [], "headers": PATCH}),
        ("PUT", "/file", {"data": b"x", "headers": {"Content-Type": "application/octet-stream"}}),
        ("GET", "/file", {}),
        ("PUT", "/tags/t", {}),
        ("DELETE", "/tags/t", {}),
        ("POST", "/members", {"json": {"member": "p3"}}),
        ("DELETE", "/members/p3", {}),
        ("PUT", "/members/p3", {"json": {"status": "accepted"}}),
        ("POST", "/actions/deactivate", {}),
        ("POST", "/actions/reactivate", {}),
    ):
        for ident, status in ((private, 404), (open_to_all, 403)):
            answered, _, _ = await images.call(method, f"/v2/images/{ident}{path}", who="eve", **sent)
            assert answered == status, (method, path)
