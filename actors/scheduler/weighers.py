"""Weighers: how good is this host for this instance? Each gives a figure in 0…1, more is better.

Pure functions (request, host) → figure, found by entry point in the group ``starling.weighers``.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from protocol.host import HostView
from protocol.instance import PlaceInstance

Weigher: TypeAlias = Callable[[PlaceInstance, HostView], float]


def free_memory(_: PlaceInstance, host: HostView) -> float:
    """The share of memory that is free: spreads instances, the default."""
    total = host.inventory.memory_mib * host.memory_ratio
    return (total - host.memory_mib_used) / total if total else 0.0


def free_vcpus(_: PlaceInstance, host: HostView) -> float:
    """The share of virtual CPUs that is free."""
    total = host.inventory.vcpus * host.cpu_ratio
    return (total - host.vcpus_used) / total if total else 0.0


def soft_group(request: PlaceInstance, host: HostView) -> float:
    """Under a soft policy: with the other members of its group, or away from them."""
    group = request.group
    if group is None or group.is_binding:
        return 0.5 if group is None or group.policy != "affinity" else float(group.id in host.groups)
    there = host.groups.get(group.id, 0)
    near = there / (there + 1)
    return near if group.policy == "soft-affinity" else 1 - near


def quiet(_: PlaceInstance, host: HostView) -> float:
    """Fewer guests are being made: they share the host's disks and links."""
    return 1 / (1 + host.building)


DEFAULT: Final[dict[str, tuple[Weigher, float]]] = {
    "free_memory": (free_memory, 1.0),
    "free_vcpus": (free_vcpus, 0.1),
    "quiet": (quiet, 0.05),
    "soft_group": (soft_group, 2.0),
}
"""The default chain with its multipliers: a group's wish, then free memory; CPUs and quiet break ties."""
