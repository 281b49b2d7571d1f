"""Unified limits: what the cloud allows of a resource, and what differs for one project or domain."""

from typing import ClassVar

from store.identity import Row
from store.pool import Connection


class RegisteredLimit(Row, frozen=True, kw_only=True):
    """The default. ``region_id`` None: in all regions together."""

    table: ClassVar[str] = "identity.registered_limit"

    service_id: str
    region_id: str | None = None
    resource_name: str
    default_limit: int
    description: str | None = None


class Limit(Row, frozen=True, kw_only=True):
    """For one project or one domain; ``owner_domain_id`` is the domain either of them belongs to."""

    table: ClassVar[str] = 'identity."limit"'

    registered_limit_id: str
    service_id: str
    region_id: str | None = None
    resource_name: str
    project_id: str | None = None
    domain_id: str | None = None
    owner_domain_id: str
    resource_limit: int
    description: str | None = None


async def registered_for(
    c: Connection, service_id: str, region_id: str | None, resource_name: str
) -> str | None:
    """The id of the registered limit of a resource; kept from changing until the transaction ends."""
    found: str | None = await c.fetchval(
        "SELECT id FROM identity.registered_limit WHERE service_id = $1 AND region_id IS NOT DISTINCT FROM $2"
        " AND resource_name = $3 FOR SHARE",
        service_id,
        region_id,
        resource_name,
    )
    return found


async def is_referred_to(c: Connection, registered_limit_id: str) -> bool:
    """Whether some project or domain has a limit of its own."""
    found = await c.fetchval(
        'SELECT EXISTS (SELECT FROM identity."limit" WHERE registered_limit_id = $1)', registered_limit_id
    )
    return bool(found)
