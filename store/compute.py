"""Compute's rows without a life: flavors, key pairs, limits, idempotency records. Written by gateways.

Every function takes a connection and leaves the transaction to the caller. Servers, hosts and operations
are read by store.server; no policy and no HTTP here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from store.pool import Connection
from store.turn import OPERATIONS_KEPT_S

IDEMPOTENCY_KEPT_S: Final = OPERATIONS_KEPT_S + 86_400.0
"""How long a client's idempotency key is remembered."""


class Taken(Exception):  # noqa: N818  an answer, not a fault
    """Another row has this name or id already. ``str()`` of it names the constraint."""


class FlavorRow(Struct, frozen=True, kw_only=True):
    """A flavor. Memory and swap in MiB, disks in GiB."""

    id: str
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    ephemeral_gib: int = 0
    swap_mib: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    description: str | None = None
    extra_specs: dict[str, str] = {}


class KeypairRow(Struct, frozen=True, kw_only=True):
    """A user's public key. ``n`` is the integer id that the API shows."""

    user_id: str
    name: str
    type: str
    public_key: str
    fingerprint: str
    created_at: float
    n: int = 0


class FlavorFilter(Struct, frozen=True, kw_only=True):
    """Which flavors a list holds. ``project``: also private ones this project has access to."""

    is_public: bool | None = None
    project: str | None = None
    memory_min: int = 0
    disk_min: int = 0


_FLAVOR: Final = (
    "f.id, f.name, f.vcpus, f.memory_mib, f.disk_gib, f.ephemeral_gib, f.swap_mib, f.rxtx_factor,"
    " f.is_public, f.description, f.extra_specs::text AS extra_specs"
)
_VISIBLE: Final = (
    "($1::bool IS NULL OR f.is_public = $1 OR EXISTS"
    " (SELECT FROM compute.flavor_access a WHERE a.flavor_id = f.id AND a.project_id = $2))"
    " AND f.memory_mib >= $3 AND f.disk_gib >= $4"
)
FLAVOR_SORT: Final[Mapping[str, str]] = {
    "flavorid": "f.id",
    "id": "f.n",
    "name": "f.name",
    "memory_mb": "f.memory_mib",
    "vcpus": "f.vcpus",
    "root_gb": "f.disk_gib",
    "ephemeral_gb": "f.ephemeral_gib",
    "swap": "f.swap_mib",
    "rxtx_factor": "f.rxtx_factor",
    "is_public": "f.is_public",
    "disabled": "f.n",  # the same for all: a constant orders nothing, and PostgreSQL refuses it
    "vcpu_weight": "f.n",
    "created_at": "f.created_at",
    "updated_at": "f.updated_at",
}
"""The API's sort keys of flavors, and what they are here."""


def _flavor(record: asyncpg.Record) -> FlavorRow:
    values: dict[str, Any] = dict(record.items())
    values["extra_specs"] = msgspec.json.decode(values["extra_specs"], type=dict[str, str])
    return FlavorRow(**values)


async def flavors(
    c: Connection, which: FlavorFilter, *, sort: str, descending: bool, marker: str, limit: int
) -> list[FlavorRow] | None:
    """At most ``limit`` flavors after the flavor ``marker``; None when there is no such marker.

    ``sort`` is a key of FLAVOR_SORT.
    """
    key = FLAVOR_SORT[sort]
    way, compare = ("DESC", "<") if descending else ("ASC", ">")
    page = ""
    if marker:
        page = f" AND ({key}, f.n) {compare} (SELECT {key}, f.n FROM compute.flavor f WHERE f.id = $6)"  # noqa: S608
        if await flavor(c, marker, project=which.project) is None:
            return None
    statement = (
        f"SELECT {_FLAVOR} FROM compute.flavor f WHERE {_VISIBLE}{page}"  # noqa: S608  constants only
        f" ORDER BY {key} {way}, f.n {way} LIMIT $5"
    )
    values = [which.is_public, which.project, which.memory_min, which.disk_min, limit]
    return [_flavor(record) for record in await c.fetch(statement, *values, *([marker] if marker else []))]


async def flavor(c: Connection, ident: str, *, project: str | None) -> FlavorRow | None:
    """The flavor with this id that ``project`` may see; ``project`` None sees them all."""
    record = await c.fetchrow(
        f"SELECT {_FLAVOR} FROM compute.flavor f WHERE f.id = $1 AND (f.is_public OR $2::text IS NULL"  # noqa: S608
        " OR EXISTS (SELECT FROM compute.flavor_access a WHERE a.flavor_id = f.id AND a.project_id = $2))",
        ident,
        project,
    )
    return None if record is None else _flavor(record)


