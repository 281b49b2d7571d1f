"""The upkeep of images: data nobody wants is removed, and what belonged to images that are gone.

Every gateway with a store does it; a sweep that finds nothing costs one query and one folder listing.
"""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.image.store import StoreFailed, StoreFull, Stores
from process.clock import Clock
from store.image import forget_members, live_locations
from store.pool import Pool, is_outage

PERIOD_S: Final = 60.0
ORPHAN_AGE_S: Final = 900.0
"""Unwanted data younger than this may belong to an upload whose image is just being made active."""


async def sweep_once(pool: Pool, stores: Stores, clock: Clock) -> int:
    """Remove what is not wanted any more; how many pieces of data. Raises StoreFailed."""
    began = clock.now()
    async with pool.acquire() as c:
        wanted = await live_locations(c)
        await forget_members(c)
    return await stores.sweep(wanted, began - ORPHAN_AGE_S)


async def sweep_forever(pool: Pool, stores: Stores, clock: Clock, log: FilteringBoundLogger) -> None:
    """Sweep every PERIOD_S, with jitter, until cancelled."""
    while True:
        await asyncio.sleep(PERIOD_S * (0.5 + clock.random.random()))
        try:
            removed = await sweep_once(pool, stores, clock)
        except (StoreFailed, StoreFull) as error:
            log.warning("image.sweep_failed", error=repr(error))
            continue
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("image.sweep_failed", error=repr(error))
            continue
        if removed:
            log.info("image.swept", removed=removed)
