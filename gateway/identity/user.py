"""Users, their passwords and memberships, and groups."""

from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.identity.collection import (
    Collection,
    Draft,
    given,
    listing,
    new_id,
    not_found,
    own_domain,
    tell,
)
from gateway.identity.password import PASSWORD_LENGTH_MAX
from gateway.identity.tenancy import Projects, Text
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import assignment, identity
from store.identity import Dangling, Domain, Group, User
from store.pool import Connection

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Password = Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH_MAX)]


class NewUser(Struct, forbid_unknown_fields=True):
    """Members of a user to create. ``password`` is a hash once it has been prepared."""

    name: Name
    domain_id: str | None = None
    password: Password | None = None
    enabled: bool = True
    default_project_id: str | None = None


class ChangedUser(Struct, forbid_unknown_fields=True):
    """Members of a user to change. ``password`` is a hash once it has been prepared."""

    name: Name | UnsetType = UNSET
    domain_id: str | UnsetType = UNSET
    password: Password | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    default_project_id: str | UnsetType | None = UNSET


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

    def shape(self, row: User) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": row.id,
            "name": row.name,
            "domain_id": row.domain_id,
            "enabled": row.enabled,
            "password_expires_at": None,
            "options": {},
        }
        if row.default_project_id is not None:
            shown["default_project_id"] = row.default_project_id
        return shown

    def target(self, row: User) -> Target:
        return Target(user_id=row.id, domain_id=row.domain_id)

    async def prepare(self, request: Request, members: NewUser | ChangedUser) -> NewUser | ChangedUser:
        if isinstance(members.password, str):
            return structs.replace(members, password=await request.services.passwords.hash(members.password))
        return members

    async def build(self, draft: Draft) -> User:
        members: NewUser = draft.members
        domain_id = members.domain_id or own_domain(draft.request)
        if await identity.get(draft.c, Domain, domain_id) is None:
            raise not_found("domain", domain_id)
        return User(
            id=new_id(draft.request),
            domain_id=domain_id,
            name=members.name,
            enabled=members.enabled,
            default_project_id=members.default_project_id,
            extra=draft.extra,
        )

    async def check_changeable(self, request: Request, c: Connection, row: User) -> None:
        # Else the manager of a domain could set an admin's password and be admin.
        if not request.caller.is_admin and await assignment.holds(c, "admin", user_id=row.id):
            raise Problem(403, "Only an admin may change a user who is admin somewhere.")

    async def change(self, row: User, draft: Draft) -> User:
        changed = given(draft.members)
        changed.pop("password", None)
        if changed.pop("domain_id", row.domain_id) != row.domain_id:
            raise Problem(400, "A user's domain cannot be changed.")
        # Disabling voids the tokens for good: enabling the user again must not bring them back.
        epoch = row.epoch + (row.enabled and changed.get("enabled") is False)
        return structs.replace(row, extra=draft.extra, epoch=epoch, **changed)

    async def store_more(self, row: User, draft: Draft) -> None:
        if isinstance(draft.members.password, str):
            now = draft.request.services.clock.now()
            await identity.put_password(draft.c, row.id, draft.members.password, now)

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
            ),
            Route("GET", "/v3/users/{id}/projects", self.projects, "identity:list_user_projects"),
            Route("GET", "/v3/users/{id}/groups", self.groups, "identity:list_groups_for_user"),
        )

    async def change_password(self, request: Request) -> Response:
        """Set a new password by proving the old one; every token of the user ends."""
        wanted: PasswordChange = request.body.user
        services = request.services
        async with services.pool.acquire() as c:
            row = await self.found(request, c)
            login = await identity.login_by_id(c, row.id)
        held = login.hash if login is not None else None
        if not await services.passwords.verify(held, wanted.original_password):
            raise Problem(401, "The request you have made requires authentication.")
        hashed = await services.passwords.hash(wanted.password)
        async with services.pool.acquire() as c, c.transaction():
            await self.found(request, c, lock=True)
            await identity.put_password(c, row.id, hashed, services.clock.now())
            await tell(request, c, "user", row.id)
        await services.tokens.refresh()
        return Response()

    async def projects(self, request: Request) -> Response:
        """The projects on which the user has a role."""
        async with request.services.read_pool.acquire() as c:
            row = await self.found(request, c)
            rows = await identity.projects_of(c, row.id)
        return listing(request, "projects", [PROJECTS.body_of(request, project) for project in rows])

    async def groups(self, request: Request) -> Response:
        """The groups the user is in."""
        async with request.services.read_pool.acquire() as c:
            row = await self.found(request, c)
            rows = await identity.groups_of(c, row.id)
        return listing(request, "groups", [GROUPS.body_of(request, group) for group in rows])


