"""Users, their passwords, and what they belong to."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, structs
from multidict import MultiMapping

from gateway.auth import unauthorized
from gateway.identity import option
from gateway.identity.attempt import proven
from gateway.identity.collection import (
    Collection,
    Draft,
    Name,
    given,
    listing,
    new_id,
    not_found,
    own_domain,
    self_link,
    tell,
)
from gateway.identity.document import expiry
from gateway.identity.option import UserOptions
from gateway.identity.password import PASSWORD_LENGTH_MAX
from gateway.identity.password_rules import PasswordRules
from gateway.identity.project import PROJECTS
from gateway.identity.throttle import WhoLogsIn
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import application_credential, assignment, identity, password
from store.filter import Condition, Test
from store.identity import Domain, User
from store.password import Login
from store.pool import Connection

CHANGE_BYTES_MAX: Final = 64 << 10
"""Anybody may send this body, so little of it is read."""

Password = Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH_MAX)]

_EXPIRY: Final = re.compile(r"(?:([a-z]+):)?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_OPERATORS: Final[Mapping[str, Test]] = {
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    "eq": "=",
    "neq": "!=",
}


class NewUser(Struct, forbid_unknown_fields=True):
    """Members of a user to create. ``password`` is a hash once it has been prepared."""

    name: Name
    domain_id: str | None = None
    password: Password | None = None
    enabled: bool = True
    default_project_id: str | None = None
    options: UserOptions | UnsetType = UNSET


class ChangedUser(Struct, forbid_unknown_fields=True):
    """Members of a user to change. ``password`` is a hash once it has been prepared, null takes it away."""

    name: Name | UnsetType = UNSET
    domain_id: str | UnsetType = UNSET
    password: Password | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    default_project_id: str | UnsetType | None = UNSET
    options: UserOptions | UnsetType = UNSET


class PasswordChange(Struct, forbid_unknown_fields=True):
    """The old and the new password."""

    original_password: Password
    password: Password


class PasswordChangeBody(Struct, forbid_unknown_fields=True):
    """The body of POST /v3/users/{id}/password."""

    user: PasswordChange


class Users(Collection[User]):
    """Source: Identity API v3, "Users"."""

    kind = User
    notice = "user"
    singular, plural = "user", "users"
    create_members, update_members = NewUser, ChangedUser
    filters: ClassVar = {"name": str, "domain_id": str, "enabled": bool}
    takes_extra = True
    in_domain = True

    def body_of(self, request: Request, row: User) -> dict[str, Any]:
        """The user with links and extra members. Who was inactive for too long is shown as disabled."""
        rules = request.services.settings.password_rules
        away = rules.inactive_days_max and rules.is_inactive(
            row.options, row.active_at, request.services.clock.now()
        )
        shown: dict[str, Any] = {} if row.extra == "{}" else msgspec.json.decode(row.extra)
        shown |= {
            "id": row.id,
            "name": row.name,
            "domain_id": row.domain_id,
            "enabled": row.enabled and not away,
            "password_expires_at": expiry(row.password_expires_at),
            "options": option.shown(row.options),
            "links": self_link(request, self.plural, row.id),
        }
        if row.default_project_id is not None:
            shown["default_project_id"] = row.default_project_id
        return shown

    def target(self, row: User) -> Target:
        return Target(user_id=row.id, domain_id=row.domain_id)

    async def conditions(self, query: MultiMapping[str], c: Connection) -> Sequence[Condition]:
        """``password_expires_at=lt:2026-01-31T00:00:00Z``. Source: Identity API v3, "List users"."""
        del c
        return [_expiry_condition(text) for text in query.getall("password_expires_at", [])]

    async def prepare(self, request: Request, members: NewUser | ChangedUser) -> NewUser | ChangedUser:
        if isinstance(members.options, UserOptions):
            option.check_mfa_rules(members.options.multi_factor_auth_rules)
        if isinstance(members.password, str):
            request.services.settings.password_rules.check(members.password)
            return structs.replace(members, password=await request.services.passwords.hash(members.password))
        return members

    async def build(self, draft: Draft) -> User:
        members: NewUser = draft.members
        now = draft.request.services.clock.now()
        domain_id = members.domain_id or own_domain(draft.request)
        if await identity.get(draft.c, Domain, domain_id) is None:
            raise not_found("domain", domain_id)
        await _check_default_project(draft.c, members.default_project_id)
        options = option.merged("{}", members.options)
        return User(
            id=new_id(draft.request),
            domain_id=domain_id,
            name=members.name,
            enabled=members.enabled,
            default_project_id=members.default_project_id,
            options=options,
            password_expires_at=_expires_at(draft, options) if members.password is not None else None,
            active_at=now,
            extra=draft.extra,
        )

    async def check_changeable(self, request: Request, c: Connection, row: User) -> None:
        # Else the manager of a domain could set an admin's password and be admin.
        if not request.caller.is_admin and await assignment.holds(c, "admin", user_id=row.id):
            raise Problem(403, "Only an admin may change a user who is admin somewhere.")

    async def change(self, row: User, draft: Draft) -> User:
        changed = given(draft.members)
        if changed.pop("domain_id", row.domain_id) != row.domain_id:
            raise Problem(400, "Cannot change Domain ID")
        changed["options"] = option.merged(row.options, changed.pop("options", UNSET))
        await _check_default_project(draft.c, changed.get("default_project_id"))
        # Disabling ends tokens and application credentials for good: enabling must not bring them back.
        is_disabled = row.enabled and changed.get("enabled") is False
        if is_disabled:
            await application_credential.forget_user(draft.c, row.id)
        epoch = row.epoch + is_disabled
        if "password" in changed:
            epoch += 1
            has_one = changed.pop("password") is not None
            changed["password_expires_at"] = _expires_at(draft, changed["options"]) if has_one else None
        if changed.get("enabled"):
            changed["active_at"] = draft.request.services.clock.now()
        return structs.replace(row, extra=draft.extra, epoch=epoch, **changed)

    async def store_more(self, row: User, draft: Draft) -> None:
        members: NewUser | ChangedUser = draft.members
        if isinstance(members.password, str):
            await password.put(draft.c, row.id, members.password, draft.request.services.clock.now())
        elif members.password is None:
            await password.clear(draft.c, row.id)
        if members.enabled is True:
            await password.succeeded(draft.c, row.id)  # an administrator's word ends a lockout

    def routes(self) -> tuple[Route, ...]:
        """Return the collection's rows, the password's, and those of what a user belongs to."""
        return (
            *super().routes(),
            Route(
                "POST",
                "/v3/users/{id}/password",
                self.change_password,
                "identity:change_password",
                204,
                request=PasswordChangeBody,
                body_bytes_max=CHANGE_BYTES_MAX,
            ),
            Route("GET", "/v3/users/{id}/projects", self.projects, "identity:list_user_projects"),
        )

    async def change_password(self, request: Request) -> Response:
        """Set a new password by proving the old one, which is all it takes; every token of the user ends.

        No token is asked for: who has an expired password cannot have one.
        """
        wanted: PasswordChange = request.body.user
        services = request.services
        rules = services.settings.password_rules
        who = WhoLogsIn(request.params["id"])
        login = await proven(request, who, wanted.original_password, expired_too=True)
        rules.check(wanted.password)
        rules.check_change(login, services.clock.now())
        await _check_unused(request, login, wanted.password, rules)
        hashed = await services.passwords.hash(wanted.password)
        async with services.pool.acquire() as c, c.transaction():
            row = await identity.get(c, User, login.user_id, lock=True)
            now = services.clock.now()
            still = await password.login_by_id(c, login.user_id)
            if row is None or still is None or still.hash != login.hash:
                raise unauthorized(request.base_url)  # somebody else was faster
            await password.put(c, row.id, hashed, now, self_service=True)
            expires_at = rules.expires_at(option.read(UserOptions, row.options), now, by_admin=False)
            after = structs.replace(row, epoch=row.epoch + 1, password_expires_at=expires_at)
            await identity.replace(c, after)
            await tell(request, c, "user", row.id)
        await services.tokens.refresh()
        return Response()

    async def projects(self, request: Request) -> Response:
        """The projects on which the user has a role."""
        async with request.services.read_pool.acquire() as c:
            row = await self.found(request, c)
            rows = await identity.projects_of(c, row.id, enabled=False)
        return listing(request, "projects", [PROJECTS.body_of(request, project) for project in rows])


def _expires_at(draft: Draft, options: str) -> float | None:
    services = draft.request.services
    rules, now = services.settings.password_rules, services.clock.now()
    return rules.expires_at(option.read(UserOptions, options), now, by_admin=True)


def _expiry_condition(text: str) -> Condition:
    matched = _EXPIRY.fullmatch(text)
    if matched is None:
        raise Problem(
            400, "password_expires_at must be {operator}:{timestamp}, such as lt:2026-01-31T00:00:00Z."
        )
    operator = matched[1] or "eq"
    if operator not in _OPERATORS:
        raise Problem(
            400,
            f"The given operator {operator} is not valid. It must be one of the following:"
            " 'eq', 'neq', 'lt', 'lte', 'gt', or 'gte'.",
        )
    try:
        at = datetime.strptime(matched[2], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError as error:
        raise Problem(400, f"password_expires_at: {matched[2]} is not a time.") from error
    return Condition("password_expires_at", _OPERATORS[operator], at)


async def _check_default_project(c: Connection, project_id: str | None) -> None:
    """Refuse a domain in a project's place; a project that does not exist is nobody's concern."""
    if project_id is not None and await identity.get(c, Domain, project_id) is not None:
        raise Problem(400, "The default project of a user cannot be a domain.")


async def _check_unused(request: Request, login: Login, new: str, rules: PasswordRules) -> None:
    """Refuse a password the user had before. Raises Problem 400."""
    if not rules.unique_last:
        return
    services = request.services
    async with services.pool.acquire() as c:
        hashes = await password.last(c, login.user_id, rules.unique_last)
    for hashed in hashes:
        if await services.passwords.verify(hashed, new):
            raise rules.repeated()


USERS = Users()
