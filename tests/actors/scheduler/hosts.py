"""Hosts and questions for the scheduler's tests."""

from typing import Any, Final

from protocol.host import HostView
from protocol.instance import Amount, PlaceInstance
from tests.actors.stage import INSTANCE_ID, PROJECT_ID, inventory

WANTED: Final = Amount(vcpus=2, memory_mib=1024, disk_gib=10)


def host(name: str, **more: Any) -> HostView:
    """An idle host that is up, unless told otherwise."""
    fields: dict[str, Any] = {
        "hostname": f"node-{name}", "state": "up", "availability_zone": "nova",
        "inventory": inventory(), "vcpus_used": 0, "memory_mib_used": 0, "disk_gib_used": 0,
        "instances": 0, "version": 1,
    }  # fmt: skip
    return HostView(host=name, **{**fields, **more})


def question(**more: Any) -> PlaceInstance:
    """A small instance wants a host."""
    fields: dict[str, Any] = {"instance": INSTANCE_ID, "project": PROJECT_ID, "number": 7, "amount": WANTED}
    return PlaceInstance(**{**fields, **more})
