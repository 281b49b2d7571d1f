"""Groups and who is in them."""

from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType, structs

from gateway.identity.collection import (
    Collection,
    Draft,
    ShortName,
    Text,
    given,
    listing,
    new_id,
    not_found,
    own_domain,
    tell,
)
from gateway.identity.user import USERS
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import assignment, identity
from store.identity import Dangling, Domain, Group
from store.pool import Connection


class NewGroup(Struct, forbid_unknown_fields=True):
    """Members of a group to create."""

    name: ShortName
    domain_id: str | None = None
    description: Text | None = None


class ChangedGroup(Struct, forbid_unknown_fields=True):
    """Members of a group to change."""

    name: ShortName | UnsetType = UNSET
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
            Route("GET", "/v3/users/{id}/groups", self.groups_of, "identity:list_groups_for_user"),
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

    async def groups_of(self, request: Request) -> Response:
        """The groups a user is in."""
        async with request.services.read_pool.acquire() as c:
            user = await USERS.found(request, c)
            rows = await identity.groups_of(c, user.id)
        return listing(request, "groups", [self.body_of(request, row) for row in rows])

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


GROUPS = Groups()
