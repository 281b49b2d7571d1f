"""The ``status`` filter: which settled states and task states a status stands for."""

from collections.abc import Sequence
from typing import Final

_REBUILDING: Final = ("rebuilding", "rebuild_block_device_mapping", "rebuild_spawning")
_RESIZING: Final = ("resize_prep", "resize_migrating", "resize_migrated", "resize_finish")

# Source: Compute API, server status; the table of the lifecycle, read backwards. An empty tuple of task
# states: whatever runs, the status is that of the settled state.
_STATUSES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "ACTIVE": (("active",), ()),
    "BUILD": (("building",), ()),
    "SHUTOFF": (("stopped",), ()),
    "PAUSED": (("paused",), ()),
    "SUSPENDED": (("suspended",), ()),
    "RESCUE": (("rescued",), ()),
    "ERROR": (("error",), ()),
    "DELETED": (("deleted",), ()),
    "SOFT_DELETED": (("soft-delete",), ()),
    "SHELVED": (("shelved",), ()),
    "SHELVED_OFFLOADED": (("shelved_offloaded",), ()),
    "VERIFY_RESIZE": (("resized",), ()),
    "REVERT_RESIZE": (("resized",), ("resize_reverting",)),
    "RESIZE": (("active", "stopped"), _RESIZING),
    "REBUILD": (("active", "stopped", "error"), _REBUILDING),
    "MIGRATING": (("active", "paused"), ("migrating",)),
    "PASSWORD": (("active",), ("updating_password",)),
    "REBOOT": (("active",), ("rebooting", "reboot_pending", "reboot_started")),
    "HARD_REBOOT": (("active",), ("rebooting_hard", "reboot_pending_hard", "reboot_started_hard")),
}


def states_of(statuses: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """(vm_states, task_states) of these statuses; no task states: any. None: all of them are unknown."""
    found = [_STATUSES[status.upper()] for status in statuses if status.upper() in _STATUSES]
    if not found:
        return None
    settled = sorted({state for states, _ in found for state in states})
    if any(not tasks for _, tasks in found):
        return settled, []
    return settled, sorted({task for _, tasks in found for task in tasks})
