"""Policies kept for services that fetch theirs from the Identity API, and what they are associated with."""

from typing import ClassVar, Final

import asyncpg
from msgspec import Struct

from store.identity import Endpoint, Row, columns, constraints
from store.pool import Connection


class PolicyBlob(Row, frozen=True, kw_only=True):
    """A policy in whatever form its ``type`` says."""

    table: ClassVar[str] = "identity.policy"

    type: str
    blob: str
    extra: str = "{}"


class Place(Struct, frozen=True, kw_only=True):
    """What a policy may be associated with: an endpoint, or a service, there perhaps in one region only."""

    endpoint_id: str | None = None
    service_id: str | None = None
    region_id: str | None = None


_SAME: Final = (
    "endpoint_id IS NOT DISTINCT FROM $1 AND service_id IS NOT DISTINCT FROM $2"
    " AND region_id IS NOT DISTINCT FROM $3"
)
_OF_E: Final = ", ".join(f"e.{column}" for column in columns(Endpoint))
# Most particular first: the endpoint's own, then its service's in its region or one of those above, then its
# service's anywhere.
_FOR_ENDPOINT: Final = """
WITH RECURSIVE place AS (
    SELECT e.id, e.service_id, e.region_id FROM identity.endpoint e WHERE e.id = $1
), above AS (
    SELECT r.id, r.parent_region_id, 1 AS depth
    FROM identity.region r WHERE r.id = (SELECT region_id FROM place)
    UNION ALL
    SELECT r.id, r.parent_region_id, above.depth + 1
    FROM above JOIN identity.region r ON r.id = above.parent_region_id
)
SELECT a.policy_id
FROM identity.policy_association a LEFT JOIN above ON above.id = a.region_id
WHERE a.endpoint_id = $1
   OR a.service_id = (SELECT service_id FROM place) AND (a.region_id IS NULL OR above.id IS NOT NULL)
ORDER BY a.endpoint_id IS NULL, a.region_id IS NULL, above.depth LIMIT 1
"""


def _values(place: Place) -> tuple[str | None, str | None, str | None]:
    return place.endpoint_id, place.service_id, place.region_id


async def associate(c: Connection, policy_id: str, place: Place) -> None:
    """Let this policy be the place's, instead of the one it had. Raises Dangling."""
    with constraints():
        await c.execute(
            "INSERT INTO identity.policy_association (policy_id, endpoint_id, service_id, region_id)"
            " VALUES ($4, $1, $2, $3)"
            " ON CONFLICT (endpoint_id, service_id, region_id) DO UPDATE SET policy_id = excluded.policy_id",
            *_values(place),
            policy_id,
        )


async def dissociate(c: Connection, policy_id: str, place: Place) -> bool:
    """Take the policy from the place; False: it was not the place's."""
    status = await c.execute(
        f"DELETE FROM identity.policy_association WHERE {_SAME} AND policy_id = $4",  # noqa: S608
        *_values(place),
        policy_id,
    )
    return bool(status != "DELETE 0")


async def is_associated(c: Connection, policy_id: str, place: Place) -> bool:
    """Whether the policy is the place's own."""
    found = await c.fetchval(
        f"SELECT EXISTS (SELECT FROM identity.policy_association WHERE {_SAME} AND policy_id = $4)",  # noqa: S608
        *_values(place),
        policy_id,
    )
    return bool(found)


async def policy_for(c: Connection, endpoint_id: str) -> str | None:
    """The id of the policy that counts for an endpoint."""
    found: str | None = await c.fetchval(_FOR_ENDPOINT, endpoint_id)
    return found


async def candidates(c: Connection, policy_id: str) -> list[Endpoint]:
    """The endpoints a policy's associations reach, also those for which a more particular one counts."""
    records: list[asyncpg.Record] = await c.fetch(
        f"SELECT {_OF_E} FROM identity.endpoint e WHERE EXISTS ("  # noqa: S608  constants only
        " SELECT FROM identity.policy_association a WHERE a.policy_id = $1"
        " AND (a.endpoint_id = e.id OR a.service_id = e.service_id)) ORDER BY e.id",
        policy_id,
    )
    return [Endpoint(**dict(record.items())) for record in records]
