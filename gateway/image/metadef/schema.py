"""The JSON schemas of metadata definitions that clients fetch.

Source: Image API v2, "Metadata Definition Schemas"; the descriptions are ours.
"""

from typing import Any, Final

from gateway.image.metadef.body import (
    DESCRIPTION_LENGTH_MAX,
    KINDS_OF_VALUE,
    NAME_LENGTH_MAX,
    OWNER_LENGTH_MAX,
    VISIBILITIES,
)
from gateway.request import Request, Response

_TEXT: Final = {"type": "string"}
_NAME: Final = {"type": "string", "maxLength": NAME_LENGTH_MAX}
_LIST: Final = {"type": "array"}
_FLAG: Final = {"type": "boolean"}
_KIND: Final = {"type": "string", "enum": [*KINDS_OF_VALUE, None]}
_TEXTS: Final = {"$ref": "#/definitions/stringArray"}
_COUNT: Final = {"$ref": "#/definitions/positiveInteger"}
_COUNT_OR_0: Final = {"$ref": "#/definitions/positiveIntegerDefault0"}
_PROPERTIES: Final = {"$ref": "#/definitions/property"}
_SET_BY_US: Final = {"type": "string", "readOnly": True}


def _time(description: str) -> dict[str, Any]:
    return {**_SET_BY_US, "description": description, "format": "date-time"}


_ONE_PROPERTY: Final[dict[str, Any]] = {
    "name": _NAME,
    "title": _TEXT,
    "description": _TEXT,
    "operators": {"type": "array", "items": _TEXT},
    "type": _KIND,
    "required": _TEXTS,
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "maxLength": _COUNT,
    "minLength": _COUNT_OR_0,
    "pattern": {"type": "string", "format": "regex"},
    "enum": _LIST,
    "readonly": _FLAG,
    "default": {},
    "items": {"type": "object", "properties": {"type": _KIND, "enum": _LIST}},
    "maxItems": _COUNT,
    "minItems": _COUNT_OR_0,
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": _FLAG,
}
_COUNTS: Final[dict[str, Any]] = {
    "positiveInteger": {"type": "integer", "minimum": 0},
    "positiveIntegerDefault0": {"allOf": [_COUNT, {"default": 0}]},
    "stringArray": {"type": "array", "items": _TEXT, "uniqueItems": True},
}
_DEFINITIONS: Final[dict[str, Any]] = {
    **_COUNTS,
    "property": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["title", "type"],
            "properties": _ONE_PROPERTY,
        },
    },
}
_OBJECT: Final[dict[str, Any]] = {
    "name": _NAME,
    "description": _TEXT,
    "required": _TEXTS,
    "properties": _PROPERTIES,
    "schema": _SET_BY_US,
    "self": _SET_BY_US,
    "created_at": _time("When the object was made"),
    "updated_at": _time("When the object was last changed"),
}
_TAG: Final[dict[str, Any]] = {
    "name": _NAME,
    "created_at": _time("When the tag was made"),
    "updated_at": _time("When the tag was last changed"),
}
_ASSOCIATION: Final[dict[str, Any]] = {
    "name": {**_NAME, "description": "The resource type, named as Heat names it where it has one"},
    "prefix": {
        **_NAME,
        "description": "What the namespace's properties begin with on this resource type, separator included",
    },
    "properties_target": {
        **_NAME,
        "description": "Which metadata of the resource is meant, where it has more than one sort",
    },
    "created_at": _time("When the association was made"),
    "updated_at": _time("When the association was last changed"),
}
_NAMESPACE: Final[dict[str, Any]] = {
    "namespace": {**_NAME, "description": "The name by which the namespace is known; no two share it"},
    "display_name": {**_NAME, "description": "The name shown to people"},
    "description": {"type": "string", "description": "What it is for", "maxLength": DESCRIPTION_LENGTH_MAX},
    "visibility": {"type": "string", "description": "Who sees it", "enum": list(VISIBILITIES)},
    "protected": {"type": "boolean", "description": "If true, nothing of it can be deleted"},
    "owner": {"type": "string", "description": "The project it belongs to", "maxLength": OWNER_LENGTH_MAX},
    "created_at": _time("When the namespace was made"),
    "updated_at": _time("When the namespace was last changed"),
    "schema": _SET_BY_US,
    "self": _SET_BY_US,
    "resource_type_associations": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"name": _TEXT, "prefix": _TEXT, "properties_target": _TEXT},
        },
    },
    "properties": _PROPERTIES,
    "objects": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": _TEXT, "description": _TEXT, "required": _TEXTS, "properties": _PROPERTIES,
            },
        },
    },
    "tags": {"type": "array", "items": {"type": "object", "properties": {"name": _TEXT}}},
}  # fmt: skip


def _one(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"name": name, "properties": properties, "additionalProperties": False, "required": required}


def _many(name: str, items: dict[str, Any], definitions: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of a list; ``items`` is what the member ``name`` holds."""
    return {
        "name": name,
        **({"definitions": definitions} if definitions else {}),
        "properties": {name: items, "first": _TEXT, "next": _TEXT, "schema": _TEXT},
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def _array(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


_NAMESPACE_SCHEMA: Final = _one("namespace", _NAMESPACE, ["namespace"])
_OBJECT_SCHEMA: Final = _one("object", _OBJECT, ["name"])
_PROPERTY_SCHEMA: Final = _one("property", _ONE_PROPERTY, ["type", "title"])
_TAG_SCHEMA: Final = _one("tag", _TAG, ["name"])
_TYPE_SCHEMA: Final = _one("resource_type_association", _ASSOCIATION, ["name"])

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "namespace": {**_NAMESPACE_SCHEMA, "definitions": _DEFINITIONS},
    "namespaces": _many("namespaces", _array(_NAMESPACE_SCHEMA), _DEFINITIONS),
    "object": {**_OBJECT_SCHEMA, "definitions": _DEFINITIONS},
    "objects": _many("objects", _array(_OBJECT_SCHEMA), _DEFINITIONS),
    "property": {**_PROPERTY_SCHEMA, "required": ["type", "title", "name"], "definitions": _COUNTS},
    "properties": _many("properties", {"type": "object", "additionalProperties": _PROPERTY_SCHEMA}, _COUNTS),
    "resource_type": _TYPE_SCHEMA,
    "resource_types": _many("resource_type_associations", _array(_TYPE_SCHEMA)),
    "tag": _TAG_SCHEMA,
    "tags": _many("tags", _array(_TAG_SCHEMA)),
}


async def show_schema(request: Request) -> Response:
    """The schema named by the path's last word."""
    return Response(SCHEMAS[request.route.path.rpartition("/")[2]])
