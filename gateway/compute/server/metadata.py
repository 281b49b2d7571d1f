"""A server's metadata: the whole set, or one item.

The instance replaces sets only; what changes some of it is merged here, and the set it was merged into goes
along, so that a race ends as 409 instead of a lost update.
"""

from typing import Annotated

from msgspec import Meta

from gateway.compute.query import minor
from gateway.compute.quota import limits_of
from gateway.compute.schema import Body, Metadata, check
from gateway.compute.server.find import server_of
from gateway.compute.server.view import known
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.ids import address
from protocol.instance import UpdateInstance
from store.server import ServerRow


class MetadataBody(Body, frozen=True):
    """The whole set, or the items to add."""

    metadata: Metadata


class ItemBody(Body, frozen=True):
    """One item."""

    meta: Annotated[Metadata, Meta(min_length=1, max_length=1)]


_NO_ITEM = "Metadata item was not found"


async def _replace(request: Request, row: ServerRow, seen: dict[str, str], wanted: dict[str, str]) -> None:
    async with request.services.read_pool.acquire() as connection:
        limit = (await limits_of(connection, row.project_id))["metadata_items"]
    if 0 <= limit < len(wanted) and len(wanted) > len(seen):
        raise Problem(403, f"Maximum number of metadata items exceeds {limit}")
    message = UpdateInstance(by=request.said_by(), metadata=wanted, metadata_seen=seen)
    await request.command(address("instance", row.id), message)


async def list_metadata(request: Request) -> Response:
    """``GET …/metadata``."""
    return Response({"metadata": known(await server_of(request)).metadata})


async def add_metadata(request: Request) -> Response:
    """``POST …/metadata``: add or replace these items; all of them are answered."""
    body: MetadataBody = request.body
    check(body, minor(request))
    row = await server_of(request)
    seen = known(row).metadata
    wanted = {**seen, **body.metadata}
    await _replace(request, row, seen, wanted)
    return Response({"metadata": wanted})


async def replace_metadata(request: Request) -> Response:
    """``PUT …/metadata``: these items and no others."""
    body: MetadataBody = request.body
    row = await server_of(request)
    await _replace(request, row, known(row).metadata, body.metadata)
    return Response({"metadata": body.metadata})


async def show_item(request: Request) -> Response:
    """``GET …/metadata/{key}``."""
    row = await server_of(request)
    key = request.params["key"]
    items = known(row).metadata
    if key not in items:
        raise Problem(404, _NO_ITEM)
    return Response({"meta": {key: items[key]}})


async def put_item(request: Request) -> Response:
    """``PUT …/metadata/{key}``."""
    body: ItemBody = request.body
    key = request.params["key"]
    if key not in body.meta:
        raise Problem(400, "Request body and URI mismatch")
    row = await server_of(request)
    seen = known(row).metadata
    await _replace(request, row, seen, {**seen, **body.meta})
    return Response({"meta": body.meta})


async def delete_item(request: Request) -> Response:
    """``DELETE …/metadata/{key}``."""
    row = await server_of(request)
    key = request.params["key"]
    seen = known(row).metadata
    if key not in seen:
        raise Problem(404, _NO_ITEM)
    await _replace(request, row, seen, {name: value for name, value in seen.items() if name != key})
    return Response()
