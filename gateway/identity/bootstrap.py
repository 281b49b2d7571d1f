"""The first rows of a new cloud: without them nobody could log in to make any.

Safe to run at every start: what is there is left as it is, passwords too. Flavors, networks and
images are not made here.
"""

from itertools import pairwise
from typing import Final

from msgspec import Struct

from gateway.identity.password import Passwords
from gateway.policy import ROLES
from process.clock import Clock
from store import assignment, identity, implied_role, password
from store.assignment import Grant
from store.filter import Condition
from store.identity import Domain, Endpoint, Project, R, Region, Role, Service, User
from store.pool import Connection, Pool

DEFAULT_DOMAIN: Final = "default"
IMMUTABLE: Final = '{"immutable":true}'
SERVICE_ROLE: Final = "service"
"""Of the users as whom services call each other; implies nothing and is implied by nothing."""
INTERFACES: Final = ("public", "internal", "admin")

# Relative: the catalog shows them on whatever origin the client used.
CATALOG: Final = (
    ("identity", "keystone", "/identity/v3"),
    ("compute", "nova", "/compute/v2.1"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
)


class Bootstrapped(Struct, frozen=True, kw_only=True):
    """The ids of what a new cloud begins with."""

    admin_user: str
    admin_project: str
    demo_user: str
    demo_project: str


async def bootstrap(
    pool: Pool, passwords: Passwords, *, admin_password: str, demo_password: str, region: str, clock: Clock
) -> Bootstrapped:
    """Make what is missing, in one transaction. Two processes may call it at once."""
    admin_hash = await passwords.hash(admin_password)
    demo_hash = await passwords.hash(demo_password)
    async with pool.acquire() as c, c.transaction():
        await identity.lock_tables(c)
        if await identity.get(c, Domain, DEFAULT_DOMAIN) is None:
            await identity.add(c, Domain(id=DEFAULT_DOMAIN, name="Default", description="The default domain"))
        roles = await _roles(c, clock)
        admin_project = await _project(c, clock, "admin", "Bootstrap project for initializing the cloud.")
        demo_project = await _project(c, clock, "demo", "")
        admin_user = await _user(c, clock, "admin", admin_hash)
        demo_user = await _user(c, clock, "demo", demo_hash)
        for grant in (
            Grant(user_id=admin_user, project_id=admin_project, role_id=roles["admin"]),
            Grant(user_id=admin_user, role_id=roles["admin"]),
            Grant(user_id=demo_user, project_id=demo_project, role_id=roles["member"]),
        ):
            await assignment.put(c, grant)
        await _catalog(c, clock, region)
    return Bootstrapped(
        admin_user=admin_user, admin_project=admin_project, demo_user=demo_user, demo_project=demo_project
    )


def _new_id(clock: Clock) -> str:
    return clock.uuid().replace("-", "")


async def _ensured(c: Connection, row: R, **equal: str) -> tuple[str, bool]:
    """The id of the row like this one, and whether it was made just now."""
    found = await identity.find(c, type(row), equal, limit=1)
    if found:
        return found[0].id, False
    await identity.add(c, row)
    return row.id, True


async def _roles(c: Connection, clock: Clock) -> dict[str, str]:
    ids = {}
    for name in (*ROLES, SERVICE_ROLE):
        of_the_cloud = Condition("domain_id", "is null", value=True)
        found = await identity.find(c, Role, {"name": name}, also=(of_the_cloud,))
        if not found:
            found = [Role(id=_new_id(clock), name=name, options=IMMUTABLE)]
            await identity.add(c, found[0])
        ids[name] = found[0].id
    for prior, implied in pairwise(ROLES):
        await implied_role.imply(c, ids[prior], ids[implied])
    return ids


async def _project(c: Connection, clock: Clock, name: str, description: str) -> str:
    row = Project(id=_new_id(clock), domain_id=DEFAULT_DOMAIN, name=name, description=description)
    return (await _ensured(c, row, domain_id=DEFAULT_DOMAIN, name=name))[0]


async def _user(c: Connection, clock: Clock, name: str, hashed: str) -> str:
    row = User(id=_new_id(clock), domain_id=DEFAULT_DOMAIN, name=name)
    ident, is_new = await _ensured(c, row, domain_id=DEFAULT_DOMAIN, name=name)
    if is_new:
        await password.put(c, ident, hashed, clock.now())
    return ident


async def _catalog(c: Connection, clock: Clock, region: str) -> None:
    if await identity.get(c, Region, region) is None:
        await identity.add(c, Region(id=region))
    for kind, name, url in CATALOG:
        service_id, _ = await _ensured(c, Service(id=_new_id(clock), type=kind, name=name), type=kind)
        for interface in INTERFACES:
            row = Endpoint(
                id=_new_id(clock), service_id=service_id, interface=interface, region_id=region, url=url
            )
            await _ensured(c, row, service_id=service_id, interface=interface, region_id=region)
