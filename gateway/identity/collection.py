"""What all Identity resources share: list, create, show, update, delete over one table.

A resource module says its members, its shape and its own rules; everything else is here.
Source: Identity API v3, "common response codes", "filtering", "collections".
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Generic, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, structs
from multidict import MultiMapping

from gateway.body import decoded
from gateway.identity import option
from gateway.pages import limit_in, next_href
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity
from store.filter import Condition, Test
from store.identity import NOTICE_TTL_S, Dangling, NoticeKind, R, Taken
from store.pool import Connection

EXTRA_BYTES_MAX: Final = 16_384  # what a client may add to one resource in members of its own

# Suffixes of a text filter's name. Source: Identity API v3, "Filtering" (inexact comparators).
_COMPARATORS: Final[Mapping[str, Test]] = {
    "contains": "contains",
    "icontains": "icontains",
    "startswith": "starts",
    "istartswith": "istarts",
    "endswith": "ends",
    "iendswith": "iends",
    "iexact": "iexact",
}

Body = dict[str, dict[str, Any]]

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
ShortName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\S")]
Text = Annotated[str, Meta(max_length=8192)]


def not_found(word: str, ident: str) -> Problem:
    """404 as Keystone words it."""
    return Problem(404, f"Could not find {word}: {ident}.")


def listing(
    request: Request, plural: str, items: list[dict[str, Any]], after: str = "", *, truncated: bool = False
) -> Response:
    """A collection's body; ``after`` is the marker of the next page, empty on the last one.

    ``truncated``: there are more, and no page to ask for.
    """
    query = request.raw.rel_url.raw_query_string
    links = {
        "self": request.base_url + request.path + (f"?{query}" if query else ""),
        "previous": None,
        "next": next_href(request, after) if after else None,
    }
    return Response({plural: items, "links": links, **({"truncated": True} if truncated else {})})


def self_link(request: Request, plural: str, ident: str) -> dict[str, str]:
    """The ``links`` of one resource."""
    return {"self": f"{request.api_url}/v3/{plural}/{ident}"}


def given(members: Struct) -> dict[str, Any]:
    """The members a client did send; a description of null is an empty one."""
    sent = {name: value for name, value in structs.asdict(members).items() if value is not UNSET}
    if "description" in sent:
        sent["description"] = sent["description"] or ""
    return sent


def new_id(request: Request) -> str:
    """An id in Keystone's form: 32 hexadecimal digits."""
    return request.services.clock.uuid().replace("-", "")


def own_domain(request: Request) -> str:
    """The domain a new resource belongs to when its creator names none."""
    caller = request.caller
    return caller.domain_id or caller.project_domain_id or caller.user_domain_id


async def tell(request: Request, c: Connection, kind: NoticeKind, subject: str) -> None:
    """Write a notice in the transaction of the change it is about; Tokens.refresh after the commit."""
    await identity.revoke(c, kind, subject, request.services.clock.now() + NOTICE_TTL_S)


def encoded(value: Any) -> bytes:
    """A part of a decoded body as JSON again, to be read as its own type."""
    return msgspec.json.encode(value)


def split_body(body: Body, singular: str, kind: type[Struct], *, takes_extra: bool = True) -> tuple[Any, str]:
    """Split a body into the members we know and, as JSON, those the client added. Raises Problem 400."""
    if set(body) != {singular}:
        raise Problem(400, f"Invalid request body: it must hold {singular!r} and nothing else.")
    sent = body[singular]
    known = {field.encode_name for field in structs.fields(kind)}
    extra = {name: value for name, value in sent.items() if name not in known and name not in ("id", "links")}
    if extra and not takes_extra:
        raise Problem(400, f"Invalid request body: Object contains unknown field `{next(iter(extra))}`")
    text = msgspec.json.encode(extra)
    if len(text) > EXTRA_BYTES_MAX:
        raise Problem(400, f"The additional members exceed {EXTRA_BYTES_MAX} bytes.")
    members = decoded(kind, encoded({n: v for n, v in sent.items() if n in known}))
    return members, text.decode()


class Draft(NamedTuple):
    """What a row is made of: the members sent (a Struct of the resource) and the extra ones as JSON."""

    request: Request
    c: Connection
    members: Any
    extra: str


