"""Ports and their addresses: nobody's twice, nobody's lost, whoever else allocates at the same time."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator

import asyncpg
import pytest

from process.clock import SystemClock
from protocol.guest import GuestNic
from store import network as net
from store.pool import Pool, open_pool

CLOCK = SystemClock()
SHARED = net.shared_network_id()


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, connections_max=8)
    async with opened.acquire() as c:
        await net.bootstrap(c, admin_project="admin", clock=CLOCK)
    yield opened
    await opened.close()


async def port(
    pool: Pool, instance: str, *, fixed: str | None = None, network: str | None = None, project: str = "p1"
) -> GuestNic:
    async with pool.acquire() as c, c.transaction():
        nic, _ = await net.allocate_port(
            c, project=project, network=network, instance=instance, fixed_ip=fixed, clock=CLOCK
        )
        return nic


async def small(pool: Pool, ident: str, cidr: str, project: str = "p2") -> None:
    """A network of the project with all addresses of ``cidr`` but the gateway's to give."""
    block = ipaddress.IPv4Network(cidr)
    async with pool.acquire() as c:
        await c.execute(
            "INSERT INTO network.network (id, project_id, name, mtu, created_at, updated_at)"
            " VALUES ($1, $2, $1, 1450, 0, 0)",
            ident,
            project,
        )
        await c.execute(
            "INSERT INTO network.subnet"
            " (id, network_id, project_id, name, cidr, gateway_ip, created_at, updated_at)"
            " VALUES ($1, $1, $2, $1, $3::text::cidr, $4::text::inet, 0, 0)",
            *(ident, project, cidr, str(block[1])),
        )
        await c.execute(
            "INSERT INTO network.pool (subnet_id, first_ip, size) VALUES ($1, $2::text::inet, $3)",
            *(ident, str(block[2]), block.num_addresses - 3),
        )


async def test_the_default_network_gives_a_whole_nic(pool: Pool) -> None:
    nic = await port(pool, "i1")
    assert nic.network == SHARED
    assert nic.ip == "10.20.0.10"
    assert (nic.prefix_len, nic.gateway, nic.mtu) == (16, "10.20.0.1", 1450)
    assert nic.mac.startswith("fa:16:")
    assert len(nic.mac) == 17


async def test_asking_again_for_an_instance_gives_the_same_port(pool: Pool) -> None:
    assert await port(pool, "i1") == await port(pool, "i1")
    at_once = await asyncio.gather(*(port(pool, "i2") for _ in range(6)))
    assert len(set(at_once)) == 1


async def test_no_address_is_given_twice_under_concurrency(pool: Pool) -> None:
    nics = await asyncio.gather(*(port(pool, f"i{n}") for n in range(600)))
    assert len({nic.ip for nic in nics}) == 600
    assert len({nic.mac for nic in nics}) == 600


async def test_a_freed_address_is_used_again_and_a_rolled_back_one_is_not_lost(pool: Pool) -> None:
    await small(pool, "n1", "192.168.5.0/29")
    first = await port(pool, "i1", project="p2")
    assert first.network == "n1"
    async with pool.acquire() as c:
        given_up = c.transaction()
        await given_up.start()
        await net.allocate_port(c, project="p2", network=None, instance="i2", fixed_ip=None, clock=CLOCK)
        await given_up.rollback()
        await net.free_ports(c, "i1")
        assert await net.free_ports(c, "i1") == 0
    nics = [await port(pool, f"i{n}", project="p2") for n in range(5)]
    assert sorted(nic.ip for nic in nics) == [f"192.168.5.{n}" for n in range(2, 7)]
    with pytest.raises(net.AddressesExhausted):
        await port(pool, "i9", project="p2")


async def test_a_fixed_address_is_kept_from_others(pool: Pool) -> None:
    await small(pool, "n1", "192.168.5.0/29")
    asked = await port(pool, "i1", fixed="192.168.5.3", project="p2")
    assert asked.ip == "192.168.5.3"
    with pytest.raises(net.AddressInUse):
        await port(pool, "i2", fixed="192.168.5.3", project="p2")
    others = [await port(pool, f"j{n}", project="p2") for n in range(4)]
    assert sorted(nic.ip for nic in others) == [f"192.168.5.{n}" for n in (2, 4, 5, 6)]
    async with pool.acquire() as c:
        await net.free_ports(c, "i1")
    assert (await port(pool, "j9", project="p2")).ip == "192.168.5.3"


@pytest.mark.parametrize("ip", ["10.20.0.0", "10.20.255.255", "10.20.0.1", "10.21.0.9", "fe80::1", "x"])
async def test_an_address_no_port_may_have_is_refused(pool: Pool, ip: str) -> None:
    with pytest.raises(net.AddressInvalid):
        await port(pool, "i1", fixed=ip)


async def test_an_allocation_waits_for_nobody(pool: Pool) -> None:
    await port(pool, "i0")
    async with pool.acquire() as c, c.transaction():
        await net.allocate_port(c, project="p1", network=None, instance="i1", fixed_ip=None, clock=CLOCK)
        async with asyncio.timeout(5):
            other = await port(pool, "i2")
    assert other.ip == "10.20.0.12"


async def test_whose_network_it_is(pool: Pool) -> None:
    await small(pool, "n1", "192.168.5.0/24")
    await small(pool, "n2", "192.168.6.0/24")
    with pytest.raises(net.NetworkAmbiguous):
        await port(pool, "i1", project="p2")
    with pytest.raises(net.NetworkNotFound):
        await port(pool, "i1", network="n1", project="p1")
    assert (await port(pool, "i1", network="n2", project="p2")).ip == "192.168.6.2"
    assert (await port(pool, "i1", network=SHARED, project="p2")).network == SHARED


async def test_ports_of_instances_that_never_came_are_removed(pool: Pool) -> None:
    await port(pool, "never")
    async with pool.acquire() as c:
        assert await net.free_orphans(c, CLOCK.now()) == 0
        assert await net.free_orphans(c, CLOCK.now() + net.ORPHAN_AGE_S + 1) == 1
        assert await c.fetchval("SELECT count(*) FROM network.address") == 0


async def test_the_gateway_role_suffices(pool: Pool) -> None:
    async with pool.acquire() as c:
        await c.execute("SET ROLE starling_gateway")
        await net.allocate_port(c, project="p1", network=None, instance="i1", fixed_ip=None, clock=CLOCK)
        await net.free_ports(c, "i1")
        await net.free_orphans(c, CLOCK.now())
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await c.execute("DELETE FROM compute.instance")
        await c.execute("RESET ROLE")
