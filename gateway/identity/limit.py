"""Unified limits: kept here for services to ask for; each service enforces its own.

Source: Identity API v3, "Unified limits". The model is flat: limits of a project do not add up.
"""

from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.body import decoded
from gateway.identity.collection import (
    Collection,
    Draft,
    Name,
    Text,
    encoded,
    given,
    new_id,
    not_found,
)
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity, limit
from store.identity import Domain, Project, Region, Row, Service
from store.limit import Limit, RegisteredLimit
from store.pool import Connection

BULK_MAX: Final = 1000
"""Limits in one request."""

Ident = Annotated[str, Meta(min_length=1, max_length=255)]
Amount = Annotated[int, Meta(ge=-1, le=0x7FFFFFFF)]
Bulk = dict[str, Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=BULK_MAX)]]
R = TypeVar("R", bound=Row)


class NewRegisteredLimit(Struct, forbid_unknown_fields=True):
    """Members of a registered limit to create."""

    service_id: Ident
    resource_name: Name
    default_limit: Amount
    region_id: Ident | None = None
    description: Text | None = None


class ChangedRegisteredLimit(Struct, forbid_unknown_fields=True):
    """Members of a registered limit to change."""

    service_id: Ident | UnsetType = UNSET
    resource_name: Name | UnsetType = UNSET
    default_limit: Amount | UnsetType = UNSET
    region_id: Ident | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET


class NewLimit(Struct, forbid_unknown_fields=True):
    """Members of a limit to create: of a project or of a domain."""

    service_id: Ident
    resource_name: Name
    resource_limit: Amount
    project_id: Ident | None = None
    domain_id: Ident | None = None
    region_id: Ident | None = None
    description: Text | None = None


class ChangedLimit(Struct, forbid_unknown_fields=True):
    """Members of a limit to change."""

    resource_limit: Amount | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET


class _Bulk(Collection[R], Generic[R]):
    """A collection whose rows are created several at once, all or none."""

    def routes(self) -> tuple[Route, ...]:
        """Return the five rows of a collection; creating takes a list."""
        rule = f"identity:create_{self.plural}"
        return tuple(
            structs.replace(route, request=Bulk, policy=rule) if route.method == "POST" else route
            for route in super().routes()
        )

    async def create(self, request: Request) -> Response:
        """New rows."""
        body = request.body
        if set(body) != {self.plural}:
            raise Problem(400, f"Invalid request body: it must hold {self.plural!r} and nothing else.")
        sent = [decoded(self.create_members, encoded(one)) for one in body[self.plural]]
        rows: list[R] = []
        async with request.services.pool.acquire() as c, c.transaction():
            for members in sent:
                row = await self.build(Draft(request, c, members, "{}"))
                await self.write(identity.add(c, row))
                rows.append(row)
        return Response({self.plural: [self.body_of(request, row) for row in rows]})


class RegisteredLimits(_Bulk[RegisteredLimit]):
    """The collection at /v3/registered_limits."""

    kind = RegisteredLimit
    singular, plural = "registered_limit", "registered_limits"
    create_members, update_members = NewRegisteredLimit, ChangedRegisteredLimit
    filters: ClassVar = {"service_id": str, "region_id": str, "resource_name": str}

    def shape(self, row: RegisteredLimit) -> dict[str, Any]:
        return structs.asdict(row)

    async def build(self, draft: Draft) -> RegisteredLimit:
        members: NewRegisteredLimit = draft.members
        await _check_place(draft.c, members.service_id, members.region_id)
        return RegisteredLimit(id=new_id(draft.request), **structs.asdict(members))

    async def change(self, row: RegisteredLimit, draft: Draft) -> RegisteredLimit:
        changed = given(draft.members)
        if "description" in changed:
            changed["description"] = draft.members.description
        after = structs.replace(row, **changed)
        await _check_place(draft.c, after.service_id, after.region_id)
        return after

    async def check_changeable(self, request: Request, c: Connection, row: RegisteredLimit) -> None:
        del request
        if await limit.is_referred_to(c, row.id):
            raise Problem(
                403,
                f"Unable to update or delete registered limit {row.id} because there are project limits"
                " associated with it.",
            )


