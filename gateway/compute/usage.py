"""Usage: what a project's servers took over a period, counted from their launch to their end.

Source: Compute API reference, "Usage reports (os-simple-tenant-usage)".
"""
# ruff: noqa: PLR2004  the numbers are microversions

from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.compute.query import minor, next_link, page_of, pool, refuse_unknown, time_in
from gateway.compute.schema import is_uuid
from gateway.pages import LIMIT_MAX
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.view import stamp
from store.server import UsedRow, used

PERIOD_S: Final = 28 * 86_400.0
"""How far back a report goes when no start is named."""
_KNOWN: Final = frozenset({"start", "end", "detailed", "limit", "marker"})


class _Flavor(Struct, frozen=True):
    original_name: str
    vcpus: int
    ram: int
    disk: int
    ephemeral: int = 0


def _period(request: Request) -> tuple[float, float]:
    query, now = request.query, request.services.clock.now()
    end = time_in(query["end"], "end") if "end" in query else now
    start = time_in(query["start"], "start") if "start" in query else max(end - PERIOD_S, 0.0)
    if start >= end:
        raise Problem(400, "Invalid start time. The start time cannot occur after the end time.")
    return start, end


def _server(row: UsedRow, start: float, end: float, now: float) -> dict[str, Any]:
    flavor = msgspec.json.decode(row.flavor, type=_Flavor)
    until = min(row.deleted_at or end, end)
    hours = max(until - max(row.launched_at, start), 0.0) / 3600
    return {
        "instance_id": row.id,
        "name": row.name,
        "tenant_id": row.project_id,
        "flavor": flavor.original_name,
        "hours": hours,
        "memory_mb": flavor.ram,
        "vcpus": flavor.vcpus,
        "local_gb": flavor.disk + flavor.ephemeral,
        "started_at": stamp(row.launched_at, zone=".000000"),
        "ended_at": stamp(row.deleted_at, zone=".000000") if row.deleted_at else None,
        "state": "terminated" if row.deleted_at else row.vm_state,
        "uptime": int((row.deleted_at or now) - row.launched_at),
    }


def _summary(project: str, servers: list[dict[str, Any]], start: float, end: float) -> dict[str, Any]:
    return {
        "tenant_id": project,
        "start": stamp(start, zone=".000000"),
        "stop": stamp(end, zone=".000000"),
        "total_hours": sum(one["hours"] for one in servers),
        "total_vcpus_usage": sum(one["hours"] * one["vcpus"] for one in servers),
        "total_memory_mb_usage": sum(one["hours"] * one["memory_mb"] for one in servers),
        "total_local_gb_usage": sum(one["hours"] * one["local_gb"] for one in servers),
    }


async def _servers(
    request: Request, period: tuple[float, float], project: str | None
) -> tuple[list[dict[str, Any]], str]:
    """The servers of the page, and the marker of the next one; before 2.40 all of them."""
    paged = minor(request) >= 40
    limit, marker = page_of(request, from_minor=40)
    if marker and not is_uuid(marker):
        raise Problem(400, f"marker [{marker}] not found")
    start, end = period
    now = request.services.clock.now()
    found: list[UsedRow] = []
    async with pool(request).acquire() as connection:
        while True:
            rows = await used(
                connection, start, end, project=project, marker=marker, limit=min(limit, LIMIT_MAX) + 1
            )
            found += rows[:limit]
            if paged or len(rows) <= limit:
                break
            marker = found[-1].id
    following = found[-1].id if paged and found and len(rows) > limit else ""
    return [_server(row, start, end, now) for row in found], following


async def list_usage(request: Request) -> Response:
    """``GET /os-simple-tenant-usage``: of all projects."""
    if request.path.endswith("/"):
        raise Problem(404, "The resource could not be found.")  # a client's project id that is empty
    refuse_unknown(request, _KNOWN)
    period = _period(request)
    servers, following = await _servers(request, period, None)
    by_project: dict[str, list[dict[str, Any]]] = {}
    for one in servers:
        by_project.setdefault(one["tenant_id"], []).append(one)
    detailed = request.query.get("detailed", "0") == "1"
    usages = []
    for project, own in by_project.items():
        summary = _summary(project, own, *period)
        usages.append({**summary, "server_usages": own} if detailed else summary)
    found: dict[str, Any] = {"tenant_usages": usages}
    if following:
        found["tenant_usages_links"] = next_link(request, following)
    return Response(found)


async def show_usage(request: Request) -> Response:
    """``GET /os-simple-tenant-usage/{project}``: with its servers; empty when it had none."""
    refuse_unknown(request, _KNOWN)
    project = request.params["project"]
    request.authorize(Target(project_id=project))
    period = _period(request)
    servers, following = await _servers(request, period, project)
    usage = {**_summary(project, servers, *period), "server_usages": servers} if servers else {}
    found: dict[str, Any] = {"tenant_usage": usage}
    if following:
        found["tenant_usage_links"] = next_link(request, following)
    return Response(found)
