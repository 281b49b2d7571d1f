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


def group(request: PlaceInstance, host: HostView) -> str:
    """The policy of the instance's server group allows the host, as far as is known: its ledger decides."""
    wanted = request.group
    if wanted is None or not wanted.is_binding:
        return ""
    if wanted.policy == "affinity":
        return (
            "other members of its group are elsewhere"
            if request.together and (host.host not in request.together)
            else ""
        )
    there = host.groups.get(wanted.id, 0)
    return f"{there} members of its group are here" if there >= wanted.per_host else ""


def same_host(request: PlaceInstance, host: HostView) -> str:
    """The host is one of those where the servers named by the hint are."""
    wanted = request.same_hosts
    return "" if wanted is None or host.host in wanted else "none of the servers named is here"


def different_host(request: PlaceInstance, host: HostView) -> str:
    """The host is none of those where the servers named by the hint are."""
    return "a server named is here" if host.host in request.different_hosts else ""


_TENANTS: Final = "filter_tenant_id"
_AGGREGATE_SPEC: Final = "aggregate_instance_extra_specs:"


def tenants(request: PlaceInstance, host: HostView) -> str:
    """An aggregate with ``filter_tenant_id`` is for the projects it names alone."""
    for aggregate in host.aggregates:
        named = [value for key, value in aggregate.metadata.items() if key.startswith(_TENANTS)]
        allowed = {project.strip() for value in named for project in value.split(",")}
        if named and request.project not in allowed:
            return "the host is for other projects"
    return ""


def aggregates(request: PlaceInstance, host: HostView) -> str:
    """Some aggregate of the host has what the flavor asks of aggregates."""
    for key, wanted in request.extra_specs.items():
        if key.startswith(_AGGREGATE_SPEC):
            name = key.removeprefix(_AGGREGATE_SPEC)
            found = [value for one in host.aggregates for value in one.metadata.get(name, "").split(",")]
            if not any(_meets(value.strip(), wanted) for value in found if value):
                return f"no aggregate of the host has {name} = {wanted}"
    return ""


def _meets(value: str, wanted: str) -> bool:
    """Whether a value is as asked: the same, or one of those after ``<or>``, or a number not too small."""
    words = wanted.split()
    if words and words[0] == "<or>":
        return value in words[1::2]
    if len(words) == 2 and words[0] in {"=", ">="}:  # noqa: PLR2004  an operator and its number
        try:
            return float(value) >= float(words[1])
        except ValueError:
            return False
    if len(words) == 2 and words[0] in {"==", "s=="}:  # noqa: PLR2004  an operator and its word
        return value == words[1]
    return value == wanted


DEFAULT: Final[dict[str, Filter]] = {
    "service": service,
    "fresh": fresh,
    "zone": zone,
    "forced": forced,
    "vcpus": vcpus,
    "memory": memory,
    "disk": disk,
    "architecture": architecture,
    "tenants": tenants,
    "aggregates": aggregates,
    "same_host": same_host,
    "different_host": different_host,
    "group": group,
}
"""The default chain, cheapest and most telling first."""
