"""Getting, checking and ending tokens, and what a token can reach.

Source: Identity API v3, "Authentication and token management". Every failed login is the same 401:
whether the user, the password or the scope was wrong is nobody's business.
"""

from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta, Struct

from gateway.auth import TOKEN_LENGTH_MAX, Caller, Scope, unauthorized
from gateway.identity.attempt import proven
from gateway.identity.catalog import catalog_of
from gateway.identity.collection import listing
from gateway.identity.document import token_body
from gateway.identity.domain import DOMAINS
from gateway.identity.password import PASSWORD_LENGTH_MAX
from gateway.identity.project import PROJECTS
from gateway.identity.throttle import WhoLogsIn
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity
from store.identity import Snapshot
from store.pool import Connection

LOGIN_BYTES_MAX: Final = 64 << 10
"""Anybody may send this body, so little of it is read."""

Ref = Annotated[str, Meta(min_length=1, max_length=255)]


class DomainRef(Struct, forbid_unknown_fields=True):
    """A domain by id or by name."""

    id: Ref | None = None
    name: Ref | None = None


class UserRef(Struct, forbid_unknown_fields=True):
    """A user by id, or by name and domain; and the password."""

    password: Annotated[str, Meta(max_length=PASSWORD_LENGTH_MAX)]
    id: Ref | None = None
    name: Ref | None = None
    domain: DomainRef | None = None


class PasswordMethod(Struct, forbid_unknown_fields=True):
    """Login by password."""

    user: UserRef


class TokenMethod(Struct, forbid_unknown_fields=True):
    """Login by a token got before."""

    id: Annotated[str, Meta(min_length=1, max_length=TOKEN_LENGTH_MAX)]


class IdentityPart(Struct, forbid_unknown_fields=True):
    """How the user is to be recognised."""

    methods: Annotated[list[str], Meta(min_length=1, max_length=8)]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None


class ProjectRef(Struct, forbid_unknown_fields=True):
    """A project by id, or by name and domain."""

    id: Ref | None = None
    name: Ref | None = None
    domain: DomainRef | None = None


class SystemRef(Struct, forbid_unknown_fields=True):
    """The whole system."""

    all: bool


class ScopePart(Struct, forbid_unknown_fields=True):
    """Exactly one of its members."""

    project: ProjectRef | None = None
    domain: DomainRef | None = None
    system: SystemRef | None = None


class AuthPart(Struct, forbid_unknown_fields=True):
    """What to recognise the user by, and for which scope."""

    identity: IdentityPart
    scope: ScopePart | Literal["unscoped"] | None = None


class AuthBody(Struct, forbid_unknown_fields=True):
    """The body of POST /v3/auth/tokens."""

    auth: AuthPart


class _Proven(NamedTuple):
    user_id: str
    default_project_id: str | None
    methods: tuple[str, ...]
    expires_at: float
    chain: str


# --- POST /v3/auth/tokens ------------------------------------------------------------------------


