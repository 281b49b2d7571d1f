"""The service catalog as one project sees it, and what decides that: endpoint groups and associations."""

from typing import ClassVar, Final

import asyncpg
from msgspec import Struct

from store.identity import Endpoint, Project, Row, columns, constraints
from store.pool import Connection

_OF_E: Final = ", ".join(f"e.{column}" for column in columns(Endpoint))
_OF_P: Final = ", ".join(f"p.{column}" for column in columns(Project))
_IN_GROUP: Final = """
    (g.filters::jsonb ->> 'interface' IS NULL OR e.interface = g.filters::jsonb ->> 'interface')
    AND (g.filters::jsonb ->> 'service_id' IS NULL OR e.service_id = g.filters::jsonb ->> 'service_id')
    AND (g.filters::jsonb ->> 'region_id' IS NULL OR e.region_id = g.filters::jsonb ->> 'region_id')
    AND (g.filters::jsonb ->> 'enabled' IS NULL OR e.enabled = (g.filters::jsonb ->> 'enabled')::boolean)
"""
_OF_PROJECT: Final = f"""
SELECT x.endpoint_id AS id FROM identity.project_endpoint x WHERE x.project_id = $1
UNION
SELECT e.id FROM identity.project_endpoint_group x
JOIN identity.endpoint_group g ON g.id = x.endpoint_group_id JOIN identity.endpoint e ON {_IN_GROUP}
WHERE x.project_id = $1
"""  # noqa: S608  constants only
_FILTERED: Final = """
(EXISTS (SELECT FROM identity.project_endpoint x WHERE x.project_id = $1)
 OR EXISTS (SELECT FROM identity.project_endpoint_group x WHERE x.project_id = $1))
"""
_CATALOG: Final = f"""
SELECT s.id AS service_id, s.type, s.name, e.id, e.interface, e.region_id, e.url
FROM identity.service s JOIN identity.endpoint e ON e.service_id = s.id
WHERE s.enabled AND e.enabled AND (NOT {_FILTERED} OR e.id IN ({_OF_PROJECT}))
ORDER BY s.id, e.id
"""  # noqa: S608  constants only


class EndpointGroup(Row, frozen=True, kw_only=True):
    """Endpoints that pass ``filters``, a JSON object of their members."""

    table: ClassVar[str] = "identity.endpoint_group"

    name: str
    description: str | None = None
    filters: str


class Entry(Struct, frozen=True, kw_only=True):
    """One endpoint in a catalog, with its service."""

    service_id: str
    type: str
    name: str
    id: str
    interface: str
    region_id: str | None
    url: str


async def catalog(c: Connection, project_id: str) -> list[Entry]:
    """The enabled endpoints of enabled services that this project sees: all, if nothing was chosen for it."""
    return [Entry(**dict(record.items())) for record in await c.fetch(_CATALOG, project_id)]


async def endpoints_in(c: Connection, group_id: str) -> list[Endpoint]:
    """The endpoints in a group."""
    return _endpoints(
        await c.fetch(
            f"SELECT {_OF_E} FROM identity.endpoint_group g JOIN identity.endpoint e ON {_IN_GROUP}"  # noqa: S608
            " WHERE g.id = $1 ORDER BY e.id",
            group_id,
        )
    )


async def endpoints_of(c: Connection, project_id: str) -> list[Endpoint]:
    """The endpoints a project sees, enabled or not; none for one without a choice."""
    return _endpoints(
        await c.fetch(
            f"SELECT {_OF_E} FROM identity.endpoint e WHERE e.id IN ({_OF_PROJECT}) ORDER BY e.id",  # noqa: S608
            project_id,
        )
    )


async def groups_of(c: Connection, project_id: str) -> list[EndpointGroup]:
    """The groups associated with a project."""
    names = ", ".join(f"g.{column}" for column in columns(EndpointGroup))
    records = await c.fetch(
        f"SELECT {names} FROM identity.endpoint_group g"  # noqa: S608  constants only
        " JOIN identity.project_endpoint_group x ON x.endpoint_group_id = g.id"
        " WHERE x.project_id = $1 ORDER BY g.id",
        project_id,
    )
    return [EndpointGroup(**dict(record.items())) for record in records]


# --- associations of a project with endpoints ("endpoint") or groups of them ("endpoint_group") ---

_TABLE: Final = {
    "endpoint": "identity.project_endpoint",
    "endpoint_group": "identity.project_endpoint_group",
}


async def associate(c: Connection, what: str, project_id: str, ident: str) -> None:
    """Let the project see it; repeating it changes nothing. Raises Dangling."""
    with constraints():
        await c.execute(
            f"INSERT INTO {_TABLE[what]} (project_id, {what}_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",  # noqa: S608
            project_id,
            ident,
        )


async def dissociate(c: Connection, what: str, project_id: str, ident: str) -> bool:
    """Take it out of the project's choice; False: it was not there."""
    status = await c.execute(
        f"DELETE FROM {_TABLE[what]} WHERE project_id = $1 AND {what}_id = $2",  # noqa: S608  constants only
        project_id,
        ident,
    )
    return bool(status != "DELETE 0")


async def is_associated(c: Connection, what: str, project_id: str, ident: str) -> bool:
    """Whether it is in the project's choice."""
    found = await c.fetchval(
        f"SELECT EXISTS (SELECT FROM {_TABLE[what]} WHERE project_id = $1 AND {what}_id = $2)",  # noqa: S608
        project_id,
        ident,
    )
    return bool(found)


async def projects_with(c: Connection, what: str, ident: str) -> list[Project]:
    """The projects that have it in their choice."""
    records = await c.fetch(
        f"SELECT {_OF_P} FROM identity.project p JOIN {_TABLE[what]} x ON x.project_id = p.id"  # noqa: S608
        f" WHERE x.{what}_id = $1 ORDER BY p.id",
        ident,
    )
    return [Project(**dict(record.items())) for record in records]


# --- regions -------------------------------------------------------------------------------------

_REGIONS: Final = """
WITH RECURSIVE below AS (
    SELECT $1::text AS id
    UNION
    SELECT r.id FROM below JOIN identity.region r ON r.parent_region_id = below.id
)
SELECT id FROM below
"""


async def region_and_below(c: Connection, region_id: str) -> list[str]:
    """A region's id and those of its children, their children and so on."""
    return [record["id"] for record in await c.fetch(_REGIONS, region_id)]


async def remove_regions(c: Connection, ids: list[str]) -> None:
    """Delete regions that hold no endpoint. Raises Dangling."""
    with constraints():
        await c.execute("DELETE FROM identity.region WHERE id = ANY($1)", ids)


async def have_endpoints(c: Connection, regions: list[str]) -> bool:
    """Whether an endpoint is in one of them."""
    found = await c.fetchval(
        "SELECT EXISTS (SELECT FROM identity.endpoint WHERE region_id = ANY($1))", regions
    )
    return bool(found)


def _endpoints(records: list[asyncpg.Record]) -> list[Endpoint]:
    return [Endpoint(**dict(record.items())) for record in records]
