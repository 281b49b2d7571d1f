"""The JSON schemas that clients fetch to know what an image is. Source: Image API v2, "Image Schemas"."""

from typing import Any, Final

from gateway.image.limits import MIN_MAX, NAME_LENGTH_MAX, PROPERTY_VALUE_LENGTH_MAX, TAG_LENGTH_MAX
from gateway.image.record import CONTAINER_FORMATS, DISK_FORMATS, VISIBILITIES
from gateway.request import Request, Response

_UUID: Final = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
_STATUSES: Final = (
    "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete",
    "deactivated",
)  # fmt: skip


def _read_only(kind: str | list[str], description: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "readOnly": True, "description": description, **more}


_MAYBE_TEXT: Final = ["null", "string"]
_IMAGE_PROPERTIES: Final[dict[str, Any]] = {
    "id": {"type": "string", "description": "An identifier for the image", "pattern": _UUID},
    "name": {
        "type": _MAYBE_TEXT,
        "description": "Descriptive name for the image",
        "maxLength": NAME_LENGTH_MAX,
    },
    "status": _read_only("string", "Status of the image", enum=list(_STATUSES)),
    "visibility": {
        "type": "string",
        "description": "Scope of image accessibility",
        "enum": list(VISIBILITIES),
    },
    "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
    "os_hidden": {
        "type": "boolean",
        "description": "If true, image will not appear in default image list response.",
    },
    "owner": {"type": _MAYBE_TEXT, "description": "Owner of the image", "maxLength": 255},
    "disk_format": {
        "type": _MAYBE_TEXT,
        "description": "Format of the disk",
        "enum": [None, *DISK_FORMATS],
    },
    "container_format": {
        "type": _MAYBE_TEXT,
        "description": "Format of the container",
        "enum": [None, *CONTAINER_FORMATS],
    },
    "min_disk": {
        "type": "integer",
        "description": "Amount of disk space (in GB) required to boot image.",
        "minimum": 0,
        "maximum": MIN_MAX,
    },
    "min_ram": {
        "type": "integer",
        "description": "Amount of ram (in MB) required to boot image.",
        "minimum": 0,
        "maximum": MIN_MAX,
    },
    "tags": {
        "type": "array",
        "description": "List of strings related to the image",
        "items": {"type": "string", "maxLength": TAG_LENGTH_MAX},
    },
    "size": _read_only(["null", "integer"], "Size of image file in bytes"),
    "virtual_size": _read_only(["null", "integer"], "Virtual size of image in bytes"),
    "checksum": _read_only(_MAYBE_TEXT, "md5 hash of image contents.", maxLength=32),
    "os_hash_algo": _read_only(_MAYBE_TEXT, "Algorithm to calculate the os_hash_value", maxLength=64),
    "os_hash_value": _read_only(_MAYBE_TEXT, "Hexdigest of the image contents", maxLength=128),
    "created_at": _read_only("string", "Date and time of image registration"),
    "updated_at": _read_only("string", "Date and time of the last image modification"),
    "self": _read_only("string", "An image self url"),
    "file": _read_only("string", "An image file url"),
    "schema": _read_only("string", "An image schema url"),
}
IMAGE: Final[dict[str, Any]] = {
    "name": "image",
    "properties": _IMAGE_PROPERTIES,
    "additionalProperties": {"type": "string", "maxLength": PROPERTY_VALUE_LENGTH_MAX},
    "links": [
        {"rel": "self", "href": "{self}"},
        {"rel": "enclosure", "href": "{file}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}
MEMBER: Final[dict[str, Any]] = {
    "name": "member",
    "properties": {
        "member_id": {"type": "string", "description": "An identifier for the image member (tenantId)"},
        "image_id": {"type": "string", "description": "An identifier for the image", "pattern": _UUID},
        "created_at": {"type": "string", "description": "Date and time of image member creation"},
        "updated_at": {"type": "string", "description": "Date and time of last modification of image member"},
        "status": {
            "type": "string",
            "description": "The status of this image member",
            "enum": ["pending", "accepted", "rejected"],
        },
        "schema": {"type": "string", "readOnly": True},
    },
}


def _collection(name: str, item: dict[str, Any], links: list[str]) -> dict[str, Any]:
    pages = {link: {"type": "string"} for link in links}
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            **pages,
            "schema": {"type": "string"},
        },
        "links": [
            *({"rel": link, "href": f"{{{link}}}"} for link in links),
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "image": IMAGE,
    "images": _collection("images", IMAGE, ["first", "next"]),
    "member": MEMBER,
    "members": _collection("members", MEMBER, []),
}


async def show_schema(request: Request) -> Response:
    """The schema named by the path's last word."""
    return Response(SCHEMAS[request.route.path.rpartition("/")[2]])