class Limits(_Bulk[Limit]):
    """The collection at /v3/limits."""

    kind = Limit
    singular, plural = "limit", "limits"
    create_members, update_members = NewLimit, ChangedLimit
    filters: ClassVar = {
        "service_id": str,
        "region_id": str,
        "resource_name": str,
        "project_id": str,
        "domain_id": str,
    }

    def shape(self, row: Limit) -> dict[str, Any]:
        shown = structs.asdict(row)
        del shown["registered_limit_id"], shown["owner_domain_id"]
        return shown

    def target(self, row: Limit) -> Target:
        return Target(project_id=row.project_id or "", domain_id=row.owner_domain_id)

    def visible(self, request: Request, equal: dict[str, str | bool]) -> dict[str, str | bool] | None:
        """A project sees its own limits, a domain those of its projects too."""
        caller = request.caller
        if request.allows("identity:get_limit", Target()):
            return equal
        own = {"domain": ("owner_domain_id", caller.domain_id), "project": ("project_id", caller.project_id)}
        if caller.scope not in own:
            return None
        column, ident = own[caller.scope]
        return {**equal, column: ident} if equal.get(column, ident) == ident else None

    async def build(self, draft: Draft) -> Limit:
        members: NewLimit = draft.members
        c = draft.c
        if (members.project_id is None) == (members.domain_id is None):
            raise Problem(400, "Invalid request body: a limit is of a project or of a domain.")
        await _check_place(c, members.service_id, members.region_id)
        project_id, domain_id, owner = await _of_whom(c, members)
        registered = await limit.registered_for(
            c, members.service_id, members.region_id, members.resource_name
        )
        if registered is None:
            raise Problem(403, "Unable to create a limit that has no corresponding registered limit.")
        return Limit(
            id=new_id(draft.request),
            registered_limit_id=registered,
            service_id=members.service_id,
            region_id=members.region_id,
            resource_name=members.resource_name,
            project_id=project_id,
            domain_id=domain_id,
            owner_domain_id=owner,
            resource_limit=members.resource_limit,
            description=members.description,
        )

    async def change(self, row: Limit, draft: Draft) -> Limit:
        changed = given(draft.members)
        if "description" in changed:
            changed["description"] = draft.members.description
        return structs.replace(row, **changed)

    def routes(self) -> tuple[Route, ...]:
        """Return the collection's rows and the model's."""
        model = Route("GET", "/v3/limits/model", show_model, "identity:get_limit_model")
        return (*super().routes(), model)


async def show_model(request: Request) -> Response:
    """How limits of a tree of projects go together: not at all."""
    del request
    return Response(
        {
            "model": {
                "name": "flat",
                "description": "Limits of projects are independent of each other, whatever the hierarchy.",
            }
        }
    )


async def _of_whom(c: Connection, members: NewLimit) -> tuple[str | None, str | None, str]:
    """The project or the domain of a limit, and the domain either belongs to. Raises Problem 400."""
    if members.project_id is not None:
        project = await identity.get(c, Project, members.project_id)
        if project is not None:
            return project.id, None, project.domain_id
    word = "domain" if members.project_id is None else "project"
    domain_id = members.domain_id or members.project_id or ""  # a domain is a project too
    if await identity.get(c, Domain, domain_id) is None:
        raise Problem(400, not_found(word, domain_id).message)
    return None, domain_id, domain_id


async def _check_place(c: Connection, service_id: str, region_id: str | None) -> None:
    if await identity.get(c, Service, service_id) is None:
        raise Problem(400, not_found("service", service_id).message)
    if region_id is not None and await identity.get(c, Region, region_id) is None:
        raise Problem(400, not_found("region", region_id).message)


REGISTERED_LIMITS: Final = RegisteredLimits()
LIMITS: Final = Limits()
