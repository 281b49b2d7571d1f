"""An instance as its row shows it: typed columns to filter and sort by, and the API's JSON.

The JSON is the newest shape of a server with everything an admin may see; the gateway takes away what
a caller or an older microversion does not get. ``BASE`` stands for the request's own base URL.

Source: Compute API, "show server details" at 2.96.
"""

from typing import Any, Final

import msgspec

from actors.instance.model import Instance, T, V
from protocol.ids import derived
from protocol.view import BASE, stamp

SHOWN: Final = {T.CLAIMING: "scheduling", T.CLEARING: "spawning", T.RELEASING: "deleting"}
"""Task states the API has no word for, and the word that says most nearly the same."""

_DEFAULT: Final = {
    V.ACTIVE: "ACTIVE",
    V.BUILDING: "BUILD",
    V.STOPPED: "SHUTOFF",
    V.PAUSED: "PAUSED",
    V.ERROR: "ERROR",
    V.DELETED: "DELETED",
}
_UNDER_WAY: Final = {
    (V.ACTIVE, T.REBOOTING): "REBOOT",
    (V.ACTIVE, T.REBOOTING_HARD): "HARD_REBOOT",
}


def status(vm: Instance) -> str:
    """The API's ``status``, derived from vm_state and task state."""
    task = T(vm.task.state) if vm.task is not None else None
    return (
        _DEFAULT[vm.vm_state] if task is None else _UNDER_WAY.get((vm.vm_state, task), _DEFAULT[vm.vm_state])
    )


def task_state(vm: Instance) -> str | None:
    """The API's ``OS-EXT-STS:task_state``."""
    return None if vm.task is None else SHOWN.get(T(vm.task.state), vm.task.state)


def columns(vm: Instance) -> tuple[Any, ...]:
    """The typed columns of ``compute.instance``, in the order of store.kinds."""
    request = vm.request
    return (
        vm.project,
        vm.user,
        request.name,
        request.hostname,
        vm.vm_state.value,
        task_state(vm),
        status(vm),
        int(vm.power_state),
        vm.here.host if vm.here else None,
        request.flavor.id,
        request.image.image if request.image else None,
        request.key_name,
        request.availability_zone or None,
        bool(vm.locked_by),
        request.description,
        vm.created_at,
        vm.updated_at,
        vm.launched_at,
        vm.deleted_at,
        server_json(vm).decode(),
    )


def summary(vm: Instance) -> bytes:
    """The data of an event about this instance."""
    return msgspec.json.encode(
        {
            "id": vm.id,
            "name": vm.request.name,
            "status": status(vm),
            "vm_state": vm.vm_state.value,
            "task_state": task_state(vm),
            "power_state": int(vm.power_state),
            "operation": vm.task.operation if vm.task else None,
            "fault": vm.fault.message if vm.fault else None,
        }
    )


def server_json(vm: Instance) -> bytes:
    """The server object. ``host_status`` is the gateway's to add: it changes without the instance."""
    request, here, state = vm.request, vm.here, status(vm)
    server: dict[str, Any] = {
        "id": vm.id,
        "name": request.name,
        "status": state,
        "tenant_id": vm.project,
        "user_id": vm.user,
        "metadata": request.metadata,
        "hostId": derived(_HOST_SPACE, f"{vm.project}/{here.host}").replace("-", "") * 2 if here else "",
        "image": _image(request.image.image) if request.image else "",
        "flavor": _flavor(vm),
        "created": stamp(vm.created_at),
        "updated": stamp(vm.updated_at),
        "addresses": _addresses(vm),
        "accessIPv4": "",
        "accessIPv6": "",
        "links": [
            {"rel": "self", "href": f"{BASE}/compute/v2.1/servers/{vm.id}"},
            {"rel": "bookmark", "href": f"{BASE}/compute/servers/{vm.id}"},
        ],
        "OS-DCF:diskConfig": request.disk_config,
        "progress": 100 if state == "ACTIVE" else 0,
        "OS-EXT-AZ:availability_zone": (request.availability_zone or "nova") if here else "",
        "config_drive": "True" if request.config_drive else "",
        "key_name": request.key_name,
        "OS-SRV-USG:launched_at": stamp(vm.launched_at, zone="") + ".000000" if vm.launched_at else None,
        "OS-SRV-USG:terminated_at": stamp(vm.deleted_at, zone="") + ".000000" if vm.deleted_at else None,
        "OS-EXT-SRV-ATTR:host": here.hostname or None if here else None,
        "OS-EXT-SRV-ATTR:instance_name": f"instance-{vm.id}",
        "OS-EXT-SRV-ATTR:hypervisor_hostname": here.hostname or None if here else None,
        "OS-EXT-SRV-ATTR:reservation_id": f"r-{vm.id[:8]}",
        "OS-EXT-SRV-ATTR:launch_index": 0,
        "OS-EXT-SRV-ATTR:hostname": request.hostname,
        "OS-EXT-SRV-ATTR:kernel_id": "",
        "OS-EXT-SRV-ATTR:ramdisk_id": "",
        "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
        "OS-EXT-SRV-ATTR:user_data": request.user_data or None,
        "OS-EXT-STS:task_state": task_state(vm),
        "OS-EXT-STS:vm_state": vm.vm_state.value,
        "OS-EXT-STS:power_state": int(vm.power_state),
        "os-extended-volumes:volumes_attached": [],
        "security_groups": [{"name": name} for name in request.security_groups],
        "locked": bool(vm.locked_by),
        "locked_reason": vm.locked_reason,
        "description": request.description,
        "tags": list(request.tags),
        "trusted_image_certificates": list(request.trusted_certificates) or None,
        "server_groups": [],
        "pinned_availability_zone": request.availability_zone or None,
        "scheduler_hints": request.hints,
    }
    if vm.fault is not None and state in {"ERROR", "DELETED"}:
        server["fault"] = {
            "code": vm.fault.code,
            "message": vm.fault.message,
            "created": stamp(vm.fault.at),
            "details": vm.fault.details,
        }
    return msgspec.json.encode(server)


_HOST_SPACE: Final = "5d3f6c1e-52b6-5c4a-9b1d-0c7c2f0f7a11"


def _image(image: str) -> dict[str, Any]:
    return {"id": image, "links": [{"rel": "bookmark", "href": f"{BASE}/compute/images/{image}"}]}


def _flavor(vm: Instance) -> dict[str, Any]:
    flavor = vm.request.flavor
    return {
        "id": flavor.id,
        "original_name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.memory_mib,
        "disk": flavor.disk_gib,
        "ephemeral": flavor.ephemeral_gib,
        "swap": flavor.swap_mib,
        "extra_specs": flavor.extra_specs,
    }


def _addresses(vm: Instance) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for nic in vm.request.nics:
        if nic.ip:
            name = vm.request.network_names.get(nic.network, nic.network)
            found.setdefault(name, []).append(
                {
                    "addr": nic.ip,
                    "version": 6 if ":" in nic.ip else 4,
                    "OS-EXT-IPS-MAC:mac_addr": nic.mac,
                    "OS-EXT-IPS:type": "fixed",
                }
            )
    return found
