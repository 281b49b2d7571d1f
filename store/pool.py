"""Opening a pool of PostgreSQL connections, and telling an outage from a bug.

No SQL and no table knowledge here: those live in the module of their table group.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import asyncpg

from store.turn import StoreUnavailable

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 30.0

_OUTAGES: Final = (
    StoreUnavailable,
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, starting up, terminated by an operator
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.ReadOnlySQLTransactionError,  # after a failover, still connected to the former primary
    asyncpg.InternalClientError,  # the server said goodbye and the driver has not yet seen the end
)


def is_outage(error: BaseException) -> bool:
    """Whether the database could not be asked (try again later), as opposed to being asked wrongly."""
    if isinstance(error, asyncpg.InterfaceError):
        return "clos" in str(
            error
        )  # "connection is closed", "pool is closing": asyncpg has no class for them
    return isinstance(error, _OUTAGES)


async def open_pool(
    url: str,
    *,
    connections_min: int = 1,
    connections_max: int = 10,
    settings: Mapping[str, str] | None = None,
) -> Pool:
    """A pool for ``url``. ``settings`` are server settings of each session. Raises StoreUnavailable.

    Between uses only an open transaction is undone: users must leave no other trace in a session (no SET but
    SET LOCAL, no LISTEN, no lock that outlives its transaction). The driver's own reset would double the cost
    of a short query: 100 µs and a round trip.
    """
    try:
        return await asyncpg.create_pool(
            url,
            min_size=connections_min,
            max_size=connections_max,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            server_settings=dict(settings or {}),
            reset=_leave_as_it_is,
        )
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"the database cannot be opened: {error or type(error).__name__}") from error


async def _leave_as_it_is(_: Connection) -> None:
    """Called when a connection comes back, after an open transaction was undone."""
