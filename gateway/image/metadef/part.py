"""What a namespace holds: objects, properties, tags, associations with resource types. And those types.

Four kinds with one life: made, shown, replaced, deleted by name. They differ in what is said of them
(body.py) and how they are shown (view.py).
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import UNSET

from gateway.image.metadef.access import Within, check_unprotected
from gateway.image.metadef.body import (
    NAME_LENGTH_MAX,
    PARTS_MAX,
    RESOURCE_TYPES_MAX,
    NamespaceBody,
    TagBody,
    kept,
)
from gateway.image.metadef.page import order_in
from gateway.image.metadef.view import (
    body_of,
    prefix_for,
    shown_association,
    shown_object,
    shown_property,
    shown_tag,
    shown_type,
)
from gateway.pages import limit_in
from gateway.problem import Problem
from gateway.request import Request, Response
from store.metadef import (
    PART_SORT,
    Kind,
    NamespaceBase,
    NamespaceRow,
    PartRow,
    add_part,
    change_part,
    know_resource_type,
    part,
    parts,
    parts_of,
    remove_part,
    remove_parts,
    resource_types,
)
from store.pool import Connection

APPEND_HEADER: Final = "X-Openstack-Append"
_YES: Final = frozenset({"1", "t", "true", "on", "y", "yes"})
_WORDS: Final[dict[Kind, str]] = {
    "object": "object",
    "property": "property",
    "tag": "tag",
    "resource_type": "resource type association",
}

Show = Callable[[str, PartRow], dict[str, Any]]
"""(the namespace's name, the part) → what is shown."""
Wanted = tuple[Kind, str, str]
"""(kind, name, body) of a part to make."""

_SHOWN: Final[dict[Kind, Show]] = {
    "object": shown_object,
    "property": lambda _, row: shown_property(row),
    "tag": lambda _, row: shown_tag(row),
    "resource_type": lambda _, row: shown_association(row),
}


def _not_found(kind: Kind, name: str, row: NamespaceRow) -> Problem:
    return Problem(404, f"Metadata definition {_WORDS[kind]} {name} not found in {row.namespace}")


def base_of(body: NamespaceBody, owner: str) -> NamespaceBase:
    """What a body says of the namespace itself."""
    return NamespaceBase(
        namespace=body.namespace,
        display_name=None if body.display_name is UNSET else body.display_name,
        description=None if body.description is UNSET else body.description,
        visibility=body.visibility,
        protected=body.protected,
        owner=owner,
    )


def held_by(body: NamespaceBody) -> list[Wanted]:
    """The parts that a namespace's body brings. Raises Problem 400 or 403."""
    return [
        *(("resource_type", part.name, kept(part)) for part in body.resource_type_associations),
        *(("property", name, kept(part)) for name, part in body.properties.items()),
        *(("object", part.name, kept(part)) for part in body.objects),
        *(("tag", part.name, kept(part)) for part in body.tags),
    ]


async def add_parts(c: Connection, namespace_id: int, wanted: Iterable[Wanted], now: float) -> list[PartRow]:
    """Make parts, in one transaction of the caller's. Raises Problem 413, Taken, Gone."""
    made = []
    for kind, name, body in wanted:
        if kind == "resource_type" and not await know_resource_type(
            c, name, now, types_max=RESOURCE_TYPES_MAX
        ):
            raise Problem(413, f"The limit of {RESOURCE_TYPES_MAX} resource types has been exceeded.")
        row = await add_part(c, namespace_id, kind, name, body, now, parts_max=PARTS_MAX)
        if row is None:
            raise Problem(413, f"A namespace may hold {PARTS_MAX} of each kind.")
        made.append(row)
    return made


# --- the four kinds ------------------------------------------------------------------------------


def create(kind: Kind) -> Within:
    """Make one from the body."""

    async def handler(request: Request, row: NamespaceRow) -> Response:
        return await _made(request, row, (kind, request.body.name, kept(request.body)))

    return handler


async def create_tag(request: Request, row: NamespaceRow) -> Response:
    """Make the tag of the path."""
    name = request.params["name"]
    if len(name) > NAME_LENGTH_MAX:
        raise Problem(400, f"A tag has at most {NAME_LENGTH_MAX} characters.")
    return await _made(request, row, ("tag", name, kept(TagBody(name=name))))


async def _made(request: Request, row: NamespaceRow, wanted: Wanted) -> Response:
    async with request.services.pool.acquire() as c, c.transaction():
        (made,) = await add_parts(c, row.id, [wanted], request.services.clock.now())
    return Response(_SHOWN[made.kind](row.namespace, made))


async def create_tags(request: Request, row: NamespaceRow) -> Response:
    """Make several tags; unless they are to be appended, instead of those there are."""
    append = request.headers.get(APPEND_HEADER, "").strip().lower() in _YES
    wanted: list[Wanted] = [("tag", tag.name, kept(tag)) for tag in request.body.tags]
    async with request.services.pool.acquire() as c, c.transaction():
        if not append:
            await remove_parts(c, row.id, "tag")
        await add_parts(c, row.id, wanted, request.services.clock.now())
    return Response({"tags": [{"name": name} for _, name, _ in wanted]})


def show(kind: Kind) -> Within:
    """Show one by its name."""

    async def handler(request: Request, row: NamespaceRow) -> Response:
        return Response(_SHOWN[kind](row.namespace, await _one(request, row, kind, request.params["name"])))

    return handler


async def show_property(request: Request, row: NamespaceRow) -> Response:
    """Show a property; with ``resource_type`` it is asked for as it is called there."""
    name, resource_type = request.params["name"], request.query.get("resource_type", "")
    if resource_type:
        async with request.services.read_pool.acquire() as c:
            prefix = prefix_for(resource_type, await parts_of(c, [row.id], "resource_type"))
        if not prefix or not name.startswith(prefix):
            raise Problem(404, f"Property {name} does not begin as properties of {resource_type} do.")
        name = name.removeprefix(prefix)
    return Response(shown_property(await _one(request, row, "property", name)))


async def _one(request: Request, row: NamespaceRow, kind: Kind, name: str) -> PartRow:
    async with request.services.read_pool.acquire() as c:
        found = await part(c, row.id, kind, name)
    if found is None:
        raise _not_found(kind, name, row)
    return found


def update(kind: Kind) -> Within:
    """Replace one, its name too."""

    async def handler(request: Request, row: NamespaceRow) -> Response:
        name, body = request.params["name"], kept(request.body)
        async with request.services.pool.acquire() as c:
            found = await part(c, row.id, kind, name)
            if found is not None:
                now = request.services.clock.now()
                found = await change_part(c, found.id, request.body.name, body, now)
        if found is None:
            raise _not_found(kind, name, row)
        return Response(_SHOWN[kind](row.namespace, found))

    return handler


def delete(kind: Kind) -> Within:
    """Remove one."""

    async def handler(request: Request, row: NamespaceRow) -> Response:
        check_unprotected(row)
        name = request.params["name"]
        async with request.services.pool.acquire() as c:
            if not await remove_part(c, row.id, kind, name):
                raise _not_found(kind, name, row)
        return Response()

    return handler


# --- lists ---------------------------------------------------------------------------------------


async def _page(request: Request, row: NamespaceRow, kind: Kind) -> list[PartRow]:
    """The parts that the query asks for; a marker is a name."""
    query = request.query
    sort, limit = order_in(query, PART_SORT), limit_in(query, limit_max=PARTS_MAX, zero=PARTS_MAX)
    marker = query.get("marker", "")
    async with request.services.read_pool.acquire() as c:
        before = await part(c, row.id, kind, marker) if marker else None
        if marker and before is None:
            raise _not_found(kind, marker, row)
        return await parts(c, row.id, kind, sort=sort, marker=before.id if before else None, limit=limit)


async def list_objects(request: Request, row: NamespaceRow) -> Response:
    """The objects; the schema's address has no slash in front in Glance either."""
    found = await _page(request, row, "object")
    shown = [shown_object(row.namespace, one) for one in found]
    return Response({"objects": shown, "schema": "v2/schemas/metadefs/objects"})


async def list_tags(request: Request, row: NamespaceRow) -> Response:
    """The tags, their names alone."""
    return Response({"tags": [{"name": one.name} for one in await _page(request, row, "tag")]})


async def list_properties(request: Request, row: NamespaceRow) -> Response:
    """All properties by name."""
    async with request.services.read_pool.acquire() as c:
        found = await parts_of(c, [row.id], "property")
    return Response({"properties": {one.name: body_of(one) for one in found}})


async def list_associations(request: Request, row: NamespaceRow) -> Response:
    """The resource types the namespace is for."""
    async with request.services.read_pool.acquire() as c:
        found = await parts_of(c, [row.id], "resource_type")
    return Response({"resource_type_associations": [shown_association(one) for one in found]})


async def list_resource_types(request: Request) -> Response:
    """All resource types there are associations for, or were."""
    async with request.services.read_pool.acquire() as c:
        found = await resource_types(c)
    return Response({"resource_types": [shown_type(one) for one in found]})
