"""Reading hosts as schedulers see them."""

import msgspec

from protocol.host import HostView
from store.pool import Pool, is_outage
from store.turn import StoreUnavailable

_decoder = msgspec.json.Decoder(HostView)


async def read_hosts(pool: Pool) -> list[HostView]:
    """All hosts. Raises StoreUnavailable."""
    try:
        rows = await pool.fetch("SELECT view FROM compute.host WHERE NOT gone ORDER BY id")
    except Exception as error:
        if is_outage(error):
            raise StoreUnavailable(str(error)) from error
        raise
    return [_decoder.decode(row["view"]) for row in rows]
