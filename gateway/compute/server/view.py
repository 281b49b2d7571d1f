"""Servers as each microversion and caller sees them: a choice of the stored view's members.

The stored view (actors/instance/view.py) has everything. A shape is a Struct type made for one minor
version, caller and purpose, whose members are raw JSON: decoding with it drops what it does not name,
encoding copies the rest, so that nothing is touched in Python but what really differs by request.

Source: Compute API reference, servers; views of nova 34.
"""
# ruff: noqa: PLR2004  the numbers are microversions

import functools
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from gateway.compute.schema import NEWEST
from protocol.view import BASE
from store.server import ServerRow

Purpose: TypeAlias = Literal["show", "list", "update"]

_HREF: Final = f'"href":"{BASE}'.encode()
_STEPS: Final = (1, 3, 9, 16, 19, 26, 47, 63, 71, 73, 75, 90, 96, 98, 100)
"""Minor versions at which the shape of a server changes."""


class _FlavorLink(Struct, frozen=True):
    id: Raw
    links: Raw


class _FlavorInside(Struct, frozen=True):
    original_name: Raw
    vcpus: Raw
    ram: Raw
    disk: Raw
    ephemeral: Raw
    swap: Raw
    extra_specs: Raw


class _ImageLink(Struct, frozen=True):
    id: Raw
    links: Raw


class _Volume(Struct, frozen=True):
    id: Raw


class _Fault(Struct, frozen=True):
    """For tenants: the details are the operator's."""

    code: Raw
    created: Raw
    message: Raw


class _Address(Struct, frozen=True):
    version: Raw
    addr: Raw


_Optional: TypeAlias = Raw | UnsetType
_EXTENDED: Final = (
    "hostname",
    "kernel_id",
    "launch_index",
    "ramdisk_id",
    "reservation_id",
    "root_device_name",
    "user_data",
)


def _members(minor: int, purpose: Purpose, *, admin: bool) -> dict[str, Any]:
    """The members of this shape and their types, in order."""
    full = purpose != "update" or minor >= 75
    members: dict[str, Any] = dict.fromkeys(("id", "name", "status", "tenant_id", "user_id"), Raw)
    members |= dict.fromkeys(("metadata", "hostId"), Raw)
    members["image"] = Raw if minor >= 98 else _ImageLink | str
    members["flavor"] = _FlavorInside if minor >= 47 else _FlavorLink
    members |= dict.fromkeys(("created", "updated"), Raw)
    members["addresses"] = Raw if full else dict[str, list[_Address]]
    members |= dict.fromkeys(("accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig"), Raw)
    members |= {"progress": _Optional, "fault": _Optional if admin else _Fault | UnsetType}
    if full:
        members |= _extensions(minor, admin=admin)
    later = {
        "locked": 9,
        "description": 19,
        "tags": 26,
        "trusted_image_certificates": 63,
        "locked_reason": 73,
    }
    members |= {name: Raw for name, first in later.items() if minor >= first}
    if minor >= 71 and purpose != "list":
        members["server_groups"] = Raw
    if minor >= 96 and full:
        members["pinned_availability_zone"] = Raw
    if minor >= 100:
        members["scheduler_hints"] = Raw
    return members


def _extensions(minor: int, *, admin: bool) -> dict[str, Any]:
    names = ["OS-EXT-AZ:availability_zone", "config_drive", "key_name", "security_groups"]
    names += ["OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at"]
    names += [f"OS-EXT-STS:{name}" for name in ("task_state", "vm_state", "power_state")]
    if admin:
        names += [f"OS-EXT-SRV-ATTR:{name}" for name in ("host", "instance_name", "hypervisor_hostname")]
    if admin and minor >= 3:
        names += [f"OS-EXT-SRV-ATTR:{name}" for name in _EXTENDED]
    elif minor >= 90:
        names.append("OS-EXT-SRV-ATTR:hostname")
    members: dict[str, Any] = dict.fromkeys(names, Raw)
    members["os-extended-volumes:volumes_attached"] = Raw if minor >= 3 else list[_Volume]
    if admin and minor >= 16:
        members["host_status"] = str | UnsetType
    return members


class Shape:
    """How to show servers to one sort of caller in one range of microversions."""

    def __init__(self, minor: int, purpose: Purpose, *, admin: bool) -> None:
        members = _members(minor, purpose, admin=admin)
        names = {f"m{n}": name for n, name in enumerate(members)}
        fields: list[Any] = []
        for attribute, name in names.items():
            kind = members[name]
            optional = UnsetType in getattr(kind, "__args__", ())
            fields.append((attribute, kind, UNSET) if optional else (attribute, kind))
        # Raw members hold bytes, never each other: nothing for the garbage collector to follow.
        kind = msgspec.defstruct("Server", fields, rename=names, kw_only=True, gc=False)
        self._one = msgspec.json.Decoder(kind)
        self._many = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        self._host_status = next((a for a, name in names.items() if name == "host_status"), "")

    def one(self, row: ServerRow, base_url: str) -> bytes:
        """``{"server": {…}}``."""
        server = self._one.decode(row.view)
        if self._host_status:
            setattr(server, self._host_status, host_status(row))
        return linked(_encode({"server": server}), base_url)

    def many(self, rows: Sequence[ServerRow], base_url: str, following: str = "") -> bytes:
        """``{"servers": […]}``, with the link to the page that follows, if any."""
        servers = self._many.decode(f"[{','.join([row.view for row in rows])}]")
        if self._host_status:
            for row, server in zip(rows, servers, strict=True):
                setattr(server, self._host_status, host_status(row))
        answer: dict[str, Any] = {"servers": servers}
        if following:
            answer["servers_links"] = [{"rel": "next", "href": following}]
        return linked(_encode(answer), base_url)


_encode: Final = msgspec.json.Encoder().encode


def linked(body: bytes, base_url: str) -> bytes:
    """The body with the request's own base URL in its links."""
    return body.replace(_HREF, f'"href":"{base_url}'.encode())


_ALIVE: Final = frozenset({"up", "suspect"})
"""A host that is suspected has only been silent for a little while."""


def host_status(row: ServerRow) -> str:
    """What an admin reads of the server's host; empty without one."""
    if row.host_life is None:
        return ""
    if row.host_forced_down:
        return "DOWN"
    if row.host_disabled:
        return "MAINTENANCE"
    return "UP" if row.host_life in _ALIVE else "UNKNOWN"


@functools.cache
def _shape(step: int, purpose: Purpose, *, admin: bool) -> Shape:
    return Shape(step, purpose, admin=admin)


_STEP_OF: Final = [max((step for step in _STEPS if step <= minor), default=1) for minor in range(NEWEST + 1)]


def shape(minor: int, purpose: Purpose, *, admin: bool) -> Shape:
    """The shape for 2.``minor``; there are some ninety of them, made on first use."""
    return _shape(_STEP_OF[minor], purpose, admin=admin)


class Known(Struct, frozen=True, kw_only=True):
    """What handlers need of a view, decoded."""

    status: str
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    addresses: dict[str, list[dict[str, Any]]] = {}
    security_groups: list[dict[str, str]] = []
    launched_at: str | None = msgspec.field(name="OS-SRV-USG:launched_at", default=None)


_known: Final = msgspec.json.Decoder(Known)


def known(row: ServerRow) -> Known:
    """Decode the parts of a view that handlers work with."""
    return _known.decode(row.view)
