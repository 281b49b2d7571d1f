"""Namespaces of metadata definitions: list, make, show, change, delete."""

from typing import Any, Final
from urllib.parse import urlencode

from msgspec import UNSET

from gateway.image.access import viewer
from gateway.image.listing import LIMIT_DEFAULT, LIMIT_MAX
from gateway.image.metadef.access import check_unprotected, no_namespace
from gateway.image.metadef.body import VISIBILITIES, NamespaceBody, check_read_only
from gateway.image.metadef.page import order_in
from gateway.image.metadef.part import add_parts, base_of, held_by
from gateway.image.metadef.view import href, shown_association, shown_namespace, shown_whole
from gateway.pages import MARKER_LENGTH_MAX, limit_in, query_after
from gateway.problem import Problem
from gateway.request import Request, Response
from store.metadef import (
    NAMESPACE_SORT,
    Kind,
    NamespaceBase,
    NamespaceRow,
    PartRow,
    Taken,
    add_namespace,
    change_namespace,
    namespace,
    namespaces,
    parts_of,
    remove_namespace,
    remove_parts,
)

RESOURCE_TYPES_ASKED_MAX: Final = 100
"""Resource types in one filter."""


async def list_namespaces(request: Request) -> Response:
    """One page of the namespaces the caller sees, with their associations."""
    query = request.query
    visibility = query.get("visibility")
    if visibility is not None and visibility not in VISIBILITIES:
        raise Problem(400, f"Invalid visibility value: {visibility[:64]}")
    types = query["resource_types"].split(",") if query.get("resource_types") else None
    if types is not None and len(types) > RESOURCE_TYPES_ASKED_MAX:
        raise Problem(400, f"A filter may name {RESOURCE_TYPES_ASKED_MAX} resource types.")
    sort = order_in(query, NAMESPACE_SORT)
    limit = limit_in(query, limit_max=LIMIT_MAX, zero=0) if "limit" in query else LIMIT_DEFAULT
    async with request.services.read_pool.acquire() as c:
        marker = query.get("marker")
        before = await namespace(c, marker[:MARKER_LENGTH_MAX], viewer(request)) if marker else None
        if marker and before is None:
            raise no_namespace(marker)
        rows = await namespaces(
            c,
            viewer(request),
            visibility=visibility,
            resource_types=types,
            sort=sort,
            marker=before.id if before else None,
            limit=limit + 1,
        )
        more = len(rows) > limit > 0
        rows = rows[:limit]
        associations = await parts_of(c, [row.id for row in rows], "resource_type")
    first = urlencode([(name, value) for name, value in query.items() if name != "marker"])
    page: dict[str, Any] = {
        "namespaces": [_listed(row, associations) for row in rows],
        "first": "/v2/metadefs/namespaces" + (f"?{first}" if first else ""),
        "schema": "/v2/schemas/metadefs/namespaces",
    }
    if more:
        page["next"] = f"/v2/metadefs/namespaces?{query_after(query, rows[-1].namespace)}"
    return Response(page)


def _listed(row: NamespaceRow, associations: list[PartRow]) -> dict[str, object]:
    its = [shown_association(part) for part in associations if part.namespace_id == row.id]
    return {**shown_namespace(row), **({"resource_type_associations": its} if its else {})}


def _base(request: Request, body: NamespaceBody) -> NamespaceBase:
    """What the body says of the namespace itself. Raises Problem 403."""
    check_read_only(body)
    caller = request.caller
    owner = caller.project_id if body.owner is UNSET else body.owner
    if owner != caller.project_id and not caller.is_admin:
        raise Problem(403, f"You are not permitted to have namespaces owned by '{owner}'.")
    return base_of(body, owner)


async def create_namespace(request: Request) -> Response:
    """Make a namespace with everything the body holds, or nothing at all."""
    body: NamespaceBody = request.body
    base, held, now = _base(request, body), held_by(body), request.services.clock.now()
    try:
        async with request.services.pool.acquire() as c, c.transaction():
            row = await add_namespace(c, base, now)
            made = await add_parts(c, row.id, held, now)
    except Taken as taken:
        raise Problem(409, f"There is another {taken} already.") from taken
    location = request.api_url + href(row.namespace)
    return Response(shown_whole(row, made), headers={"Location": location})


async def show_namespace(request: Request, row: NamespaceRow) -> Response:
    """A namespace with everything it holds."""
    async with request.services.read_pool.acquire() as c:
        held = await parts_of(c, [row.id])
    return Response(shown_whole(row, held, request.query.get("resource_type", "")))


async def update_namespace(request: Request, row: NamespaceRow) -> Response:
    """Replace what is said of the namespace itself; what it holds stays."""
    base = _base(request, request.body)
    async with request.services.pool.acquire() as c:
        changed = await change_namespace(c, row.id, base, request.services.clock.now())
    return Response(shown_namespace(changed))


async def delete_namespace(request: Request, row: NamespaceRow) -> Response:
    """Remove it with everything it holds."""
    check_unprotected(row)
    async with request.services.pool.acquire() as c:
        await remove_namespace(c, row.id)
    return Response()


async def delete_objects(request: Request, row: NamespaceRow) -> Response:
    """Remove all objects."""
    return await _emptied(request, row, "object")


async def delete_properties(request: Request, row: NamespaceRow) -> Response:
    """Remove all properties."""
    return await _emptied(request, row, "property")


async def delete_tags(request: Request, row: NamespaceRow) -> Response:
    """Remove all tags."""
    return await _emptied(request, row, "tag")


async def _emptied(request: Request, row: NamespaceRow, kind: Kind) -> Response:
    check_unprotected(row)
    async with request.services.pool.acquire() as c:
        await remove_parts(c, row.id, kind)
    return Response()
