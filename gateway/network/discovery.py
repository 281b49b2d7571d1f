"""Versions, resources and extensions of the Networking API: what there is, and nothing that is not."""

from typing import Any, Final

from gateway.problem import Problem
from gateway.request import Request, Response

# Aliases of what works here, with their names. Source: neutron-lib, api/definitions.
EXTENSIONS: Final[dict[str, str]] = {
    "availability_zone": "Availability Zone",
    "binding": "Port Binding",
    "external-net": "Neutron external network",
    "net-mtu": "Network MTU",
    "pagination": "Pagination support",
    "project-id": "project_id field enabled",
    "quota_details": "Quota details management support",
    "quotas": "Quota management support",
    "security-group": "security-group",
    "sorting": "Sorting support",
    "standard-attr-description": "standard-attr-description",
    "standard-attr-revisions": "Resource revision numbers",
    "standard-attr-timestamp": "Resource timestamps",
}
_UPDATED: Final = "2026-11-22T00:00:00-00:00"
COLLECTIONS: Final = (
    "network", "subnet", "port", "security_group", "security_group_rule", "router", "floatingip", "quota",
    "extension", "agent", "availability_zone",
)  # fmt: skip


async def list_versions(request: Request) -> Response:
    """The one version, without a token."""
    links = [{"rel": "self", "href": f"{request.api_url}/v2.0/"}]
    return Response({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


async def list_resources(request: Request) -> Response:
    """The collections of v2.0."""
    resources = []
    for word in COLLECTIONS:
        plural = word + "s"
        href = f"{request.api_url}/v2.0/{plural.replace('_', '-') if word != 'availability_zone' else plural}"
        resources.append({"name": word, "collection": plural, "links": [{"rel": "self", "href": href}]})
    return Response({"resources": resources})


def _extension(alias: str) -> dict[str, Any]:
    name = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": name, "updated": _UPDATED, "links": []}


async def list_extensions(_: Request) -> Response:
    """What works beyond the core."""
    return Response({"extensions": [_extension(alias) for alias in EXTENSIONS]})


async def show_extension(request: Request) -> Response:
    """One extension."""
    alias = request.params["alias"]
    if alias not in EXTENSIONS:
        raise Problem(404, f"Extension {alias[:64]} could not be found.", "ExtensionNotFound")
    return Response({"extension": _extension(alias)})
