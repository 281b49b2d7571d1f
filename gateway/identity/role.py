"""Roles, of the whole cloud or of a domain, and which of them imply which others.

Who was given them is in ``grant.py`` and ``role_assignment.py``. Source: Identity API v3, "Roles".
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from msgspec import UNSET, Struct, UnsetType, structs
from multidict import MultiMapping

from gateway.identity import option
from gateway.identity.collection import (
    Collection,
    Draft,
    Name,
    Text,
    given,
    new_id,
    not_found,
    self_link,
    tell,
)
from gateway.identity.option import ImmutableOption
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity, implied_role
from store.filter import Condition
from store.identity import Domain, Role
from store.implied_role import Inference
from store.pool import Connection

NEVER_IMPLIED: Final = frozenset({"admin"})
"""Names of roles nobody may have by way of another. Source: Keystone's prohibited_implied_role."""


class NewRole(Struct, forbid_unknown_fields=True):
    """Members of a role to create; with a ``domain_id`` it is only of use in that domain."""

    name: Name
    description: Text | None = None
    domain_id: str | None = None
    options: ImmutableOption | UnsetType = UNSET


class ChangedRole(Struct, forbid_unknown_fields=True):
    """Members of a role to change."""

    name: Name | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    domain_id: str | UnsetType | None = UNSET
    options: ImmutableOption | UnsetType = UNSET


class Roles(Collection[Role]):
    """The collection at /v3/roles."""

    kind = Role
    notice = "all"
    singular, plural = "role", "roles"
    create_members, update_members = NewRole, ChangedRole
    filters: ClassVar = {"name": str}
    takes_extra = True

    def shape(self, row: Role) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "domain_id": row.domain_id,
            "description": row.description or None,
            "options": option.shown(row.options),
        }

    def visible(self, request: Request, equal: dict[str, str | bool]) -> dict[str, str | bool] | None:
        """Roles of another domain are not shown to the manager of one."""
        domain_id = request.query.get("domain_id")
        if domain_id and not request.allows(request.route.policy, Target(domain_id=domain_id)):
            return None
        return equal

    async def conditions(self, query: MultiMapping[str], c: Connection) -> Sequence[Condition]:
        """Roles of the domain asked for; without one those of the whole cloud."""
        del c
        domain_id = query.get("domain_id")
        if domain_id:
            return (Condition("domain_id", "=", domain_id),)
        return (Condition("domain_id", "is null", value=True),)

    async def found(self, request: Request, c: Connection, *, lock: bool = False) -> Role:
        """The role of the path; those of the whole cloud are everybody's to read who may read any."""
        ident = request.params["id"]
        row = await identity.get(c, Role, ident, lock=lock)
        if row is None:
            raise not_found(self.singular, ident)
        request.authorize(Target(domain_id=row.domain_id or request.caller.domain_id))
        return row

    async def build(self, draft: Draft) -> Role:
        members: NewRole = draft.members
        domain_id = members.domain_id
        if domain_id is not None and await identity.get(draft.c, Domain, domain_id) is None:
            raise not_found("domain", domain_id)
        return Role(
            id=new_id(draft.request),
            domain_id=domain_id,
            name=members.name,
            description=members.description or "",
            options=option.merged("{}", members.options),
            extra=draft.extra,
        )

    async def change(self, row: Role, draft: Draft) -> Role:
        changed = given(draft.members)
        if changed.pop("domain_id", row.domain_id) != row.domain_id:
            raise Problem(400, "Update of `domain_id` is not allowed.")
        changed["options"] = option.merged(row.options, changed.pop("options", UNSET))
        return structs.replace(row, extra=draft.extra, **changed)


ROLE_COLLECTION: Final = Roles()


# --- implied roles -------------------------------------------------------------------------------


def _named(request: Request, ident: str, name: str) -> dict[str, Any]:
    return {"id": ident, "name": name, "links": self_link(request, "roles", ident)}


async def _pair(request: Request, c: Connection) -> tuple[Role, Role]:
    """The prior and the implied role of the path. Raises Problem 404."""
    prior = await ROLE_COLLECTION.found(request, c)
    ident = request.params["implied_id"]
    implied = await identity.get(c, Role, ident)
    if implied is None:
        raise not_found("role", ident)
    return prior, implied


