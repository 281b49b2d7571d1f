"""Application credentials: logins that users make for their programs, and the rules those are held to.

Source: Identity API v3, "Application credentials". A credential is for one project, has some of the roles
of the token that made it, and a secret that is shown once. How a program logs in is proof.py's business.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, structs

from gateway.access import PATTERN_LENGTH_MAX
from gateway.identity.collection import listing, new_id, not_found, self_link, tell
from gateway.identity.credential import check_unrestricted
from gateway.identity.password import PASSWORD_LENGTH_MAX
from gateway.identity.role import ROLE_COLLECTION
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from process.secret import long_secret
from store import application_credential, identity, implied_role
from store.application_credential import AccessRule, ApplicationCredential
from store.identity import Dangling, Role, Taken, User
from store.pool import Connection

CREDENTIALS_MAX: Final = 500
"""How many one user may have."""
EXPIRY_YEAR_MAX: Final = 9000  # nobody waits for it, and every zone's time of it can be written down
RULES_MAX: Final = 200
"""How many one credential may have."""

Id = Annotated[str, Meta(min_length=1, max_length=255)]
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Text = Annotated[str, Meta(max_length=8192)]


class RoleRef(Struct, forbid_unknown_fields=True):
    """A role by id or by name."""

    id: Id | None = None
    name: Id | None = None


class RuleRef(Struct, forbid_unknown_fields=True):
    """A rule the user has, by id; or what a new one says."""

    id: Id | None = None
    service: Id | None = None
    method: Literal["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"] | None = None
    path: Annotated[str, Meta(pattern="^/", max_length=PATTERN_LENGTH_MAX)] | None = None


class NewCredential(Struct, forbid_unknown_fields=True):
    """Members of an application credential to create; id, user and project are what the token says."""

    name: Name
    secret: Annotated[str, Meta(max_length=PASSWORD_LENGTH_MAX)] | None = None
    description: Text | None = None
    expires_at: Annotated[str, Meta(max_length=64)] | None = None
    roles: Annotated[list[RoleRef], Meta(max_length=100)] | None = None
    unrestricted: bool | None = None
    access_rules: Annotated[list[RuleRef], Meta(max_length=RULES_MAX)] | None = None
    id: str | None = None
    user_id: str | None = None
    project_id: str | None = None
    system: str | None = None


class NewCredentialBody(Struct, forbid_unknown_fields=True):
    """The body of POST /v3/users/{user_id}/application_credentials."""

    application_credential: NewCredential


class RuleQuery(Struct):
    """Filters of a list of access rules."""

    service: str | None = None
    method: str | None = None
    path: str | None = None


class NameQuery(Struct):
    """The filter of a list of application credentials."""

    name: str | None = None


# --- shapes and checks ---------------------------------------------------------------------------


def _moment(seconds: float) -> str:
    """``2026-11-22T11:00:00.000000``: here the API says no zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def parsed_expiry(request: Request, text: str | None) -> float | None:
    """A moment to come; without a zone it is UTC. Raises Problem 400."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Problem(400, f"expires_at is not a time: {text!r}") from error
    seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    if at.year > EXPIRY_YEAR_MAX:
        raise Problem(400, f"expires_at is after {EXPIRY_YEAR_MAX}.")
    if seconds <= request.services.clock.now():
        raise Problem(400, "expires_at is in the past.")
    return seconds


def _shaped(request: Request, row: ApplicationCredential, roles: dict[str, Role]) -> dict[str, Any]:
    shown = {
        "id": row.id,
        "name": row.name,
        "description": row.description or None,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "roles": [ROLE_COLLECTION.shape(roles[ident]) for ident in row.role_ids if ident in roles],
        "expires_at": None if row.expires_at is None else _moment(row.expires_at),
        "unrestricted": row.unrestricted,
        "links": self_link(request, f"users/{row.user_id}/application_credentials", row.id),
    }
    if row.access_rules:
        shown["access_rules"] = [structs.asdict(rule) for rule in row.access_rules]
    return shown


async def _roles(c: Connection) -> dict[str, Role]:
    """The roles of the whole cloud: those of a domain are in no token."""
    return {role.id: role for role in await identity.find(c, Role, {}) if role.domain_id is None}


async def _owner(request: Request, c: Connection) -> str:
    """The user of the path, for whom the caller may act. Raises Problem 403 or 404.

    A trustee may not: a credential made with a trust would outlive it.
    """
    user_id = request.params["user_id"]
    if request.caller.trust is not None:
        raise Problem(403, "A token got with a trust may not manage application credentials.")
    request.authorize(Target(user_id=user_id))
    if await identity.get(c, User, user_id) is None:
        raise not_found("user", user_id)
    return user_id


# --- application credentials ---------------------------------------------------------------------


async def list_credentials(request: Request) -> Response:
    """The user's, without their secrets."""
    query: NameQuery = request.query
    async with request.services.read_pool.acquire() as c:
        rows = await application_credential.of_user(c, await _owner(request, c))
        roles = await _roles(c)
    wanted = [row for row in rows if query.name is None or row.name == query.name]
    return listing(request, "application_credentials", [_shaped(request, row, roles) for row in wanted])


