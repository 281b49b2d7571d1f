"""Networks' rows: what a cloud begins with, and the life of a port and its address.

Every function takes a connection and leaves the transaction to the caller. Lists are read by
store.network_list; no policy and no HTTP here.

An address is taken from ``free_address`` with SKIP LOCKED, so allocations do not wait for each other;
one in BLOCK of them moves the pool's counter and holds that row until its transaction ends. The primary
key of ``address`` is the last word, whatever the other two tables say.
"""

import ipaddress
import uuid
import zlib
from typing import Final

import asyncpg
from msgspec import Struct

from process.clock import Clock
from protocol.guest import GuestNic
from store.pool import Connection

BLOCK: Final = 256
"""Addresses that go from a pool to ``free_address`` at once."""
SHARED_NAME: Final = "shared"
SHARED_CIDR: Final = "10.20.0.0/16"
SHARED_DNS: Final = ("1.1.1.1", "9.9.9.9")
_POOL_OFFSET: Final = 10
"""The shared subnet's pool begins here: what is below is for the operator's own services."""
MTU: Final = 1450
"""Of a network: Ethernet's 1500 less a VXLAN header."""
ORPHAN_AGE_S: Final = 600.0
"""A port whose instance never came to be is removed after this time."""
COMPUTE_OWNER: Final = "compute:"
_RETRIES_MAX: Final = 8
"""Attempts of one allocation that others got in the way of."""
_SPACE: Final = uuid.UUID("5b0c6e0e-1f7e-5c33-a9f5-0b2f62a4c8d1")


class NetworkNotFound(LookupError):  # noqa: N818  an answer, not a fault
    """No such network for this project, or none at all to choose from."""


class NetworkAmbiguous(ValueError):  # noqa: N818
    """The project sees several networks and none of them is the one to choose."""


class AddressesExhausted(ValueError):  # noqa: N818
    """The network's subnets have no address left."""


class AddressInUse(ValueError):  # noqa: N818
    """Another port has this address."""


class AddressInvalid(ValueError):  # noqa: N818
    """The address is in no subnet of the network, or not one a port may have."""


class SubnetRow(Struct, frozen=True, kw_only=True):
    """What allocation needs of a subnet and its network."""

    network: str
    network_name: str
    mtu: int
    subnet: str | None
    cidr: str
    gateway: str


def shared_network_id() -> str:
    """The id of the network every cloud begins with."""
    return str(uuid.uuid5(_SPACE, "network/shared"))


def mac_of(network: str, ip: ipaddress.IPv4Address) -> str:
    """A locally administered MAC, one per address of a network: no two ports of it can meet."""
    tail = int(ip) ^ zlib.crc32(network.encode())
    return ":".join(f"{byte:02x}" for byte in b"\xfa\x16" + tail.to_bytes(4))


async def bootstrap(c: Connection, *, admin_project: str, clock: Clock) -> None:
    """Make the shared network of a new cloud; an existing one is left as it is."""
    network, subnet = shared_network_id(), str(uuid.uuid5(_SPACE, "subnet/shared"))
    cidr = ipaddress.IPv4Network(SHARED_CIDR)
    now = clock.now()
    async with c.transaction():
        await c.execute(
            "INSERT INTO network.network"
            " (id, project_id, name, shared, is_default, mtu, created_at, updated_at)"
            " VALUES ($1, $2, $3, true, true, $4, $5, $5) ON CONFLICT (id) DO NOTHING",
            network,
            admin_project,
            SHARED_NAME,
            MTU,
            now,
        )
        await c.execute(
            "INSERT INTO network.subnet (id, network_id, project_id, name, cidr, gateway_ip, dns_nameservers,"
            " created_at, updated_at) VALUES ($1, $2, $3, $4, $5::text::cidr, $6::text::inet, $7, $8, $8)"
            " ON CONFLICT (id) DO NOTHING",
            *(subnet, network, admin_project, SHARED_NAME, SHARED_CIDR, str(cidr[1]), list(SHARED_DNS), now),
        )
        await c.execute(
            "INSERT INTO network.pool (subnet_id, first_ip, size) VALUES ($1, $2::text::inet, $3)"
            " ON CONFLICT DO NOTHING",
            *(subnet, str(cidr[_POOL_OFFSET]), cidr.num_addresses - 1 - _POOL_OFFSET),
        )


# --- ports ---------------------------------------------------------------------------------------

