"""Asking the database whether it is there and what time it has."""

from process.clock import Clock
from store.pool import Pool


async def clock_offset(pool: Pool, clock: Clock) -> float:
    """The machine's clock less the database's, in seconds; half the round trip is the uncertainty."""
    before = clock.now()
    theirs: float = await pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    return (before + clock.now()) / 2 - theirs
