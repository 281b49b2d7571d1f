"""Trusts: a user lets another act with some of the own roles on a project. Source: Identity API v3, OS-TRUST.

A trust that allows it may be passed on with a token got by it; each trust of such a chain has no more
roles, time and identity than the one before. What tokens got with a trust may do is authority.py's business.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from gateway.identity.app_credential import RoleRef, parsed_expiry
from gateway.identity.collection import Body, listing, new_id, not_found, self_link, split_body, tell
from gateway.identity.document import timestamp
from gateway.identity.role import ROLE_COLLECTION
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity, trust
from store.identity import Dangling, Project, Role, User
from store.pool import Connection
from store.trust import Trust

REDELEGATION_MAX: Final = 3
"""How many trusts may follow one another after the first. Source: Keystone's max_redelegation_count."""
TRUSTS_MAX: Final = 1000
"""How many one user may give."""
LISTED_MAX: Final = 10_000
_INT_MAX: Final = (1 << 31) - 1

Id = Annotated[str, Meta(min_length=1, max_length=255)]


class NewTrust(Struct, forbid_unknown_fields=True, kw_only=True):
    """Members of a trust to create."""

    trustor_user_id: Id
    trustee_user_id: Id
    impersonation: bool
    project_id: Id | None = None
    roles: Annotated[list[RoleRef], Meta(max_length=100)] = []
    expires_at: Annotated[str, Meta(max_length=64)] | None = None
    remaining_uses: Annotated[int, Meta(ge=1, le=_INT_MAX)] | None = None
    allow_redelegation: bool | None = None
    redelegation_count: Annotated[int, Meta(ge=0, le=_INT_MAX)] | None = None
    redelegated_trust_id: str | None = None


class TrustQuery(Struct):
    """Filters of a list of trusts."""

    trustor_user_id: str | None = None
    trustee_user_id: str | None = None


# --- shapes and checks ---------------------------------------------------------------------------


def _shaped(request: Request, row: Trust) -> dict[str, Any]:
    return {
        **msgspec.json.decode(row.extra, type=dict[str, Any]),
        "id": row.id,
        "trustor_user_id": row.trustor_user_id,
        "trustee_user_id": row.trustee_user_id,
        "project_id": row.project_id,
        "impersonation": row.impersonation,
        "expires_at": None if row.expires_at is None else timestamp(row.expires_at),
        "remaining_uses": row.remaining_uses,
        "redelegation_count": row.redelegation_count,
        "redelegated_trust_id": row.redelegated_trust_id,
        "deleted_at": None,
        "links": self_link(request, "OS-TRUST/trusts", row.id),
    }


async def _whole(request: Request, c: Connection, row: Trust) -> dict[str, Any]:
    path = f"{request.api_url}/v3/OS-TRUST/trusts/{row.id}/roles"
    return {
        **_shaped(request, row),
        "roles": await _shaped_roles(request, c, row),
        "roles_links": {"self": path, "previous": None, "next": None},
    }


async def _shaped_roles(request: Request, c: Connection, row: Trust) -> list[dict[str, Any]]:
    roles = await identity.find(c, Role, {}, ids=row.role_ids)
    return [ROLE_COLLECTION.body_of(request, role) for role in roles]


def _check_person(request: Request) -> None:
    """Refuse programs, restricted or not: a trust is between people. Raises Problem 403."""
    if request.caller.app_credential is not None:
        raise Problem(403, "An application credential may not be used for managing trusts.")


async def _found(request: Request, c: Connection) -> Trust:
    """The trust of the path, which the caller gave or got. Raises Problem 404 or 403."""
    _check_person(request)
    ident = request.params["id"]
    row = await trust.get(c, ident)
    if row is None or row.is_over(request.services.clock.now()) or row.remaining_uses == 0:
        raise not_found("trust", ident)
    if not request.allows(request.route.policy, Target(user_id=row.trustor_user_id)):
        request.authorize(Target(user_id=row.trustee_user_id))
    return row


# --- handlers ------------------------------------------------------------------------------------