_CHOICE: Final = """
SELECT n.id AS network, n.name AS network_name, n.mtu, n.project_id = $1 AS own, n.is_default,
       s.id AS subnet, s.cidr::text AS cidr, coalesce(host(s.gateway_ip), '') AS gateway
FROM network.network n LEFT JOIN network.subnet s ON s.network_id = n.id
WHERE (n.project_id = $1 OR n.shared) AND ($2::text IS NULL OR n.id = $2)
  AND NOT n.external AND n.admin_state_up
ORDER BY n.id, s.created_at, s.id
"""
_EXISTING: Final = """
SELECT p.id, p.mac_address, a.subnet_id, coalesce(host(a.ip), '') AS ip
FROM network.port p LEFT JOIN network.address a ON a.port_id = p.id
WHERE p.device_id = $1 AND p.network_id = $2 AND p.for_device ORDER BY a.ip LIMIT 1
"""
_TAKE: Final = """
WITH chosen AS (
    SELECT subnet_id, ip FROM network.free_address WHERE subnet_id = $1 ORDER BY ip LIMIT 1
    FOR UPDATE SKIP LOCKED
)
DELETE FROM network.free_address f USING chosen
WHERE f.subnet_id = chosen.subnet_id AND f.ip = chosen.ip RETURNING host(f.ip)
"""
_OPEN_BLOCK: Final = """
WITH moved AS (
    UPDATE network.pool p SET opened = least(p.opened + $2, p.size)
    FROM (SELECT subnet_id, first_ip, opened FROM network.pool
          WHERE subnet_id = $1 AND opened < size ORDER BY first_ip LIMIT 1 FOR UPDATE) was
    WHERE p.subnet_id = was.subnet_id AND p.first_ip = was.first_ip
    RETURNING p.subnet_id, p.first_ip, was.opened AS began, p.opened AS ended
), added AS (
    INSERT INTO network.free_address (subnet_id, ip)
    SELECT m.subnet_id, m.first_ip + g FROM moved m, generate_series(m.began, m.ended - 1) g
    WHERE NOT EXISTS (SELECT FROM network.address a WHERE a.subnet_id = m.subnet_id AND a.ip = m.first_ip + g)
    ON CONFLICT DO NOTHING
)
SELECT true FROM moved
"""
_INSERT_PORT: Final = """
WITH made AS (
    INSERT INTO network.port (id, network_id, project_id, mac_address, device_id, device_owner, for_device,
                              created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, true, $9, $9)
)
INSERT INTO network.address (subnet_id, ip, port_id) VALUES ($7, $8::text::inet, $1)
"""
_GIVE_BACK: Final = """
WITH ports AS (
    DELETE FROM network.port WHERE id = ANY($1::text[]) RETURNING id
), addresses AS (
    DELETE FROM network.address a USING ports WHERE a.port_id = ports.id RETURNING a.subnet_id, a.ip
), freed AS (
    INSERT INTO network.free_address (subnet_id, ip)
    SELECT a.subnet_id, a.ip FROM addresses a JOIN network.pool p ON p.subnet_id = a.subnet_id
    WHERE a.ip >= p.first_ip AND a.ip < p.first_ip + p.size ON CONFLICT DO NOTHING
)
SELECT count(*) FROM ports
"""


async def allocate_port(
    c: Connection, *, project: str, network: str | None, instance: str, fixed_ip: str | None, clock: Clock
) -> tuple[GuestNic, str]:
    """The instance's port on a network, made if it has none there yet, and the network's name.

    ``network`` None chooses: the project's only network or, without one, the default of the shared. The
    caller's transaction holds the address; keep it short.
    Raises NetworkNotFound, NetworkAmbiguous, AddressesExhausted, AddressInUse or AddressInvalid.
    """
    subnets = await _subnets_for(c, project, network)
    existing = await c.fetchrow(_EXISTING, instance, subnets[0].network)
    if existing is not None:
        return _nic_of(existing, subnets)
    for _ in range(_RETRIES_MAX):
        try:
            async with c.transaction():
                if fixed_ip is None:
                    return await _any_address(c, subnets, project, instance, clock)
                return await _this_address(c, subnets, fixed_ip, project, instance, clock)
        except asyncpg.UniqueViolationError as error:
            # Somebody else committed meanwhile: the same port, or another one with this address.
            existing = await c.fetchrow(_EXISTING, instance, subnets[0].network)
            if existing is not None:
                return _nic_of(existing, subnets)
            if fixed_ip is not None:
                raise AddressInUse(
                    f"Address {fixed_ip} is in use on network {subnets[0].network}."
                ) from error
    raise AddressesExhausted(f"No IP address of network {subnets[0].network} could be had.")


async def free_ports(c: Connection, instance: str) -> int:
    """Remove the ports made for an instance and detach the others; how many were removed."""
    await c.execute(
        "UPDATE network.port SET device_id = '', device_owner = '', revision = revision + 1"
        " WHERE device_id = $1 AND NOT for_device",
        instance,
    )
    idents = await c.fetch("SELECT id FROM network.port WHERE device_id = $1 AND for_device", instance)
    return await remove_ports(c, [row["id"] for row in idents])


async def remove_ports(c: Connection, idents: list[str]) -> int:
    """Remove ports and give their addresses back; how many there were."""
    if not idents:
        return 0
    count: int = await c.fetchval(_GIVE_BACK, idents)
    return count


