"""Flavors: what sizes there are, who may use them, and their extra specs.

Source: Compute API reference, "Flavors", "Flavors access", "Flavors extra-specs".
"""
# ruff: noqa: PLR2004  the numbers are microversions

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, UnsetType, field

from gateway.compute.query import (
    bad_marker,
    minor,
    next_link,
    page_of,
    pool,
    refuse_unknown,
    whole_in,
)
from gateway.compute.schema import (
    INT_MAX,
    Body,
    Boolean,
    LongText,
    Name,
    check,
    since,
    truth,
    truth_in,
)
from gateway.problem import Problem
from gateway.request import Request, Response
from store.compute import (
    FLAVOR_SORT,
    FlavorFilter,
    FlavorRow,
    Taken,
    add_flavor,
    describe_flavor,
    flavor,
    flavors,
    remove_flavor,
)

_Size = Annotated[int, Meta(ge=0, le=INT_MAX)] | Annotated[str, Meta(pattern=r"\A[0-9]{1,9}\Z")]
_LIST: Final = frozenset({"limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir"})
_FACTOR_MAX: Final = 3.40282e38


class NewFlavor(Body, frozen=True):
    """``flavor`` of POST /flavors. Memory and swap in MiB, disks in GiB."""

    name: Name
    ram: _Size
    vcpus: _Size
    disk: _Size
    id: Annotated[str, Meta(pattern=r"\A(?! )[a-zA-Z0-9. _-]{1,255}(?<! )\Z")] | int | None = None
    swap: _Size | UnsetType = UNSET
    ephemeral: _Size | UnsetType = field(name="OS-FLV-EXT-DATA:ephemeral", default=UNSET)
    rxtx_factor: float | Annotated[str, Meta(pattern=r"\A[0-9]{1,9}(\.[0-9]{1,9})?\Z")] | UnsetType = UNSET
    is_public: Boolean | UnsetType = field(name="os-flavor-access:is_public", default=UNSET)
    description: Annotated[LongText | UnsetType, since(55)] = UNSET


class CreateBody(Body, frozen=True):
    """POST /flavors."""

    flavor: NewFlavor


class FlavorChange(Body, frozen=True):
    """``flavor`` of PUT /flavors/{id}."""

    description: LongText


class UpdateBody(Body, frozen=True):
    """PUT /flavors/{id}."""

    flavor: FlavorChange


def no_such_flavor(ident: str) -> Problem:
    """404 in Nova's words."""
    return Problem(404, f"Flavor {ident} could not be found.")


def _links(ident: str, api_url: str) -> list[dict[str, str]]:
    return [
        {"rel": "self", "href": f"{api_url}/v2.1/flavors/{ident}"},
        {"rel": "bookmark", "href": f"{api_url}/flavors/{ident}"},
    ]


def brief(row: FlavorRow, at: int, api_url: str) -> dict[str, Any]:
    """A flavor in the short list."""
    shown: dict[str, Any] = {"id": row.id, "name": row.name, "links": _links(row.id, api_url)}
    if at >= 55:
        shown["description"] = row.description
    return shown


def full(row: FlavorRow, at: int, api_url: str) -> dict[str, Any]:
    """A flavor with all that 2.``at`` shows of it."""
    shown = {
        **brief(row, at, api_url),
        "ram": row.memory_mib,
        "disk": row.disk_gib,
        "vcpus": row.vcpus,
        "swap": row.swap_mib or (0 if at >= 75 else ""),
        "OS-FLV-EXT-DATA:ephemeral": row.ephemeral_gib,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": row.is_public,
        "rxtx_factor": row.rxtx_factor,
    }
    if at >= 61:
        shown["extra_specs"] = row.extra_specs
    return shown


async def flavor_of(request: Request) -> FlavorRow:
    """The flavor ``{flavor_id}``, if the caller may see it. Raises Problem 404."""
    ident, caller = request.params["flavor_id"], request.caller
    async with pool(request).acquire() as connection:
        row = await flavor(connection, ident, project=None if caller.is_admin else caller.project_id)
    if row is None:
        raise no_such_flavor(ident)
    return row


def _which(request: Request) -> FlavorFilter:
    query, caller = request.query, request.caller
    is_public: bool | None = True
    if caller.is_admin and "is_public" in query:
        text = query["is_public"]
        is_public = None if text.lower() == "none" else truth_in(text, "is_public")
    return FlavorFilter(
        is_public=is_public,
        project=caller.project_id if is_public else None,
        memory_min=whole_in(query["minRam"], "minRam") if "minRam" in query else 0,
        disk_min=whole_in(query["minDisk"], "minDisk") if "minDisk" in query else 0,
    )


