"""Key pairs, limits, quotas, zones, usage: what a tenant asks besides servers."""

from typing import Any

import pytest

from gateway.compute.key import make_pair
from tests.gateway.compute.cloud import Compute

_, KEY = make_pair()


def pair(name: str = "k", **members: Any) -> dict[str, Any]:
    return {"keypair": {"name": name, **members}}


async def test_keys_are_imported_shown_listed_and_deleted(compute: Compute) -> None:
    status, answer = await compute.call("POST", "/os-keypairs", pair(public_key=f"{KEY} me@home\n"))
    assert (status, answer["keypair"]["type"]) == (201, "ssh")
    assert answer["keypair"]["public_key"] == f"{KEY} me@home\n"
    assert "private_key" not in answer["keypair"]
    assert (await compute.call("POST", "/os-keypairs", pair(public_key=KEY)))[0] == 409
    assert (await compute.call("GET", "/os-keypairs/k"))[1]["keypair"]["user_id"] == "u1"
    assert (await compute.call("GET", "/os-keypairs/k", who="other"))[0] == 404
    assert (await compute.call("GET", "/os-keypairs/k?user_id=u1", who="other"))[0] == 403
    assert (await compute.call("GET", "/os-keypairs/k?user_id=u1", who="admin"))[0] == 200
    assert await compute.call("DELETE", "/os-keypairs/k") == (204, None)
    assert (await compute.call("DELETE", "/os-keypairs/k"))[0] == 404


async def test_keys_are_made_up_to_2_91(compute: Compute) -> None:
    status, answer = await compute.call("POST", "/os-keypairs", pair(), version="2.91")
    assert (status, "PRIVATE KEY" in answer["keypair"]["private_key"]) == (201, True)
    assert (await compute.call("POST", "/os-keypairs", pair("l"), version="2.92"))[0] == 400
    status, answer = await compute.call("POST", "/os-keypairs", pair("m"), version="2.1")
    assert (status, "type" in answer["keypair"]) == (200, False)
    assert (await compute.call("DELETE", "/os-keypairs/m", version="2.1"))[0] == 202
    status, answer = await compute.call("POST", "/os-keypairs", pair("x", type="x509"), version="2.91")
    assert (status, "BEGIN CERTIFICATE" in answer["keypair"]["public_key"]) == (201, True)
    again = pair("y", type="x509", public_key=answer["keypair"]["public_key"])
    status, imported = await compute.call("POST", "/os-keypairs", again)
    assert imported["keypair"]["fingerprint"] == answer["keypair"]["fingerprint"]


@pytest.mark.parametrize(
    ("members", "version"),
    [
        ({"public_key": "nonsense"}, "2.100"),
        ({"public_key": f"{KEY}\n{KEY}"}, "2.100"),
        ({"public_key": KEY, "type": "x509"}, "2.100"),
        ({"public_key": KEY, "name": "a/b"}, "2.100"),
        ({"public_key": KEY, "name": "a@b"}, "2.91"),
        ({"public_key": KEY, "type": "ssh"}, "2.1"),
        ({"public_key": KEY, "user_id": "u1"}, "2.9"),
    ],
)
async def test_keys_that_cannot_be(compute: Compute, members: dict[str, Any], version: str) -> None:
    assert (await compute.call("POST", "/os-keypairs", pair(**members), version=version))[0] == 400


async def test_keys_come_in_pages_from_2_35(compute: Compute) -> None:
    for name in "abc":
        await compute.call("POST", "/os-keypairs", pair(name, public_key=KEY))
    _, answer = await compute.call("GET", "/os-keypairs?limit=2")
    assert [one["keypair"]["name"] for one in answer["keypairs"]] == ["a", "b"]
    assert answer["keypairs_links"][0]["rel"] == "next"
    _, answer = await compute.call("GET", "/os-keypairs?limit=2&marker=b")
    assert [one["keypair"]["name"] for one in answer["keypairs"]] == ["c"]
    assert (await compute.call("GET", "/os-keypairs?marker=z"))[0] == 400
    assert len((await compute.call("GET", "/os-keypairs?limit=2", version="2.34"))[1]["keypairs"]) == 3


async def test_the_quota_of_keys(compute: Compute) -> None:
    await compute.pool.execute("INSERT INTO compute.quota VALUES ('p1', 'key_pairs', 1)")
    assert (await compute.call("POST", "/os-keypairs", pair("a", public_key=KEY)))[0] == 201
    assert (await compute.call("POST", "/os-keypairs", pair("b", public_key=KEY)))[0] == 403