async def free_orphans(c: Connection, now: float) -> int:
    """Remove the ports of instances that are gone, or that have not come to be within ORPHAN_AGE_S."""
    rows = await c.fetch(
        "SELECT p.id FROM network.port p LEFT JOIN compute.instance i ON i.id = p.device_id"
        " WHERE p.for_device AND (i.gone OR (i.id IS NULL AND p.created_at < $1))",
        now - ORPHAN_AGE_S,
    )
    return await remove_ports(c, [row["id"] for row in rows])


async def _subnets_for(c: Connection, project: str, network: str | None) -> list[SubnetRow]:
    """The subnets of the one network to use, at least one row. Raises as allocate_port."""
    rows = await c.fetch(_CHOICE, project, network)
    if not rows:
        raise NetworkNotFound(f"Network {network} could not be found." if network else "There is no network.")
    candidates = [row for row in rows if row["own"]] or [row for row in rows if row["is_default"]] or rows
    if len({row["network"] for row in candidates}) > 1:
        raise NetworkAmbiguous("Multiple possible networks found, use a Network ID to be more specific.")
    if candidates[0]["subnet"] is None:
        raise AddressesExhausted(f"Network {candidates[0]['network']} has no subnet.")
    return [
        SubnetRow(
            network=row["network"],
            network_name=row["network_name"],
            mtu=row["mtu"],
            subnet=row["subnet"],
            cidr=row["cidr"],
            gateway=row["gateway"],
        )
        for row in candidates
    ]


async def _any_address(
    c: Connection, subnets: list[SubnetRow], project: str, instance: str, clock: Clock
) -> tuple[GuestNic, str]:
    for subnet in subnets:
        while (ip := await _taken(c, subnet)) is not None:
            held = await c.fetchval(
                "SELECT true FROM network.address WHERE subnet_id = $1 AND ip = $2::text::inet",
                subnet.subnet,
                ip,
            )
            if held is None:
                return await _made(c, subnet, ip, project, instance, clock)
    raise AddressesExhausted(f"No more IP addresses available on network {subnets[0].network}.")


async def _taken(c: Connection, subnet: SubnetRow) -> str | None:
    """An address out of the free ones, opening blocks of the pool as needed; None when it is empty."""
    while True:
        ip: str | None = await c.fetchval(_TAKE, subnet.subnet)
        if ip is not None or not await c.fetchval(_OPEN_BLOCK, subnet.subnet, BLOCK):
            return ip


async def _this_address(
    c: Connection, subnets: list[SubnetRow], fixed_ip: str, project: str, instance: str, clock: Clock
) -> tuple[GuestNic, str]:
    try:
        ip = ipaddress.IPv4Address(fixed_ip)
    except ValueError as error:
        raise AddressInvalid(f"{fixed_ip[:64]!r} is not an IPv4 address.") from error
    for subnet in subnets:
        cidr = ipaddress.IPv4Network(subnet.cidr)
        if ip not in cidr:
            continue
        if ip in (cidr.network_address, cidr.broadcast_address) or str(ip) == subnet.gateway:
            raise AddressInvalid(f"Address {ip} of subnet {subnet.subnet} is not for ports.")
        await c.execute(
            "DELETE FROM network.free_address WHERE subnet_id = $1 AND ip = $2::text::inet",
            subnet.subnet,
            str(ip),
        )
        return await _made(c, subnet, str(ip), project, instance, clock)
    raise AddressInvalid(f"Address {ip} is in no subnet of network {subnets[0].network}.")


async def _made(
    c: Connection, subnet: SubnetRow, ip: str, project: str, instance: str, clock: Clock
) -> tuple[GuestNic, str]:
    """Insert the port with its address. Raises UniqueViolationError when either is there already."""
    port = clock.uuid()
    mac = mac_of(subnet.network, ipaddress.IPv4Address(ip))
    owner = f"{COMPUTE_OWNER}nova"
    await c.execute(
        _INSERT_PORT,
        *(port, subnet.network, project, mac, instance, owner, subnet.subnet, ip, clock.now()),
    )
    return _nic(subnet, port, mac, ip)


def _nic_of(row: asyncpg.Record, subnets: list[SubnetRow]) -> tuple[GuestNic, str]:
    subnet = next((s for s in subnets if s.subnet == row["subnet_id"]), subnets[0])
    return _nic(subnet, row["id"], row["mac_address"], row["ip"])


def _nic(subnet: SubnetRow, port: str, mac: str, ip: str) -> tuple[GuestNic, str]:
    nic = GuestNic(
        port=port,
        network=subnet.network,
        mac=mac,
        ip=ip,
        prefix_len=ipaddress.IPv4Network(subnet.cidr).prefixlen,
        gateway=subnet.gateway,
        mtu=subnet.mtu,
    )
    return nic, subnet.network_name
