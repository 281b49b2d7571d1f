"""The Networking API's first slice: what is there is read as clients read it, what is not says so."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.network.routes import API
from process.clock import SystemClock
from store import network as net
from store.pool import Pool, open_pool
from tests.gateway.fakes import KnownTokens, caller, services, serving

CLOCK = SystemClock()
SHARED = net.shared_network_id()


@dataclass
class Networks:
    session: ClientSession
    url: str
    pool: Pool

    async def get(self, path: str, who: str = "ann", method: str = "GET", **sent: Any) -> tuple[int, Any]:
        headers = {"X-Auth-Token": who}
        async with self.session.request(method, "/network" + path, headers=headers, **sent) as response:
            return response.status, await response.json()

    async def port(self, instance: str, project: str = "p1") -> str:
        async with self.pool.acquire() as c:
            nic, _ = await net.allocate_port(
                c, project=project, network=None, instance=instance, fixed_ip=None, clock=CLOCK
            )
            return nic.port


@pytest.fixture
async def networks(database: str) -> AsyncIterator[Networks]:
    pool = await open_pool(database, connections_max=4)
    async with pool.acquire() as c:
        await net.bootstrap(c, admin_project="p0", clock=CLOCK)
    tokens = KnownTokens(
        ann=caller(),
        bob=caller(user_id="u2", project_id="p2"),
        root=caller("admin", project_id="p0"),
    )
    async with serving(services([API], tokens, pool), [API]) as (session, url):
        yield Networks(session, url, pool)
    await pool.close()


async def test_the_shared_network_is_everybodys(networks: Networks) -> None:
    for who in ("ann", "bob", "root"):
        status, body = await networks.get("/v2.0/networks", who)
        assert status == 200
        (network,) = body["networks"]
        assert (network["id"], network["name"], network["shared"]) == (SHARED, "shared", True)
        assert network["router:external"] is False
    _, body = await networks.get("/v2.0/subnets")
    (subnet,) = body["subnets"]
    assert network["subnets"] == [subnet["id"]]
    assert subnet["cidr"] == "10.20.0.0/16"
    assert subnet["allocation_pools"] == [{"start": "10.20.0.10", "end": "10.20.255.254"}]
    assert subnet["gateway_ip"] == "10.20.0.1"
    status, body = await networks.get(f"/v2.0/networks/{SHARED}")
    assert (status, body["network"]) == (200, network)


async def test_ports_are_their_projects(networks: Networks) -> None:
    mine, other = await networks.port("i1"), await networks.port("i2", "p2")
    _, body = await networks.get("/v2.0/ports?device_id=i1")
    (port,) = body["ports"]
    assert port["id"] == mine
    assert port["fixed_ips"][0]["ip_address"] == "10.20.0.10"
    assert port["device_owner"] == "compute:nova"
    assert port["status"] == "DOWN"
    assert "binding:host_id" not in port
    status, body = await networks.get(f"/v2.0/ports/{other}")
    assert status == 404
    assert body["NeutronError"]["type"] == "PortNotFound"
    _, body = await networks.get("/v2.0/ports", "root")
    assert {port["id"] for port in body["ports"]} == {mine, other}
    assert body["ports"][0]["binding:vif_type"] == "unbound"


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("id=a&id={0}&id={1}", 2),
        ("network_id=" + SHARED, 5),
        ("network_id=x", 0),
        ("device_id=i0&device_id=i3", 2),
        ("admin_state_up=True", 5),
        ("admin_state_up=false", 0),
        ("tenant_id=p1", 5),
        ("project_id=p2", 0),
        ("fixed_ips=ip_address=10.20.0.11", 1),
        ("fixed_ips=ip_address=10.20.0.11&fixed_ips=ip_address=10.20.0.12", 2),
        ("mac_address=x", 0),
        ("unknown=1", 5),
        ("limit=2", 2),
        ("limit=0", 5),
    ],
)
async def test_ports_are_filtered(networks: Networks, query: str, count: int) -> None:
    idents = [await networks.port(f"i{n}") for n in range(5)]
    status, body = await networks.get("/v2.0/ports?" + query.format(*idents))
    assert (status, len(body["ports"])) == (200, count)


async def test_pages_go_forth_and_back(networks: Networks) -> None:
    idents = [await networks.port(f"i{n}") for n in range(5)]

    async def walk(path: str, rel: str) -> list[str]:
        seen: list[str] = []
        while path:
            _, body = await networks.get(path)
            page = [port["id"] for port in body["ports"]]
            seen = [*seen, *page] if rel == "next" else [*page, *seen]
            links = {link["rel"]: link["href"] for link in body.get("ports_links", [])}
            path = links.get(rel, "").removeprefix(networks.url + "/network")
        return seen

    assert await walk("/v2.0/ports?limit=2", "next") == idents
    assert await walk(f"/v2.0/ports?limit=2&marker={idents[4]}&page_reverse=True", "previous") == idents[:4]
    _, body = await networks.get("/v2.0/ports?sort_key=device_id&sort_dir=desc&fields=id&fields=device_id")
    assert [port["device_id"] for port in body["ports"]] == ["i4", "i3", "i2", "i1", "i0"]
    assert set(body["ports"][0]) == {"id", "device_id"}
    assert (await networks.get("/v2.0/ports?marker=nope"))[0] == 404
    assert (await networks.get("/v2.0/ports?sort_key=nope"))[0] == 400
    assert (await networks.get("/v2.0/ports?admin_state_up=maybe"))[0] == 400
    assert (await networks.get("/v2.0/ports?fixed_ips=x=y"))[0] == 400


async def test_every_project_has_one_default_group(networks: Networks) -> None:
    answers = await asyncio.gather(*(networks.get("/v2.0/security-groups") for _ in range(4)))
    groups = [group for _, body in answers for group in body["security_groups"]]
    assert len({group["id"] for group in groups}) == 1
    rules = {
        (rule["direction"], rule["ethertype"], rule["remote_group_id"])
        for rule in groups[0]["security_group_rules"]
    }
    own = groups[0]["id"]
    assert rules == {
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", own),
        ("ingress", "IPv6", own),
    }
    _, body = await networks.get("/v2.0/security-group-rules?direction=ingress")
    assert len(body["security_group_rules"]) == 2
    assert (await networks.get(f"/v2.0/security-groups/{own}", "bob"))[0] == 404
    assert (await networks.get(f"/v2.0/security-groups/{own}", "root"))[0] == 200


async def test_what_is_not_there_says_so(networks: Networks) -> None:
    for empty in ("routers", "floatingips", "agents", "availability_zones"):
        assert await networks.get(f"/v2.0/{empty}") == (200, {empty: []})
    assert (await networks.get("/v2.0/routers/x"))[1]["NeutronError"]["type"] == "RouterNotFound"
    for method, path in (("POST", "/networks"), ("PUT", "/ports/x"), ("DELETE", "/security-groups/x")):
        status, body = await networks.get("/v2.0" + path, method=method)
        assert status == 501
        assert body["NeutronError"]["type"] == "HTTPNotImplemented"


async def test_discovery_extensions_and_quotas(networks: Networks) -> None:
    async with networks.session.get("/network/") as response:
        assert response.status == 200
        (version,) = (await response.json())["versions"]
    assert version["links"][0]["href"] == f"{networks.url}/network/v2.0/"
    _, body = await networks.get("/v2.0/")
    assert {"network", "port"} <= {resource["name"] for resource in body["resources"]}
    _, body = await networks.get("/v2.0/extensions")
    aliases = {extension["alias"] for extension in body["extensions"]}
    assert "security-group" in aliases
    assert "router" not in aliases
    assert (await networks.get("/v2.0/extensions/quotas"))[0] == 200
    assert (await networks.get("/v2.0/extensions/nope"))[0] == 404
    await networks.port("i1")
    assert (await networks.get("/v2.0/quotas/p1"))[1]["quota"]["port"] == -1
    details = (await networks.get("/v2.0/quotas/p1/details.json"))[1]["quota"]
    assert details["port"] == {"limit": -1, "used": 1, "reserved": 0}
    assert (await networks.get("/v2.0/quotas/p2"))[0] == 403
