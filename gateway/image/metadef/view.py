"""Metadata definitions as the API shows them."""

from typing import Any
from urllib.parse import quote

import msgspec

from protocol.view import stamp
from store.metadef import NamespaceRow, PartRow, TypeRow


def _times(row: NamespaceRow | PartRow | TypeRow) -> dict[str, str]:
    return {"created_at": stamp(row.created_at), "updated_at": stamp(row.updated_at)}


def body_of(part: PartRow) -> dict[str, Any]:
    """What was said of the part besides its name."""
    body: dict[str, Any] = msgspec.json.decode(part.body)
    return body


def href(*names: str) -> str:
    """The path of a namespace, or of something in it."""
    return "/v2/metadefs/namespaces/" + "/".join(quote(name, safe=":") for name in names)


def shown_namespace(row: NamespaceRow) -> dict[str, Any]:
    """A namespace without what it holds; what was not said is not shown."""
    said = {"display_name": row.display_name, "description": row.description}
    return {
        "namespace": row.namespace,
        **{name: value for name, value in said.items() if value is not None},
        "visibility": row.visibility,
        "protected": row.protected,
        "owner": row.owner,
        **_times(row),
        "self": href(row.namespace),
        "schema": "/v2/schemas/metadefs/namespace",
    }


def shown_object(namespace: str, part: PartRow) -> dict[str, Any]:
    """An object."""
    return {
        "name": part.name,
        **body_of(part),
        **_times(part),
        "self": href(namespace, "objects", part.name),
        "schema": "/v2/schemas/metadefs/object",
    }


def shown_property(part: PartRow) -> dict[str, Any]:
    """A property alone."""
    return {"name": part.name, **body_of(part)}


def shown_tag(part: PartRow) -> dict[str, Any]:
    """A tag alone."""
    return {"name": part.name, **_times(part)}


def shown_association(part: PartRow) -> dict[str, Any]:
    """An association with a resource type."""
    return {"name": part.name, **body_of(part), **_times(part)}


def shown_type(row: TypeRow) -> dict[str, Any]:
    """A resource type."""
    return {"name": row.name, **_times(row)}


def shown_whole(row: NamespaceRow, parts: list[PartRow], resource_type: str = "") -> dict[str, Any]:
    """A namespace with what it holds; kinds of which there is nothing are not shown.

    With a ``resource_type`` properties are called as they are there: by the association's prefix.
    """
    of: dict[str, list[PartRow]] = {}
    for part in parts:
        of.setdefault(part.kind, []).append(part)
    held: dict[str, Any] = {
        "objects": [shown_object(row.namespace, part) for part in of.get("object", [])],
        "resource_type_associations": [shown_association(part) for part in of.get("resource_type", [])],
        "properties": {part.name: body_of(part) for part in of.get("property", [])},
        "tags": [{"name": part.name} for part in of.get("tag", [])],
    }
    prefix = prefix_for(resource_type, of.get("resource_type", []))
    if prefix:
        held["properties"] = {prefix + name: body for name, body in held["properties"].items()}
        for shown in held["objects"]:
            shown["properties"] = {prefix + name: body for name, body in shown["properties"].items()}
            shown["required"] = [prefix + name for name in shown["required"]]
    return {**shown_namespace(row), **{name: value for name, value in held.items() if value}}


def prefix_for(resource_type: str, associations: list[PartRow]) -> str:
    """How properties begin for this resource type; empty without a prefix or an association."""
    found = next((part for part in associations if part.name == resource_type), None)
    return str(body_of(found).get("prefix", "")) if found else ""
