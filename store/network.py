"""Networks' rows: what a cloud begins with, and the life of a port and its address.

Every function takes a connection and leaves the transaction to the caller. Lists are read by
store.network_list; no policy and no HTTP here.

An address is taken from ``free_address`` with SKIP LOCKED, so allocations do not wait for each other;
one in BLOCK of them moves the pool's counter and holds that row until its transaction ends. Its MAC is
locally administered and derives from it, the network's checksum mixed in: no two ports of a network meet.
The primary key of ``address`` is the last word, whatever the other two tables say.
"""

import ipaddress
import uuid
import zlib
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

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


class NetworkAmbiguous(ValueError):  # noqa: N818  an answer, not a fault
    """The project sees several networks and none of them is the one to choose."""


class AddressesExhausted(ValueError):  # noqa: N818  an answer, not a fault
    """The network's subnets have no address left."""


class AddressInUse(ValueError):  # noqa: N818  an answer, not a fault
    """Another port has this address."""


class AddressInvalid(ValueError):  # noqa: N818  an answer, not a fault
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
_MAKE: Final = """
, made AS (
    INSERT INTO network.port (id, network_id, project_id, mac_address, device_id, device_owner, for_device,
                              created_at, updated_at)
    SELECT $1, $2, $3, 'fa:16:' || regexp_replace(
               lpad(to_hex((chosen.ip - '0.0.0.0'::inet) # $4::bigint), 8, '0'),
               '(..)(..)(..)(..)', '\\1:\\2:\\3:\\4'),
           $5, $6, true, $7, $7
    FROM chosen RETURNING mac_address
), gone AS (
    DELETE FROM network.free_address f USING chosen WHERE f.subnet_id = $8 AND f.ip = chosen.ip
), held AS (
    INSERT INTO network.address (subnet_id, ip, port_id) SELECT $8, chosen.ip, $1 FROM chosen
)
SELECT $1 AS id, made.mac_address, $8 AS subnet_id, host(chosen.ip) AS ip FROM made, chosen
"""
_MAKE_ANY: Final = f"""
WITH chosen AS (
    SELECT f.ip FROM network.free_address f
    WHERE f.subnet_id = $8 AND NOT EXISTS (
        SELECT FROM network.address a WHERE a.subnet_id = $8 AND a.ip = f.ip)
    ORDER BY f.ip LIMIT 1 FOR UPDATE SKIP LOCKED
){_MAKE}"""  # noqa: S608  two constants
_MAKE_THIS: Final = f"WITH chosen AS (SELECT $9::text::inet AS ip){_MAKE}"
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

    ``network`` None chooses: the project's only network or, without one, the default of the shared. The port
    is made by one statement; in a transaction of the caller's it is a savepoint of its own.
    Raises NetworkNotFound, NetworkAmbiguous, AddressesExhausted, AddressInUse or AddressInvalid.
    """
    subnets = await _subnets_for(c, project, network)
    wanted = _Wanted(clock.uuid(), project, instance, clock.now(), fixed_ip)
    for _ in range(_RETRIES_MAX):
        try:
            async with AsyncExitStack() as scope:
                if c.is_in_transaction():
                    await scope.enter_async_context(c.transaction())
                return await (_any_address if fixed_ip is None else _this_address)(c, subnets, wanted)
        except asyncpg.UniqueViolationError as error:
            # The instance has its port already, or somebody else took this address meanwhile.
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


class _Wanted(NamedTuple):
    """A port to be made."""

    port: str
    project: str
    instance: str
    now: float
    fixed_ip: str | None

    def on(self, subnet: SubnetRow) -> tuple[str | float | None, ...]:
        """The parameters of _MAKE."""
        mask = zlib.crc32(subnet.network.encode())
        owner = f"{COMPUTE_OWNER}nova"
        return (
            self.port, subnet.network, self.project, mask, self.instance, owner, self.now, subnet.subnet,
        )  # fmt: skip


async def _any_address(c: Connection, subnets: list[SubnetRow], wanted: _Wanted) -> tuple[GuestNic, str]:
    """The first free address, opening blocks of the pools as needed."""
    for subnet in subnets:
        while True:
            row = await c.fetchrow(_MAKE_ANY, *wanted.on(subnet))
            if row is not None:
                return _nic_of(row, subnets)
            if not await c.fetchval(_OPEN_BLOCK, subnet.subnet, BLOCK):
                break
    raise AddressesExhausted(f"No more IP addresses available on network {subnets[0].network}.")


async def _this_address(c: Connection, subnets: list[SubnetRow], wanted: _Wanted) -> tuple[GuestNic, str]:
    """The address asked for. Raises AddressInvalid."""
    try:
        ip = ipaddress.IPv4Address(wanted.fixed_ip or "")
    except ValueError as error:
        raise AddressInvalid(f"{str(wanted.fixed_ip)[:64]!r} is not an IPv4 address.") from error
    for subnet in subnets:
        cidr = ipaddress.IPv4Network(subnet.cidr)
        if ip not in cidr:
            continue
        if ip in (cidr.network_address, cidr.broadcast_address) or str(ip) == subnet.gateway:
            raise AddressInvalid(f"Address {ip} of subnet {subnet.subnet} is not for ports.")
        made = await c.fetch(_MAKE_THIS, *wanted.on(subnet), str(ip))
        return _nic_of(made[0], subnets)
    raise AddressInvalid(f"Address {ip} is in no subnet of network {subnets[0].network}.")


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
