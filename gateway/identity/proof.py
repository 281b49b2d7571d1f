"""Who it is: the methods by which a login may prove a user, and what they prove together.

Source: Identity API v3, "Authentication and token management". Every failed proof is the same 401: whether
the user, the password or anything else was wrong is nobody's business. Scopes belong to login.py.
"""

from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from gateway.auth import TOKEN_LENGTH_MAX, Caller, unauthorized
from gateway.identity import totp
from gateway.identity.attempt import proven
from gateway.identity.ec2 import METHOD as EC2_METHOD
from gateway.identity.password import PASSWORD_LENGTH_MAX
from gateway.identity.throttle import WhoLogsIn
from gateway.problem import Problem
from gateway.request import Request
from store import application_credential, password
from store.password import Login
from store.pool import Connection

Ref = Annotated[str, Meta(min_length=1, max_length=255)]
Secret = Annotated[str, Meta(max_length=PASSWORD_LENGTH_MAX)]


class DomainRef(Struct, forbid_unknown_fields=True):
    """A domain by id or by name."""

    id: Ref | None = None
    name: Ref | None = None


class UserRef(Struct, forbid_unknown_fields=True):
    """A user by id, or by name and domain."""

    id: Ref | None = None
    name: Ref | None = None
    domain: DomainRef | None = None


class PasswordUser(UserRef, forbid_unknown_fields=True, kw_only=True):
    """A user and the password."""

    password: Secret


class PasswordMethod(Struct, forbid_unknown_fields=True):
    """Login by password."""

    user: PasswordUser


class TokenMethod(Struct, forbid_unknown_fields=True):
    """Login by a token got before."""

    id: Annotated[str, Meta(min_length=1, max_length=TOKEN_LENGTH_MAX)]


class CredentialMethod(Struct, forbid_unknown_fields=True):
    """Login by an application credential: by id, or by name and user."""

    secret: Secret
    id: Ref | None = None
    name: Ref | None = None
    user: UserRef | None = None


class TotpUser(UserRef, forbid_unknown_fields=True, kw_only=True):
    """A user and a passcode."""

    passcode: Annotated[str, Meta(max_length=64)]


class TotpMethod(Struct, forbid_unknown_fields=True):
    """Login by a passcode."""

    user: TotpUser


class IdentityPart(Struct, forbid_unknown_fields=True):
    """How the user is to be recognised."""

    methods: Annotated[list[str], Meta(min_length=1, max_length=8)]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None
    application_credential: CredentialMethod | None = None
    totp: TotpMethod | None = None


class Proven(NamedTuple):
    """A user, by which methods, until when; the credential is set when a program logs in, not a person.

    ``is_rescoping``: by a token, which may have been got through that credential.
    """

    user_id: str
    methods: tuple[str, ...]
    expires_at: float
    default_project_id: str | None = None
    chain: str = ""
    app_credential_id: str = ""
    project_id: str = ""
    is_rescoping: bool = False

    def joined(self, methods: tuple[str, ...]) -> "Proven":
        """With methods proven before."""
        return self._replace(methods=tuple(dict.fromkeys((*methods, *self.methods))))


def is_domain(domain: DomainRef | None) -> bool:
    """Whether it names one."""
    return domain is not None and (domain.id is not None or domain.name is not None)


def _is_user(user: UserRef | None) -> bool:
    return user is not None and (user.id is not None or (user.name is not None and is_domain(user.domain)))


def check_form(part: IdentityPart) -> None:
    """Refuse what no login could mean. Raises Problem 400."""
    for method in part.methods:
        if method in part.__struct_fields__ and getattr(part, method) is None:
            raise Problem(400, f"Invalid request body: the method {method} is named but its data is missing.")
    for named in (part.password, part.totp):
        if named is not None and not _is_user(named.user):
            raise Problem(400, "Invalid request body: a user needs an id, or a name and a domain.")
    program = part.application_credential
    if program is not None and program.id is None and (program.name is None or not _is_user(program.user)):
        message = "an application credential needs an id, or a name and a user"
        raise Problem(400, f"Invalid request body: {message}.")


async def prove(request: Request, part: IdentityPart, receipt_of: str = "") -> Proven:
    """Who it is, by all the methods named, which must agree. Raises Problem 401 or 403.

    ``receipt_of``: the user who has proven something before.
    """
    found: list[Proven] = []
    methods = dict.fromkeys(part.methods)
    for method in sorted(methods, key="totp".__eq__):  # a passcode is used up: it comes last
        if method == "password" and part.password is not None:
            found.append(await _by_password(request, part.password.user))
        elif method == "token" and part.token is not None:
            found.append(await _by_token(request, part.token.id))
        elif method == "application_credential" and part.application_credential is not None:
            found.append(await _by_credential(request, part.application_credential))
        elif method == "totp" and part.totp is not None:
            before = {receipt_of, *(proven.user_id for proven in found)}
            found.append(await _by_passcode(request, part.totp.user, before))
        else:
            raise unauthorized(request.base_url)
    return _together(request, found)


