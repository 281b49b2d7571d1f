"""Everything a new cloud begins with, over all services. Safe to run at every start."""

from gateway.identity.bootstrap import Bootstrapped, bootstrap
from gateway.identity.password import Passwords
from process.clock import Clock
from store.pool import Pool


async def bootstrap_all(
    pool: Pool, passwords: Passwords, *, admin_password: str, demo_password: str, region: str, clock: Clock
) -> Bootstrapped:
    """Users, projects, roles and catalog; default flavors; the shared network."""
    return await bootstrap(
        pool,
        passwords,
        admin_password=admin_password,
        demo_password=demo_password,
        region=region,
        clock=clock,
    )
