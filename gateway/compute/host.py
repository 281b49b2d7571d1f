"""Hosts as operators see them: hypervisors, compute services, availability zones. From the hosts' rows.

Up to 2.52 hypervisors and services have whole numbers for ids: here a hash of the host's id, so that it
stays the same. Source: Compute API reference, "Hypervisors", "Compute services", "Availability zones".
"""
# ruff: noqa: PLR2004  the numbers are microversions

import zlib
from typing import Any, Final

import msgspec

from gateway.compute.query import bad_marker, minor, next_link, page_of, pool, refuse_unknown
from gateway.compute.schema import is_uuid, truth_in
from gateway.pages import LIMIT_MAX
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.host import HostView
from protocol.view import stamp
from store.server import HostRow, hosts, servers_on

PATTERN_LENGTH_MAX: Final = 255
BINARY: Final = "nova-compute"
_view: Final = msgspec.json.Decoder(HostView)


def host_number(host_id: str) -> int:
    """The id of a host where the API wants a whole number."""
    return zlib.crc32(host_id.encode()) & 0x7FFFFFFF


def host_key(row: HostRow, at: int) -> str | int:
    """The host's id as 2.``at`` shows it."""
    return row.id if at >= 53 else host_number(row.id)


def is_up(row: HostRow) -> bool:
    """Whether its agent lives, as far as anyone was told."""
    return row.life in {"up", "suspect"} and not row.forced_down


def reason_of(view: HostView) -> str:
    """Why it takes no new servers: the operator's words, or what it is instead of in service."""
    return view.reason or ("" if view.duty in {"service", "disabled"} else view.duty)


def _hypervisor(row: HostRow, at: int) -> dict[str, Any]:
    return {
        "id": host_key(row, at),
        "hypervisor_hostname": row.hostname,
        "state": "up" if is_up(row) else "down",
        "status": "disabled" if row.disabled else "enabled",
    }


def _detailed(row: HostRow, at: int) -> dict[str, Any]:
    view = _view.decode(row.view)
    have = view.inventory
    shown = _hypervisor(row, at) | {
        "hypervisor_type": have.hypervisor_type,
        "hypervisor_version": have.hypervisor_version,
        "host_ip": have.host_ip,
        "service": {
            "id": host_key(row, at),
            "host": row.hostname,
            "disabled_reason": reason_of(view) or None,
        },
    }
    if at >= 88:
        return shown | {"uptime": None}
    cpu = {"arch": have.cpu_arch, "model": have.cpu_model}
    return shown | _figures(view) | {"cpu_info": cpu if at >= 28 else msgspec.json.encode(cpu).decode()}


def _figures(view: HostView) -> dict[str, Any]:
    have = view.inventory
    return {
        "vcpus": have.vcpus,
        "memory_mb": have.memory_mib,
        "local_gb": have.disk_gib,
        "vcpus_used": view.vcpus_used,
        "memory_mb_used": view.memory_mib_used,
        "local_gb_used": view.disk_gib_used,
        "free_ram_mb": have.memory_mib - view.memory_mib_used,
        "free_disk_gb": have.disk_gib - view.disk_gib_used,
        "disk_available_least": have.disk_gib - view.disk_gib_used,
        "current_workload": 0,
        "running_vms": view.instances,
    }


async def _found(request: Request, pattern: str | None) -> list[HostRow]:
    if pattern is not None and len(pattern) > PATTERN_LENGTH_MAX:
        raise Problem(400, f"The pattern is longer than {PATTERN_LENGTH_MAX} characters.")
    async with pool(request).acquire() as connection:
        rows = await hosts(connection, pattern)
    if pattern is not None and not rows:
        raise Problem(404, f"No hypervisor matching '{pattern}' could be found.")
    return rows


