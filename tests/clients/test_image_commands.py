"""Every image command of the unmodified ``openstack`` client: it makes, shows, changes and takes away."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.shell import Shell, ran_whole

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

GROUP: Final = "openstack.image.v2"
DATA: Final = b"a disk of a test" * 4096
NOWHERE: Final = "00000000-0000-4000-8000-000000000000"
NOT_YET: Final = {
    "cached image clear", "cached image delete", "cached image list", "cached image queue",
    "image import", "image stage", "image task list", "image task show",
}  # fmt: skip
"""What these commands are about is not there yet."""


def names(found: list[dict[str, Any]], field: str = "Name") -> set[str]:
    return {row[field] for row in found}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(DATA)
    return path


def test_an_image_from_a_file_and_back(demo: Shell, disk: Path, tmp_path: Path) -> None:
    more = ("--min-disk", "1", "--min-ram", "64", "--property", "colour=red", "--tag", "a", "--tag", "b")
    made = demo.json(
        "image", "create", "--file", str(disk), "--disk-format", "raw", "--container-format", "bare",
        "--private", *more, "i1",
    )  # fmt: skip
    shown = demo.json("image", "show", made["id"])
    assert (shown["status"], shown["size"], shown["visibility"]) == ("active", len(DATA), "private")
    assert (shown["min_disk"], shown["min_ram"], sorted(shown["tags"])) == (1, 64, ["a", "b"])
    assert shown["properties"]["colour"] == "red"
    assert demo.json("image", "show", "i1", "--human-readable")["size"] == "65.5K"
    demo.do("image", "save", "--file", str(tmp_path / "back"), "i1")
    assert (tmp_path / "back").read_bytes() == DATA
    demo.do("image", "delete", "i1")
    assert "i1" in demo.fails("image", "show", "i1")
    assert "i1" in demo.fails("image", "save", "i1")


def test_an_image_is_changed(demo: Shell, admin: Shell) -> None:
    made = demo.json("image", "create", "--property", "colour=red", "--tag", "a", "i2")
    assert made["status"] == "queued"
    demo.do(
        "image", "set", "--name", "i3", "--min-disk", "2", "--min-ram", "128", "--disk-format", "qcow2",
        "--container-format", "bare", "--protected", "--community", "--hidden", "--tag", "b", "--property",
        "colour=blue", "--property", "shape=round", "--os-distro", "debian", "--os-version", "13",
        "--architecture", "x86_64", "i2",
    )  # fmt: skip
    shown = demo.json("image", "show", made["id"])
    assert (shown["name"], shown["min_disk"], shown["min_ram"]) == ("i3", 2, 128)
    assert (shown["disk_format"], shown["protected"], shown["visibility"]) == ("qcow2", True, "community")
    properties = shown["properties"]
    assert (properties["colour"], properties["shape"], properties["os_distro"]) == ("blue", "round", "debian")
    assert (sorted(shown["tags"]), properties["os_hidden"]) == (["a", "b"], True)
    assert "403" in demo.fails("image", "delete", "i3")
    demo.do("image", "unset", "--tag", "a", "--property", "colour", "i3")
    shown = demo.json("image", "show", made["id"])
    assert shown["tags"] == ["b"]
    assert "colour" not in shown["properties"]
    assert "403" in demo.fails("image", "set", "--public", "i3")
    admin.do("image", "set", "--public", made["id"])
    demo.do("image", "set", "--unprotected", "--unhidden", "i3")
    demo.do("image", "delete", "i3")


def test_images_are_listed_by_what_they_are(demo: Shell, admin: Shell, disk: Path) -> None:
    form = ("--disk-format", "raw", "--container-format", "bare")
    demo.do("image", "create", *form, "--file", str(disk), "--tag", "x", "--property", "colour=red", "l1")
    demo.do("image", "create", *form, "--shared", "l2")
    admin.do("image", "create", *form, "--public", "--file", str(disk), "l3")
    assert {"l1", "l2", "l3"} <= names(demo.json("image", "list", "--long"))
    assert names(demo.json("image", "list", "--public")) == {"l3"}
    assert names(demo.json("image", "list", "--shared", "--status", "queued")) == {"l2"}
    assert names(demo.json("image", "list", "--tag", "x")) == {"l1"}
    assert names(demo.json("image", "list", "--property", "colour=red")) == {"l1"}
    assert names(demo.json("image", "list", "--name", "l2")) == {"l2"}
    ordered = [row["Name"] for row in demo.json("image", "list", "--sort", "name:desc")]
    assert ordered == sorted(ordered, reverse=True)
    assert [row["Name"] for row in demo.json("image", "list", "--sort", "name:asc", "--limit", "1")]
    assert "colour" in demo.fails("image", "list", "--sort", "colour:asc")
    admin.do("image", "set", "--deactivate", "l3")
    assert admin.json("image", "show", "l3")["status"] == "deactivated"


def test_an_image_is_shared(demo: Shell, admin: Shell) -> None:
    made = demo.json("image", "create", "--shared", "s1")
    project = admin.json("project", "show", "admin")["id"]
    demo.do("image", "add", "project", "s1", project)
    assert names(demo.json("image", "member", "list", "s1"), "Member ID") == {project}
    assert demo.json("image", "member", "get", "s1", project)["status"] == "pending"
    assert "409" in demo.fails("image", "add", "project", "s1", project)
    admin.do("image", "set", "--accept", "--project", project, made["id"])
    assert demo.json("image", "member", "get", "s1", project)["status"] == "accepted"
    admin.do("image", "set", "--reject", "--project", project, made["id"])
    assert demo.json("image", "member", "get", "s1", project)["status"] == "rejected"
    demo.do("image", "remove", "project", "s1", project)
    assert demo.json("image", "member", "list", "s1") == []
    demo.do("image", "delete", "s1")


def test_what_the_service_can_do(demo: Shell) -> None:
    assert "import-methods" in demo.do("image", "import", "info")
    assert demo.json("image", "stores", "list")


def test_definitions(demo: Shell, admin: Shell) -> None:
    schema = json.dumps({"enum": ["red", "blue"]})
    base = ("image", "metadef")
    namespace, prop, thing = (*base, "namespace"), (*base, "property"), (*base, "object")
    association = (*base, "resource", "type", "association")
    admin.do(*namespace, "create", "--display-name", "Acme", "--description", "of Acme", "--public", "Acme")
    assert "409" in admin.fails(*namespace, "create", "Acme")
    admin.do(*namespace, "set", "--description", "changed", "--public", "--tag", "t", "Acme")
    assert demo.json(*namespace, "show", "Acme")["description"] == "changed"
    admin.do(*namespace, "unset", "--all-tags", "Acme")
    assert "Acme" in names(demo.json(*namespace, "list"), "namespace")
    words = ("--name", "colour", "--title", "Colour", "--type", "string", "--schema", schema)
    admin.do(*prop, "create", *words, "Acme")
    admin.do(*prop, "set", "--title", "Color", "Acme", "colour")
    assert demo.json(*prop, "show", "Acme", "colour")["title"] == "Color"
    assert names(demo.json(*prop, "list", "Acme"), "name") == {"colour"}
    admin.do(*thing, "create", "--namespace", "Acme", "paint")
    admin.do(*thing, "update", "--name", "varnish", "Acme", "paint")
    assert demo.json(*thing, "show", "Acme", "varnish")["name"] == "varnish"
    assert names(demo.json(*thing, "list", "Acme"), "name") == {"varnish"}
    assert "colour" in demo.fails(*thing, "property", "show", "Acme", "varnish", "colour")
    admin.do(*association, "create", "Acme", "OS::Nova::Flavor")
    assert names(demo.json(*association, "list", "Acme")) == {"OS::Nova::Flavor"}
    assert "OS::Nova::Flavor" in demo.do(*base, "resource", "type", "list")
    admin.do(*association, "delete", "Acme", "OS::Nova::Flavor")
    admin.do(*thing, "delete", "Acme", "varnish")
    admin.do(*prop, "delete", "Acme", "colour")
    assert "403" in demo.fails(*namespace, "delete", "Acme")
    admin.do(*namespace, "delete", "Acme")
    assert "404" in demo.fails(*namespace, "show", "Acme")


def test_wrong_words_are_refused(demo: Shell, disk: Path) -> None:
    for words, said in (
        (("image", "create", "--id", "x", "bad"), "400"),
        (("image", "create", "--id", NOWHERE, "--property", "id=x", "bad"), "40"),
        (("image", "create", "--disk-format", "vinyl", "bad"), "vinyl"),
        (("image", "create", "--min-disk", "-1", "bad"), "400"),
        (("image", "create", "--file", str(disk), "--property", "status=active", "bad"), "status"),
        (("image", "delete", NOWHERE), "Multi Backend"),  # the client says so of any image it does not find
        (("image", "show", "nothing"), "nothing"),
        (("image", "member", "list", NOWHERE), NOWHERE),
        (("image", "unset", "--tag", "none", NOWHERE), NOWHERE),
    ):
        assert said in demo.fails(*words)


def test_every_command_was_given(admin: Shell, demo: Shell, request: pytest.FixtureRequest) -> None:
    if not ran_whole(request):
        pytest.skip("only a part of the tests was asked for")
    assert admin.never_ran(GROUP) & demo.never_ran(GROUP) == NOT_YET
