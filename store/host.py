"""Hosts as schedulers see them, and the names that hosts hold."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from protocol.host import HostView
from store.pool import Connection, Pool, is_outage
from store.turn import StoreUnavailable

HELD_S: Final = 600.0
"""So long a name is kept for a host whose enrolment has begun and not ended."""

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


async def hold_hostnames(c: Connection, wanted: Mapping[str, str], now: float) -> set[str]:
    """Take each name for its host; those that another living host has, or is about to have, are returned."""
    names, ids = list(wanted), list(wanted.values())
    records = await c.fetch(
        "WITH wish AS (SELECT * FROM unnest($1::text[], $2::text[]) AS u(name, host)),"
        " held AS (INSERT INTO compute.hostname AS n (name, host, taken_at)"
        " SELECT name, host, $3 FROM wish WHERE NOT EXISTS"
        " (SELECT FROM compute.host h WHERE h.hostname = wish.name AND h.id <> wish.host AND NOT h.gone)"
        " ON CONFLICT (name) DO UPDATE SET host = excluded.host, taken_at = excluded.taken_at"
        " WHERE n.host = excluded.host OR CASE"
        " WHEN EXISTS (SELECT FROM compute.host h WHERE h.id = n.host) THEN"
        " EXISTS (SELECT FROM compute.host h WHERE h.id = n.host AND (h.gone OR h.hostname <> n.name))"
        " ELSE n.taken_at < $4 END RETURNING n.name)"
        " SELECT name FROM held",
        *(names, ids, now, now - HELD_S),
    )
    return set(names) - {record["name"] for record in records}


class NamedHost(Struct, frozen=True):
    """A host's id and name; ``gone``: it has been removed."""

    id: str
    hostname: str
    gone: bool


async def find_host(c: Connection, name: str) -> NamedHost | None:
    """The host with this id or name: a living one, else the last removed of that name."""
    record = await c.fetchrow(
        "SELECT id, hostname, gone FROM compute.host WHERE id = $1 OR hostname = $1"
        " ORDER BY gone, created_at DESC LIMIT 1",
        name,
    )
    return None if record is None else NamedHost(*record)
