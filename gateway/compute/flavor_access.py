"""Which projects may use a private flavor. Source: Compute API reference, "Flavors access"."""

from typing import Any, Final

import msgspec

from gateway.body import decoded
from gateway.compute.flavor import flavor_of
from gateway.compute.query import pool
from gateway.compute.schema import Body, ProjectId
from gateway.problem import Problem
from gateway.request import Request, Response, forbidden
from store.compute import FlavorRow, Taken, allow_flavor, disallow_flavor, flavor_projects
from store.pool import Connection

_RULES: Final = {
    "addTenantAccess": "compute:flavors:add_access",
    "removeTenantAccess": "compute:flavors:remove_access",
}


class TenantArgument(Body, frozen=True):
    """Whose access is meant."""

    tenant: ProjectId


async def _listed(connection: Connection, row: FlavorRow) -> dict[str, Any]:
    projects = await flavor_projects(connection, row.id)
    return {"flavor_access": [{"flavor_id": row.id, "tenant_id": project} for project in projects]}


async def list_flavor_access(request: Request) -> Response:
    """``GET /flavors/{id}/os-flavor-access``; a public flavor has no such list."""
    row = await flavor_of(request)
    if row.is_public:
        raise Problem(404, "Access list not available for public flavors.")
    async with pool(request).acquire() as connection:
        return Response(await _listed(connection, row))


async def flavor_action(request: Request) -> Response:
    """``POST /flavors/{id}/action``: addTenantAccess, removeTenantAccess. The list is answered."""
    body: dict[str, msgspec.Raw] = request.body
    name = next(iter(body)) if len(body) == 1 else ""
    rule = _RULES.get(name)
    if rule is None:
        raise Problem(400, "The action of a flavor is addTenantAccess or removeTenantAccess.")
    project = decoded(TenantArgument, body[name]).tenant
    if not request.allows(rule):
        raise forbidden(rule)
    row = await flavor_of(request)
    async with request.services.pool.acquire() as connection:
        if name == "addTenantAccess":
            await _allow(connection, row, project)
        elif not await disallow_flavor(connection, row.id, project):
            raise Problem(404, f"Flavor access not found for {row.id} / {project} combination.")
        return Response(await _listed(connection, row))


async def _allow(connection: Connection, row: FlavorRow, project: str) -> None:
    if row.is_public:
        raise Problem(409, "Can not add access to a public flavor.")
    try:
        await allow_flavor(connection, row.id, project)
    except Taken as taken:
        message = f"Flavor access already exists for flavor {row.id} and project {project} combination."
        raise Problem(409, message) from taken
