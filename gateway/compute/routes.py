"""The Compute API as one table: all its rows, and who may do what.

Each row is served under ``/v2.1`` and under ``/v2.1/{project_id}``, the form older catalogs have.
Source of the rules: nova 34's default policies (admin, project manager, project member, project reader).
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gateway.compute import (
    extension,
    extra_spec,
    flavor,
    flavor_access,
    host,
    keypair,
    limit,
    quota_set,
    server_group,
    service,
    usage,
    version,
)
from gateway.compute.nothing import none_of, not_found, not_yet
from gateway.compute.schema import NEWEST, OLDEST
from gateway.compute.server import action, body, change, create, metadata, part, record, tag
from gateway.compute.server import list as server_list
from gateway.envelope import nova
from gateway.microversion import Version, VersionRange
from gateway.problem import Problem
from gateway.request import Request
from gateway.route import Api, Handler, Route

_READER: Final = "admin or project reader"
_MEMBER: Final = "admin or project member"
_MANAGER: Final = "admin or project manager"
_SELF: Final = "admin or self"

RULES: Final = {
    "compute:discover": "public",
    "compute:servers:list": _READER,
    "compute:servers:list_all": "admin",
    "compute:servers:show": _READER,
    "compute:servers:create": _MEMBER,
    "compute:servers:create:forced_host": "admin",
    "compute:servers:update": _MEMBER,
    "compute:servers:delete": _MEMBER,
    "compute:servers:action": _READER,
    "compute:servers:act": _MEMBER,
    "compute:servers:administer": "admin",
    "compute:metadata:show": _READER,
    "compute:metadata:write": _MEMBER,
    "compute:tags:show": _READER,
    "compute:tags:write": _MEMBER,
    "compute:servers:parts": _READER,
    "compute:servers:attach": _MEMBER,
    "compute:servers:diagnostics": "admin",
    "compute:instance_actions:show": _READER,
    "compute:instance_actions:events": "admin",
    "compute:migrations:show": _MANAGER,
    "compute:flavors:show": _READER,
    "compute:flavors:manage": "admin",
    "compute:flavors:add_access": "admin",
    "compute:flavors:remove_access": "admin",
    "compute:keypairs": _SELF,
    "compute:limits:show": "authenticated",
    "compute:limits:other_project": "admin",
    "compute:quota_sets:show": _READER,
    "compute:quota_sets:defaults": "authenticated",
    "compute:quota_sets:manage": "admin",
    "compute:availability_zones:list": "authenticated",
    "compute:availability_zones:detail": "admin",
    "compute:hosts:show": "admin",
    "compute:services:manage": "admin",
    "compute:usage:list": "admin",
    "compute:usage:show": _READER,
    "compute:server_groups:show": _READER,
    "compute:server_groups:list_all": "admin",
    "compute:server_groups:write": _MEMBER,
    "compute:aggregates:show": "admin",
    "compute:extensions:show": "authenticated",
}

_Action = dict[str, msgspec.Raw]
_SERVER: Final = "/servers/{server_id}"
_FLAVOR: Final = "/flavors/{flavor_id}"


def _between(first: int, last: int = NEWEST) -> tuple[Version, Version]:
    return (2, first), (2, last)


_SERVERS: Final = (
    Route("GET", "/servers", server_list.list_servers, "compute:servers:list"),
    Route("GET", "/servers/detail", server_list.list_servers_detail, "compute:servers:list"),
    Route(
        "POST", "/servers", create.create_server, "compute:servers:create", 202, body.CreateBody, keyed=True
    ),
    Route("GET", _SERVER, change.show_server, "compute:servers:show"),
    Route("PUT", _SERVER, change.update_server, "compute:servers:update", 200, body.UpdateBody),
    Route("DELETE", _SERVER, change.delete_server, "compute:servers:delete", 204),
    Route("POST", f"{_SERVER}/action", action.act, "compute:servers:action", 202, _Action, keyed=True),
    Route("GET", f"{_SERVER}/metadata", metadata.list_metadata, "compute:metadata:show"),
    Route(
        "POST",
        f"{_SERVER}/metadata",
        metadata.add_metadata,
        "compute:metadata:write",
        200,
        metadata.MetadataBody,
    ),
    Route(
        "PUT",
        f"{_SERVER}/metadata",
        metadata.replace_metadata,
        "compute:metadata:write",
        200,
        metadata.MetadataBody,
    ),
    Route("GET", f"{_SERVER}/metadata/{{key}}", metadata.show_item, "compute:metadata:show"),
    Route(
        "PUT",
        f"{_SERVER}/metadata/{{key}}",
        metadata.put_item,
        "compute:metadata:write",
        200,
        metadata.ItemBody,
    ),
    Route("DELETE", f"{_SERVER}/metadata/{{key}}", metadata.delete_item, "compute:metadata:write", 204),
    Route("GET", f"{_SERVER}/ips", part.list_addresses, "compute:servers:parts"),
    Route("GET", f"{_SERVER}/ips/{{network}}", part.show_addresses, "compute:servers:parts"),
    Route("GET", f"{_SERVER}/os-interface", part.list_interfaces, "compute:servers:parts"),
    Route("GET", f"{_SERVER}/os-interface/{{port_id}}", part.show_interface, "compute:servers:parts"),
    Route("GET", f"{_SERVER}/os-volume_attachments", part.list_volumes, "compute:servers:parts"),
    Route("GET", f"{_SERVER}/os-volume_attachments/{{volume_id}}", part.show_volume, "compute:servers:parts"),
    Route("GET", f"{_SERVER}/os-server-password", part.show_password, "compute:servers:parts"),
    Route("DELETE", f"{_SERVER}/os-server-password", part.clear_password, "compute:servers:attach", 204),
    Route("GET", f"{_SERVER}/os-security-groups", part.list_security_groups, "compute:servers:parts"),
    Route("GET", f"{_SERVER}/os-instance-actions", record.list_actions, "compute:instance_actions:show"),
    Route(
        "GET",
        f"{_SERVER}/os-instance-actions/{{request_id}}",
        record.show_action,
        "compute:instance_actions:show",
    ),
)


def _tag_rows() -> Iterator[Route]:
    span = _between(26)
    for method, path, handler, success, kind in (
        ("GET", "/tags", tag.list_tags, 200, None),
        ("PUT", "/tags", tag.replace_tags, 200, tag.TagsBody),
        ("DELETE", "/tags", tag.clear_tags, 204, None),
        ("GET", "/tags/{tag}", tag.check_tag, 204, None),
        ("PUT", "/tags/{tag}", tag.add_tag, 204, None),
        ("DELETE", "/tags/{tag}", tag.delete_tag, 204, None),
    ):
        rule = "compute:tags:show" if method == "GET" else "compute:tags:write"
        yield Route(method, _SERVER + path, handler, rule, success, kind, microversions=span)


def _not_yet_rows() -> Iterator[Route]:
    """Calls of the API that are answered 501."""
    for method, path, what, rule, span in (
        ("POST", f"{_SERVER}/os-interface", "Attaching an interface", "compute:servers:attach", None),
        (
            "DELETE",
            f"{_SERVER}/os-interface/{{port_id}}",
            "Detaching an interface",
            "compute:servers:attach",
            None,
        ),
        ("POST", f"{_SERVER}/os-volume_attachments", "Attaching a volume", "compute:servers:attach", None),
        (
            "PUT",
            f"{_SERVER}/os-volume_attachments/{{volume_id}}",
            "Updating a volume attachment",
            "compute:servers:attach",
            None,
        ),
        (
            "DELETE",
            f"{_SERVER}/os-volume_attachments/{{volume_id}}",
            "Detaching a volume",
            "compute:servers:attach",
            None,
        ),
        ("POST", f"{_SERVER}/remote-consoles", "A remote console", "compute:servers:attach", _between(6)),
        ("GET", f"{_SERVER}/diagnostics", "Reading diagnostics", "compute:servers:diagnostics", None),
        ("GET", f"{_SERVER}/topology", "Reading the topology", "compute:servers:parts", _between(78)),
        ("GET", f"{_SERVER}/shares", "Sharing files", "compute:servers:parts", _between(97)),
        ("POST", "/os-aggregates", "Making an aggregate", "compute:aggregates:show", None),
    ):
        kind = _Action if method in {"POST", "PUT"} else None
        yield Route(method, path, not_yet(what), rule, 501, kind, microversions=span)


_FLAVORS: Final = (
    Route("GET", "/flavors", flavor.list_flavors, "compute:flavors:show"),
    Route("GET", "/flavors/detail", flavor.list_flavors_detail, "compute:flavors:show"),
    Route("POST", "/flavors", flavor.create_flavor, "compute:flavors:manage", 200, flavor.CreateBody),
    Route("GET", _FLAVOR, flavor.show_flavor, "compute:flavors:show"),
    Route(
        "PUT",
        _FLAVOR,
        flavor.update_flavor,
        "compute:flavors:manage",
        200,
        flavor.UpdateBody,
        microversions=_between(55),
    ),
    Route("DELETE", _FLAVOR, flavor.delete_flavor, "compute:flavors:manage", 202),
    Route("POST", f"{_FLAVOR}/action", flavor_access.flavor_action, "compute:flavors:manage", 200, _Action),
    Route("GET", f"{_FLAVOR}/os-flavor-access", flavor_access.list_flavor_access, "compute:flavors:manage"),
    Route("GET", f"{_FLAVOR}/os-extra_specs", extra_spec.list_extra_specs, "compute:flavors:show"),
    Route(
        "POST",
        f"{_FLAVOR}/os-extra_specs",
        extra_spec.create_extra_specs,
        "compute:flavors:manage",
        200,
        extra_spec.SpecsBody,
    ),
    Route("GET", f"{_FLAVOR}/os-extra_specs/{{key}}", extra_spec.show_extra_spec, "compute:flavors:show"),
    Route(
        "PUT",
        f"{_FLAVOR}/os-extra_specs/{{key}}",
        extra_spec.update_extra_spec,
        "compute:flavors:manage",
        200,
        extra_spec.Item,
    ),
    Route(
        "DELETE", f"{_FLAVOR}/os-extra_specs/{{key}}", extra_spec.delete_extra_spec, "compute:flavors:manage"
    ),
)

_TENANT: Final = (
    Route("GET", "/os-keypairs", keypair.list_keypairs, "compute:keypairs"),
    Route("POST", "/os-keypairs", keypair.create_keypair, "compute:keypairs", 201, keypair.CreateBody),
    Route("GET", "/os-keypairs/{name}", keypair.show_keypair, "compute:keypairs"),
    Route("DELETE", "/os-keypairs/{name}", keypair.delete_keypair, "compute:keypairs", 204),
    Route("GET", "/limits", limit.show_limits, "compute:limits:show"),
    Route("GET", "/os-availability-zone", host.list_zones, "compute:availability_zones:list"),
    Route("GET", "/os-availability-zone/detail", host.list_zones_detail, "compute:availability_zones:detail"),
    Route("GET", "/os-simple-tenant-usage", usage.list_usage, "compute:usage:list"),
    Route("GET", "/os-simple-tenant-usage/{project}", usage.show_usage, "compute:usage:show"),
    Route("GET", "/extensions", extension.list_extensions, "compute:extensions:show"),
    Route("GET", "/extensions/{alias}", extension.show_extension, "compute:extensions:show"),
    Route("GET", "/os-server-groups", server_group.list_server_groups, "compute:server_groups:show"),
    Route(
        "POST",
        "/os-server-groups",
        server_group.create_server_group,
        "compute:server_groups:write",
        200,
        server_group.GroupBody,
    ),
    Route("GET", "/os-server-groups/{group}", server_group.show_server_group, "compute:server_groups:show"),
    Route(
        "DELETE",
        "/os-server-groups/{group}",
        server_group.delete_server_group,
        "compute:server_groups:write",
        204,
    ),
)

_OPERATOR: Final = (
    Route("GET", "/os-quota-sets/{project}", quota_set.show_quota_set, "compute:quota_sets:show"),
    Route("GET", "/os-quota-sets/{project}/detail", quota_set.show_quota_detail, "compute:quota_sets:show"),
    Route(
        "GET",
        "/os-quota-sets/{project}/defaults",
        quota_set.show_quota_defaults,
        "compute:quota_sets:defaults",
    ),
    Route(
        "PUT",
        "/os-quota-sets/{project}",
        quota_set.update_quota_set,
        "compute:quota_sets:manage",
        200,
        quota_set.QuotaBody,
    ),
    Route("DELETE", "/os-quota-sets/{project}", quota_set.delete_quota_set, "compute:quota_sets:manage", 202),
    Route(
        "GET", "/os-quota-class-sets/{class_name}", quota_set.show_quota_class, "compute:quota_sets:manage"
    ),
    Route(
        "PUT",
        "/os-quota-class-sets/{class_name}",
        quota_set.update_quota_class,
        "compute:quota_sets:manage",
        200,
        quota_set.ClassBody,
    ),
    Route("GET", "/os-hypervisors", host.list_hypervisors, "compute:hosts:show"),
    Route("GET", "/os-hypervisors/detail", host.list_hypervisors_detail, "compute:hosts:show"),
    Route(
        "GET",
        "/os-hypervisors/statistics",
        host.show_statistics,
        "compute:hosts:show",
        microversions=_between(OLDEST, 87),
    ),
    Route("GET", "/os-hypervisors/{hypervisor_id}", host.show_hypervisor, "compute:hosts:show"),
    Route(
        "GET",
        "/os-hypervisors/{hypervisor_id}/uptime",
        host.show_uptime,
        "compute:hosts:show",
        microversions=_between(OLDEST, 87),
    ),
    Route(
        "GET",
        "/os-hypervisors/{hypervisor_id}/search",
        host.search_hypervisors,
        "compute:hosts:show",
        microversions=_between(OLDEST, 52),
    ),
    Route(
        "GET",
        "/os-hypervisors/{hypervisor_id}/servers",
        host.list_hypervisor_servers,
        "compute:hosts:show",
        microversions=_between(OLDEST, 52),
    ),
    Route("GET", "/os-services", service.list_services, "compute:services:manage"),
    Route(
        "PUT",
        "/os-services/{service_id}",
        service.update_service,
        "compute:services:manage",
        200,
        service.ServiceBody,
    ),
    Route("DELETE", "/os-services/{service_id}", service.delete_service, "compute:services:manage", 204),
    Route("GET", "/os-aggregates", none_of("aggregates"), "compute:aggregates:show"),
    Route(
        "GET", "/os-aggregates/{aggregate}", not_found("Aggregate", "aggregate"), "compute:aggregates:show"
    ),
    Route("GET", "/os-migrations", none_of("migrations"), "compute:migrations:show"),
    Route(
        "GET",
        f"{_SERVER}/migrations",
        none_of("migrations"),
        "compute:migrations:show",
        microversions=_between(23),
    ),
)

_DOCUMENTS: Final = (
    Route("GET", "/", version.list_versions, "compute:discover"),
    Route("GET", "/v2.1", version.show_version, "compute:discover"),
)


def in_project(handler: Handler) -> Handler:
    """The handler behind a path that names a project: it must be the token's own."""

    async def checked(request: Request) -> Any:
        project = request.params.pop("project_id")
        if project != request.caller.project_id:
            message = (
                f"Malformed request URL: URL's project_id '{project}' doesn't match "
                f"Context's project_id '{request.caller.project_id}'"
            )
            raise Problem(400, message)
        return await handler(request)

    return checked


def _everywhere(rows: tuple[Route, ...]) -> Iterator[Route]:
    for row in rows:
        yield replace(row, path=f"/v2.1{row.path}")
        path = f"/v2.1/{{project_id}}{row.path}"
        yield replace(row, path=path, handler=in_project(row.handler))


_ROWS: Final = (*_SERVERS, *_tag_rows(), *_FLAVORS, *_TENANT, *_OPERATOR, *_not_yet_rows())

API: Final = Api(
    name="compute",
    prefix="/compute",
    routes=(*_DOCUMENTS, *_everywhere(_ROWS)),
    rules=RULES,
    envelope=nova,
    versions=VersionRange("compute", (2, OLDEST), (2, NEWEST), "X-OpenStack-Nova-API-Version"),
    request_id_headers=("x-openstack-request-id", "x-compute-request-id"),
)