async def list_trusts(request: Request) -> Response:
    """Those of a trustor, for a trustee, or all; without their roles."""
    _check_person(request)
    query: TrustQuery = request.query
    if query.trustor_user_id:
        request.authorize(Target(user_id=query.trustor_user_id), "identity:list_trusts_for_trustor")
    elif query.trustee_user_id:
        request.authorize(Target(user_id=query.trustee_user_id), "identity:list_trusts_for_trustee")
    else:
        request.authorize(Target(), "identity:list_trusts")
    async with request.services.read_pool.acquire() as c:
        rows = await trust.find(
            c,
            trustor_user_id=query.trustor_user_id or None,
            trustee_user_id=query.trustee_user_id or None,
            limit=LISTED_MAX + 1,
        )
    shown = [_shaped(request, row) for row in rows[:LISTED_MAX]]
    return listing(request, "trusts", shown, truncated=len(rows) > LISTED_MAX)


async def show_trust(request: Request) -> Response:
    """One trust with its roles."""
    async with request.services.read_pool.acquire() as c:
        return Response({"trust": await _whole(request, c, await _found(request, c))})


async def list_trust_roles(request: Request) -> Response:
    """The roles it lends."""
    async with request.services.read_pool.acquire() as c:
        roles = await _shaped_roles(request, c, await _found(request, c))
    return listing(request, "roles", roles)


async def show_trust_role(request: Request) -> Response:
    """One of them, or 404."""
    ident = request.params["role_id"]
    async with request.services.read_pool.acquire() as c:
        roles = await _shaped_roles(request, c, await _found(request, c))
    role = next((role for role in roles if role["id"] == ident), None)
    if role is None:
        raise not_found("role", ident)
    return Response({"role": role})


async def delete_trust(request: Request) -> Response:
    """End it and all that were made with it; their tokens end at once."""
    _check_person(request)
    async with request.services.pool.acquire() as c, c.transaction():
        ident = request.params["id"]
        row = await trust.get(c, ident)
        if row is None:
            raise not_found("trust", ident)
        request.authorize(Target(user_id=row.trustor_user_id))
        await trust.remove(c, ident)
        await tell(request, c, "user", row.trustor_user_id)  # tokens know every user of their chain
    await request.services.tokens.refresh()
    return Response()


async def create_trust(request: Request) -> Response:
    """A new trust of the caller's."""
    wanted, extra = split_body(request.body, "trust", NewTrust)
    _check_person(request)
    request.authorize(Target(user_id=wanted.trustor_user_id))
    expires_at = parsed_expiry(request, wanted.expires_at)
    if wanted.project_id is not None and not wanted.roles:
        raise Problem(403, "At least one role should be specified.")
    lent = request.caller.trust
    async with request.services.pool.acquire() as c, c.transaction():
        parents = await trust.chain(c, lent.id) if lent is not None else []
        row = Trust(
            id=new_id(request),
            trustor_user_id=wanted.trustor_user_id,
            trustee_user_id=wanted.trustee_user_id,
            project_id=wanted.project_id,
            impersonation=wanted.impersonation,
            expires_at=min((t.expires_at for t in parents if t.expires_at is not None), default=None)
            if expires_at is None
            else expires_at,
            remaining_uses=wanted.remaining_uses,
            redelegation_count=_count(wanted, parents),
            redelegated_trust_id=parents[0].id if parents else None,
            extra=extra,
            role_ids=await _role_ids(c, wanted.roles),
        )
        await _check_parties(c, row, parents[-1].trustor_user_id if parents else row.trustor_user_id)
        for parent in parents:
            _check_passed_on(row, parent)
        try:
            await trust.add(c, row)
        except Dangling as error:
            raise Problem(404, "A part of the trust has been deleted.") from error
        return Response({"trust": await _whole(request, c, row)})


