"""Getting, checking and ending tokens, and what a token can reach.

Source: Identity API v3, "Authentication and token management". A scope that is not the user's is the same
401 as a wrong password. How a user is recognised belongs to proof.py.
"""

from typing import Final, Literal

from msgspec import Struct, field

from gateway.auth import TOKEN_LENGTH_MAX, Caller, Scope, unauthorized
from gateway.identity import factor
from gateway.identity.authority import Bearer, authority, scope_of, take_use
from gateway.identity.catalog import catalog_of
from gateway.identity.collection import listing
from gateway.identity.document import token_body
from gateway.identity.domain import DOMAINS
from gateway.identity.factor import Receipt
from gateway.identity.project import PROJECTS
from gateway.identity.proof import DomainRef, IdentityPart, Proven, Ref, check_form, is_domain, prove, subject
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity, trust
from store.identity import User
from store.pool import Connection

LOGIN_BYTES_MAX: Final = 64 << 10
"""Anybody may send this body, so little of it is read."""
ACCESS_RULES_HEADER: Final = "OpenStack-Identity-Access-Rules"
ACCESS_RULES_VERSION: Final = 1.0


class ProjectRef(Struct, forbid_unknown_fields=True):
    """A project by id, or by name and domain."""

    id: Ref | None = None
    name: Ref | None = None
    domain: DomainRef | None = None


class SystemRef(Struct, forbid_unknown_fields=True):
    """The whole system."""

    all: bool


class TrustRef(Struct, forbid_unknown_fields=True):
    """A trust by id."""

    id: Ref


class ScopePart(Struct, forbid_unknown_fields=True):
    """Exactly one of its members."""

    project: ProjectRef | None = None
    domain: DomainRef | None = None
    system: SystemRef | None = None
    trust: TrustRef | None = field(default=None, name="OS-TRUST:trust")
    unscoped: dict[str, str] | None = None


class AuthPart(Struct, forbid_unknown_fields=True):
    """What to recognise the user by, and for which scope."""

    identity: IdentityPart
    scope: ScopePart | Literal["unscoped"] | None = None


class AuthBody(Struct, forbid_unknown_fields=True):
    """The body of POST /v3/auth/tokens."""

    auth: AuthPart


# --- POST /v3/auth/tokens ------------------------------------------------------------------------


