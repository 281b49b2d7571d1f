import asyncio
from typing import Any

import pytest

from protocol.instance import CreateInstance
from protocol.project import ReserveQuota
from tests.gateway.compute.cloud import IMAGE_ID, Compute

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def wish(**members: Any) -> dict[str, Any]:
    return {"server": {"name": "web", "flavorRef": "1", "imageRef": IMAGE_ID, "networks": "auto", **members}}


def sent(compute: Compute, n: int = -1) -> CreateInstance:
    message = compute.actors.sent[n][1]
    assert isinstance(message, ReserveQuota)
    return message.then


async def ports(compute: Compute) -> int:
    count: int = await compute.pool.fetchval("SELECT count(*) FROM network.port")
    return count


async def test_a_request_is_resolved_before_it_is_sent(compute: Compute) -> None:
    key = {"keypair": {"name": "k", "public_key": "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43}}
    status, _ = await compute.call("POST", "/os-keypairs", key)
    assert status == 201
    body = wish(key_name="k", metadata={"a": "b"}, user_data="ZWNo\nbyAi", tags=["x", "x"], description="d")
    status, _ = await compute.call("POST", "/servers", {**body, "os:scheduler_hints": {"x": 1}})
    assert status == 202
    request = sent(compute).request
    assert request.image is not None
    assert (request.image.image, request.image.url) == (IMAGE_ID, f"/image/v2/images/{IMAGE_ID}/file")
    assert request.image_properties == {"os_distro": "cirros"}
    assert (request.flavor.name, request.key_name, list(request.public_keys)) == ("m1.tiny", "k", ["k"])
    assert (request.metadata, request.tags, request.description) == ({"a": "b"}, ("x",), "d")
    assert (request.user_data, request.hints, request.hostname) == ("ZWNobyAi", {"x": "1"}, "web")
    assert request.network_names == {request.nics[0].network: "shared"}


@pytest.mark.parametrize(
    ("members", "status", "says"),
    [
        ({"flavorRef": "nope"}, 400, "Flavor nope could not be found"),
        ({"imageRef": UNKNOWN}, 400, "Can not find requested image"),
        ({"imageRef": ""}, 400, "Invalid imageRef"),
        ({"key_name": "nope"}, 400, "Invalid key_name"),
        ({"networks": [{"uuid": UNKNOWN}]}, 400, UNKNOWN),
        ({"networks": [{}]}, 400, "missing uuid"),
        ({"networks": [{"port": UNKNOWN}]}, 501, "port"),
        ({"availability_zone": "mars"}, 400, "availability zone"),
        ({"availability_zone": "nova:host-1"}, 403, "forced_host"),
        ({"host": "host-1"}, 403, "forced_host"),
        ({"min_count": 3, "max_count": 2}, 400, "min_count must be <= max_count"),
        ({"hostname": "a", "max_count": 2}, 400, "hostname"),
        ({"block_device_mapping_v2": [{"source_type": "volume", "uuid": UNKNOWN}]}, 501, "volumes"),
        ({"personality": []}, 400, "personality"),
        ({"user_data": "%%"}, 400, "user_data"),
        ({"metadata": {f"k{n}": "" for n in range(129)}}, 403, "metadata items"),
        ({"name": "a\u0007"}, 400, "name"),
        ({"security_groups": [{"name": "default"}, {"name": "mars"}]}, 400, "mars"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
async def test_what_cannot_be_had_is_refused_before_anything_is_made(
    compute: Compute, members: dict[str, Any], status: int, says: str
) -> None:
    found, answer = await compute.call("POST", "/servers", wish(**members))
    assert (found, says in next(iter(answer.values()))["message"]) == (status, True), answer
    assert compute.actors.sent == []
    assert await ports(compute) == 0


async def test_the_own_image_as_block_device_is_the_usual_boot(compute: Compute) -> None:
    device = {
        "uuid": IMAGE_ID,
        "source_type": "image",
        "destination_type": "local",
        "boot_index": 0,
        "delete_on_termination": True,
    }
    status, _ = await compute.call("POST", "/servers", wish(block_device_mapping_v2=[device]))
    assert status == 202


async def test_a_flavor_too_small_for_the_image(compute: Compute) -> None:
    await compute.pool.execute("UPDATE image.image SET size_bytes = $1", 2 << 30)
    status, answer = await compute.call("POST", "/servers", wish())
    assert (status, "disk is too small" in answer["badRequest"]["message"]) == (400, True)


async def test_over_quota_is_403_and_gives_the_ports_back(compute: Compute) -> None:
    await compute.pool.execute("INSERT INTO compute.quota VALUES ('p1', 'cores', 1)")
    await compute.boot()
    status, answer = await compute.call("POST", "/servers", wish())
    assert (status, "Quota exceeded for cores" in answer["forbidden"]["message"]) == (403, True)
    assert await ports(compute) == 1


async def test_networks_none_makes_no_port(compute: Compute) -> None:
    await compute.boot(networks="none")
    assert await ports(compute) == 0


async def test_several_at_once(compute: Compute) -> None:
    status, answer = await compute.call(
        "POST", "/servers", wish(min_count=2, max_count=3, return_reservation_id=True)
    )
    assert status == 202
    reservation = answer["reservation_id"]
    status, listed = await compute.call(
        "GET", f"/servers?reservation_id={reservation}&sort_key=display_name&sort_dir=asc"
    )
    assert [one["name"] for one in listed["servers"]] == ["web-1", "web-2", "web-3"]
    assert [sent(compute, n).request.launch_index for n in range(3)] == [0, 1, 2]


async def test_several_as_far_as_the_quota_goes(compute: Compute) -> None:
    await compute.pool.execute("INSERT INTO compute.quota VALUES ('p1', 'instances', 2)")
    status, _ = await compute.call("POST", "/servers", wish(min_count=1, max_count=5))
    assert status == 202
    assert len(compute.actors.sent) == 2
    status, answer = await compute.call("POST", "/servers", wish(min_count=2, max_count=5))
    assert (status, list(answer)) == (403, ["forbidden"])


async def test_a_repeated_request_finds_what_the_first_began(compute: Compute) -> None:
    first = await compute.call("POST", "/servers", wish(), Idempotency_Key="k1")
    again = await compute.call("POST", "/servers", wish(), Idempotency_Key="k1")
    assert first == again
    assert len(compute.actors.sent) == 1
    status, answer = await compute.call("POST", "/servers", wish(name="other"), Idempotency_Key="k1")
    assert (status, list(answer)) == (409, ["conflictingRequest"])
    status, other = await compute.call("POST", "/servers", wish(), Idempotency_Key="k2")
    assert other["server"]["id"] != first[1]["server"]["id"]


async def test_a_key_is_free_again_when_its_request_was_refused(compute: Compute) -> None:
    assert (await compute.call("POST", "/servers", wish(flavorRef="none"), Idempotency_Key="k1"))[0] == 400
    assert (await compute.call("POST", "/servers", wish(), Idempotency_Key="k1"))[0] == 202
    assert (await compute.call("POST", "/servers", wish(flavorRef="none"), Idempotency_Key="k1"))[0] == 409


async def test_a_key_means_nothing_to_an_update(compute: Compute) -> None:
    status, answer = await compute.call("POST", "/servers", wish())
    path = f"/servers/{answer['server']['id']}"
    for name in ("x1", "x2"):
        renamed = {"server": {"name": name}}
        status, shown = await compute.call("PUT", path, renamed, Idempotency_Key="k1")
        assert (status, shown["server"]["name"]) == (200, name)


async def test_a_repetition_waits_until_the_server_can_be_read(compute: Compute) -> None:
    first = await compute.call("POST", "/servers", wish(), Idempotency_Key="k1")
    subject = await compute.pool.fetchval("SELECT subject FROM runtime.operation")
    await compute.pool.execute("UPDATE runtime.operation SET subject = 'project/p1'")
    again = asyncio.create_task(compute.call("POST", "/servers", wish(), Idempotency_Key="k1"))
    done, _ = await asyncio.wait([again], timeout=0.2)
    assert not done
    await compute.pool.execute("UPDATE runtime.operation SET subject = $1", subject)
    assert await again == first


async def test_a_repetition_makes_the_servers_that_are_missing(compute: Compute) -> None:
    several = wish(min_count=3)
    first = await compute.call("POST", "/servers", several, Idempotency_Key="k1")
    unsaid = sent(compute).instance  # as if the gateway had been killed before it said this
    *_, operation = compute.actors.sent.pop()
    await compute.pool.execute("DELETE FROM runtime.operation WHERE id = $1", operation)
    await compute.pool.execute("DELETE FROM compute.instance WHERE id = $1", unsaid)
    del compute.actors.states[f"instance/{unsaid}"]
    assert await compute.call("POST", "/servers", several, Idempotency_Key="k1") == first
    assert (len(compute.actors.sent), compute.actors.sent[2][2]) == (3, operation)
    assert (sent(compute).instance, sent(compute).request.name) == (unsaid, "web-3")


async def test_an_admin_may_name_the_host(compute: Compute) -> None:
    status, _ = await compute.call("POST", "/servers", wish(availability_zone="nova:host-1"), who="admin")
    assert (status, sent(compute).request.forced_host) == (202, "host-1")
    status, answer = await compute.call("POST", "/servers", wish(host="nowhere"), who="admin")
    assert (status, "nowhere" in answer["badRequest"]["message"]) == (400, True)


async def test_a_reader_creates_nothing(compute: Compute) -> None:
    status, _ = await compute.call("POST", "/servers", wish(), who="reader")
    assert status == 403
