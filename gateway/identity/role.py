"""Roles, who was given which where, and the list of all assignments."""

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType, field, structs

from gateway.identity import option
from gateway.identity.collection import Collection, Draft, given, listing, new_id, not_found, tell
from gateway.identity.option import ImmutableOption
from gateway.identity.tenancy import Text
from gateway.policy import ROLES, Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import assignment, identity
from store.assignment import Assignment, AssignmentFilter, Grant
from store.identity import Dangling, Domain, Group, Project, Role, User
from store.pool import Connection

Name = Annotated[str, Meta(min_length=1, max_length=255)]

# A domain's manager hands out what is below admin. Source: Keystone's domain manager persona.
MANAGED_ROLES: Final = frozenset(ROLES) - {"admin"}


class NewRole(Struct, forbid_unknown_fields=True):
    """Members of a role to create. Roles of a domain do not exist here: ``domain_id`` must be null."""

    name: Name
    description: Text | None = None
    domain_id: None = None
    options: ImmutableOption | UnsetType = UNSET


class ChangedRole(Struct, forbid_unknown_fields=True):
    """Members of a role to change."""

    name: Name | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    domain_id: UnsetType | None = UNSET
    options: ImmutableOption | UnsetType = UNSET


class Roles(Collection[Role]):
    """Source: Identity API v3, "Roles"."""

    kind = Role
    notice = "all"
    singular, plural = "role", "roles"
    create_members, update_members = NewRole, ChangedRole
    takes_extra = True

    def shape(self, row: Role) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "domain_id": None,
            "description": row.description or None,
            "options": option.shown(row.options),
        }

    async def list(self, request: Request) -> Response:
        """All roles; none belongs to a domain."""
        if request.query.get("domain_id"):
            return listing(request, self.plural, [])
        return await super().list(request)

    async def build(self, draft: Draft) -> Role:
        members: NewRole = draft.members
        return Role(
            id=new_id(draft.request),
            name=members.name,
            description=members.description or "",
            options=option.merged("{}", members.options),
            extra=draft.extra,
        )

    async def change(self, row: Role, draft: Draft) -> Role:
        changed = given(draft.members)
        changed.pop("domain_id", None)
        changed["options"] = option.merged(row.options, changed.pop("options", UNSET))
        return structs.replace(row, extra=draft.extra, **changed)


ROLE_COLLECTION: Final = Roles()


class Grants:
    """Roles of one sort of actor (users, groups) on one sort of target (projects, domains, system)."""

    def __init__(self, target: str, actor: str) -> None:
        self._target = target
        self._actor = actor

    def routes(self) -> tuple[Route, ...]:
        """Return the rows: list, give, check, take."""
        where = "/v3/system" if self._target == "system" else f"/v3/{self._target}/{{target_id}}"
        many = f"{where}/{self._actor}/{{actor_id}}/roles"
        one = f"{many}/{{role_id}}"
        prefix = "identity:{}_system_grant" if self._target == "system" else "identity:{}_grant"
        return (
            Route("GET", many, self.list, prefix.format("list")),
            Route("PUT", one, self.give, prefix.format("create"), 204),
            Route("HEAD", one, self.check, prefix.format("check"), 204),
            Route("GET", one, self.check, prefix.format("check"), 204),
            Route("DELETE", one, self.take, prefix.format("revoke"), 204),
        )

    def _grant(self, request: Request) -> Grant:
        params = request.params
        return Grant(
            user_id=params["actor_id"] if self._actor == "users" else None,
            group_id=params["actor_id"] if self._actor == "groups" else None,
            project_id=params["target_id"] if self._target == "projects" else None,
            domain_id=params["target_id"] if self._target == "domains" else None,
            role_id=params.get("role_id"),
        )

    async def _checked(self, request: Request, c: Connection) -> tuple[Grant, Role | None]:
        """Find all the parts and check that the caller may; raises Problem 404 or 403."""
        grant = self._grant(request)
        domain_id = await _domain_of(c, grant)
        role = None
        if grant.role_id is not None:
            role = await identity.get(c, Role, grant.role_id)
            if role is None:
                raise not_found("role", grant.role_id)
        request.authorize(Target(domain_id=domain_id))
        return grant, role

    async def list(self, request: Request) -> Response:
        """The roles given directly."""
        async with request.services.read_pool.acquire() as c:
            grant, _ = await self._checked(request, c)
            rows = await assignment.roles_given(c, grant)
        return listing(request, "roles", [ROLE_COLLECTION.body_of(request, role) for role in rows])

    async def check(self, request: Request) -> Response:
        """204 when the role was given, else 404."""
        async with request.services.read_pool.acquire() as c:
            grant, _ = await self._checked(request, c)
            rows = await assignment.roles_given(c, grant)
        if all(role.id != grant.role_id for role in rows):
            raise not_found("role assignment", str(grant.role_id))
        return Response()

    async def give(self, request: Request) -> Response:
        """Give the role; repeating it changes nothing."""
        async with request.services.pool.acquire() as c, c.transaction():
            grant, role = await self._checked(request, c)
            _check_manager(request, role)
            try:
                await assignment.put(c, grant)
            except Dangling as error:
                raise not_found("part of the grant", str(error)) from error
            await _tell(request, c, grant)
        await request.services.tokens.refresh()
        return Response()

    async def take(self, request: Request) -> Response:
        """Take the role back; tokens lose it at once."""
        async with request.services.pool.acquire() as c, c.transaction():
            grant, role = await self._checked(request, c)
            _check_manager(request, role)
            if not await assignment.take(c, grant):
                raise not_found("role assignment", str(grant.role_id))
            await _tell(request, c, grant)
        await request.services.tokens.refresh()
        return Response()