async def _with_servers(
    request: Request, rows: list[HostRow], shown: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Add the servers of each host; up to 2.74 only where there are some."""
    async with pool(request).acquire() as connection:
        servers = await servers_on(connection, [row.id for row in rows])
    for row, one in zip(rows, shown, strict=True):
        if row.id in servers or minor(request) >= 75:
            one["servers"] = [{"uuid": ident, "name": name} for ident, name in servers.get(row.id, [])]
    return shown


async def _list(request: Request, *, detail: bool) -> Response:
    at, query = minor(request), request.query
    known = {"limit", "marker", "hypervisor_hostname_pattern", "with_servers"}
    refuse_unknown(request, known, from_minor=53)
    pattern = query.get("hypervisor_hostname_pattern") if at >= 53 else None
    if pattern is not None and ("limit" in query or "marker" in query):
        raise Problem(400, "Paging over hypervisors with a hostname pattern is not supported.")
    rows = await _found(request, pattern)
    rows, following = _page(request, rows)
    show = _detailed if detail else _hypervisor
    shown = [show(row, at) for row in rows]
    if at >= 53 and truth_in(query.get("with_servers", "false"), "with_servers"):
        shown = await _with_servers(request, rows, shown)
    found: dict[str, Any] = {"hypervisors": shown}
    if following:
        found["hypervisors_links"] = next_link(request, following)
    return Response(found)


def _page(request: Request, rows: list[HostRow]) -> tuple[list[HostRow], str]:
    """The page (from 2.33 on) and the id that leads to the next one, or an empty string."""
    at = minor(request)
    limit, marker = page_of(request, from_minor=33)
    if marker:
        keys = [str(host_key(row, at)) for row in rows]
        if marker not in keys:
            raise bad_marker(marker)
        rows = rows[keys.index(marker) + 1 :]
    following = str(host_key(rows[limit - 1], at)) if 0 < limit < len(rows) else ""
    return rows[:limit] if at >= 33 else rows[:LIMIT_MAX], following


async def list_hypervisors(request: Request) -> Response:
    """``GET /os-hypervisors``."""
    return await _list(request, detail=False)


async def list_hypervisors_detail(request: Request) -> Response:
    """``GET /os-hypervisors/detail``."""
    return await _list(request, detail=True)


async def host_of(request: Request, ident: str, missing: str) -> HostRow:
    """The host with this id in the form of the microversion. Raises Problem 400 or 404 (``missing``)."""
    at = minor(request)
    if at >= 53 and not is_uuid(ident):
        raise Problem(400, f"Invalid uuid {ident}")
    async with pool(request).acquire() as connection:
        rows = await hosts(connection)
    row = next((row for row in rows if str(host_key(row, at)) == ident), None)
    if row is None:
        raise Problem(404, missing)
    return row


async def show_hypervisor(request: Request) -> Response:
    """``GET /os-hypervisors/{id}``."""
    at, ident = minor(request), request.params["hypervisor_id"]
    refuse_unknown(request, {"with_servers"}, from_minor=53)
    row = await host_of(request, ident, f"Hypervisor with ID '{ident}' could not be found.")
    shown = [_detailed(row, at)]
    if at >= 53 and truth_in(request.query.get("with_servers", "false"), "with_servers"):
        shown = await _with_servers(request, [row], shown)
    return Response({"hypervisor": shown[0]})


async def show_uptime(request: Request) -> Response:
    """``GET /os-hypervisors/{id}/uptime``: agents do not report it."""
    ident = request.params["hypervisor_id"]
    await host_of(request, ident, f"Hypervisor with ID '{ident}' could not be found.")
    raise Problem(501, "Hosts do not report their uptime.")


async def search_hypervisors(request: Request) -> Response:
    """``GET /os-hypervisors/{pattern}/search``."""
    rows = await _found(request, request.params["hypervisor_id"])
    return Response({"hypervisors": [_hypervisor(row, minor(request)) for row in rows]})


async def list_hypervisor_servers(request: Request) -> Response:
    """``GET /os-hypervisors/{pattern}/servers``."""
    rows = await _found(request, request.params["hypervisor_id"])
    shown = [_hypervisor(row, minor(request)) for row in rows]
    return Response({"hypervisors": await _with_servers(request, rows, shown)})


async def show_statistics(request: Request) -> Response:
    """``GET /os-hypervisors/statistics``: the sums over all hosts that are not disabled."""
    async with pool(request).acquire() as connection:
        rows = [row for row in await hosts(connection) if not row.disabled]
    total = dict.fromkeys(_figures(_view.decode(rows[0].view)) if rows else _FIGURES, 0)
    for row in rows:
        for name, value in _figures(_view.decode(row.view)).items():
            total[name] += value
    return Response({"hypervisor_statistics": {"count": len(rows), **total}})


_FIGURES: Final = (
    "vcpus", "memory_mb", "local_gb", "vcpus_used", "memory_mb_used", "local_gb_used", "free_ram_mb",
    "free_disk_gb", "disk_available_least", "current_workload", "running_vms",
)  # fmt: skip


# --- availability zones --------------------------------------------------------------------------


def _zones(rows: list[HostRow]) -> dict[str, list[HostRow]]:
    zones: dict[str, list[HostRow]] = {}
    for row in rows:
        zones.setdefault(row.availability_zone, []).append(row)
    return zones


async def list_zones(request: Request) -> Response:
    """``GET /os-availability-zone``: a zone is available while one of its hosts is enabled."""
    async with pool(request).acquire() as connection:
        zones = _zones(await hosts(connection))
    found = [_zone(name, rows, None) for name, rows in sorted(zones.items())]
    return Response({"availabilityZoneInfo": found})


async def list_zones_detail(request: Request) -> Response:
    """``GET /os-availability-zone/detail``: with the hosts of each zone that is available."""
    async with pool(request).acquire() as connection:
        zones = _zones(await hosts(connection))
    found = []
    for name, rows in sorted(zones.items()):
        enabled = [row for row in rows if not row.disabled]
        members = {row.hostname: {BINARY: _service(row)} for row in enabled}
        found.append(_zone(name, rows, members if enabled else None))
    return Response({"availabilityZoneInfo": found})


def _zone(name: str, rows: list[HostRow], members: dict[str, Any] | None) -> dict[str, Any]:
    available = any(not row.disabled for row in rows)
    return {"zoneName": name, "zoneState": {"available": available}, "hosts": members}


def _service(row: HostRow) -> dict[str, Any]:
    heard = stamp(row.heard_at, zone=".000000") if row.heard_at else None
    return {"available": is_up(row), "active": not row.disabled, "updated_at": heard}