async def _role_ids(c: Connection, wanted: list[RoleRef]) -> list[str]:
    """The ids of these roles of the whole cloud. Raises Problem 400 or 404."""
    roles = [role for role in await identity.find(c, Role, {}) if role.domain_id is None]
    found = set()
    for ref in wanted:
        if (ref.id is None) == (ref.name is None):
            raise Problem(400, "Invalid request body: a role is given by its id or by its name.")
        ident = next((role.id for role in roles if ref.id == role.id or ref.name == role.name), None)
        if ident is None:
            raise not_found("role", ref.id or ref.name or "")
        found.add(ident)
    return sorted(found)


async def _check_parties(c: Connection, row: Trust, lender_id: str) -> None:
    """The trustee is there, and who lends the roles holds them. Raises Problem 404 or 403."""
    if await identity.get(c, User, row.trustee_user_id) is None:
        raise not_found("user", row.trustee_user_id)
    if len(
        await trust.find(c, trustor_user_id=row.trustor_user_id, trustee_user_id=None, limit=TRUSTS_MAX)
    ) >= (TRUSTS_MAX):
        raise Problem(403, f"A user gives at most {TRUSTS_MAX} trusts.")
    held: set[str] = set()
    if row.project_id is not None:
        if await identity.get(c, Project, row.project_id) is None:
            raise not_found("project", row.project_id)
        snapshot = await identity.snapshot(c, lender_id, "project", row.project_id)
        held = set(snapshot.role_ids) if snapshot is not None else set()
    missing = sorted(set(row.role_ids) - held)
    if missing:
        raise not_found("role", missing[0])


def _count(wanted: NewTrust, parents: list[Trust]) -> int:
    """How many trusts may follow the new one. Raises Problem 400 or 403."""
    asked = wanted.redelegation_count
    if not wanted.allow_redelegation or asked == 0:
        return 0
    if asked is not None and asked > REDELEGATION_MAX:
        raise Problem(
            403, f"Requested redelegation depth of {asked} is greater than allowed {REDELEGATION_MAX}."
        )
    if wanted.remaining_uses is not None:
        raise Problem(400, "remaining_uses must not be set if redelegation is allowed.")
    if not parents:
        return REDELEGATION_MAX if asked is None else asked
    left = max(parents[0].redelegation_count - 1, 0)
    if asked is not None and asked != left:
        raise Problem(403, "Modifying redelegation_count upon redelegation is forbidden.")
    return left


def _check_passed_on(row: Trust, parent: Trust) -> None:
    """A trust made with another is no more than that one. Raises Problem 403."""
    if not 0 < parent.redelegation_count <= REDELEGATION_MAX:
        raise Problem(403, "The trust of this token may not be passed on.")
    if row.remaining_uses is not None:
        raise Problem(403, "remaining_uses must not be set in order to redelegate a trust.")
    if parent.expires_at is not None and (row.expires_at is None or row.expires_at > parent.expires_at):
        raise Problem(403, "Requested expiration time is more than redelegated trust can provide.")
    if not set(row.role_ids) <= set(parent.role_ids) or row.project_id != parent.project_id:
        raise Problem(403, "Some of requested roles are not in redelegated trust.")
    if row.impersonation and not parent.impersonation:
        raise Problem(403, "Impersonation is not allowed because redelegated trust does not specify it.")


_MANY: Final = "/v3/OS-TRUST/trusts"
_ONE: Final = "/v3/OS-TRUST/trusts/{id}"
_ROLE: Final = "/v3/OS-TRUST/trusts/{id}/roles/{role_id}"

ROUTES: Final = (
    Route("GET", _MANY, list_trusts, "identity:list_trusts_for_trustor", query=TrustQuery),
    Route("POST", _MANY, create_trust, "identity:create_trust", 201, request=Body),
    Route("GET", _ONE, show_trust, "identity:get_trust"),
    Route("DELETE", _ONE, delete_trust, "identity:delete_trust", 204),
    Route("GET", f"{_ONE}/roles", list_trust_roles, "identity:list_roles_for_trust"),
    Route("HEAD", f"{_ONE}/roles", list_trust_roles, "identity:list_roles_for_trust"),
    Route("GET", _ROLE, show_trust_role, "identity:get_role_for_trust"),
    Route("HEAD", _ROLE, show_trust_role, "identity:get_role_for_trust"),
)