class NewGroup(Struct, forbid_unknown_fields=True):
    """Members of a group to create."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    domain_id: str | None = None
    description: Text | None = None


class ChangedGroup(Struct, forbid_unknown_fields=True):
    """Members of a group to change."""

    name: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    domain_id: str | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET


class Groups(Collection[Group]):
    """Source: Identity API v3, "Groups"."""

    kind = Group
    notice = "all"
    singular, plural = "group", "groups"
    create_members, update_members = NewGroup, ChangedGroup
    filters: ClassVar = {"name": str, "domain_id": str}
    takes_extra = True
    in_domain = True

    def shape(self, row: Group) -> dict[str, Any]:
        return {"id": row.id, "name": row.name, "domain_id": row.domain_id, "description": row.description}

    async def build(self, draft: Draft) -> Group:
        members: NewGroup = draft.members
        domain_id = members.domain_id or own_domain(draft.request)
        if await identity.get(draft.c, Domain, domain_id) is None:
            raise not_found("domain", domain_id)
        description = members.description or ""
        return Group(
            id=new_id(draft.request),
            domain_id=domain_id,
            name=members.name,
            description=description,
            extra=draft.extra,
        )

    async def check_changeable(self, request: Request, c: Connection, row: Group) -> None:
        # Else the manager of a domain could join a group of admins.
        if not request.caller.is_admin and await assignment.holds(c, "admin", group_id=row.id):
            raise Problem(403, "Only an admin may change a group that is admin somewhere.")

    async def change(self, row: Group, draft: Draft) -> Group:
        changed = given(draft.members)
        if changed.pop("domain_id", row.domain_id) != row.domain_id:
            raise Problem(400, "A group's domain cannot be changed.")
        return structs.replace(row, extra=draft.extra, **changed)

    def routes(self) -> tuple[Route, ...]:
        """Return the collection's rows and those of its members."""
        one = "/v3/groups/{id}/users/{user_id}"
        return (
            *super().routes(),
            Route("GET", "/v3/groups/{id}/users", self.users, "identity:list_users_in_group"),
            Route("PUT", one, self.join, "identity:add_user_to_group", 204),
            Route("HEAD", one, self.check, "identity:check_user_in_group", 204),
            Route("GET", one, self.check, "identity:check_user_in_group", 204),
            Route("DELETE", one, self.leave, "identity:remove_user_from_group", 204),
        )

    async def users(self, request: Request) -> Response:
        """The members."""
        async with request.services.read_pool.acquire() as c:
            rows = await identity.users_in(c, (await self.found(request, c)).id)
        return listing(request, "users", [USERS.body_of(request, user) for user in rows])

    async def join(self, request: Request) -> Response:
        """Make a user a member; repeating it changes nothing."""
        user_id = request.params["user_id"]
        async with request.services.pool.acquire() as c, c.transaction():
            row = await self.found(request, c)
            await self.check_changeable(request, c, row)
            try:
                await identity.join_group(c, row.id, user_id)
            except Dangling as error:
                raise not_found("user", user_id) from error
            await tell(request, c, "user", user_id)
        await request.services.tokens.refresh()
        return Response()

    async def check(self, request: Request) -> Response:
        """204 for a member, else 404."""
        user_id = request.params["user_id"]
        async with request.services.read_pool.acquire() as c:
            if not await identity.is_member(c, (await self.found(request, c)).id, user_id):
                raise not_found("user", user_id)
        return Response()

    async def leave(self, request: Request) -> Response:
        """End a membership."""
        user_id = request.params["user_id"]
        async with request.services.pool.acquire() as c, c.transaction():
            row = await self.found(request, c)
            await self.check_changeable(request, c, row)
            if not await identity.leave_group(c, row.id, user_id):
                raise not_found("user", user_id)
            await tell(request, c, "user", user_id)
        await request.services.tokens.refresh()
        return Response()


PROJECTS = Projects()
USERS = Users()
GROUPS = Groups()
