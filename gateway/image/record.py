"""What a client may say of an image in a create body, member by member, turned into the record to be.

Only the form is judged here; patches are in patch.py. Who may do it is policy's business, whether the
image's state allows it the actor's. Source: Image API v2, "Create image".
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.image.limits import (
    MIN_MAX,
    NAME_LENGTH_MAX,
    OWNER_LENGTH_MAX,
    PROPERTIES_LENGTH_MAX,
    PROPERTIES_MAX,
    PROPERTY_NAME_LENGTH_MAX,
    PROPERTY_VALUE_LENGTH_MAX,
    TAG_LENGTH_MAX,
    TAGS_MAX,
)
from gateway.problem import Problem
from protocol.image import ImageRecord

DISK_FORMATS: Final = (
    "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
)  # fmt: skip
CONTAINER_FORMATS: Final = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
VISIBILITIES: Final = ("public", "private", "shared", "community")

READ_ONLY: Final = frozenset({
    "id", "status", "created_at", "updated_at", "checksum", "size", "virtual_size", "os_hash_algo",
    "os_hash_value", "direct_url", "self", "file", "schema", "stores", "owner",
})  # fmt: skip
RESERVED: Final = frozenset({"location", "locations", "deleted", "deleted_at"})
_RESERVED_PREFIX: Final = "os_glance"


def _text(name: str, value: Any, length_max: int) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > length_max):
        raise Problem(400, f"{name} must be text of at most {length_max} characters.")
    return value


def _name(value: Any) -> str | None:
    return _text("name", value, NAME_LENGTH_MAX)


def _one_of(name: str, allowed: tuple[str, ...], *, none: bool) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is None and none:
            return None
        if value not in allowed:
            raise Problem(400, f"Invalid value {str(value)[:64]!r} for {name}: one of {', '.join(allowed)}.")
        return value

    return check


def _count(name: str) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= MIN_MAX:
            raise Problem(400, f"{name} must be a whole number from 0 to {MIN_MAX}.")
        return value

    return check


def _flag(name: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise Problem(400, f"{name} must be true or false.")
        return value

    return check


def check_tag(value: Any) -> str:
    """One tag. Raises Problem 400."""
    tag = _text("A tag", value, TAG_LENGTH_MAX)
    if tag is None:
        raise Problem(400, "A tag must be text.")
    return tag


def check_tags(value: Any) -> tuple[str, ...]:
    """A list of tags; repetitions count once. Raises Problem 400 or 413."""
    if not isinstance(value, list):
        raise Problem(400, "tags must be a list of texts.")
    tags = tuple(dict.fromkeys(check_tag(tag) for tag in value))
    if len(tags) > TAGS_MAX:
        raise Problem(413, f"The limit of {TAGS_MAX} tags has been exceeded.")
    return tags


# The base members a client may set: name in the API → member of the record, and its check.
BASE: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "name": ("name", _name),
    "disk_format": ("disk_format", _one_of("disk_format", DISK_FORMATS, none=True)),
    "container_format": ("container_format", _one_of("container_format", CONTAINER_FORMATS, none=True)),
    "visibility": ("visibility", _one_of("visibility", VISIBILITIES, none=False)),
    "min_disk": ("min_disk", _count("min_disk")),
    "min_ram": ("min_ram", _count("min_ram")),
    "protected": ("protected", _flag("protected")),
    "os_hidden": ("hidden", _flag("os_hidden")),
    "tags": ("tags", check_tags),
}


def check_name(name: str) -> None:
    """Refuse members no client may set. Raises Problem 400 or 403."""
    if name in READ_ONLY:
        raise Problem(403, f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith(_RESERVED_PREFIX):
        raise Problem(403, f"Attribute '{name[:64]}' is reserved.")
    if not 0 < len(name) <= PROPERTY_NAME_LENGTH_MAX:
        raise Problem(400, f"A property's name has 1 to {PROPERTY_NAME_LENGTH_MAX} characters.")


def with_member(record: ImageRecord, name: str, value: Any) -> ImageRecord:
    """The record with one member set. Raises Problem."""
    check_name(name)
    base = BASE.get(name)
    if base is not None:
        member, check = base
        return replace(record, **{member: check(value)})
    if not isinstance(value, str) or len(value) > PROPERTY_VALUE_LENGTH_MAX:
        raise Problem(
            400, f"Property {name!r} must be text of at most {PROPERTY_VALUE_LENGTH_MAX} characters."
        )
    return replace(record, properties={**record.properties, name: value})


def limited(record: ImageRecord) -> ImageRecord:
    """The record when its properties are within the limits. Raises Problem 413."""
    if len(record.properties) > PROPERTIES_MAX:
        raise Problem(413, f"The limit of {PROPERTIES_MAX} image properties has been exceeded.")
    if sum(len(name) + len(value) for name, value in record.properties.items()) > PROPERTIES_LENGTH_MAX:
        raise Problem(413, f"Image properties may hold {PROPERTIES_LENGTH_MAX} characters together.")
    return record


class Created(Struct, frozen=True):
    """A create body: the id and owner it asks for, if any, and the record."""

    ident: str | None
    owner: str | None
    record: ImageRecord


def created(body: Mapping[str, Any]) -> Created:
    """Read a create body. Raises Problem 400, 403 or 413."""
    members = dict(body)
    ident, owner = members.pop("id", None), _text("owner", members.pop("owner", None), OWNER_LENGTH_MAX)
    if ident is not None:
        ident = _uuid(ident)
    if len(members) > PROPERTIES_MAX + len(BASE):
        raise Problem(413, f"The limit of {PROPERTIES_MAX} image properties has been exceeded.")
    record = ImageRecord()
    for name, value in members.items():
        record = with_member(record, name, value)
    return Created(ident, owner, limited(record))


def _uuid(value: Any) -> str:
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else _refused_id()
    except ValueError:
        return _refused_id()


def _refused_id() -> str:
    raise Problem(400, "The id of an image must be a UUID.")


# --- a record out of its view --------------------------------------------------------------------


def record_of(view: str) -> ImageRecord:
    """The record that an image's view shows."""
    shown: dict[str, Any] = msgspec.json.decode(view)
    base = {member: shown.pop(name) for name, (member, _) in BASE.items()}
    base["tags"] = tuple(base["tags"])
    properties = {
        name: value
        for name, value in shown.items()
        if name not in READ_ONLY and not name.startswith(_RESERVED_PREFIX)
    }
    return ImageRecord(**base, properties=properties)
