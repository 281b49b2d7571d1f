"""What a client may say in a metadata definition, as Structs, and how large it may be.

A property is kept as it was said; nothing of it is judged but its form.
Source: Image API v2, "Metadata Definitions", and the schemas it serves for them.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.problem import Problem

NAME_LENGTH_MAX: Final = 80
DESCRIPTION_LENGTH_MAX: Final = 500
"""Of a namespace."""
TEXT_LENGTH_MAX: Final = 65_535
"""Of other descriptions."""
OWNER_LENGTH_MAX: Final = 255
PARTS_MAX: Final = 1000
"""Objects, properties, tags or associations in one namespace, each for itself."""
RESOURCE_TYPES_MAX: Final = 1000

KINDS_OF_VALUE: Final = ("array", "boolean", "integer", "number", "object", "string")
VISIBILITIES: Final = ("public", "private")

Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
ShortText = Annotated[str, Meta(max_length=NAME_LENGTH_MAX)]
Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
Owner = Annotated[str, Meta(max_length=OWNER_LENGTH_MAX)]
Visibility = Literal["public", "private"]
KindOfValue = Literal["array", "boolean", "integer", "number", "object", "string"]
Count = Annotated[int, Meta(ge=0)]
Scalar = str | int | float | bool


class ItemType(Struct, kw_only=True, forbid_unknown_fields=True):
    """Of what the values of an array are."""

    type: KindOfValue
    enum: list[Scalar] | UnsetType = UNSET


class PropertyBody(Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A property, where its name is the key it stands under."""

    title: Text
    type: KindOfValue
    name: Name | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    operators: list[str] | UnsetType = UNSET
    required: list[str] | UnsetType = UNSET
    minimum: float | int | UnsetType = UNSET
    maximum: float | int | UnsetType = UNSET
    min_length: Count | UnsetType = UNSET
    max_length: Count | UnsetType = UNSET
    pattern: Text | UnsetType = UNSET
    enum: list[Scalar] | UnsetType = UNSET
    readonly: bool | UnsetType = UNSET
    default: Any = UNSET
    items: ItemType | UnsetType = UNSET
    min_items: Count | UnsetType = UNSET
    max_items: Count | UnsetType = UNSET
    unique_items: bool | UnsetType = UNSET
    additional_items: bool | UnsetType = UNSET


class NamedProperty(PropertyBody, kw_only=True):
    """A property that says its name itself."""

    name: Name
    created_at: Any = field(default=UNSET, name="created_at")
    updated_at: Any = field(default=UNSET, name="updated_at")


class ObjectBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """An object: properties that belong together."""

    name: Name
    description: Text | UnsetType = UNSET
    required: list[str] = []
    properties: dict[Name, PropertyBody] = {}
    self_: Any = field(default=UNSET, name="self")
    schema: Any = UNSET
    created_at: Any = UNSET
    updated_at: Any = UNSET


class TagBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A tag."""

    name: Name
    created_at: Any = UNSET
    updated_at: Any = UNSET


class TagsBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Several tags at once."""

    tags: list[TagBody]


class AssociationBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """For which resource type a namespace is, and how its properties are called there."""

    name: Name
    prefix: ShortText | UnsetType = UNSET
    properties_target: ShortText | UnsetType = UNSET
    created_at: Any = UNSET
    updated_at: Any = UNSET


class NamespaceBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A namespace with everything in it."""

    namespace: Name
    display_name: ShortText | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=DESCRIPTION_LENGTH_MAX)] | UnsetType = UNSET
    visibility: Visibility = "private"
    protected: bool = False
    owner: Owner | UnsetType = UNSET
    resource_type_associations: list[AssociationBody] = []
    properties: dict[Name, PropertyBody] = {}
    objects: list[ObjectBody] = []
    tags: list[TagBody] = []
    self_: Any = field(default=UNSET, name="self")
    schema: Any = UNSET
    created_at: Any = UNSET
    updated_at: Any = UNSET


_READ_ONLY: Final = ("self_", "schema", "created_at", "updated_at")
Part = NamedProperty | ObjectBody | TagBody | AssociationBody


def check_read_only(body: Struct) -> None:
    """Raises Problem 403 when the body sets what only the service sets."""
    for name in _READ_ONLY:
        if getattr(body, name, UNSET) is not UNSET:
            raise Problem(403, f"Attribute '{name.rstrip('_')}' is read-only.")


def kept(body: Part | PropertyBody) -> str:
    """What is kept of a part besides its name: JSON. Raises Problem 400 or 403."""
    check_read_only(body)
    if isinstance(body, ObjectBody) and len(set(body.required)) < len(body.required):
        raise Problem(400, "The names of required properties must be unique.")
    members = msgspec.to_builtins(body)
    members.pop("name", None)
    if isinstance(body, ObjectBody):
        for prop in members["properties"].values():
            prop.pop("name", None)
    return msgspec.json.encode(members).decode()
