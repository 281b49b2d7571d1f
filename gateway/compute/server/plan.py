"""What POST /servers asks for, resolved: everything but what differs from server to server.

Nothing is written here. The checks are in the API's order, references before quota; the project's ledger has
the last word on the quota.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Struct

from gateway.auth import Caller
from gateway.compute.query import minor
from gateway.compute.quota import limits_of, used_of
from gateway.compute.reference import (
    WantedNetwork,
    check_zone,
    find_flavor,
    find_host,
    find_image,
    find_key,
)
from gateway.compute.schema import address_text, is_uuid, truth
from gateway.compute.server.body import BlockDevice, CreateBody, NewServer
from gateway.compute.server.hostname import check_hostname
from gateway.problem import Problem
from gateway.request import Request, forbidden
from protocol.instance import Flavor, ServerGroup, ServerRequest
from protocol.project import QuotaLimits
from store.compute import usage
from store.pool import Connection
from store.server import groups_of, places_of
from store.server_group import server_group

COUNT_MAX = 1000
"""Servers of one request, whatever the quota says."""
HINTS_BYTES_MAX = 16_384
"""Of a server's scheduler hints as JSON: they are kept and shown with it."""
_FORCED_HOST_RULE = "compute:servers:create:forced_host"
_WORDS_FROM = 37
"""Networks may be ``auto`` or ``none`` from this microversion on."""
_NO_IMAGE = (
    "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping "
    "combination is not valid."
)
_SAME_IMAGE = "Only the server's own image may be a block device: volumes are not implemented."


def counts_in(wish: NewServer) -> tuple[int, int]:
    """(at least, at most) how many servers. Raises Problem 400."""
    least = 1 if wish.min_count is UNSET else int(wish.min_count)
    most = least if wish.max_count is UNSET else int(wish.max_count)
    if least > most:
        raise Problem(400, "min_count must be <= max_count")
    return least, min(most, COUNT_MAX)


class Plan(Struct, frozen=True):
    """A request resolved. ``count`` servers are to be made, as far as the quota goes now."""

    request: ServerRequest
    networks: tuple[WantedNetwork, ...]
    limits: QuotaLimits
    count: int


async def plan_for(request: Request, connection: Connection, body: CreateBody, least: int, most: int) -> Plan:
    """Resolve a request for ``least`` to ``most`` servers. Raises Problem."""
    caller, wish = request.caller, body.server
    limits = await limits_of(connection, caller.project_id)
    metadata = {} if wish.metadata is UNSET else wish.metadata
    if 0 <= limits["metadata_items"] < len(metadata):
        raise Problem(403, f"Maximum number of metadata items exceeds {limits['metadata_items']}")
    flavor = await find_flavor(connection, caller, str(wish.flavor))
    zone, host = await _destination(request, connection, wish)
    if not wish.image:
        raise Problem(400, "Invalid imageRef provided." if wish.image == "" else _NO_IMAGE)
    image, properties = await find_image(connection, caller, wish.image, flavor)
    hints = _hints(body)
    keys = {} if wish.key_name is UNSET else await find_key(connection, caller, wish.key_name)
    certificates = wish.trusted_image_certificates or []
    if len(set(certificates)) < len(certificates):
        raise Problem(400, "Invalid input for field/attribute trusted_image_certificates: not unique.")
    planned = ServerRequest(
        name=wish.name.strip(),
        flavor=flavor,
        image=image,
        image_properties=properties,
        hostname="" if wish.hostname is UNSET else check_hostname(wish.hostname, minor(request)),
        description=_description(request, wish),
        metadata=metadata,
        tags=() if wish.tags is UNSET else tuple(dict.fromkeys(wish.tags)),
        key_name=None if wish.key_name is UNSET else wish.key_name,
        public_keys=keys,
        user_data="" if wish.user_data is UNSET else "".join(wish.user_data.split()),
        config_drive=truth(wish.config_drive),
        security_groups=await _groups(connection, caller.project_id, wish),
        availability_zone=zone,
        hints=hints,
        forced_host=host,
        group=await _group(connection, caller, hints, limits["server_group_members"], most),
        same_hosts=await _hosts_of(connection, caller, hints["same_host"]) if "same_host" in hints else None,
        different_hosts=await _hosts_of(connection, caller, hints.get("different_host", [])),
        trusted_certificates=tuple(certificates),
        disk_config="MANUAL" if wish.disk_config is UNSET else wish.disk_config,
        access_ipv4="" if wish.access_ipv4 is UNSET else address_text(wish.access_ipv4),
        access_ipv6="" if wish.access_ipv6 is UNSET else address_text(wish.access_ipv6),
    )
    networks = wanted_networks(wish, minor(request))
    if most > 1 and (wish.hostname is not UNSET or any(one.fixed_ip for one in networks)):
        raise Problem(400, "A hostname or a fixed IP is for one server; max_count asks for more.")
    count = await _affordable(connection, caller.project_id, limits, flavor, least, most)
    return Plan(planned, networks, QuotaLimits(limits["instances"], limits["cores"], limits["ram"]), count)


