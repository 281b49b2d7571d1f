"""What a new server refers to, looked up: image, flavor, key pair, host, network ports.

The actor gets the outcomes, never the references. Each function raises the Problem that Nova answers.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from gateway.auth import Caller
from gateway.problem import Problem
from process.clock import Clock
from protocol.guest import GuestImage, GuestNic
from protocol.instance import Flavor
from store.compute import FlavorRow, flavor, keypair
from store.image import Viewer, image
from store.network import (
    AddressesExhausted,
    AddressInUse,
    AddressInvalid,
    NetworkAmbiguous,
    NetworkNotFound,
    allocate_port,
)
from store.pool import Connection
from store.server import HostRow, hosts

_GIB: Final = 1 << 30


class _ImageView(Struct, frozen=True):
    """What of an image's view matters to a server made of it."""

    disk_format: str | None = None
    os_hash_value: str | None = None
    min_disk: int = 0
    min_ram: int = 0


class WantedNetwork(Struct, frozen=True):
    """A network to be on (None: choose one), perhaps with a certain address.

    ``optional``: a project without any network gets a server without a card.
    """

    network: str | None = None
    fixed_ip: str | None = None
    optional: bool = False


_DESCRIBED: Final = frozenset(
    {"id", "name", "status", "visibility", "owner", "protected", "os_hidden", "tags", "disk_format"}
    | {"container_format", "min_disk", "min_ram", "size", "virtual_size", "checksum", "os_hash_algo"}
    | {"os_hash_value", "created_at", "updated_at", "self", "file", "schema", "stores", "locations"}
    | {"direct_url"}
)
"""Members of an image that are no properties of its owner's making."""


async def find_flavor(connection: Connection, caller: Caller, ident: str) -> Flavor:
    """The flavor of a new server. Raises Problem 400."""
    row = await flavor(connection, ident, project=None if caller.is_admin else caller.project_id)
    if row is None:
        raise Problem(400, f"Flavor {ident} could not be found.")
    return embedded(row)


def embedded(row: FlavorRow) -> Flavor:
    """A flavor as a server keeps it."""
    return Flavor(
        id=row.id,
        name=row.name,
        vcpus=row.vcpus,
        memory_mib=row.memory_mib,
        disk_gib=row.disk_gib,
        ephemeral_gib=row.ephemeral_gib,
        swap_mib=row.swap_mib,
        extra_specs=row.extra_specs,
    )


class UsableImage(Struct, frozen=True):
    """An active image that the caller may see: as a guest gets it, its owner's properties, its demands."""

    guest: GuestImage
    properties: dict[str, str]
    min_disk: int
    min_ram: int


async def usable_image(connection: Connection, caller: Caller, ident: str) -> UsableImage:
    """The image, to make or to rescue a server with. Raises Problem 400."""
    row = await image(connection, ident, Viewer(caller.project_id, caller.is_admin))
    if row is None:
        raise Problem(400, "Can not find requested image")
    if row.status != "active":
        raise Problem(400, f"Image {ident} is not active.")
    view = msgspec.json.decode(row.view, type=_ImageView)
    made = GuestImage(
        image=row.id,
        url=f"/image/v2/images/{row.id}/file",
        sha512=view.os_hash_value or "",
        size_bytes=row.size_bytes or 0,
        disk_format=view.disk_format or "raw",
    )
    return UsableImage(made, properties_in(row.view), view.min_disk, view.min_ram)


async def find_image(
    connection: Connection, caller: Caller, ident: str, wanted: Flavor
) -> tuple[GuestImage, dict[str, str]]:
    """The image of a new server and its properties. Raises Problem 400 or 403."""
    found = await usable_image(connection, caller, ident)
    _fits(found, wanted, admin=caller.is_admin)
    return found.guest, found.properties


def properties_in(view: str) -> dict[str, str]:
    """The properties an image's owner gave it, from its view."""
    members = msgspec.json.decode(view, type=dict[str, object])
    return {
        name: value
        for name, value in members.items()
        if name not in _DESCRIBED and not name.startswith("os_glance") and isinstance(value, str)
    }


def _fits(found: UsableImage, wanted: Flavor, *, admin: bool) -> None:
    size_bytes = found.guest.size_bytes
    if found.min_ram > wanted.memory_mib:
        raise Problem(400, "Flavor's memory is too small for requested image.")
    if wanted.disk_gib == 0:
        if not admin:
            raise Problem(403, "Only volume-backed servers are allowed for flavors with zero disk.")
        return
    if size_bytes > wanted.disk_gib * _GIB or found.min_disk > wanted.disk_gib:
        message = (
            f"Flavor's disk is too small for requested image. Flavor disk is {wanted.disk_gib * _GIB} bytes, "
            f"image is {size_bytes} bytes, its minimum {found.min_disk * _GIB} bytes."
        )
        raise Problem(400, message)


async def find_key(connection: Connection, caller: Caller, name: str) -> dict[str, str]:
    """The caller's public key of this name. Raises Problem 400."""
    row = await keypair(connection, caller.user_id, name)
    if row is None:
        raise Problem(400, "Invalid key_name provided.")
    return {row.name: row.public_key}


async def find_host(connection: Connection, name: str) -> HostRow:
    """The host with this name. Raises Problem 400."""
    found = [row for row in await hosts(connection, name) if row.hostname == name]
    if not found:
        raise Problem(400, f"Compute host {name} could not be found.")
    return found[0]


async def check_zone(connection: Connection, zone: str) -> None:
    """Raises Problem 400 unless some host is in this availability zone."""
    if zone not in {row.availability_zone for row in await hosts(connection)}:
        raise Problem(400, "The requested availability zone is not available")


async def allocate_ports(
    connection: Connection, project: str, instance: str, wanted: Sequence[WantedNetwork], clock: Clock
) -> tuple[tuple[GuestNic, ...], dict[str, str]]:
    """The server's cards and the names of their networks. Raises Problem 400, 403 or 409.

    What was made before a Problem stays: the caller gives it back.
    """
    nics: list[GuestNic] = []
    names: dict[str, str] = {}
    for one in wanted:
        try:
            nic, name = await allocate_port(
                connection,
                project=project,
                network=one.network,
                instance=instance,
                fixed_ip=one.fixed_ip,
                clock=clock,
            )
        except NetworkNotFound as error:
            if one.optional:
                continue
            raise Problem(400, str(error)) from error
        except (AddressInvalid, AddressInUse, AddressesExhausted) as error:
            raise Problem(400, str(error)) from error
        except NetworkAmbiguous as error:
            raise Problem(409, str(error)) from error
        nics.append(nic)
        names[nic.network] = name
    return tuple(nics), names