async def add_flavor(c: Connection, row: FlavorRow, now: float, *, if_absent: bool = False) -> None:
    """Insert. Raises Taken for an id or name in use, unless ``if_absent``: then it is left as it is."""
    try:
        await c.execute(
            "INSERT INTO compute.flavor (id, name, vcpus, memory_mib, disk_gib, ephemeral_gib, swap_mib,"  # noqa: S608
            " rxtx_factor, is_public, description, extra_specs, created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::jsonb, $12, $12)"
            + (" ON CONFLICT DO NOTHING" if if_absent else ""),
            *(row.id, row.name, row.vcpus, row.memory_mib, row.disk_gib, row.ephemeral_gib, row.swap_mib),
            *(row.rxtx_factor, row.is_public, row.description),
            msgspec.json.encode(row.extra_specs).decode(),
            now,
        )
    except asyncpg.UniqueViolationError as error:
        raise Taken(error.constraint_name or "") from error


async def has_flavors(c: Connection) -> bool:
    """Whether there is any flavor."""
    return await c.fetchval("SELECT true FROM compute.flavor LIMIT 1") is not None


async def describe_flavor(c: Connection, ident: str, description: str | None, now: float) -> bool:
    """Set the description; False: there is no such flavor."""
    status = await c.execute(
        "UPDATE compute.flavor SET description = $2, updated_at = $3 WHERE id = $1", ident, description, now
    )
    return status != "UPDATE 0"


async def remove_flavor(c: Connection, ident: str) -> bool:
    """Delete with its access list; servers keep their copy. False: there is no such flavor."""
    return await c.execute("DELETE FROM compute.flavor WHERE id = $1", ident) != "DELETE 0"


async def put_extra_specs(
    c: Connection, ident: str, specs: Mapping[str, str], now: float
) -> dict[str, str] | None:
    """Add or replace these extra specs; all of them afterwards, None without such a flavor."""
    text = await c.fetchval(
        "UPDATE compute.flavor SET extra_specs = extra_specs || $2::text::jsonb, updated_at = $3"
        " WHERE id = $1 RETURNING extra_specs::text",
        ident,
        msgspec.json.encode(specs).decode(),
        now,
    )
    return None if text is None else msgspec.json.decode(text, type=dict[str, str])


async def remove_extra_spec(c: Connection, ident: str, key: str, now: float) -> bool:
    """Remove one extra spec; False: the flavor has no such key."""
    status = await c.execute(
        "UPDATE compute.flavor SET extra_specs = extra_specs - $2::text, updated_at = $3"
        " WHERE id = $1 AND extra_specs ? $2",
        ident,
        key,
        now,
    )
    return status != "UPDATE 0"


async def flavor_projects(c: Connection, ident: str) -> list[str]:
    """The projects that may use a private flavor."""
    records = await c.fetch(
        "SELECT project_id FROM compute.flavor_access WHERE flavor_id = $1 ORDER BY project_id", ident
    )
    return [record["project_id"] for record in records]


async def allow_flavor(c: Connection, ident: str, project: str) -> None:
    """Let a project use a private flavor. Raises Taken when it may already."""
    try:
        await c.execute(
            "INSERT INTO compute.flavor_access (flavor_id, project_id) VALUES ($1, $2)", ident, project
        )
    except asyncpg.UniqueViolationError as error:
        raise Taken(error.constraint_name or "") from error


async def disallow_flavor(c: Connection, ident: str, project: str) -> bool:
    """Take that back; False: the project had no access."""
    status = await c.execute(
        "DELETE FROM compute.flavor_access WHERE flavor_id = $1 AND project_id = $2", ident, project
    )
    return status != "DELETE 0"


# --- key pairs -----------------------------------------------------------------------------------

_KEYPAIR: Final = "user_id, name, type, public_key, fingerprint, created_at, n"


async def keypair(c: Connection, user: str, name: str) -> KeypairRow | None:
    """A user's key pair."""
    record = await c.fetchrow(
        f"SELECT {_KEYPAIR} FROM compute.keypair WHERE user_id = $1 AND name = $2",  # noqa: S608
        user,
        name,
    )
    return None if record is None else KeypairRow(**dict(record.items()))