def _description(request: Request, wish: NewServer) -> str | None:
    if minor(request) < 19:  # noqa: PLR2004  a microversion
        return wish.name.strip()
    return None if wish.description is UNSET else wish.description


async def _affordable(
    connection: Connection, project: str, limits: dict[str, int], flavor: Flavor, least: int, most: int
) -> int:
    """How many of ``most`` the quota allows as it is now. Raises Problem 403 for fewer than ``least``."""
    if most == 1:
        return 1  # the ledger itself refuses
    used = used_of(await usage(connection, project))
    possible = most
    for name, each in (("instances", 1), ("cores", flavor.vcpus), ("ram", flavor.memory_mib)):
        if limits[name] >= 0 and each > 0:
            possible = min(possible, (limits[name] - used[name]) // each)
    if possible < least:
        room = max(possible, 0)
        raise Problem(403, f"Quota exceeded: {least} servers were asked for, there is room for {room}")
    return possible


async def _destination(request: Request, connection: Connection, wish: NewServer) -> tuple[str, str]:
    """(availability zone, host) asked for; empty where the scheduler is to choose. Raises Problem."""
    zone, forced, node = "", "", ""
    if wish.availability_zone is not UNSET:
        zone, _, rest = wish.availability_zone.partition(":")
        forced, _, node = rest.partition(":")
    named = {name for name in (wish.host, wish.hypervisor_hostname) if name is not UNSET}
    asked = {name for name in (forced, node) if name}
    if named and asked:
        raise Problem(400, "One mechanism with host and another with zone:host:node are mutually exclusive.")
    if (named or asked) and not request.allows(_FORCED_HOST_RULE):
        raise forbidden(_FORCED_HOST_RULE)
    wanted = sorted(named | asked)
    if len(wanted) > 1:
        raise Problem(400, f"No valid host was found: {wanted[0]} and {wanted[1]} are two hosts.")
    if wanted:
        await find_host(connection, wanted[0])
    if zone and not asked:
        await check_zone(connection, zone)
    return ("" if asked else zone), (wanted[0] if wanted else "")


def check_devices(wish: NewServer) -> None:
    """Refuse what would need volumes or file injection. Raises Problem 400 or 501."""
    if wish.block_device_mapping is not UNSET and wish.block_device_mapping:
        raise Problem(501, _SAME_IMAGE)
    devices = [] if wish.block_device_mapping_v2 is UNSET else wish.block_device_mapping_v2
    if len(devices) > 1 or any(not _is_own_image(device, wish) for device in devices):
        raise Problem(501, _SAME_IMAGE)
    if wish.personality is not UNSET and wish.personality:
        raise Problem(501, "File injection is not implemented; use user_data or a config drive.")


def _is_own_image(device: BlockDevice, wish: NewServer) -> bool:
    return (
        device.source_type == "image"
        and device.destination_type in (None, "local")
        and device.uuid == wish.image
        and str(device.boot_index) == "0"
    )


async def _groups(connection: Connection, project: str, wish: NewServer) -> tuple[str, ...]:
    """The names asked for, each of a group the project has. Raises Problem 400."""
    if wish.security_groups is UNSET:
        return ("default",)
    names = tuple(dict.fromkeys(group.name for group in wish.security_groups if group.name is not UNSET))
    wanted = [name for name in names if name != "default"]  # made when it is first used
    if wanted:
        found = {word for row in await groups_of(connection, project, wanted) for word in (row.id, row.name)}
        for name in wanted:
            if name not in found:
                raise Problem(400, f"Security group {name} not found for project {project}.")
    return names or ("default",)


def _hints(body: CreateBody) -> dict[str, str | list[str]]:
    """The scheduler's hints; what is neither text nor a list of texts goes on as JSON text."""
    hints = body.hints if body.hints is not UNSET else body.old_hints
    if hints is UNSET:
        return {}
    if len(msgspec.json.encode(hints)) > HINTS_BYTES_MAX:
        raise Problem(400, f"Scheduler hints may hold {HINTS_BYTES_MAX} bytes.")
    found = {name: _hint(value) for name, value in hints.items()}
    for name in ("same_host", "different_host"):
        value = found.get(name, [])
        if not all(map(is_uuid, [value] if isinstance(value, str) else value)):
            raise Problem(400, f"Invalid input for field/attribute {name}: not the id of a server.")
    return found


async def _group(
    connection: Connection, caller: Caller, hints: dict[str, str | list[str]], limit: int, more: int
) -> ServerGroup | None:
    """The project's server group that is hinted at. Raises Problem 400, or 403 when it would be too large."""
    ident = hints.get("group")
    if ident is None:
        return None
    row = await server_group(connection, ident) if isinstance(ident, str) and is_uuid(ident) else None
    if row is None or row.project_id != caller.project_id:
        raise Problem(400, f"Instance group {ident} could not be found.")
    if 0 <= limit < len(row.members) + more:
        raise Problem(403, "Quota exceeded, too many servers in group")
    return ServerGroup(row.id, row.policy, row.per_host or 1)


async def _hosts_of(connection: Connection, caller: Caller, wanted: str | list[str]) -> tuple[str, ...]:
    """Where these servers are, as far as they are the caller's to know."""
    idents = [wanted] if isinstance(wanted, str) else wanted
    project = None if caller.is_admin else caller.project_id
    return tuple(await places_of(connection, idents, project)) if idents else ()


def _hint(value: Any) -> str | list[str]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return msgspec.json.encode(value).decode()


def wanted_networks(wish: NewServer, minor: int) -> tuple[WantedNetwork, ...]:
    """The networks of a new server; without any word about them the one that would be chosen.

    Raises Problem 400, and 501 for a port that exists already.
    """
    if isinstance(wish.networks, str) and minor < _WORDS_FROM:
        raise Problem(400, f"Invalid input for field/attribute networks: {wish.networks!r} is not a list.")
    if not wish.networks or wish.networks == "auto":
        return (WantedNetwork(optional=wish.networks != "auto"),)
    if isinstance(wish.networks, str):
        return ()
    found: list[WantedNetwork] = []
    for one in wish.networks:
        if one.port is not None:
            raise Problem(501, "Attaching an existing port is not implemented; name its network.")
        if one.uuid is UNSET:
            raise Problem(400, "Bad network format: missing uuid")
        if not is_uuid(one.uuid):
            raise Problem(400, f"Bad networks format: network uuid is not in proper format ({one.uuid})")
        if any(one.uuid == other.network for other in found):
            raise Problem(501, f"Two ports on one network ({one.uuid}) are not implemented.")
        found.append(WantedNetwork(one.uuid, None if one.fixed_ip is UNSET else one.fixed_ip))
    return tuple(found)