def _together(request: Request, found: list[Proven]) -> Proven:
    credentials = {
        proven.app_credential_id: proven.project_id for proven in found if proven.app_credential_id
    }
    if len({proven.user_id for proven in found}) != 1 or len(credentials) > 1:
        raise unauthorized(request.base_url)
    first = found[0]
    ident, project_id = next(iter(credentials.items()), ("", ""))
    return Proven(
        user_id=first.user_id,
        methods=tuple(dict.fromkeys(method for proven in found for method in proven.methods)),
        expires_at=min(proven.expires_at for proven in found),
        default_project_id=first.default_project_id,
        chain=next((proven.chain for proven in found if proven.chain), ""),
        app_credential_id=ident,
        project_id=project_id,
        is_rescoping=any(proven.is_rescoping for proven in found),
    )


def _who(user: UserRef) -> WhoLogsIn:
    domain = user.domain or DomainRef()
    return WhoLogsIn(user.id) if user.id is not None else WhoLogsIn(None, user.name, domain.id, domain.name)


async def _login_of(c: Connection, user: UserRef) -> Login | None:
    if user.id is not None:
        return await password.login_by_id(c, user.id)
    domain = user.domain or DomainRef()
    return await password.login_by_name(c, user.name or "", domain.id, domain.name)


def _ends_at(request: Request) -> float:
    return request.services.clock.now() + request.services.settings.token_lifetime_s


async def _by_password(request: Request, user: PasswordUser) -> Proven:
    login = await proven(request, _who(user), user.password)
    return Proven(login.user_id, ("password",), _ends_at(request), login.default_project_id)


async def _by_passcode(request: Request, user: TotpUser, before: set[str]) -> Proven:
    """The user of a passcode; ``before`` are those who have proven something already."""
    async with request.services.pool.acquire() as c:
        login = await _login_of(c, user)
    user_id = login.user_id if login is not None else ""
    right = await totp.is_right(request, user_id, user.passcode, is_second=user_id in before)
    if not right or login is None:
        raise unauthorized(request.base_url)
    return Proven(user_id, ("totp",), _ends_at(request), login.default_project_id)


async def subject(request: Request, token: str) -> Caller | None:
    """The caller that a token names; None: it is void."""
    tokens = request.services.tokens
    return tokens.cached(token) or await tokens.verify(token)


async def _by_token(request: Request, token: str) -> Proven:
    caller = await subject(request, token)
    if caller is None:
        raise Problem(404, "Failed to validate token")
    if EC2_METHOD in caller.methods:
        raise Problem(403, "A token got with an EC2 signature cannot be used to get another.")
    if caller.trust is not None:
        raise Problem(403, "A token got with a trust cannot be used to get another.")
    granted = caller.app_credential
    return Proven(
        user_id=caller.user_id,
        methods=(*caller.methods, *(("token",) if "token" not in caller.methods else ())),
        expires_at=caller.expires_at,
        chain=caller.audit_chain,
        app_credential_id=granted.id if granted is not None else "",
        project_id=caller.project_id if granted is not None else "",
        is_rescoping=True,
    )


async def _by_credential(request: Request, program: CredentialMethod) -> Proven:
    """The owner of an application credential; a wrong id takes as long as a wrong secret."""
    services = request.services
    user = program.user or UserRef()
    who = _who(user)._replace(program=program.id or program.name or "")
    services.throttle.count(who, request.peer, services.clock.now())
    async with services.pool.acquire() as c:
        if program.id is not None:
            row = await application_credential.get(c, program.id)
        else:
            login = await _login_of(c, user)
            owner = login.user_id if login is not None else ""
            row = await application_credential.named(c, owner, program.name or "")
        held = None if row is None else await application_credential.secret_hash(c, row.id)
    right = await services.passwords.verify(held, program.secret)
    if not right or row is None:
        raise unauthorized(request.base_url)
    services.throttle.take_back(who, request.peer, services.clock.now())
    return Proven(
        user_id=row.user_id,
        methods=("application_credential",),
        expires_at=_ends_at(request),
        app_credential_id=row.id,
        project_id=row.project_id,
    )
