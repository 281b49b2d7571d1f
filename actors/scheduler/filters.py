"""Filters: may this instance go to this host? Each answers with an objection in words, or nothing.

Pure functions (request, host) → objection, found by entry point in the group ``starling.filters``.
An objection is for operators and for the fault text; it names no other tenant.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from protocol.host import HostView
from protocol.instance import PlaceInstance

Filter: TypeAlias = Callable[[PlaceInstance, HostView], str]


def service(_: PlaceInstance, host: HostView) -> str:
    """The host's agent lives and new instances are welcome."""
    if host.state != "up":
        return f"the host is {host.state}"
    return "" if host.duty == "service" else _DUTIES[host.duty]


_DUTIES: Final[dict[str, str]] = {
    "disabled": "disabled by an operator",
    "draining": "being drained by an operator",
    "maintenance": "in maintenance",
}


def fresh(request: PlaceInstance, host: HostView) -> str:
    """The host has not just refused this instance's claim."""
    return "the host refused a moment ago" if host.host in request.refused else ""


def zone(request: PlaceInstance, host: HostView) -> str:
    """The host is in the availability zone asked for."""
    wanted = request.availability_zone
    return (
        f"the host is in zone {host.availability_zone}" if wanted not in {"", host.availability_zone} else ""
    )


def forced(request: PlaceInstance, host: HostView) -> str:
    """The host is the one an administrator named."""
    return "another host was asked for" if request.forced_host not in {"", host.hostname, host.host} else ""


def vcpus(request: PlaceInstance, host: HostView) -> str:
    """Enough virtual CPUs are free under the host's allocation ratio."""
    free = int(host.inventory.vcpus * host.cpu_ratio) - host.vcpus_used
    return f"{free} vCPUs free, {request.amount.vcpus} wanted" if free < request.amount.vcpus else ""


def memory(request: PlaceInstance, host: HostView) -> str:
    """Enough memory is free under the host's allocation ratio."""
    free = int(host.inventory.memory_mib * host.memory_ratio) - host.memory_mib_used
    return (
        f"{free} MiB of memory free, {request.amount.memory_mib} wanted"
        if free < request.amount.memory_mib
        else ""
    )


def disk(request: PlaceInstance, host: HostView) -> str:
    """Enough disk is free under the host's allocation ratio."""
    free = int(host.inventory.disk_gib * host.disk_ratio) - host.disk_gib_used
    return (
        f"{free} GiB of disk free, {request.amount.disk_gib} wanted" if free < request.amount.disk_gib else ""
    )


def architecture(request: PlaceInstance, host: HostView) -> str:
    """The image's architecture is the host's."""
    wanted = request.image_properties.get("hw_architecture") or request.image_properties.get(
        "architecture", ""
    )
    return f"the host is {host.inventory.cpu_arch}" if wanted not in {"", host.inventory.cpu_arch} else ""


DEFAULT: Final[dict[str, Filter]] = {
    "service": service,
    "fresh": fresh,
    "zone": zone,
    "forced": forced,
    "vcpus": vcpus,
    "memory": memory,
    "disk": disk,
    "architecture": architecture,
}
"""The default chain, cheapest and most telling first."""