async def create_token(request: Request) -> Response:
    """Log in."""
    auth: AuthPart = request.body.auth
    _check_form(auth)
    proven = await _proven(request, auth.identity)
    async with request.services.pool.acquire() as c:
        scope, snapshot = await _scoped(request, c, proven, auth.scope)
        token, caller = request.services.tokens.issue(
            snapshot, scope, proven.methods, expires_at=proven.expires_at, chain=proven.chain
        )
        body = await token_body(request, c, caller)
    return Response(body, headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


def _check_form(auth: AuthPart) -> None:
    """Refuse what no login could mean. Raises Problem 400."""
    methods = auth.identity
    if ("password" in methods.methods and methods.password is None) or (
        "token" in methods.methods and methods.token is None
    ):
        raise Problem(400, "Invalid request body: a method is named but its data is missing.")
    if methods.password is not None:
        user = methods.password.user
        if user.id is None and (user.name is None or not _is_domain(user.domain)):
            raise Problem(400, "Invalid request body: a user needs an id, or a name and a domain.")
    if isinstance(auth.scope, ScopePart):
        scope = auth.scope
        if sum(part is not None for part in (scope.project, scope.domain, scope.system)) != 1:
            raise Problem(400, "Invalid request body: a scope is one project, one domain or the system.")
        project = scope.project
        if (
            project is not None
            and project.id is None
            and (project.name is None or not _is_domain(project.domain))
        ):
            raise Problem(400, "Invalid request body: a project needs an id, or a name and a domain.")
        if scope.domain is not None and not _is_domain(scope.domain):
            raise Problem(400, "Invalid request body: a domain needs an id or a name.")


def _is_domain(domain: DomainRef | None) -> bool:
    return domain is not None and (domain.id is not None or domain.name is not None)


async def _proven(request: Request, part: IdentityPart) -> _Proven:
    """Who it is, by all the methods named, which must agree. Raises Problem 401."""
    found: list[_Proven] = []
    for method in part.methods:
        if method == "password" and part.password is not None:
            found.append(await _by_password(request, part.password.user))
        elif method == "token" and part.token is not None:
            found.append(await _by_token(request, part.token.id))
        else:
            raise unauthorized(request.base_url)
    if len({proven.user_id for proven in found}) != 1:
        raise unauthorized(request.base_url)
    methods = dict.fromkeys(method for proven in found for method in proven.methods)
    chain = next((proven.chain for proven in found if proven.chain), "")
    expires_at = min(proven.expires_at for proven in found)
    return _Proven(found[0].user_id, found[0].default_project_id, tuple(methods), expires_at, chain)


async def _by_password(request: Request, user: UserRef) -> _Proven:
    services = request.services
    domain = user.domain or DomainRef()
    who = WhoLogsIn(user.id) if user.id is not None else WhoLogsIn(None, user.name, domain.id, domain.name)
    login = await proven(request, who, user.password)
    expires_at = services.clock.now() + services.settings.token_lifetime_s
    return _Proven(login.user_id, login.default_project_id, ("password",), expires_at, "")


async def _by_token(request: Request, token: str) -> _Proven:
    caller = await _subject(request, token)
    if caller is None:
        raise Problem(404, "Failed to validate token")
    methods = (*caller.methods, *(("token",) if "token" not in caller.methods else ()))
    return _Proven(caller.user_id, None, methods, caller.expires_at, caller.audit_chain)


async def _scoped(
    request: Request, c: Connection, proven: _Proven, wanted: ScopePart | Literal["unscoped"] | None
) -> tuple[Scope, Snapshot]:
    """The user within the scope asked for. Raises Problem 401."""
    if wanted is None and proven.default_project_id is not None:
        snapshot = await identity.snapshot(c, proven.user_id, "project", proven.default_project_id)
        if snapshot is not None:
            return "project", snapshot
    scope, scope_id = await _scope_ids(c, wanted)
    found = None if scope_id is None else await identity.snapshot(c, proven.user_id, scope, scope_id)
    if found is None:
        raise unauthorized(request.base_url)
    return scope, found


async def _scope_ids(
    c: Connection, wanted: ScopePart | Literal["unscoped"] | None
) -> tuple[Scope, str | None]:
    """Kind and id of the scope; the id is None when nothing has the name."""
    if not isinstance(wanted, ScopePart):
        return "unscoped", ""
    if wanted.system is not None:
        return "system", "" if wanted.system.all else None
    if wanted.domain is not None:
        if wanted.domain.id is not None:
            return "domain", wanted.domain.id
        named = await identity.find(c, identity.Domain, {"name": wanted.domain.name or ""})
        return "domain", named[0].id if named else None
    project = wanted.project or ProjectRef()
    if project.id is not None:
        return "project", project.id
    domain = project.domain or DomainRef()
    return "project", await identity.project_named(c, project.name or "", domain.id, domain.name)


# --- GET, HEAD, DELETE /v3/auth/tokens -----------------------------------------------------------


async def _subject(request: Request, token: str) -> Caller | None:
    tokens = request.services.tokens
    return tokens.cached(token) or await tokens.verify(token)


async def _named_subject(request: Request) -> tuple[str, Caller]:
    """The token of X-Subject-Token, when the caller may know of it. Raises Problem 404 or 403."""
    token = request.headers.get("X-Subject-Token", "")
    subject = await _subject(request, token) if 0 < len(token) <= TOKEN_LENGTH_MAX else None
    if subject is None:
        raise Problem(404, "Failed to validate token")
    request.authorize(Target(user_id=subject.user_id))
    return token, subject


async def show_token(request: Request) -> Response:
    """Validate: the document of another token (or of the caller's own)."""
    token, subject = await _named_subject(request)
    async with request.services.pool.acquire() as c:
        body = await token_body(request, c, subject)
    return Response(body, headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


async def delete_token(request: Request) -> Response:
    """Revoke."""
    _, subject = await _named_subject(request)
    await request.services.tokens.revoke(subject)
    return Response()


# --- what the token can reach --------------------------------------------------------------------


async def show_catalog(request: Request) -> Response:
    """The catalog of a scoped token."""
    if request.caller.scope == "unscoped":
        raise Problem(403, "An unscoped token has no catalog.")
    async with request.services.read_pool.acquire() as c:
        return listing(request, "catalog", await catalog_of(request, c))


async def my_projects(request: Request) -> Response:
    """Projects the user could be scoped to."""
    async with request.services.read_pool.acquire() as c:
        rows = await identity.projects_of(c, request.caller.user_id, enabled=True)
    return listing(request, "projects", [PROJECTS.body_of(request, row) for row in rows])


async def my_domains(request: Request) -> Response:
    """Domains the user could be scoped to."""
    async with request.services.read_pool.acquire() as c:
        rows = await identity.domains_of(c, request.caller.user_id)
    return listing(request, "domains", [DOMAINS.body_of(request, row) for row in rows])


async def my_system(request: Request) -> Response:
    """Whether the user could be scoped to the system."""
    async with request.services.read_pool.acquire() as c:
        found = await identity.snapshot(c, request.caller.user_id, "system", "")
    return listing(request, "system", [{"all": True}] if found is not None else [])


ROUTES = (
    Route(
        "POST",
        "/v3/auth/tokens",
        create_token,
        "identity:create_token",
        201,
        request=AuthBody,
        body_bytes_max=LOGIN_BYTES_MAX,
    ),
    Route("GET", "/v3/auth/tokens", show_token, "identity:validate_token"),
    Route("HEAD", "/v3/auth/tokens", show_token, "identity:check_token"),
    Route("DELETE", "/v3/auth/tokens", delete_token, "identity:revoke_token", 204),
    Route("GET", "/v3/auth/catalog", show_catalog, "identity:get_auth_catalog"),
    Route("GET", "/v3/auth/projects", my_projects, "identity:get_auth_projects"),
    Route("GET", "/v3/auth/domains", my_domains, "identity:get_auth_domains"),
    Route("GET", "/v3/auth/system", my_system, "identity:get_auth_system"),
    # The older paths of the same lists. Source: Identity API v3, OS-FEDERATION.
    Route("GET", "/v3/OS-FEDERATION/projects", my_projects, "identity:get_auth_projects"),
    Route("GET", "/v3/OS-FEDERATION/domains", my_domains, "identity:get_auth_domains"),
)
