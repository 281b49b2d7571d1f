"""Limits: what a project may have and what it has, for its overview.

Source: Compute API reference, "Limits (limits)".
"""
# ruff: noqa: PLR2004  the numbers are microversions

from typing import Final

from gateway.compute.query import minor, pool, refuse_unknown
from gateway.compute.quota import limits_of, resources, used_of
from gateway.request import Request, Response, forbidden
from store.compute import usage

_OTHERS_RULE: Final = "compute:limits:other_project"
_MAXIMA: Final = {
    "ram": ("maxTotalRAMSize",),
    "instances": ("maxTotalInstances",),
    "cores": ("maxTotalCores",),
    "key_pairs": ("maxTotalKeypairs",),
    "floating_ips": ("maxTotalFloatingIps",),
    "metadata_items": ("maxServerMeta", "maxImageMeta"),
    "injected_files": ("maxPersonality",),
    "injected_file_content_bytes": ("maxPersonalitySize",),
    "security_groups": ("maxSecurityGroups",),
    "security_group_rules": ("maxSecurityGroupRules",),
    "server_groups": ("maxServerGroups",),
    "server_group_members": ("maxServerGroupMembers",),
}
_TOTALS: Final = {
    "ram": "totalRAMUsed",
    "cores": "totalCoresUsed",
    "instances": "totalInstancesUsed",
    "floating_ips": "totalFloatingIpsUsed",
    "security_groups": "totalSecurityGroupsUsed",
    "server_groups": "totalServerGroupsUsed",
}


async def show_limits(request: Request) -> Response:
    """``GET /limits``: of the caller's project, or for an admin of ``tenant_id``."""
    refuse_unknown(request, {"tenant_id", "reserved"})
    project: str = request.query.get("tenant_id", request.caller.project_id)
    if project != request.caller.project_id and not request.allows(_OTHERS_RULE):
        raise forbidden(_OTHERS_RULE)
    async with pool(request).acquire() as connection:
        limits = await limits_of(connection, project)
        used = used_of(await usage(connection, project))
    absolute = _absolute(limits, used, minor(request))
    return Response({"limits": {"rate": [], "absolute": absolute}})


def _absolute(limits: dict[str, int], used: dict[str, int], at: int) -> dict[str, int]:
    shown = resources(at)
    absolute = {word: limits[name] for name in shown for word in _MAXIMA.get(name, ())}
    absolute |= {_TOTALS[name]: used[name] for name in shown if name in _TOTALS}
    if at >= 39:
        del absolute["maxImageMeta"]
    return absolute
