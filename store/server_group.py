"""Server groups: rows that gateways write; the members are the instances that name a group."""

from typing import Final

import asyncpg
from msgspec import Struct

from protocol.instance import GroupPolicy
from store.pool import Connection


class ServerGroupRow(Struct, frozen=True):
    """A server group with its living members, oldest first. ``per_host`` None: the policy's default."""

    id: str
    project_id: str
    user_id: str
    name: str
    policy: GroupPolicy
    per_host: int | None
    members: tuple[str, ...] = ()


_ROW: Final = (
    "SELECT g.id, g.project_id, g.user_id, g.name, g.policy, g.per_host, ARRAY(SELECT i.id FROM"
    " compute.instance i WHERE i.server_group = g.id AND NOT i.gone ORDER BY i.created_at, i.id) AS members"
    " FROM compute.server_group g"
)


async def server_groups(
    c: Connection, project: str | None, *, offset: int, limit: int
) -> list[ServerGroupRow]:
    """A project's groups, or all (None), oldest first."""
    records = await c.fetch(
        f"{_ROW} WHERE $1::text IS NULL OR g.project_id = $1 ORDER BY g.n OFFSET $2 LIMIT $3",
        *(project, offset, limit),
    )
    return [_made(record) for record in records]


async def server_group(c: Connection, ident: str) -> ServerGroupRow | None:
    """One group."""
    record = await c.fetchrow(f"{_ROW} WHERE g.id = $1", ident)
    return None if record is None else _made(record)


def _made(record: asyncpg.Record) -> ServerGroupRow:
    fields = dict(record.items())
    return ServerGroupRow(**{**fields, "members": tuple(fields["members"])})


async def add_server_group(c: Connection, row: ServerGroupRow, now: float, *, limit: int) -> bool:
    """Insert, unless the project would have more than ``limit`` (-1: any number); False: that is so."""
    status = await c.execute(
        "INSERT INTO compute.server_group (id, project_id, user_id, name, policy, per_host, created_at)"
        " SELECT $1, $2, $3, $4, $5, $6, $7 WHERE $8 < 0"
        " OR (SELECT count(*) FROM compute.server_group WHERE project_id = $2) < $8"
        " ON CONFLICT (id) DO NOTHING",
        *(row.id, row.project_id, row.user_id, row.name, row.policy, row.per_host, now, limit),
    )
    return status != "INSERT 0 0"


async def remove_server_group(c: Connection, ident: str) -> bool:
    """Delete; False: there is none."""
    return await c.execute("DELETE FROM compute.server_group WHERE id = $1", ident) != "DELETE 0"


async def count_server_groups(c: Connection, project: str) -> int:
    """How many groups a project has."""
    count: int = await c.fetchval("SELECT count(*) FROM compute.server_group WHERE project_id = $1", project)
    return count
