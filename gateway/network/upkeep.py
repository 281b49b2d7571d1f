"""The upkeep of networks: ports of instances that are gone, or that never came to be, are removed."""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from process.clock import Clock
from store.network import free_orphans
from store.pool import Pool, is_outage

PERIOD_S: Final = 10.0


async def free_forever(pool: Pool, clock: Clock, log: FilteringBoundLogger) -> None:
    """Free orphaned ports every PERIOD_S, with jitter, until cancelled. Several gateways may."""
    while True:
        await asyncio.sleep(PERIOD_S * (0.5 + clock.random.random()))
        try:
            async with pool.acquire() as c:
                removed = await free_orphans(c, clock.now())
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("network.upkeep_failed", error=repr(error))
            continue
        if removed:
            log.info("network.ports_freed", ports=removed)