async def _found(request: Request, c: Connection) -> ApplicationCredential:
    user_id, ident = await _owner(request, c), request.params["id"]
    row = await application_credential.get(c, ident)
    if row is None or row.user_id != user_id:
        raise not_found("application credential", ident)
    return row


async def show_credential(request: Request) -> Response:
    """One, without its secret."""
    async with request.services.read_pool.acquire() as c:
        row = await _found(request, c)
        return Response({"application_credential": _shaped(request, row, await _roles(c))})


async def delete_credential(request: Request) -> Response:
    """Remove one: its tokens end at once."""
    check_unrestricted(request, "application credentials")
    async with request.services.pool.acquire() as c, c.transaction():
        row = await _found(request, c)
        await application_credential.remove(c, row.id)
        await tell(request, c, "user", row.user_id)
    await request.services.tokens.refresh()
    return Response()


async def create_credential(request: Request) -> Response:
    """A new one, for the project of the caller's token; the only answer with the secret."""
    wanted: NewCredential = request.body.application_credential
    caller = request.caller
    check_unrestricted(request, "application credentials")
    if request.params["user_id"] != caller.user_id:
        raise Problem(403, "Cannot create an application credential for another user.")
    if caller.scope != "project":
        raise Problem(403, "An application credential needs a token for the project it is to be for.")
    expires_at = parsed_expiry(request, wanted.expires_at)
    secret = wanted.secret or long_secret()
    hashed = await request.services.passwords.hash(secret)
    async with request.services.pool.acquire() as c, c.transaction():
        user_id = await _owner(request, c)
        if len(await application_credential.of_user(c, user_id)) >= CREDENTIALS_MAX:
            raise Problem(403, f"A user has at most {CREDENTIALS_MAX} application credentials.")
        roles = await _roles(c)
        row = ApplicationCredential(
            id=new_id(request),
            user_id=user_id,
            project_id=caller.project_id,
            name=wanted.name,
            description=wanted.description or "",
            expires_at=expires_at,
            unrestricted=bool(wanted.unrestricted),
            role_ids=await _granted(request, c, wanted.roles, roles),
            access_rules=[await _rule(request, c, rule) for rule in wanted.access_rules or ()],
        )
        try:
            await application_credential.add(c, row, hashed)
        except Taken as error:
            raise Problem(409, f"There is an application credential {wanted.name!r} already.") from error
        except Dangling as error:
            raise Problem(400, "A part of the application credential has been deleted.") from error
    return Response({"application_credential": {**_shaped(request, row, roles), "secret": secret}})