async def _domain_of(c: Connection, grant: Grant) -> str:
    """The domain that decides; empty when actor and target are of different ones. Raises Problem 404."""
    domains: list[str] = []
    if grant.user_id is not None:
        user = await identity.get(c, User, grant.user_id)
        if user is None:
            raise not_found("user", grant.user_id)
        domains.append(user.domain_id)
    if grant.group_id is not None:
        group = await identity.get(c, Group, grant.group_id)
        if group is None:
            raise not_found("group", grant.group_id)
        domains.append(group.domain_id)
    if grant.project_id is not None:
        project = await identity.get(c, Project, grant.project_id)
        if project is None:
            raise not_found("project", grant.project_id)
        domains.append(project.domain_id)
    elif grant.domain_id is not None:
        if await identity.get(c, Domain, grant.domain_id) is None:
            raise not_found("domain", grant.domain_id)
        domains.append(grant.domain_id)
    else:
        return ""
    return domains[0] if len(set(domains)) == 1 else ""


def _check_manager(request: Request, role: Role | None) -> None:
    if not request.caller.is_admin and (role is None or role.name not in MANAGED_ROLES):
        raise Problem(403, "A domain manager may only give and take the roles below admin.")


async def _tell(request: Request, c: Connection, grant: Grant) -> None:
    if grant.user_id is not None:
        await tell(request, c, "user", grant.user_id)
    else:
        await tell(request, c, "all", "")


class AssignmentQuery(Struct):
    """Filters of the list. Flags count as set by their presence, unless their value is 0."""

    user_id: str | None = field(default=None, name="user.id")
    group_id: str | None = field(default=None, name="group.id")
    role_id: str | None = field(default=None, name="role.id")
    project_id: str | None = field(default=None, name="scope.project.id")
    domain_id: str | None = field(default=None, name="scope.domain.id")
    system: str | None = field(default=None, name="scope.system")
    effective: str | None = None
    include_names: str | None = None
    include_subtree: str | None = None


def _is_set(flag: str | None) -> bool:
    return flag is not None and flag != "0" and flag.lower() != "false"


async def list_assignments(request: Request) -> Response:
    """Who has which role where, with names if asked."""
    query: AssignmentQuery = request.query
    within = None if request.allows(request.route.policy, Target()) else request.caller.domain_id
    wanted = AssignmentFilter(
        user_id=query.user_id,
        group_id=query.group_id,
        role_id=query.role_id,
        project_id=query.project_id,
        domain_id=query.domain_id,
        system=_is_set(query.system),
        subtree=_is_set(query.include_subtree),
        effective=_is_set(query.effective),
        within_domain=within,
    )
    async with request.services.read_pool.acquire() as c:
        rows = await assignment.assignments(c, wanted)
    names = _is_set(query.include_names)
    return listing(request, "role_assignments", [_shaped(request, row, names=names) for row in rows])


def _named(ident: str | None, name: str | None, domain: tuple[str | None, str | None], *, names: bool) -> Any:
    if not names:
        return {"id": ident}
    return {"id": ident, "name": name, "domain": {"id": domain[0], "name": domain[1]}}


def _shaped(request: Request, row: Assignment, *, names: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": {"id": row.role_id}}
    if names:
        shown["role"]["name"] = row.role_name
    if row.user_id is not None:
        domain = (row.user_domain_id, row.user_domain_name)
        shown["user"] = _named(row.user_id, row.user_name, domain, names=names)
    else:
        domain = (row.group_domain_id, row.group_domain_name)
        shown["group"] = _named(row.group_id, row.group_name, domain, names=names)
    actor = f"users/{row.user_id}" if row.user_id is not None else f"groups/{row.group_id}"
    if row.project_id is not None:
        domain = (row.project_domain_id, row.project_domain_name)
        shown["scope"] = {"project": _named(row.project_id, row.project_name, domain, names=names)}
        where = f"projects/{row.project_id}"
    elif row.domain_id is not None:
        scope = {"id": row.domain_id, "name": row.domain_name} if names else {"id": row.domain_id}
        shown["scope"] = {"domain": scope}
        where = f"domains/{row.domain_id}"
    else:
        shown["scope"] = {"system": {"all": True}}
        where = "system"
    shown["links"] = {"assignment": f"{request.api_url}/v3/{where}/{actor}/roles/{row.role_id}"}
    return shown
