"""Everything a new cloud begins with, over all services. Safe to run at every start."""

from gateway.compute import bootstrap as compute
from gateway.identity import bootstrap as identity
from gateway.identity.bootstrap import Bootstrapped
from gateway.identity.password import Passwords
from gateway.image.metadef import bootstrap as metadef
from process.clock import Clock
from store import network
from store.pool import Pool


async def bootstrap_all(
    pool: Pool, passwords: Passwords, *, admin_password: str, demo_password: str, region: str, clock: Clock
) -> Bootstrapped:
    """Users, projects, roles and catalog; default flavors; the shared network; metadata definitions."""
    made = await identity.bootstrap(
        pool,
        passwords,
        admin_password=admin_password,
        demo_password=demo_password,
        region=region,
        clock=clock,
    )
    async with pool.acquire() as connection:
        await compute.bootstrap(connection, clock)
        await network.bootstrap(connection, admin_project=made.admin_project, clock=clock)
        await metadef.bootstrap(connection, made.admin_project, clock)
    return made
