"""A server's tags, from 2.26 on: the whole list, or one tag. Merged and raced like metadata."""

import re
from typing import Annotated, Final

from msgspec import Meta

from gateway.compute.schema import Body, Tag
from gateway.compute.server.body import TAGS_MAX
from gateway.compute.server.find import server_of
from gateway.compute.server.view import known
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.ids import address
from protocol.instance import UpdateInstance
from store.server import ServerRow

_TAG: Final = re.compile(r"\A[^,/]{1,60}\Z")


class TagsBody(Body, frozen=True):
    """All tags."""

    tags: Annotated[list[Tag], Meta(max_length=TAGS_MAX)]


async def _replace(request: Request, row: ServerRow, wanted: tuple[str, ...]) -> None:
    message = UpdateInstance(by=request.said_by(), tags=wanted, tags_seen=known(row).tags)
    await request.command(address("instance", row.id), message)


def _named(row: ServerRow, tag: str) -> tuple[str, ...]:
    """The tags, among them this one. Raises Problem 404."""
    tags = known(row).tags
    if tag not in tags:
        raise Problem(404, f"Server {row.id} has no tag '{tag}'")
    return tags


async def list_tags(request: Request) -> Response:
    """``GET …/tags``."""
    return Response({"tags": known(await server_of(request)).tags})


async def replace_tags(request: Request) -> Response:
    """``PUT …/tags``: these and no others; a tag given twice counts once."""
    body: TagsBody = request.body
    row = await server_of(request)
    wanted = tuple(sorted(set(body.tags)))
    await _replace(request, row, wanted)
    return Response({"tags": wanted})


async def clear_tags(request: Request) -> Response:
    """``DELETE …/tags``."""
    await _replace(request, await server_of(request), ())
    return Response()


async def check_tag(request: Request) -> Response:
    """``GET …/tags/{tag}``: 204 or 404."""
    _named(await server_of(request), request.params["tag"])
    return Response()


async def add_tag(request: Request) -> Response:
    """``PUT …/tags/{tag}``: 201 with its location when it is new, 204 when it was there."""
    tag = request.params["tag"]
    if not _TAG.match(tag):
        raise Problem(400, f"Tag {tag[:64]!r} is invalid: 1 to 60 characters, no slash, no comma.")
    row = await server_of(request)
    tags = known(row).tags
    if tag in tags:
        return Response(status=204)
    if len(tags) >= TAGS_MAX:
        raise Problem(400, f"The number of tags exceeded the per-server limit {TAGS_MAX}")
    await _replace(request, row, (*tags, tag))
    return Response(status=201, headers={"Location": f"{request.base_url}{request.path}"})


async def delete_tag(request: Request) -> Response:
    """``DELETE …/tags/{tag}``."""
    row = await server_of(request)
    tag = request.params["tag"]
    await _replace(request, row, tuple(other for other in _named(row, tag) if other != tag))
    return Response()
