"""Metadata definitions: namespaces, what they hold (their parts), and the resource types they are for.

Every function takes a connection and leaves the transaction to the caller. No policy and no HTTP here, but
whom a namespace is visible to is a condition of the query.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import asyncpg
from msgspec import Struct

from store.image import Viewer
from store.keyset import Key, after, order_by
from store.pool import Connection

Kind = Literal["object", "property", "tag", "resource_type"]


class Taken(Exception):  # noqa: N818  an answer, not a fault
    """Another namespace, or another part of this kind in it, has this name. ``str()`` is the name."""


class Gone(Exception):  # noqa: N818  the same
    """The namespace was removed meanwhile."""


class NamespaceRow(Struct, frozen=True, kw_only=True):
    """A namespace. Times in epoch seconds."""

    id: int
    namespace: str
    display_name: str | None
    description: str | None
    visibility: str
    protected: bool
    owner: str
    created_at: float
    updated_at: float


class NamespaceBase(Struct, frozen=True, kw_only=True):
    """What a client says of a namespace."""

    namespace: str
    display_name: str | None
    description: str | None
    visibility: Literal["public", "private"]
    protected: bool
    owner: str


class PartRow(Struct, frozen=True, kw_only=True):
    """An object, a property, a tag or an association with a resource type; ``body`` is ready JSON."""

    id: int
    namespace_id: int
    kind: Kind
    name: str
    body: str
    created_at: float
    updated_at: float


class TypeRow(Struct, frozen=True, kw_only=True):
    """A resource type that namespaces can be for."""

    name: str
    created_at: float
    updated_at: float


_NAMESPACE: Final = (
    "r.id, r.namespace, r.display_name, r.description, r.visibility, r.protected, r.owner, r.created_at,"
    " r.updated_at"
)
_NAMESPACES: Final = "image.metadef_namespace r"
_PART: Final = "r.id, r.namespace_id, r.kind, r.name, r.body, r.created_at, r.updated_at"
_PARTS: Final = "image.metadef_part r"
_VISIBLE: Final = "($1::bool OR r.owner = $2 OR r.visibility = 'public')"

NAMESPACE_SORT: Final[Mapping[str, str]] = {
    "id": "r.id",
    "namespace": "r.namespace",
    "display_name": "coalesce(r.display_name, '')",
    "visibility": "r.visibility",
    "protected": "r.protected",
    "owner": "r.owner",
    "created_at": "r.created_at",
    "updated_at": "r.updated_at",
}
"""The keys namespaces may be sorted by, by their names in the API."""

PART_SORT: Final[Mapping[str, str]] = {
    "id": "r.id",
    "name": "r.name",
    "created_at": "r.created_at",
    "updated_at": "r.updated_at",
}
"""The same for parts."""


# --- namespaces ----------------------------------------------------------------------------------


async def namespace(c: Connection, name: str, viewer: Viewer) -> NamespaceRow | None:
    """The namespace of this name, when the viewer may see it."""
    row = await c.fetchrow(
        f"SELECT {_NAMESPACE} FROM {_NAMESPACES} WHERE {_VISIBLE} AND r.namespace = $3",  # noqa: S608
        *(viewer.admin, viewer.project, name),
    )
    return None if row is None else _namespace(row)


async def namespaces(
    c: Connection,
    viewer: Viewer,
    *,
    visibility: str | None = None,
    resource_types: Sequence[str] | None = None,
    sort: Sequence[Key],
    marker: int | None,
    limit: int,
) -> list[NamespaceRow]:
    """At most ``limit`` namespaces after the one with the id ``marker``, for any of ``resource_types``."""
    following = after(sort, _NAMESPACES, "$5") if marker is not None else "$5::bigint IS NULL"
    rows = await c.fetch(
        f"SELECT {_NAMESPACE} FROM {_NAMESPACES} WHERE {_VISIBLE}"  # noqa: S608  constants only
        " AND ($3::text IS NULL OR r.visibility = $3)"
        " AND ($4::text[] IS NULL OR EXISTS (SELECT FROM image.metadef_part p WHERE p.namespace_id = r.id"
        " AND p.kind = 'resource_type' AND p.name = ANY($4)))"
        f" AND {following} {order_by(sort)} LIMIT $6",
        *(viewer.admin, viewer.project, visibility, resource_types, marker, limit),
    )
    return [_namespace(row) for row in rows]


async def add_namespace(c: Connection, base: NamespaceBase, now: float) -> NamespaceRow:
    """Make a namespace. Raises Taken."""
    try:
        row = await c.fetchrow(
            "INSERT INTO image.metadef_namespace AS r (namespace, display_name, description, visibility,"  # noqa: S608
            f" protected, owner, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)"
            f" RETURNING {_NAMESPACE}",
            *_values(base),
            now,
        )
    except asyncpg.UniqueViolationError as error:
        raise Taken(base.namespace) from error
    return _namespace(row)


async def change_namespace(c: Connection, ident: int, base: NamespaceBase, now: float) -> NamespaceRow:
    """Replace what was said of it, its name too. Raises Taken, Gone."""
    try:
        row = await c.fetchrow(
            "UPDATE image.metadef_namespace AS r SET namespace = $1, display_name = $2, description = $3,"  # noqa: S608
            f" visibility = $4, protected = $5, owner = $6, updated_at = $7 WHERE r.id = $8"
            f" RETURNING {_NAMESPACE}",
            *_values(base),
            *(now, ident),
        )
    except asyncpg.UniqueViolationError as error:
        raise Taken(base.namespace) from error
    if row is None:
        raise Gone
    return _namespace(row)


async def remove_namespace(c: Connection, ident: int) -> None:
    """Remove it with all its parts, unless it has been protected meanwhile."""
    await c.execute("DELETE FROM image.metadef_namespace WHERE id = $1 AND NOT protected", ident)


async def has_namespaces(c: Connection) -> bool:
    """Whether there is any."""
    return bool(await c.fetchval("SELECT EXISTS (SELECT FROM image.metadef_namespace)"))


def _values(base: NamespaceBase) -> tuple[Any, ...]:
    return (
        base.namespace, base.display_name, base.description, base.visibility, base.protected, base.owner,
    )  # fmt: skip


def _namespace(row: Any) -> NamespaceRow:
    return NamespaceRow(**dict(row.items()))


# --- parts ---------------------------------------------------------------------------------------


async def parts_of(c: Connection, namespace_ids: Sequence[int], kind: Kind | None = None) -> list[PartRow]:
    """All parts of these namespaces, oldest first, of one kind or of all."""
    rows = await c.fetch(
        f"SELECT {_PART} FROM {_PARTS} WHERE r.namespace_id = ANY($1::bigint[])"  # noqa: S608
        " AND ($2::text IS NULL OR r.kind = $2) ORDER BY r.id",
        *(namespace_ids, kind),
    )
    return [_part(row) for row in rows]


async def parts(
    c: Connection, namespace_id: int, kind: Kind, *, sort: Sequence[Key], marker: int | None, limit: int
) -> list[PartRow]:
    """At most ``limit`` parts after the one with the id ``marker``."""
    following = after(sort, _PARTS, "$3") if marker is not None else "$3::bigint IS NULL"
    rows = await c.fetch(
        f"SELECT {_PART} FROM {_PARTS} WHERE r.namespace_id = $1 AND r.kind = $2"  # noqa: S608
        f" AND {following} {order_by(sort)} LIMIT $4",
        *(namespace_id, kind, marker, limit),
    )
    return [_part(row) for row in rows]


async def part(c: Connection, namespace_id: int, kind: Kind, name: str) -> PartRow | None:
    """One part."""
    row = await c.fetchrow(
        f"SELECT {_PART} FROM {_PARTS} WHERE r.namespace_id = $1 AND r.kind = $2 AND r.name = $3",  # noqa: S608
        *(namespace_id, kind, name),
    )
    return None if row is None else _part(row)


async def add_part(
    c: Connection, namespace_id: int, kind: Kind, name: str, body: str, now: float, *, parts_max: int
) -> PartRow | None:
    """Add a part; None: there are ``parts_max`` of this kind already. Raises Taken, Gone."""
    try:
        row = await c.fetchrow(
            "INSERT INTO image.metadef_part AS r (namespace_id, kind, name, body, created_at, updated_at)"  # noqa: S608
            " SELECT $1, $2, $3, $4, $5, $5 WHERE"
            " (SELECT count(*) FROM image.metadef_part WHERE namespace_id = $1 AND kind = $2) < $6"
            f" RETURNING {_PART}",
            *(namespace_id, kind, name, body, now, parts_max),
        )
    except asyncpg.UniqueViolationError as error:
        raise Taken(name) from error
    except asyncpg.ForeignKeyViolationError as error:
        raise Gone from error
    return None if row is None else _part(row)


async def change_part(c: Connection, ident: int, name: str, body: str, now: float) -> PartRow | None:
    """Replace a part, its name too; None: it was removed meanwhile. Raises Taken."""
    try:
        row = await c.fetchrow(
            "UPDATE image.metadef_part AS r SET name = $2, body = $3, updated_at = $4 WHERE r.id = $1"  # noqa: S608
            f" RETURNING {_PART}",
            *(ident, name, body, now),
        )
    except asyncpg.UniqueViolationError as error:
        raise Taken(name) from error
    return None if row is None else _part(row)


async def remove_part(c: Connection, namespace_id: int, kind: Kind, name: str) -> bool:
    """Remove one part; False: there was none."""
    status = await c.execute(
        "DELETE FROM image.metadef_part WHERE namespace_id = $1 AND kind = $2 AND name = $3",
        *(namespace_id, kind, name),
    )
    return status != "DELETE 0"


async def remove_parts(c: Connection, namespace_id: int, kind: Kind) -> None:
    """Remove all parts of a kind."""
    await c.execute(
        "DELETE FROM image.metadef_part WHERE namespace_id = $1 AND kind = $2", namespace_id, kind
    )


def _part(row: Any) -> PartRow:
    return PartRow(**dict(row.items()))


# --- resource types ------------------------------------------------------------------------------


async def resource_types(c: Connection) -> list[TypeRow]:
    """All of them, by name."""
    rows = await c.fetch("SELECT name, created_at, updated_at FROM image.metadef_resource_type ORDER BY name")
    return [TypeRow(**dict(row.items())) for row in rows]


async def know_resource_type(c: Connection, name: str, now: float, *, types_max: int) -> bool:
    """Make a resource type known; False: ``types_max`` others are, and not this one."""
    status = await c.execute(
        "INSERT INTO image.metadef_resource_type (name, created_at, updated_at) SELECT $1, $2, $2"
        " WHERE (SELECT count(*) FROM image.metadef_resource_type) < $3 ON CONFLICT DO NOTHING",
        *(name, now, types_max),
    )
    if status != "INSERT 0 0":
        return True
    return bool(
        await c.fetchval("SELECT EXISTS (SELECT FROM image.metadef_resource_type WHERE name = $1)", name)
    )
