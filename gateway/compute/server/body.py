"""The bodies of requests about servers, with the microversions of their members.

Source: Compute API reference, servers; JSON schemas of nova 34.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.compute.schema import (
    Base64,
    Body,
    Boolean,
    Description,
    DiskConfig,
    Fqdn,
    IpAddress,
    Ipv4,
    Ipv6,
    Metadata,
    Name,
    Positive,
    Tag,
    UserData,
    Uuid,
    UuidOrEmpty,
    required,
    since,
    until,
    versions,
)

NETWORKS_MAX = 32
"""Networks of one server."""
SECURITY_GROUPS_MAX = 64
TAGS_MAX = 50

Hints: TypeAlias = dict[Annotated[str, Meta(max_length=255)], Any]
Certificates: TypeAlias = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(min_length=1, max_length=50)
]
_DEVICE_TAG = versions((32, 36), (42, 100))


class NetworkWish(Body, frozen=True):
    """A network, or a port on it, for a new server."""

    uuid: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET
    port: Uuid | None = None
    fixed_ip: IpAddress | UnsetType = UNSET
    tag: Annotated[Tag | UnsetType, _DEVICE_TAG] = UNSET


class GroupName(Body, frozen=True):
    """A security group, by name or id."""

    name: Name | UnsetType = UNSET


class InjectedFile(Body, frozen=True):
    """A file to be written into the guest."""

    path: str | UnsetType = UNSET
    contents: Base64 | UnsetType = UNSET


class BlockDevice(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of block_device_mapping_v2; the lower members are for volumes, which are not served."""

    uuid: str | None = None
    source_type: Literal["volume", "image", "snapshot", "blank"] | UnsetType = UNSET
    destination_type: Literal["local", "volume"] | None = None
    boot_index: int | str | None = None
    delete_on_termination: Boolean | None = None
    volume_size: int | str | None = None
    device_name: str | None = None
    device_type: str | None = None
    disk_bus: str | None = None
    guest_format: str | None = None
    no_device: bool | str | None = None
    virtual_name: str | None = None
    volume_id: str | None = None
    volume_type: str | None = None
    snapshot_id: str | None = None
    image_id: str | None = None
    tag: str | None = None


class NewServer(Body, frozen=True):
    """``server`` of POST /servers."""

    name: Name
    flavor: Annotated[str, Meta(min_length=1, max_length=255)] | int = field(name="flavorRef")
    image: UuidOrEmpty | UnsetType = field(name="imageRef", default=UNSET)
    admin_pass: Annotated[str, Meta(max_length=255)] | UnsetType = field(name="adminPass", default=UNSET)
    metadata: Metadata | UnsetType = UNSET
    networks: Annotated[
        Annotated[list[NetworkWish], Meta(max_length=NETWORKS_MAX)] | Literal["auto", "none"] | UnsetType,
        required(37),
    ] = UNSET
    disk_config: DiskConfig | UnsetType = field(name="OS-DCF:diskConfig", default=UNSET)
    access_ipv4: Ipv4 | UnsetType = field(name="accessIPv4", default=UNSET)
    access_ipv6: Ipv6 | UnsetType = field(name="accessIPv6", default=UNSET)
    personality: Annotated[list[InjectedFile] | UnsetType, until(56)] = UNSET
    availability_zone: Name | UnsetType = UNSET
    block_device_mapping: list[dict[str, Any]] | UnsetType = UNSET
    block_device_mapping_v2: list[BlockDevice] | UnsetType = UNSET
    config_drive: Boolean | UnsetType = UNSET
    key_name: Name | UnsetType = UNSET
    min_count: Positive | UnsetType = UNSET
    max_count: Positive | UnsetType = UNSET
    return_reservation_id: Boolean | UnsetType = UNSET
    security_groups: Annotated[list[GroupName], Meta(max_length=SECURITY_GROUPS_MAX)] | UnsetType = UNSET
    user_data: UserData | UnsetType = UNSET
    description: Annotated[Description | UnsetType, since(19)] = UNSET
    tags: Annotated[Annotated[list[Tag], Meta(max_length=TAGS_MAX)] | UnsetType, since(52)] = UNSET
    trusted_image_certificates: Annotated[Certificates | UnsetType | None, since(63)] = UNSET
    host: Annotated[Fqdn | UnsetType, since(74)] = UNSET
    hypervisor_hostname: Annotated[Fqdn | UnsetType, since(74)] = UNSET
    hostname: Annotated[Fqdn | UnsetType, since(90)] = UNSET


class CreateBody(Body, frozen=True):
    """POST /servers."""

    server: NewServer
    hints: Hints | UnsetType = field(name="os:scheduler_hints", default=UNSET)
    old_hints: Hints | UnsetType = field(name="OS-SCH-HNT:scheduler_hints", default=UNSET)


class ServerChange(Body, frozen=True):
    """``server`` of PUT /servers/{id}."""

    name: Name | UnsetType = UNSET
    disk_config: DiskConfig | UnsetType = field(name="OS-DCF:diskConfig", default=UNSET)
    access_ipv4: Ipv4 | UnsetType = field(name="accessIPv4", default=UNSET)
    access_ipv6: Ipv6 | UnsetType = field(name="accessIPv6", default=UNSET)
    description: Annotated[Description | UnsetType, since(19)] = UNSET
    hostname: Annotated[Fqdn | UnsetType, since(90)] = UNSET


class UpdateBody(Body, frozen=True):
    """PUT /servers/{id}."""

    server: ServerChange
