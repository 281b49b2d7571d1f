"""The calls about metadata definitions, and who may make them. Source: Glance's default policies."""

from typing import Any, Final

from gateway.image.metadef import namespace, part, schema
from gateway.image.metadef.access import Within, changing, looking
from gateway.image.metadef.body import (
    AssociationBody,
    NamedProperty,
    NamespaceBody,
    ObjectBody,
    TagBody,
    TagsBody,
)
from gateway.route import Route

_READ = "admin or project reader"
_LOOK = "image:get_metadef_namespace"

RULES: Final = {
    "image:get_metadef_namespaces": _READ,
    _LOOK: _READ,
    "image:add_metadef_namespace": "admin",
    "image:modify_metadef_namespace": "admin",
    "image:delete_metadef_namespace": "admin",
    "image:get_metadef_objects": _READ,
    "image:get_metadef_object": _READ,
    "image:add_metadef_object": "admin",
    "image:modify_metadef_object": "admin",
    "image:delete_metadef_object": "admin",
    "image:get_metadef_properties": _READ,
    "image:get_metadef_property": _READ,
    "image:add_metadef_property": "admin",
    "image:modify_metadef_property": "admin",
    "image:remove_metadef_property": "admin",
    "image:get_metadef_tags": _READ,
    "image:get_metadef_tag": _READ,
    "image:add_metadef_tag": "admin",
    "image:add_metadef_tags": "admin",
    "image:modify_metadef_tag": "admin",
    "image:delete_metadef_tag": "admin",
    "image:delete_metadef_tags": "admin",
    "image:list_metadef_resource_types": _READ,
    "image:get_metadef_resource_type": _READ,
    "image:add_metadef_resource_type_association": "admin",
    "image:remove_metadef_resource_type_association": "admin",
}

_ALL = "/v2/metadefs/namespaces"
_ONE = _ALL + "/{namespace}"


def _look(path: str, handler: Within, rule: str) -> Route:
    return Route("GET", _ONE + path, looking(handler), rule)


def _change(method: str, path: str, handler: Within, rule: str, success: int, body: Any = None) -> Route:
    return Route(method, _ONE + path, changing(handler), rule, success, body, sight=_LOOK)


ROUTES: Final[tuple[Route, ...]] = (
    *(
        Route("GET", f"/v2/schemas/metadefs/{name}", schema.show_schema, "image:get_schema")
        for name in schema.SCHEMAS
    ),
    Route(
        "GET", "/v2/metadefs/resource_types", part.list_resource_types, "image:list_metadef_resource_types"
    ),
    Route("GET", _ALL, namespace.list_namespaces, "image:get_metadef_namespaces"),
    Route("POST", _ALL, namespace.create_namespace, "image:add_metadef_namespace", 201, NamespaceBody),
    _look("", namespace.show_namespace, "image:get_metadef_namespace"),
    _change("PUT", "", namespace.update_namespace, "image:modify_metadef_namespace", 200, NamespaceBody),
    _change("DELETE", "", namespace.delete_namespace, "image:delete_metadef_namespace", 204),
    _look("/objects", part.list_objects, "image:get_metadef_objects"),
    _change("POST", "/objects", part.create("object"), "image:add_metadef_object", 201, ObjectBody),
    _change("DELETE", "/objects", namespace.delete_objects, "image:delete_metadef_namespace", 204),
    _look("/objects/{name}", part.show("object"), "image:get_metadef_object"),
    _change("PUT", "/objects/{name}", part.update("object"), "image:modify_metadef_object", 200, ObjectBody),
    _change("DELETE", "/objects/{name}", part.delete("object"), "image:delete_metadef_object", 204),
    _look("/properties", part.list_properties, "image:get_metadef_properties"),
    _change("POST", "/properties", part.create("property"), "image:add_metadef_property", 201, NamedProperty),
    _change("DELETE", "/properties", namespace.delete_properties, "image:delete_metadef_namespace", 204),
    _look("/properties/{name}", part.show_property, "image:get_metadef_property"),
    _change(
        "PUT",
        "/properties/{name}",
        part.update("property"),
        "image:modify_metadef_property",
        200,
        NamedProperty,
    ),
    _change("DELETE", "/properties/{name}", part.delete("property"), "image:remove_metadef_property", 204),
    _look("/tags", part.list_tags, "image:get_metadef_tags"),
    _change("POST", "/tags", part.create_tags, "image:add_metadef_tags", 201, TagsBody),
    _change("DELETE", "/tags", namespace.delete_tags, "image:delete_metadef_tags", 204),
    _look("/tags/{name}", part.show("tag"), "image:get_metadef_tag"),
    _change("POST", "/tags/{name}", part.create_tag, "image:add_metadef_tag", 201),
    _change("PUT", "/tags/{name}", part.update("tag"), "image:modify_metadef_tag", 200, TagBody),
    _change("DELETE", "/tags/{name}", part.delete("tag"), "image:delete_metadef_tag", 204),
    _look("/resource_types", part.list_associations, "image:get_metadef_resource_type"),
    _change(
        "POST",
        "/resource_types",
        part.create("resource_type"),
        "image:add_metadef_resource_type_association",
        201,
        AssociationBody,
    ),
    _change(
        "DELETE",
        "/resource_types/{name}",
        part.delete("resource_type"),
        "image:remove_metadef_resource_type_association",
        204,
    ),
)
