"""Tags of projects: the calls on them one by one, and the filters that ask for them.

Source: Identity API v3, "Project tags".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from msgspec import Meta, structs
from multidict import MultiMapping

from gateway.identity import option
from gateway.identity.collection import Collection, not_found
from gateway.identity.option import ImmutableOption
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity
from store.filter import Condition, Test
from store.identity import Project

TAGS_MAX: Final = 80
TAG_LENGTH_MAX: Final = 255

Tag = Annotated[str, Meta(min_length=1, max_length=TAG_LENGTH_MAX, pattern="^[^,/]*$")]
Tags = Annotated[list[Tag], Meta(max_length=TAGS_MAX)]

_FILTERS: Final[Mapping[str, Test]] = {
    "tags": "has all",
    "tags-any": "has any",
    "not-tags": "lacks all",
    "not-tags-any": "lacks any",
}


def check_tags(tags: Sequence[str]) -> None:
    """Refuse a tag given twice. Raises Problem 400."""
    if len(set(tags)) < len(tags):
        raise Problem(400, "Invalid request body: tags must not repeat one another.")


def tag_conditions(query: MultiMapping[str]) -> list[Condition]:
    """What ``tags``, ``tags-any``, ``not-tags`` and ``not-tags-any`` ask for: lists with commas."""
    return [
        Condition("tags", test, [tag for tag in query[name].split(",") if tag])
        for name, test in _FILTERS.items()
        if name in query
    ]


class ProjectTags:
    """The calls below /v3/projects/{id}/tags."""

    def __init__(self, projects: Collection[Project]) -> None:
        self._projects = projects

    def routes(self) -> tuple[Route, ...]:
        """Return the rows."""
        many, one = "/v3/projects/{id}/tags", "/v3/projects/{id}/tags/{tag}"
        update, get = "identity:update_project", "identity:get_project"
        return (
            Route("GET", many, self.every, get),
            Route("PUT", many, self.replace, update, request=dict[str, Tags]),
            Route("DELETE", many, self.clear, update, 204),
            Route("GET", one, self.check, get, 204),
            Route("HEAD", one, self.check, get, 204),
            Route("PUT", one, self.add, update, 201),
            Route("DELETE", one, self.drop, update, 204),
        )

    async def every(self, request: Request) -> Response:
        """All tags of a project."""
        async with request.services.read_pool.acquire() as c:
            row = await self._projects.found(request, c)
        return Response({"tags": row.tags, "links": _links(request)})

    async def check(self, request: Request) -> Response:
        """204 when the project has the tag, else 404."""
        async with request.services.read_pool.acquire() as c:
            row = await self._projects.found(request, c)
        if request.params["tag"] not in row.tags:
            raise not_found("project tag", request.params["tag"])
        return Response()

    async def replace(self, request: Request) -> Response:
        """Replace all tags."""
        wanted = request.body.get("tags")
        if wanted is None or len(request.body) > 1:
            raise Problem(400, "Invalid request body: it must hold 'tags' and nothing else.")
        check_tags(wanted)
        tags = await self._write(request, lambda _: wanted)
        return Response({"tags": tags, "links": _links(request)})

    async def clear(self, request: Request) -> Response:
        """Remove all tags."""
        await self._write(request, lambda _: [])
        return Response()

    async def add(self, request: Request) -> Response:
        """Add one tag; repeating it changes nothing."""
        tag = request.params["tag"]
        if not tag or len(tag) > TAG_LENGTH_MAX or "," in tag or "/" in tag:
            raise Problem(400, "A tag has 1 to 255 characters, none of them a comma or a slash.")
        await self._write(request, lambda tags: [*tags, tag] if tag not in tags else tags)
        return Response(headers={"Location": request.base_url + request.path})

    async def drop(self, request: Request) -> Response:
        """Remove one tag."""
        tag = request.params["tag"]

        def without(tags: list[str]) -> list[str]:
            if tag not in tags:
                raise not_found("project tag", tag)
            return [kept for kept in tags if kept != tag]

        await self._write(request, without)
        return Response()

    async def _write(self, request: Request, edit: Callable[[list[str]], list[str]]) -> list[str]:
        async with request.services.pool.acquire() as c, c.transaction():
            row = await self._projects.found(request, c, lock=True)
            option.check_mutable("project", row.id, row.options, ImmutableOption())
            tags = edit(row.tags)
            if len(tags) > TAGS_MAX:
                raise Problem(400, f"A project has at most {TAGS_MAX} tags.")
            await identity.replace(c, structs.replace(row, tags=tags))
        return tags


def _links(request: Request) -> dict[str, Any]:
    return {"self": request.base_url + request.path, "previous": None, "next": None}