async def test_limits_count_what_is_used(compute: Compute) -> None:
    await compute.boot()
    absolute = (await compute.call("GET", "/limits"))[1]["limits"]["absolute"]
    assert (absolute["totalInstancesUsed"], absolute["totalRAMUsed"], absolute["maxTotalCores"]) == (
        1,
        512,
        20,
    )
    assert "maxPersonality" not in absolute
    assert (await compute.call("GET", "/limits?tenant_id=p2"))[0] == 403
    assert (await compute.call("GET", "/limits?tenant_id=p1", who="admin"))[1]["limits"][
        "absolute"
    ] == absolute


async def test_quotas_are_set_by_admins(compute: Compute) -> None:
    await compute.boot()
    wish = {"quota_set": {"cores": 7, "instances": "-1"}}
    assert (await compute.call("PUT", "/os-quota-sets/p1", wish))[0] == 403
    status, answer = await compute.call("PUT", "/os-quota-sets/p1", wish, who="admin")
    assert (status, answer["quota_set"]["cores"], answer["quota_set"]["instances"]) == (200, 7, -1)
    assert "id" not in answer["quota_set"]
    detail = (await compute.call("GET", "/os-quota-sets/p1/detail"))[1]["quota_set"]
    assert detail["cores"] == {"limit": 7, "in_use": 1, "reserved": 0}
    status, answer = await compute.call("PUT", "/os-quota-sets/p1", {"quota_set": {"cores": 0}}, who="admin")
    assert (status, "already used" in answer["badRequest"]["message"]) == (400, True)
    forced = {"quota_set": {"cores": 0, "force": True}}
    assert (await compute.call("PUT", "/os-quota-sets/p1", forced, who="admin"))[0] == 200
    assert await compute.call("DELETE", "/os-quota-sets/p1", who="admin") == (202, None)
    assert (await compute.call("GET", "/os-quota-sets/p1"))[1]["quota_set"]["cores"] == 20
    assert (await compute.call("GET", "/os-quota-sets/p2"))[0] == 403
    assert (await compute.call("PUT", "/os-quota-sets/p1?user_id=u", wish, who="admin"))[0] == 501


async def test_the_default_class_is_everybodys(compute: Compute) -> None:
    wish = {"quota_class_set": {"cores": 5}}
    status, answer = await compute.call("PUT", "/os-quota-class-sets/default", wish, who="admin")
    assert (status, answer["quota_class_set"]["cores"]) == (200, 5)
    assert (await compute.call("GET", "/os-quota-sets/p1"))[1]["quota_set"]["cores"] == 5
    assert (await compute.call("GET", "/os-quota-class-sets/gold", who="admin"))[0] == 404


async def test_usage_adds_up_hours(compute: Compute) -> None:
    server = await compute.boot()
    now = compute.actors.clock.now()
    await compute.actors.settle(server, launched_at=now - 7200)
    status, answer = await compute.call("GET", "/os-simple-tenant-usage/p1")
    usage = answer["tenant_usage"]
    assert (status, round(usage["total_hours"], 1), usage["total_vcpus_usage"] > 1.9) == (200, 2.0, True)
    assert usage["server_usages"][0]["flavor"] == "m1.tiny"
    assert (await compute.call("GET", "/os-simple-tenant-usage/p2"))[0] == 403
    assert (await compute.call("GET", "/os-simple-tenant-usage"))[0] == 403
    everybody = (await compute.call("GET", "/os-simple-tenant-usage", who="admin"))[1]["tenant_usages"]
    assert [one["tenant_id"] for one in everybody] == ["p1"]
    query = "start=2002-01-01T00:00:00&end=2001-01-01T00:00:00"
    assert (await compute.call("GET", f"/os-simple-tenant-usage/p1?{query}"))[0] == 400
    ancient = "end=0001-01-02T00:00:00"
    assert (await compute.call("GET", f"/os-simple-tenant-usage/p1?{ancient}"))[0] == 400
    empty = "start=2001-01-01T00:00:00&end=2002-01-01T00:00:00"
    assert (await compute.call("GET", f"/os-simple-tenant-usage/p1?{empty}"))[1] == {"tenant_usage": {}}


async def test_zones_extensions_and_empty_lists(compute: Compute) -> None:
    _, answer = await compute.call("GET", "/os-availability-zone")
    zone = {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}
    assert answer["availabilityZoneInfo"] == [zone]
    assert (await compute.call("GET", "/os-availability-zone/detail"))[0] == 403
    aliases = {one["alias"] for one in (await compute.call("GET", "/extensions"))[1]["extensions"]}
    assert "os-keypairs" in aliases
    assert (await compute.call("GET", "/extensions/os-nothing"))[0] == 404
    assert await compute.call("GET", "/os-server-groups") == (200, {"server_groups": []})
    assert (await compute.call("GET", "/os-server-groups/x"))[0] == 404
