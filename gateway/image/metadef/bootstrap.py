"""The metadata definitions a new cloud begins with: what this cloud honours or shows, in our own words."""

from typing import Any, Final

import msgspec

from gateway.image.metadef.body import NamespaceBody
from gateway.image.metadef.part import add_parts, base_of, held_by
from process.clock import Clock
from store.metadef import Taken, add_namespace, has_namespaces
from store.pool import Connection

_IMAGE: Final = "OS::Glance::Image"
_SERVER: Final = "OS::Nova::Server"
_VOLUME: Final = "OS::Cinder::Volume"

NAMESPACES: Final[tuple[dict[str, Any], ...]] = (
    {
        "namespace": "Starling::Compute::Architecture",
        "display_name": "Architecture",
        "description": "On which processors a guest can run: only such hosts are chosen for it.",
        "visibility": "public",
        "protected": True,
        "resource_type_associations": [
            {"name": _IMAGE},
            {"name": _VOLUME, "properties_target": "image"},
        ],
        "properties": {
            "hw_architecture": {
                "title": "Architecture",
                "description": "The processor architecture that the guest was built for.",
                "type": "string",
                "enum": ["x86_64", "aarch64", "i686", "armv7l", "ppc64le", "riscv64", "s390x"],
            },
        },
    },
    {
        "namespace": "Starling::Software::OperatingSystem",
        "display_name": "Operating system",
        "description": "Which operating system is inside: for people and their tools.",
        "visibility": "public",
        "protected": True,
        "resource_type_associations": [
            {"name": _IMAGE},
            {"name": _VOLUME, "properties_target": "image"},
            {"name": _SERVER},
        ],
        "properties": {
            "os_distro": {
                "title": "Distribution",
                "description": "The distribution's common name in lower case, such as debian or windows.",
                "type": "string",
            },
            "os_version": {
                "title": "Version",
                "description": "The version as the distributor writes it.",
                "type": "string",
            },
            "os_admin_user": {
                "title": "Administrator",
                "description": "The account by which one logs in first.",
                "type": "string",
            },
        },
    },
)


async def bootstrap(connection: Connection, owner: str, clock: Clock) -> None:
    """Make them in a cloud that has no namespace at all; what an operator made is left alone."""
    if await has_namespaces(connection):
        return
    try:
        async with connection.transaction():
            for definition in NAMESPACES:
                await _make(connection, msgspec.convert(definition, NamespaceBody), owner, clock.now())
    except Taken:
        return  # another process was quicker


async def _make(connection: Connection, body: NamespaceBody, owner: str, now: float) -> None:
    row = await add_namespace(connection, base_of(body, owner), now)
    await add_parts(connection, row.id, held_by(body), now)
