"""Giving and taking roles: to users and groups, on projects, domains and the system.

Source: Identity API v3, "Roles" and OS-INHERIT.
"""

from typing import Final

from gateway.identity.collection import listing, not_found, tell
from gateway.identity.role import ROLE_COLLECTION
from gateway.policy import ROLES, Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import assignment, identity
from store.assignment import Grant
from store.identity import Dangling, Domain, Group, Project, Role, User
from store.pool import Connection

# A domain's manager hands out what is below admin. Source: Keystone's domain manager persona.
MANAGED_ROLES: Final = frozenset(ROLES) - {"admin"}


class Grants:
    """Roles of one sort of actor (users, groups) on one sort of target (projects, domains, system).

    ``inherited``: those that count on the projects below the target.
    """

    def __init__(self, target: str, actor: str, *, inherited: bool) -> None:
        self._target = target
        self._actor = actor
        self._inherited = inherited

    def routes(self) -> tuple[Route, ...]:
        """Return the rows: list, give, check, take."""
        where = "/v3/system" if self._target == "system" else f"/v3/{self._target}/{{target_id}}"
        many = f"{where}/{self._actor}/{{actor_id}}/roles"
        one = f"{many}/{{role_id}}"
        if self._inherited:
            many, one = (
                f"{path.replace('/v3', '/v3/OS-INHERIT', 1)}/inherited_to_projects" for path in (many, one)
            )
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
            inherited=self._inherited,
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
            await _check_domain(c, grant, role)
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
    if request.caller.is_admin:
        return
    if role is None or role.domain_id is not None or role.name not in MANAGED_ROLES:
        raise Problem(403, "A domain manager may only give and take the roles below admin.")


async def _check_domain(c: Connection, grant: Grant, role: Role | None) -> None:
    """Refuse a domain's role outside of it. Raises Problem 400 or 403."""
    if role is None or role.domain_id is None:
        return
    if grant.project_id is None and grant.domain_id is None:
        raise Problem(
            400,
            f"Role {role.id} is a domain-specific role. Unable to use a domain-specific role in a system"
            " assignment.",
        )
    domain_id = grant.domain_id
    if grant.project_id is not None:
        project = await identity.get(c, Project, grant.project_id)
        domain_id = project.domain_id if project is not None else None
    if domain_id != role.domain_id:
        raise Problem(
            403,
            f"Project {grant.project_id or grant.domain_id} must be in the same domain as the role"
            f" {role.id} being assigned.",
        )


async def _tell(request: Request, c: Connection, grant: Grant) -> None:
    if grant.user_id is not None:
        await tell(request, c, "user", grant.user_id)
    else:
        await tell(request, c, "all", "")


GRANTS: Final = tuple(
    route
    for target, inherited in (
        ("projects", False),
        ("domains", False),
        ("system", False),
        ("projects", True),
        ("domains", True),
    )
    for actor in ("users", "groups")
    for route in Grants(target, actor, inherited=inherited).routes()
)
