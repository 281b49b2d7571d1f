"""Limits: what each resource may add up to in a project, as several parts of the API show it."""

from collections.abc import Mapping
from typing import Final

from store.compute import Usage, limits
from store.pool import Connection

# Source: nova 34's defaults; -1 is unlimited. What another service counts is unlimited here.
DEFAULTS: Final[Mapping[str, int]] = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,
    "fixed_ips": -1,
    "floating_ips": -1,
    "metadata_items": 128,
    "injected_files": 5,
    "injected_file_content_bytes": 10240,
    "injected_file_path_bytes": 255,
    "security_groups": -1,
    "security_group_rules": -1,
    "key_pairs": 100,
    "server_groups": 10,
    "server_group_members": 10,
}
NETWORK: Final = frozenset({"fixed_ips", "floating_ips", "security_groups", "security_group_rules"})
FILES: Final = frozenset({"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"})
NETWORK_ENDS: Final = 36
FILES_END: Final = 57
GROUPS: Final = frozenset({"server_groups", "server_group_members"})


def resources(minor: int) -> tuple[str, ...]:
    """The resources that 2.``minor`` knows: the network's are gone from 2.36, the files' from 2.57."""
    hidden = NETWORK if minor >= NETWORK_ENDS else frozenset()
    hidden |= FILES if minor >= FILES_END else frozenset()
    return tuple(name for name in DEFAULTS if name not in hidden)


async def limits_of(connection: Connection, project: str) -> dict[str, int]:
    """All limits of a project; of project '' the defaults of all."""
    return {**DEFAULTS, **await limits(connection, project)}


def used_of(usage: Usage) -> dict[str, int]:
    """What of each resource a project's ledger counts; what is not counted is 0."""
    counted = {"instances": usage.instances, "cores": usage.cores, "ram": usage.memory_mib}
    return {name: counted.get(name, 0) for name in DEFAULTS}