async def create_token(request: Request) -> Response:
    """Log in."""
    auth: AuthPart = request.body.auth
    check_form(auth.identity)
    if isinstance(auth.scope, ScopePart):
        _check_scope(auth.scope)
    receipt = factor.presented(request)
    proven = await prove(request, auth.identity, receipt.user_id if receipt is not None else "")
    async with request.services.pool.acquire() as c:
        if receipt is not None:
            await factor.check(request, c, receipt, proven.user_id)
            proven = proven.joined(receipt.methods)
        answer = await _short_of(request, c, proven, receipt)
        if answer is not None:
            return answer
        bearer = await _bearer(request, c, proven, auth.scope)
        found = None if bearer is None else await authority(c, bearer, request.services.clock.now())
        if found is None:
            lent = bearer is not None and bearer.trust_id
            raise Problem(403, "Trustee has no delegated roles.") if lent else unauthorized(request.base_url)
        if receipt is not None:
            await factor.spend(request, c, receipt)
        if not await take_use(c, found):
            raise unauthorized(request.base_url)
        token, caller = request.services.tokens.issue(
            found, proven.methods, expires_at=proven.expires_at, chain=proven.chain
        )
        body = await token_body(request, c, caller)
    return Response(body, headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


async def _short_of(
    request: Request, c: Connection, proven: Proven, receipt: Receipt | None
) -> Response | None:
    """The answer to a user who must prove more; None: it is enough. Raises Problem 401."""
    user = await identity.get(c, User, proven.user_id)
    if user is None:
        raise unauthorized(request.base_url)
    asked = factor.missing(user.options, proven.methods)
    if not asked:
        return None
    until = request.services.clock.now() + factor.RECEIPT_LIFETIME_S
    if receipt is not None:
        until = min(until, receipt.expires_at)
    return await factor.receipt_for(request, c, user, proven.methods, asked, until)


def _check_scope(scope: ScopePart) -> None:
    """Refuse what no scope could be. Raises Problem 400."""
    parts = (scope.project, scope.domain, scope.system, scope.trust, scope.unscoped)
    if sum(part is not None for part in parts) != 1:
        raise Problem(400, "Invalid request body: a scope is one project, domain or trust, or the system.")
    project = scope.project
    if project is not None and project.id is None and (project.name is None or not is_domain(project.domain)):
        raise Problem(400, "Invalid request body: a project needs an id, or a name and a domain.")
    if scope.domain is not None and not is_domain(scope.domain):
        raise Problem(400, "Invalid request body: a domain needs an id or a name.")


Wanted = ScopePart | Literal["unscoped"] | None


async def _bearer(request: Request, c: Connection, proven: Proven, wanted: Wanted) -> Bearer | None:
    """The user within the scope asked for; None when nothing has its name. Raises Problem 401 or 403."""
    if proven.app_credential_id:
        if wanted is not None:
            message = "An application credential cannot request a scope: it has its own."
            raise Problem(403, message) if proven.is_rescoping else unauthorized(request.base_url)
        return Bearer(
            user_id=proven.user_id,
            scope="project",
            scope_id=proven.project_id,
            app_credential_id=proven.app_credential_id,
        )
    if isinstance(wanted, ScopePart) and wanted.trust is not None:
        return await _trustee(request, c, proven, wanted.trust.id)
    if wanted is None and proven.default_project_id is not None:
        default = Bearer(user_id=proven.user_id, scope="project", scope_id=proven.default_project_id)
        if await authority(c, default, request.services.clock.now()) is not None:
            return default
    scope, scope_id = await _scope_ids(c, wanted)
    return None if scope_id is None else Bearer(user_id=proven.user_id, scope=scope, scope_id=scope_id)


async def _trustee(request: Request, c: Connection, proven: Proven, ident: str) -> Bearer:
    """The user as trustee. Raises Problem 401 or 403."""
    lent = await trust.get(c, ident)
    if lent is None or lent.is_over(request.services.clock.now()):
        raise unauthorized(request.base_url)
    if lent.trustee_user_id != proven.user_id:
        raise Problem(403, "User is not a trustee.")
    scope, scope_id = scope_of(lent)
    return Bearer(user_id=proven.user_id, scope=scope, scope_id=scope_id, trust_id=ident)


async def _scope_ids(c: Connection, wanted: Wanted) -> tuple[Scope, str | None]:
    """Kind and id of the scope; the id is None when nothing has the name."""
    if not isinstance(wanted, ScopePart) or wanted.unscoped is not None:
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


async def _named_subject(request: Request) -> tuple[str, Caller]:
    """The token of X-Subject-Token, when the caller may know of it. Raises Problem 404 or 403."""
    token = request.headers.get("X-Subject-Token", "")
    found = await subject(request, token) if 0 < len(token) <= TOKEN_LENGTH_MAX else None
    if found is None:
        raise Problem(404, "Failed to validate token")
    request.authorize(Target(user_id=found.user_id))
    return token, found


def _check_understood(request: Request, found: Caller) -> None:
    """Hide a token with access rules from a service that would not hold it to them. Raises Problem 404."""
    granted = found.app_credential
    if granted is None or not granted.access_rules:
        return
    try:
        version = float(request.headers.get(ACCESS_RULES_HEADER, "0"))
    except ValueError:
        version = 0.0
    if not version >= ACCESS_RULES_VERSION:
        raise Problem(404, "Failed to validate token")


async def show_token(request: Request) -> Response:
    """Validate: the document of another token (or of the caller's own)."""
    token, found = await _named_subject(request)
    _check_understood(request, found)
    async with request.services.pool.acquire() as c:
        body = await token_body(request, c, found)
    return Response(body, headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


async def delete_token(request: Request) -> Response:
    """Revoke."""
    _, found = await _named_subject(request)
    await request.services.tokens.revoke(found)
    return Response()


# --- what the token can reach --------------------------------------------------------------------


async def show_catalog(request: Request) -> Response:
    """The catalog of a scoped token."""
    if request.caller.scope == "unscoped":
        raise Problem(403, "An unscoped token has no catalog.")
    async with request.services.read_pool.acquire() as c:
        return listing(request, "catalog", await catalog_of(request, c, request.caller.project_id))


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