async def _granted(
    request: Request, c: Connection, wanted: list[RoleRef] | None, roles: dict[str, Role]
) -> list[str]:
    """The ids of the roles wanted with what they imply, or all of the token's. Raises Problem 400 or 404."""
    own = {ident for ident, _ in request.caller.role_list}
    if not wanted:
        return sorted(own)
    by_name = {role.name: role.id for role in roles.values()}
    given = []
    for role in wanted:
        if (role.id is None) == (role.name is None):
            raise Problem(400, "Invalid request body: a role is given by its id or by its name.")
        ident = role.id if role.id in roles else by_name.get(role.name or "")
        if ident is None:
            raise not_found("role", role.id or role.name or "")
        given.append(ident)
    closed = await implied_role.closure(c, given)
    if not closed <= own:
        raise Problem(
            400, "Cannot create an application credential with a role that the token does not have."
        )
    return sorted(closed)


async def _rule(request: Request, c: Connection, wanted: RuleRef) -> AccessRule:
    """The user's rule with this id, or one that says this. Raises Problem 400 or 404."""
    user_id = request.caller.user_id
    if wanted.id is not None:
        held = await application_credential.rules_of(c, user_id, ids=[wanted.id])
        if held:
            return held[0]
        if wanted.service is None:
            raise not_found("access rule", wanted.id)
    if wanted.service is None or wanted.method is None or wanted.path is None:
        raise Problem(400, "Invalid request body: an access rule needs a service, a method and a path.")
    rule = AccessRule(id=new_id(request), service=wanted.service, method=wanted.method, path=wanted.path)
    return await application_credential.ensure_rule(c, user_id, rule)


# --- access rules --------------------------------------------------------------------------------


def _shaped_rule(request: Request, user_id: str, rule: AccessRule) -> dict[str, Any]:
    return {**structs.asdict(rule), "links": self_link(request, f"users/{user_id}/access_rules", rule.id)}


async def list_rules(request: Request) -> Response:
    """The user's, whether or not a credential has them."""
    query: RuleQuery = request.query
    async with request.services.read_pool.acquire() as c:
        user_id = await _owner(request, c)
        rules = await application_credential.rules_of(c, user_id)
    wanted = {name: value for name, value in structs.asdict(query).items() if value is not None}
    shown = [rule for rule in rules if all(getattr(rule, name) == value for name, value in wanted.items())]
    return listing(request, "access_rules", [_shaped_rule(request, user_id, rule) for rule in shown])


async def show_rule(request: Request) -> Response:
    """One rule."""
    ident = request.params["id"]
    async with request.services.read_pool.acquire() as c:
        user_id = await _owner(request, c)
        rules = await application_credential.rules_of(c, user_id, ids=[ident])
    if not rules:
        raise not_found("access rule", ident)
    return Response({"access_rule": _shaped_rule(request, user_id, rules[0])})


async def delete_rule(request: Request) -> Response:
    """Remove a rule that no credential has."""
    ident = request.params["id"]
    async with request.services.pool.acquire() as c, c.transaction():
        user_id = await _owner(request, c)
        try:
            if not await application_credential.remove_rule(c, user_id, ident):
                raise not_found("access rule", ident)
        except Dangling as error:
            raise Problem(403, "May not delete access rule in use") from error
    return Response()


_MANY: Final = "/v3/users/{user_id}/application_credentials"
_RULES: Final = "/v3/users/{user_id}/access_rules"

ROUTES: Final = (
    Route("GET", _MANY, list_credentials, "identity:list_application_credentials", query=NameQuery),
    Route(
        "POST",
        _MANY,
        create_credential,
        "identity:create_application_credential",
        201,
        request=NewCredentialBody,
    ),
    Route("GET", f"{_MANY}/{{id}}", show_credential, "identity:get_application_credential"),
    Route("DELETE", f"{_MANY}/{{id}}", delete_credential, "identity:delete_application_credential", 204),
    Route("GET", _RULES, list_rules, "identity:list_access_rules", query=RuleQuery),
    Route("GET", f"{_RULES}/{{id}}", show_rule, "identity:get_access_rule"),
    Route("DELETE", f"{_RULES}/{{id}}", delete_rule, "identity:delete_access_rule", 204),
)