class Collection(Generic[R]):
    """One resource. Subclasses set the class variables and override what differs."""

    kind: type[R]
    singular: ClassVar[str]
    plural: ClassVar[str]
    create_members: ClassVar[type[Struct]]
    update_members: ClassVar[type[Struct]]
    filters: ClassVar[Mapping[str, type]] = {"name": str}
    """Query parameters that restrict a list, which are columns too, and their types.

    Texts also with a comparator: ``name__contains``.
    """
    path: ClassVar[str] = ""
    """Where the collection is below /v3, if not under its own name."""
    takes_extra: ClassVar[bool] = False
    notice: ClassVar[NoticeKind | None] = None
    """What gateways are told when a row changes or goes: whose cached callers to forget."""
    in_domain: ClassVar[bool] = False
    """Whether rows have a domain_id: domain-scoped callers see and change those of their domain."""

    def routes(self) -> tuple[Route, ...]:
        """Return the five rows of a collection."""
        many = f"/v3/{self.path or self.plural}"
        one = f"{many}/{{id}}"
        return (
            Route("GET", many, self.list, f"identity:list_{self.plural}"),
            Route("POST", many, self.create, f"identity:create_{self.singular}", 201, request=Body),
            Route("GET", one, self.show, f"identity:get_{self.singular}"),
            Route("PATCH", one, self.update, f"identity:update_{self.singular}", request=Body),
            Route("DELETE", one, self.delete, f"identity:delete_{self.singular}", 204),
        )

    # --- what a resource overrides ---

    def shape(self, row: R) -> dict[str, Any]:
        """Return the resource as clients see it, without links and extra members."""
        raise NotImplementedError

    def target(self, row: R) -> Target:
        """Say whose the row is."""
        return Target(domain_id=getattr(row, "domain_id", None) or "")

    async def build(self, draft: Draft) -> R:
        """Make a new row. Raises Problem."""
        raise NotImplementedError

    async def change(self, row: R, draft: Draft) -> R:
        """Make the row an update asks for. Raises Problem."""
        raise NotImplementedError

    async def store_more(self, row: R, draft: Draft) -> None:
        """Write what belongs to the row and is in other tables; runs in its transaction."""

    async def check_changeable(self, request: Request, c: Connection, row: R) -> None:
        """Refuse an update or a delete by raising Problem."""

    def check_removable(self, row: R) -> None:
        """Refuse a delete by raising Problem."""

    async def remove(self, request: Request, c: Connection, row: R) -> None:
        """Delete the row; runs in the transaction. Raises Problem."""
        del request
        await self.write(identity.remove(c, self.kind, row.id))

    async def prepare(self, request: Request, members: Any) -> Any:
        """Do what takes long and needs no connection; returns the members to go on with."""
        del request
        return members

    def visible(self, request: Request, equal: dict[str, str | bool]) -> dict[str, str | bool] | None:
        """The filters of a list, narrowed to what the caller may see; None: nothing at all."""
        target = Target(domain_id=str(equal.get("domain_id", "")))
        if self.in_domain and not request.allows(request.route.policy, target):
            return {**equal, "domain_id": request.caller.domain_id}
        return equal

    def body_of(self, request: Request, row: R) -> dict[str, Any]:
        """The resource with links and extra members."""
        shown = self.shape(row)
        extra = getattr(row, "extra", "{}")
        if extra != "{}":
            shown = {**msgspec.json.decode(extra), **shown}
        shown["links"] = self_link(request, self.path or self.plural, row.id)
        return shown

    def made_body(self, request: Request, row: R) -> dict[str, Any]:
        """The resource as its creator sees it this once."""
        return self.body_of(request, row)

    # --- handlers ---

    async def list(self, request: Request) -> Response:
        """Rows that pass the filters, a page at a time, in order of their ids."""
        query = request.query
        equal: dict[str, str | bool] = {
            name: typed(name, query[name], kind) for name, kind in self.filters.items() if name in query
        }
        visible = self.visible(request, equal)
        if visible is None:
            return listing(request, self.plural, [])
        limit = limit_in(query)
        async with request.services.read_pool.acquire() as c:
            also = [*_inexact(query, self.filters), *await self.conditions(query, c)]
            rows = await identity.find(
                c, self.kind, visible, after=query.get("marker", ""), limit=limit + 1, also=also
            )
        after = rows[limit - 1].id if len(rows) > limit else ""
        return listing(request, self.plural, [self.body_of(request, row) for row in rows[:limit]], after)

    async def conditions(self, query: MultiMapping[str], c: Connection) -> Sequence[Condition]:
        """Filters of this resource that are more than a column's value. Raises Problem 400."""
        del query, c
        return ()

    async def show(self, request: Request) -> Response:
        """One row."""
        async with request.services.read_pool.acquire() as c:
            row = await self.found(request, c)
        return Response({self.singular: self.body_of(request, row)})

    async def create(self, request: Request) -> Response:
        """A new row."""
        members, extra = self._read(request, self.create_members)
        members = await self.prepare(request, members)
        async with request.services.pool.acquire() as c, c.transaction():
            draft = Draft(request, c, members, extra)
            row = await self.build(draft)
            request.authorize(self.target(row))
            await self.write(identity.add(c, row))
            await self.store_more(row, draft)
        return Response({self.singular: self.made_body(request, row)})

    async def update(self, request: Request) -> Response:
        """Change the members given, keep the others."""
        members, extra = self._read(request, self.update_members)
        members = await self.prepare(request, members)
        async with request.services.pool.acquire() as c, c.transaction():
            before = await self.found(request, c, lock=True)
            self._check_mutable(before, members)
            await self.check_changeable(request, c, before)
            draft = Draft(request, c, members, _merged(before, extra))
            after = await self.change(before, draft)
            await self.write(identity.replace(c, after))
            await self.store_more(after, draft)
            await self._tell(request, c, after)
        await self._hear(request)
        return Response({self.singular: self.body_of(request, after)})

    async def delete(self, request: Request) -> Response:
        """Remove the row and what belongs to it."""
        async with request.services.pool.acquire() as c, c.transaction():
            row = await self.found(request, c, lock=True)
            self._check_mutable(row, None)
            await self.check_changeable(request, c, row)
            self.check_removable(row)
            await self.remove(request, c, row)
            await self._tell(request, c, row)
        await self._hear(request)
        return Response()

    async def found(self, request: Request, c: Connection, *, lock: bool = False) -> R:
        """The row of the path, which the caller may act upon. Raises Problem 404 or 403.

        Whoever may act upon some rows alone is refused the same way where there is none.
        """
        ident = request.params["id"]
        row = await identity.get(c, self.kind, ident, lock=lock)
        if row is None:
            request.authorize(Target())
            raise not_found(self.singular, ident)
        self.authorize(request, row)
        return row

    def authorize(self, request: Request, row: R) -> None:
        """Check the route's rule against the row. Raises Problem 403."""
        request.authorize(self.target(row))

    # --- parts ---

    def _read(self, request: Request, kind: type[Struct]) -> tuple[Any, str]:
        return split_body(request.body, self.singular, kind, takes_extra=self.takes_extra)

    def _check_mutable(self, row: R, members: Struct | None) -> None:
        option.check_mutable(self.singular, row.id, getattr(row, "options", "{}"), members)

    async def _tell(self, request: Request, c: Connection, row: R) -> None:
        if self.notice is not None:
            await tell(request, c, self.notice, row.id)

    async def _hear(self, request: Request) -> None:
        if self.notice is not None:
            await request.services.tokens.refresh()

    async def write(self, work: Awaitable[object]) -> None:
        """Do it; what the tables do not take becomes a Problem."""
        try:
            await work
        except Taken as error:
            raise Problem(
                409, f"Conflict occurred attempting to store {self.singular}: duplicate entry."
            ) from error
        except Dangling as error:
            raise Problem(
                400, f"The {self.singular} refers to, or is referred to by, another resource."
            ) from error


def is_flag(query: MultiMapping[str], name: str) -> bool:
    """Whether a flag is set: by its presence, unless its value is 0 or false."""
    return name in query and query[name].lower() not in ("0", "false")


def typed(name: str, text: str, kind: type) -> str | bool:
    """A query parameter's value as this type; a flag may do without. Raises Problem 400."""
    if kind is bool and not text:
        return True
    try:
        value: str | bool = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(400, f"Invalid query parameter {name}: {error}") from error
    return value


def _inexact(query: MultiMapping[str], filters: Mapping[str, type]) -> list[Condition]:
    found = []
    for name, value in query.items():
        column, _, comparator = name.partition("__")
        if comparator in _COMPARATORS and filters.get(column) is str:
            found.append(Condition(column, _COMPARATORS[comparator], value))
    return found


def _merged(row: Any, extra: str) -> str:
    """The extra members after an update: null removes one."""
    held = getattr(row, "extra", "{}")
    if extra == "{}":
        return held
    merged = {**msgspec.json.decode(held), **msgspec.json.decode(extra)}
    return msgspec.json.encode({name: value for name, value in merged.items() if value is not None}).decode()
