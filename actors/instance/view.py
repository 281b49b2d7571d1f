"""An instance as its row shows it: typed columns to filter and sort by, and the API's JSON.

The JSON is the newest shape of a server with everything an admin may see; the gateway takes away what
a caller or an older microversion does not get. ``BASE`` stands for the request's own base URL.

Source: Compute API, "show server details" at 2.100.
"""

import functools
import hashlib
from typing import Any, Final

import msgspec

from actors.instance.model import Fault, Instance, T, V
from protocol.guest import PowerState
from protocol.instance import Flavor, ServerRequest
from protocol.view import BASE, stamp

SHOWN: Final = {
    T.CLAIMING: "scheduling",
    T.CLEARING: "spawning",
    T.DELETING_AGAIN: "deleting",
    T.RELEASING: "deleting",
    T.RESCUE_UNDOING: "rescuing",
}
"""Task states the API has no word for, and the word that says most nearly the same."""

_DEFAULT: Final = {
    V.ACTIVE: "ACTIVE",
    V.BUILDING: "BUILD",
    V.STOPPED: "SHUTOFF",
    V.PAUSED: "PAUSED",
    V.SUSPENDED: "SUSPENDED",
    V.RESCUED: "RESCUE",
    V.SOFT_DELETED: "SOFT_DELETED",
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


def power_state(vm: Instance) -> int:
    """The API's ``OS-EXT-STS:power_state``: what is saved on disk is off."""
    return int(PowerState.SHUTDOWN if vm.power_state is PowerState.SUSPENDED else vm.power_state)


def task_state(vm: Instance) -> str | None:
    """The API's ``OS-EXT-STS:task_state``."""
    return None if vm.task is None else SHOWN.get(T(vm.task.state), vm.task.state)


def columns(vm: Instance) -> tuple[Any, ...]:
    """The typed columns of ``compute.instance``, in the order of store.kinds."""
    request, here = vm.request, vm.here
    return (
        vm.project,
        vm.user,
        request.name,
        request.hostname,
        vm.vm_state.value,
        task_state(vm),
        status(vm),
        power_state(vm),
        here.host if here else None,
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
        request.group.id if request.group else None,
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
            "power_state": power_state(vm),
            "operation": vm.task.operation if vm.task else None,
            "fault": vm.fault.message if vm.fault else None,
        }
    )


def server_json(vm: Instance) -> bytes:
    """The server object, in at most 15 µs: it is made in every turn.

    It has everything that some microversion or caller sees; gateway/compute/server/view.py picks, and
    adds ``host_status``, which changes without the instance.
    """
    request, here, state = vm.request, vm.here, status(vm)
    ident, image, hostname = vm.id, request.image, here.hostname or None if here else None
    server: dict[str, Any] = {
        "id": ident,
        "name": request.name,
        "status": state,
        "tenant_id": vm.project,
        "user_id": vm.user,
        "metadata": request.metadata,
        "hostId": host_id(vm.project, here.host) if here else "",
        "image": _image(image.image, request.image_properties) if image else "",
        "flavor": _flavor(request.flavor),
        "created": stamp(vm.created_at),
        "updated": stamp(int(vm.updated_at)),  # whole seconds: turns within one share the cached text
        "addresses": {} if vm.vm_state is V.BUILDING else _addresses(request),
        "accessIPv4": request.access_ipv4,
        "accessIPv6": request.access_ipv6,
        "links": _links(ident),
        "OS-DCF:diskConfig": request.disk_config,
        "OS-EXT-AZ:availability_zone": here.zone if here and hostname else request.availability_zone,
        "config_drive": "True" if request.config_drive else "",
        "key_name": request.key_name,
        "OS-SRV-USG:launched_at": vm.launched_at and stamp(vm.launched_at, zone=".000000"),
        "OS-SRV-USG:terminated_at": vm.deleted_at and stamp(vm.deleted_at, zone=".000000"),
        "OS-EXT-SRV-ATTR:host": hostname,
        "OS-EXT-SRV-ATTR:instance_name": f"instance-{ident}",
        "OS-EXT-SRV-ATTR:hypervisor_hostname": hostname,
        "OS-EXT-SRV-ATTR:reservation_id": request.reservation or f"r-{ident[:8]}",
        "OS-EXT-SRV-ATTR:launch_index": request.launch_index,
        "OS-EXT-SRV-ATTR:hostname": request.hostname,
        "OS-EXT-SRV-ATTR:kernel_id": "",
        "OS-EXT-SRV-ATTR:ramdisk_id": "",
        "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
        "OS-EXT-SRV-ATTR:user_data": request.user_data or None,
        "OS-EXT-STS:task_state": task_state(vm),
        "OS-EXT-STS:vm_state": vm.vm_state,
        "OS-EXT-STS:power_state": power_state(vm),
        "os-extended-volumes:volumes_attached": (),
        "security_groups": [{"name": name} for name in request.security_groups],
        "locked": bool(vm.locked_by),
        "locked_reason": vm.locked_reason,
        "description": request.description,
        "tags": request.tags,
        "trusted_image_certificates": request.trusted_certificates or None,
        "server_groups": (request.group.id,) if request.group else (),
        "pinned_availability_zone": request.availability_zone or None,
        "scheduler_hints": request.hints,
    }
    if state in _SHOWS_PROGRESS:
        server["progress"] = 100 if state == "ACTIVE" else 0
    if vm.fault is not None and state in _SHOWS_FAULT:
        server["fault"] = _fault(vm.fault)
    return _encode(server)


def _links(ident: str) -> list[dict[str, str]]:
    return [
        {"rel": "self", "href": f"{BASE}/compute/v2.1/servers/{ident}"},
        {"rel": "bookmark", "href": f"{BASE}/compute/servers/{ident}"},
    ]


def _fault(fault: Fault) -> dict[str, Any]:
    details = {"details": fault.details} if fault.details else {}
    return {"code": fault.code, "created": stamp(fault.at), "message": fault.message, **details}


_SHOWS_PROGRESS: Final = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})
_SHOWS_FAULT: Final = frozenset({"ERROR", "DELETED"})
_encode: Final = msgspec.json.Encoder().encode


@functools.lru_cache(maxsize=4096)
def host_id(project: str, host: str) -> str:
    """The host as a project may know it: the same for its own servers, telling nothing to others."""
    return hashlib.sha224(f"{project}{host}".encode()).hexdigest()


def _image(image: str, properties: dict[str, str]) -> dict[str, Any]:
    link = {"rel": "bookmark", "href": f"{BASE}/compute/images/{image}"}
    return {"id": image, "links": (link,), "properties": properties}


def _flavor(flavor: Flavor) -> dict[str, Any]:
    link = {"rel": "bookmark", "href": f"{BASE}/compute/flavors/{flavor.id}"}
    return {
        "id": flavor.id,
        "links": (link,),
        "original_name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.memory_mib,
        "disk": flavor.disk_gib,
        "ephemeral": flavor.ephemeral_gib,
        "swap": flavor.swap_mib,
        "extra_specs": flavor.extra_specs,
    }


def _addresses(request: ServerRequest) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for nic in request.nics:
        if nic.ip:
            name = request.network_names.get(nic.network, nic.network)
            shown = {
                "version": 6 if ":" in nic.ip else 4,
                "addr": nic.ip,
                "OS-EXT-IPS:type": "fixed",
                "OS-EXT-IPS-MAC:mac_addr": nic.mac,
            }
            found.setdefault(name, []).append(shown)
    return found