def _inference(request: Request, prior: Role, implied: Role) -> dict[str, Any]:
    return {
        "role_inference": {
            "prior_role": _named(request, prior.id, prior.name),
            "implies": _named(request, implied.id, implied.name),
        },
        "links": {"self": f"{request.api_url}/v3/roles/{prior.id}/implies/{implied.id}"},
    }


async def _implied_pair(request: Request) -> tuple[Role, Role]:
    """The pair of the path, which is one. Raises Problem 404."""
    async with request.services.read_pool.acquire() as c:
        prior, implied = await _pair(request, c)
        rows = await implied_role.inferences(c, prior.id)
    if all(row.implied_id != implied.id for row in rows):
        raise Problem(404, f"{prior.id} does not imply {implied.id}.")
    return prior, implied


async def list_implied(request: Request) -> Response:
    """What one role implies, one step on."""
    async with request.services.read_pool.acquire() as c:
        prior = await ROLE_COLLECTION.found(request, c)
        rows = await implied_role.inferences(c, prior.id)
    inference = {
        "prior_role": _named(request, prior.id, prior.name),
        "implies": [_named(request, row.implied_id, row.implied_name) for row in rows],
    }
    links = {"self": f"{request.api_url}/v3/roles/{prior.id}/implies"}
    return Response({"role_inference": inference, "links": links})


async def imply(request: Request) -> Response:
    """Let one role imply another; repeating it changes nothing."""
    services = request.services
    async with services.pool.acquire() as c, c.transaction():
        prior, implied = await _pair(request, c)
        if implied.name in NEVER_IMPLIED and implied.domain_id is None:
            raise Problem(403, f"Role {implied.id} cannot be an implied roles.")
        if prior.domain_id is None and implied.domain_id is not None:
            raise Problem(403, "Global role cannot imply a domain-specific role")
        await implied_role.imply(c, prior.id, implied.id)
        await tell(request, c, "all", "")
    await services.tokens.refresh()
    return Response(_inference(request, prior, implied))


async def show_implied(request: Request) -> Response:
    """One implication."""
    prior, implied = await _implied_pair(request)
    return Response(_inference(request, prior, implied))


async def check_implied(request: Request) -> Response:
    """204 when the one implies the other, else 404."""
    await _implied_pair(request)
    return Response()


async def imply_no_more(request: Request) -> Response:
    """End an implication; tokens lose the role at once."""
    services = request.services
    async with services.pool.acquire() as c, c.transaction():
        prior, implied = await _pair(request, c)
        if not await implied_role.imply_no_more(c, prior.id, implied.id):
            raise Problem(404, f"{prior.id} does not imply {implied.id}.")
        await tell(request, c, "all", "")
    await services.tokens.refresh()
    return Response()


async def list_inferences(request: Request) -> Response:
    """What every role implies, one step on."""
    async with request.services.read_pool.acquire() as c:
        rows = await implied_role.inferences(c)
    by_prior: dict[str, list[Inference]] = {}
    for row in rows:
        by_prior.setdefault(row.prior_id, []).append(row)
    found = [
        {
            "prior_role": _named(request, prior_id, several[0].prior_name),
            "implies": [_named(request, row.implied_id, row.implied_name) for row in several],
        }
        for prior_id, several in by_prior.items()
    ]
    return Response({"role_inferences": found, "links": {"self": f"{request.api_url}/v3/role_inferences"}})


_ONE: Final = "/v3/roles/{id}/implies/{implied_id}"
IMPLICATIONS: Final = (
    Route("GET", "/v3/roles/{id}/implies", list_implied, "identity:list_implied_roles"),
    Route("PUT", _ONE, imply, "identity:create_implied_role", 201),
    Route("GET", _ONE, show_implied, "identity:get_implied_role"),
    Route("HEAD", _ONE, check_implied, "identity:check_implied_role", 204),
    Route("DELETE", _ONE, imply_no_more, "identity:delete_implied_role", 204),
    Route("GET", "/v3/role_inferences", list_inferences, "identity:list_role_inference_rules"),
)