async def keypairs(c: Connection, user: str, *, marker: str, limit: int) -> list[KeypairRow] | None:
    """At most ``limit`` of a user's key pairs after the one named ``marker``; None: no such marker."""
    if marker and await keypair(c, user, marker) is None:
        return None
    records = await c.fetch(
        f"SELECT {_KEYPAIR} FROM compute.keypair WHERE user_id = $1 AND name > $2"  # noqa: S608
        " ORDER BY name LIMIT $3",
        user,
        marker,
        limit,
    )
    return [KeypairRow(**dict(record.items())) for record in records]


async def add_keypair(c: Connection, row: KeypairRow, *, limit: int) -> bool:
    """Insert, unless the user would have more than ``limit`` (-1: any number); False: that is so.

    Raises Taken for a name the user has already.
    """
    try:
        status = await c.execute(
            "INSERT INTO compute.keypair (user_id, name, type, public_key, fingerprint, created_at)"
            " SELECT $1, $2, $3, $4, $5, $6"
            " WHERE $7 < 0 OR (SELECT count(*) FROM compute.keypair WHERE user_id = $1) < $7",
            *(row.user_id, row.name, row.type, row.public_key, row.fingerprint, row.created_at, limit),
        )
    except asyncpg.UniqueViolationError as error:
        raise Taken(error.constraint_name or "") from error
    return status != "INSERT 0 0"


async def remove_keypair(c: Connection, user: str, name: str) -> bool:
    """Delete; servers keep their copy. False: the user has no such key pair."""
    status = await c.execute("DELETE FROM compute.keypair WHERE user_id = $1 AND name = $2", user, name)
    return status != "DELETE 0"


# --- limits --------------------------------------------------------------------------------------


async def limits(c: Connection, project: str) -> dict[str, int]:
    """The limits set for a project or, where it has none, for all (project ''). -1 is unlimited."""
    records = await c.fetch(
        "SELECT resource, hard_limit FROM compute.quota WHERE project_id IN ($1, '') ORDER BY project_id",
        project,
    )
    return {record["resource"]: record["hard_limit"] for record in records}


async def set_limits(c: Connection, project: str, wanted: Mapping[str, int]) -> None:
    """Set these limits of a project ('' : the defaults of all)."""
    await c.execute(
        "INSERT INTO compute.quota (project_id, resource, hard_limit)"
        " SELECT $1, * FROM unnest($2::text[], $3::bigint[])"
        " ON CONFLICT (project_id, resource) DO UPDATE SET hard_limit = excluded.hard_limit",
        project,
        list(wanted),
        list(wanted.values()),
    )


async def clear_limits(c: Connection, project: str) -> None:
    """Let the defaults hold for a project again."""
    await c.execute("DELETE FROM compute.quota WHERE project_id = $1", project)


class Usage(Struct, frozen=True):
    """What a project's servers take, as its ledger counts it."""

    instances: int = 0
    cores: int = 0
    memory_mib: int = 0


async def usage(c: Connection, project: str) -> Usage:
    """The project's ledger."""
    record = await c.fetchrow(
        "SELECT instances, cores, memory_mib FROM compute.project WHERE id = $1", project
    )
    return Usage() if record is None else Usage(*record)


# --- idempotency ---------------------------------------------------------------------------------


async def begin_keyed(c: Connection, operation: str, body_sha256: str, now: float) -> str:
    """Record that a key stands for this body, and return the body's hash it stood for first."""
    await c.execute("DELETE FROM compute.idempotency WHERE created_at < $1", now - IDEMPOTENCY_KEPT_S)
    first: str = await c.fetchval(
        "INSERT INTO compute.idempotency AS i (operation, body_sha256, created_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (operation) DO UPDATE SET body_sha256 = i.body_sha256 RETURNING i.body_sha256",
        operation,
        body_sha256,
        now,
    )
    return first


async def end_keyed(c: Connection, operation: str) -> None:
    """Forget what a key stands for, unless its operation began."""
    await c.execute(
        "DELETE FROM compute.idempotency WHERE operation = $1"
        " AND NOT EXISTS (SELECT FROM runtime.operation WHERE id = $1)",
        operation,
    )


async def operations_begun(c: Connection, operations: Sequence[str]) -> dict[str, str]:
    """Those of these operations that were accepted, with the address of the actor each is with."""
    records = await c.fetch(
        "SELECT id, subject FROM runtime.operation WHERE id = ANY($1::text[])", operations
    )
    return {record["id"]: record["subject"] for record in records}
