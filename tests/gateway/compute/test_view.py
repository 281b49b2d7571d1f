from typing import Any

import msgspec
import pytest

from actors.instance import view as stored
from actors.instance.model import Fault, Instance, Placement, V
from gateway.compute.server.view import host_status, known, shape
from protocol.guest import GuestImage, GuestNic, PowerState
from protocol.instance import Flavor, ServerRequest
from store.server import ServerRow

ID = "6f0c1f0e-0000-4000-8000-000000000009"
REQUEST = ServerRequest(
    name="web",
    hostname="web",
    flavor=Flavor(id="1", name="m1.tiny", vcpus=1, memory_mib=512, disk_gib=1),
    image=GuestImage(image="i", url="u", sha512="s", size_bytes=1, disk_format="raw"),
    image_properties={"os_distro": "cirros"},
    metadata={"href": "@@base@@/x", "said": '"href":"@@base@@'},
    nics=(GuestNic(port="p", network="n", mac="fa:16:3e:00:00:01", ip="10.0.0.5"),),
    network_names={"n": "net"},
)


def instance(**changes: Any) -> Instance:
    fields: dict[str, Any] = {
        "id": ID,
        "life": "open",
        "project": "p1",
        "user": "u1",
        "request": REQUEST,
        "vm_state": V.ACTIVE,
        "power_state": PowerState.RUNNING,
        "created_at": 1e9,
        "updated_at": 1e9,
        "launched_at": 1e9,
        "generation": 1,
        "placements": (Placement("h", 1, "host-1", spawned=True),),
        **changes,
    }
    return Instance(**fields)


def row(vm: Instance, life: str | None = "up") -> ServerRow:
    text = stored.server_json(vm).decode()
    return ServerRow(vm.id, "p1", "u1", "web", "active", None, False, text, life, False, False)


def shown(minor: int, vm: Instance | None = None, *, admin: bool = False, purpose: Any = "show") -> Any:
    body = shape(minor, purpose, admin=admin).one(row(vm or instance()), "http://cloud")
    return msgspec.json.decode(body)["server"]


@pytest.mark.parametrize(
    ("member", "first"),
    [
        ("locked", 9),
        ("description", 19),
        ("tags", 26),
        ("trusted_image_certificates", 63),
        ("server_groups", 71),
        ("locked_reason", 73),
        ("OS-EXT-SRV-ATTR:hostname", 90),
        ("pinned_availability_zone", 96),
        ("scheduler_hints", 100),
    ],
)
def test_members_appear_with_their_microversion(member: str, first: int) -> None:
    assert member not in shown(first - 1)
    assert member in shown(first)


def test_admins_see_where_a_server_is() -> None:
    assert "OS-EXT-SRV-ATTR:host" not in shown(100)
    assert shown(1, admin=True)["OS-EXT-SRV-ATTR:host"] == "host-1"
    assert "OS-EXT-SRV-ATTR:user_data" not in shown(2, admin=True)
    assert "OS-EXT-SRV-ATTR:user_data" in shown(3, admin=True)
    assert "host_status" not in shown(15, admin=True)
    assert shown(16, admin=True)["host_status"] == "UP"


def test_the_flavor_is_a_link_up_to_2_46_and_embedded_after() -> None:
    assert set(shown(46)["flavor"]) == {"id", "links"}
    assert shown(47)["flavor"]["original_name"] == "m1.tiny"
    assert "id" not in shown(47)["flavor"]


def test_image_properties_appear_at_2_98() -> None:
    assert "properties" not in shown(97)["image"]
    assert shown(98)["image"]["properties"] == {"os_distro": "cirros"}


def test_an_update_answers_less_up_to_2_74() -> None:
    assert "key_name" not in shown(74, purpose="update")
    assert shown(74, purpose="update")["addresses"]["net"] == [{"version": 4, "addr": "10.0.0.5"}]
    assert "key_name" in shown(75, purpose="update")


def test_fault_details_are_for_admins() -> None:
    vm = instance(vm_state=V.ERROR, fault=Fault(500, "No valid host", 1e9, "ram: 1"))
    assert shown(100, vm)["fault"]["message"] == "No valid host"
    assert "details" not in shown(100, vm)["fault"]
    assert shown(100, vm, admin=True)["fault"]["details"] == "ram: 1"
    assert "progress" not in shown(100, vm)


def test_links_carry_the_request_url_and_tenants_words_do_not() -> None:
    server = shown(100)
    assert server["links"][0]["href"] == f"http://cloud/compute/v2.1/servers/{ID}"
    assert server["metadata"]["said"] == '"href":"@@base@@'


def test_a_server_in_the_making_shows_no_addresses() -> None:
    assert shown(100, instance(vm_state=V.BUILDING, launched_at=None))["addresses"] == {}


def test_many_servers_make_one_document() -> None:
    rows = [row(instance()), row(instance(), life=None)]
    body = msgspec.json.decode(shape(100, "list", admin=True).many(rows, "http://c", "http://c/next"))
    assert [one["host_status"] for one in body["servers"]] == ["UP", ""]
    assert "server_groups" not in body["servers"][0]
    assert body["servers_links"] == [{"rel": "next", "href": "http://c/next"}]


@pytest.mark.parametrize(
    ("life", "disabled", "forced", "status"),
    [
        (None, None, None, ""),
        ("up", False, False, "UP"),
        ("suspect", False, False, "UP"),
        ("up", True, False, "MAINTENANCE"),
        ("up", True, True, "DOWN"),
        ("down", False, False, "UNKNOWN"),
    ],
)
def test_host_status(life: str | None, disabled: bool | None, forced: bool | None, status: str) -> None:
    given = ServerRow(ID, "p", "u", "n", "active", None, False, "{}", life, disabled, forced)
    assert host_status(given) == status


def test_handlers_get_what_they_need_of_a_view() -> None:
    found = known(row(instance()))
    assert (found.status, found.metadata) == ("ACTIVE", REQUEST.metadata)
    assert found.addresses["net"][0]["addr"] == "10.0.0.5"