async def _page(request: Request) -> tuple[list[FlavorRow], dict[str, Any]]:
    """The flavors of the page and the members that lead to the next. Raises Problem 400."""
    refuse_unknown(request, _LIST)
    limit, marker = page_of(request)
    sort = request.query.get("sort_key", "flavorid")
    way = request.query.get("sort_dir", "asc")
    if sort not in FLAVOR_SORT or way not in ("asc", "desc"):
        raise Problem(400, f"Cannot sort flavors by {sort[:64]!r} {way[:64]!r}.")
    async with pool(request).acquire() as connection:
        rows = await flavors(
            connection,
            _which(request),
            sort=sort,
            descending=way == "desc",
            marker=marker,
            limit=limit + 1,
        )
    if rows is None:
        raise bad_marker(marker)
    if len(rows) <= limit:
        return rows, {}
    rows = rows[:limit]
    return rows, {"flavors_links": next_link(request, rows[-1].id)} if rows else {}


async def list_flavors(request: Request) -> Response:
    """``GET /flavors``."""
    rows, links = await _page(request)
    at, api_url = minor(request), request.api_url
    return Response({"flavors": [brief(row, at, api_url) for row in rows], **links})


async def list_flavors_detail(request: Request) -> Response:
    """``GET /flavors/detail``."""
    rows, links = await _page(request)
    at, api_url = minor(request), request.api_url
    return Response({"flavors": [full(row, at, api_url) for row in rows], **links})


async def show_flavor(request: Request) -> Response:
    """``GET /flavors/{id}``."""
    row = await flavor_of(request)
    return Response({"flavor": full(row, minor(request), request.api_url)})


async def create_flavor(request: Request) -> Response:
    """``POST /flavors``: 200."""
    body: CreateBody = request.body
    check(body, minor(request))
    row = _row_from(body.flavor, request.services.clock.uuid())
    async with request.services.pool.acquire() as connection:
        try:
            await add_flavor(connection, row, request.services.clock.now())
        except Taken as taken:
            twin = f"name {row.name}" if "name" in str(taken) else f"ID {row.id}"
            raise Problem(409, f"Flavor with {twin} already exists.") from taken
    return Response({"flavor": full(row, minor(request), request.api_url)})


def _row_from(wish: NewFlavor, fresh_id: str) -> FlavorRow:
    factor = 1.0 if wish.rxtx_factor is UNSET else float(wish.rxtx_factor)
    if int(wish.ram) < 1 or int(wish.vcpus) < 1:
        raise Problem(400, "Invalid input for field/attribute: ram and vcpus must be at least 1.")
    if not 0 < factor <= _FACTOR_MAX:
        raise Problem(400, "Invalid input for field/attribute rxtx_factor.")
    return FlavorRow(
        id=fresh_id if wish.id is None else str(wish.id),
        name=wish.name.strip(),
        vcpus=int(wish.vcpus),
        memory_mib=int(wish.ram),
        disk_gib=int(wish.disk),
        ephemeral_gib=0 if wish.ephemeral is UNSET else int(wish.ephemeral),
        swap_mib=0 if wish.swap is UNSET else int(wish.swap),
        rxtx_factor=factor,
        is_public=truth(wish.is_public, default=True),
        description=None if wish.description is UNSET else wish.description,
    )


async def update_flavor(request: Request) -> Response:
    """``PUT /flavors/{id}``: its description."""
    body: UpdateBody = request.body
    check(body, minor(request))
    ident, services = request.params["flavor_id"], request.services
    async with services.pool.acquire() as connection:
        if not await describe_flavor(connection, ident, body.flavor.description, services.clock.now()):
            raise no_such_flavor(ident)
        row = await flavor(connection, ident, project=None)
    if row is None:
        raise no_such_flavor(ident)
    return Response({"flavor": full(row, minor(request), request.api_url)})


async def delete_flavor(request: Request) -> Response:
    """``DELETE /flavors/{id}``: 202; servers keep what they were made with."""
    ident = request.params["flavor_id"]
    async with request.services.pool.acquire() as connection:
        if not await remove_flavor(connection, ident):
            raise no_such_flavor(ident)
    return Response()
