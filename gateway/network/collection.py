"""Lists and single resources as every collection of the Networking API has them.

A collection is its source of rows and how a row is shown; filters, ``fields``, sorting and pages are the
same for all. Unknown query parameters are ignored, as Neutron does without filter validation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from msgspec import Struct
from multidict import MultiMapping

from gateway.network.shape import Show
from gateway.pages import MARKER_LENGTH_MAX, SortKey, limit_in, sort_in
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store.keyset import Key
from store.network_list import Row, Source, Wanted, row, rows
from store.pool import Connection

LIMIT_MAX: Final = 10_000
"""Rows in one answer; a longer list is cut and linked, asked for or not."""
VALUES_MAX: Final = 500
_DEFAULT_SORT: Final = (SortKey("created_at", descending=False),)
_TRUE: Final = frozenset({"true", "1"})
_FALSE: Final = frozenset({"false", "0"})
_ALIASES: Final = {"tenant_id": "project_id"}
_ADDRESSES: Final = ("ip_address", "subnet_id")

Prepare = Callable[[Request], Any]
Enrich = Callable[[Connection, list[Row]], Any]


class Collection(Struct, frozen=True, kw_only=True):
    """One kind of resource. ``word`` is its singular in bodies, ``kind`` its name in errors.

    ``enrich`` adds to rows what the source does not have; ``prepare`` runs before anything is read.
    """

    word: str
    kind: str
    source: Source
    show: Show
    enrich: Enrich | None = None
    prepare: Prepare | None = None

    @property
    def plural(self) -> str:
        """The name in lists."""
        return self.word + "s"

    @property
    def path(self) -> str:
        """Below the API's prefix; words are joined by dashes."""
        return "/v2.0/" + self.plural.replace("_", "-")

    def routes(self) -> tuple[Route, ...]:
        """The rows for reading."""
        return (
            Route("GET", self.path, self.page, f"network:get_{self.word}"),
            Route("GET", f"{self.path}/{{id}}", self.one, f"network:get_{self.word}"),
        )

    async def page(self, request: Request) -> Response:
        """The rows that the caller sees, filtered, in order, one page."""
        query = request.query
        if self.prepare is not None:
            await self.prepare(request)
        asked = "limit" in query
        limit = limit_in(query, limit_max=LIMIT_MAX, zero=LIMIT_MAX)
        reverse = query.get("page_reverse", "").lower() in _TRUE
        marker = query.get("marker", "")
        if len(marker) > MARKER_LENGTH_MAX:
            raise Problem(400, "The marker is not the id of a resource.")
        wanted = self._wanted(request)
        async with request.services.read_pool.acquire() as c:
            if marker and await row(c, self.source, marker, wanted.project) is None:
                raise self.missing(marker)
            found = await rows(
                c,
                self.source,
                wanted,
                sort=self._sort(query, reverse=reverse),
                marker=marker,
                limit=limit + 1,
            )
            more = len(found) > limit
            found = found[:limit]
            if reverse:
                found.reverse()
            if self.enrich is not None:
                await self.enrich(c, found)
        fields = frozenset(query.getall("fields", []))
        body: dict[str, Any] = {self.plural: [self._shown(request, one, fields) for one in found]}
        if found and (asked or more):
            links = self._links(request, found, more=more, reverse=reverse)
            if links:
                body[f"{self.plural}_links"] = links
        return Response(body)

    async def one(self, request: Request) -> Response:
        """One row."""
        if self.prepare is not None:
            await self.prepare(request)
        ident = request.params["id"].removesuffix(".json")
        async with request.services.read_pool.acquire() as c:
            found = await row(c, self.source, ident, project_seen(request))
            if found is None:
                raise self.missing(ident)
            if self.enrich is not None:
                await self.enrich(c, [found])
        fields = frozenset(request.query.getall("fields", []))
        return Response({self.word: self._shown(request, found, fields)})

    def missing(self, ident: str) -> Problem:
        """404 with the type that clients map to their exception."""
        name = self.kind.replace("_", " ")
        kind = "".join(part.capitalize() for part in self.kind.split("_")) + "NotFound"
        return Problem(404, f"{name.capitalize()} {ident[:64]} could not be found.", kind)

    def _shown(self, request: Request, found: Row, fields: frozenset[str]) -> dict[str, Any]:
        shown = self.show(found, request.caller.is_admin)
        return {name: value for name, value in shown.items() if name in fields} if fields else shown

    def _wanted(self, request: Request) -> Wanted:
        query = request.query
        equal: dict[str, Sequence[Any]] = {}
        for name in dict.fromkeys(query.keys()):
            column = _ALIASES.get(name, name)
            kind = self.source.columns.get(column)
            if kind is not None:
                equal[column] = [_value(name, kind, text) for text in query.getall(name)[:VALUES_MAX]]
        return Wanted(project=project_seen(request), equal=equal, addresses=_addresses(query))

    def _sort(self, query: MultiMapping[str], *, reverse: bool) -> list[Key]:
        sort = sort_in(query, [*self.source.columns, "created_at", "updated_at"], _DEFAULT_SORT)
        if all(key.name != "id" for key in sort):
            sort = (*sort, SortKey("id", sort[0].descending))
        return [
            Key(f'coalesce(r."{key.name}"{self._absent(key.name)})', key.descending is not reverse)
            for key in sort
        ]

    def _absent(self, name: str) -> str:
        """What stands for NULL in an order: text columns have some."""
        return ", ''" if self.source.columns.get(name) == "text" else ""

    def _links(
        self, request: Request, found: list[Row], *, more: bool, reverse: bool
    ) -> list[dict[str, str]]:
        links = []
        if more or reverse:
            forward = found[-1]["id"]
            links.append({"rel": "next", "href": _href(request, forward, reverse=False)})
        if "marker" in request.query and (more or not reverse):
            links.append({"rel": "previous", "href": _href(request, found[0]["id"], reverse=True)})
        return links


def project_seen(request: Request) -> str | None:
    """Whose rows the caller sees; None: everybody's."""
    caller = request.caller
    return None if caller.is_admin else caller.project_id


def _href(request: Request, marker: str, *, reverse: bool) -> str:
    kept = [(name, value) for name, value in request.query.items() if name not in ("marker", "page_reverse")]
    query = [*kept, ("marker", marker), *([("page_reverse", "True")] if reverse else [])]
    return f"{request.base_url}{request.path}?{urlencode(query)}"


def _value(name: str, kind: str, text: str) -> Any:
    if kind == "bool":
        word = text.lower()
        if word not in _TRUE | _FALSE:
            raise Problem(400, f"Invalid value {text[:64]!r} for {name}: true or false.")
        return word in _TRUE
    if kind == "int":
        if not (text.isascii() and text.isdigit() and len(text) <= 9):  # noqa: PLR2004  fits a column
            raise Problem(400, f"Invalid value {text[:64]!r} for {name}: a whole number.")
        return int(text)
    return text


def _addresses(query: MultiMapping[str]) -> Mapping[str, Sequence[str]]:
    """``fixed_ips=ip_address=10.0.0.5``, repeated."""
    found: dict[str, list[str]] = {}
    for text in query.getall("fixed_ips", [])[:VALUES_MAX]:
        name, _, value = text.partition("=")
        if name not in _ADDRESSES:
            raise Problem(400, f"fixed_ips is filtered by {' or '.join(_ADDRESSES)}.")
        found.setdefault(name, []).append(value)
    return found
