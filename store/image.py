"""Reading images, and the rows that say with whom they are shared.

Images are written by workers only. Every function takes a connection; no policy and no HTTP here, but
whom an image is visible to is a condition of the query.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import asyncpg
from msgspec import Struct

from store.keyset import Key, after, order_by
from store.pool import Connection

MemberStatus = Literal["pending", "accepted", "rejected"]
Compare = Literal["gt", "gte", "lt", "lte", "eq", "neq"]


class MemberExists(Exception):  # noqa: N818  an answer, not a fault
    """The image is shared with this project already."""


class ImageRow(Struct, frozen=True, kw_only=True):
    """An image as gateways need it; ``view`` is ready JSON. Sizes in bytes.

    ``locations`` say where its data is read from, ``held`` where there is anything of use to it.
    """

    id: str
    version: int
    owner: str
    status: str
    visibility: str
    locations: Sequence[str]
    held: Sequence[str]
    size_bytes: int | None
    view: str


class MemberRow(Struct, frozen=True, kw_only=True):
    """A project with which an image is shared."""

    image_id: str
    member_id: str
    status: MemberStatus
    created_at: float
    updated_at: float


class Viewer(Struct, frozen=True):
    """Who looks: an admin sees every image, a project its own, the open ones and those shared with it."""

    project: str
    admin: bool = False


class ImageFilter(Struct, frozen=True, kw_only=True):
    """Which images a list holds. Several values of one column: any of them; several tags: all of them.

    ``visibility`` None: all but other projects' community images. ``member_status`` limits what is shared
    with the viewer. ``properties`` compares members of the view as text.
    """

    equal: Mapping[str, Sequence[str]] = {}
    times: Sequence[tuple[Literal["created_at", "updated_at"], Compare, float]] = ()
    visibility: Literal["public", "private", "shared", "community", "all"] | None = None
    member_status: MemberStatus | None = "accepted"
    hidden: bool = False
    protected: bool | None = None
    size_min: int | None = None
    size_max: int | None = None
    tags: Sequence[str] = ()
    properties: Mapping[str, str] = {}


COLUMNS: Final[Mapping[str, str]] = {
    "id": "r.id",
    "name": "r.name",
    "status": "r.status",
    "owner": "r.owner",
    "disk_format": "r.disk_format",
    "container_format": "r.container_format",
}
"""The columns a filter may compare, by their names in the API."""

SORT: Final[Mapping[str, str]] = {
    "id": "r.id",
    "name": "coalesce(r.name, '')",
    "status": "r.status",
    "owner": "r.owner",
    "visibility": "r.visibility",
    "disk_format": "coalesce(r.disk_format, '')",
    "container_format": "coalesce(r.container_format, '')",
    "size": "coalesce(r.size_bytes, -1)",
    "protected": "r.protected",
    "os_hidden": "r.hidden",
    "created_at": "r.created_at",
    "updated_at": "r.updated_at",
}
"""The keys a list may be sorted by, by their names in the API."""

_COMPARE: Final[Mapping[Compare, str]] = {
    "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "=", "neq": "<>",
}  # fmt: skip
_ROW: Final = "r.id, r.version, r.owner, r.status, r.visibility, r.locations, r.held, r.size_bytes, r.view"
_SOURCE: Final = "image.image r"


class _Where:
    """Conditions and the values their parameters stand for."""

    def __init__(self) -> None:
        self.conditions: list[str] = ["NOT r.gone"]
        self.values: list[Any] = []

    def mark(self, value: Any) -> str:
        """The parameter that stands for this value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str) -> None:
        self.conditions.append(condition)

    def __str__(self) -> str:
        return " AND ".join(self.conditions)


def _row(record: asyncpg.Record) -> ImageRow:
    return ImageRow(**dict(record.items()))


def _shared_with(where: _Where, project: str, status: MemberStatus | None) -> str:
    accepted = "" if status is None else f" AND m.status = {where.mark(status)}"
    return (
        "r.visibility = 'shared' AND EXISTS (SELECT FROM image.member m WHERE m.image_id = r.id"
        f" AND m.member_id = {where.mark(project)}{accepted})"
    )


async def image(c: Connection, ident: str, viewer: Viewer) -> ImageRow | None:
    """The image with this id, when the viewer may see it. Community images are seen by all who know them."""
    where = _Where()
    where.add(f"r.id = {where.mark(ident)}")
    if not viewer.admin:
        own, shared = f"r.owner = {where.mark(viewer.project)}", _shared_with(where, viewer.project, None)
        where.add(f"({own} OR r.visibility IN ('public', 'community') OR ({shared}))")
    record = await c.fetchrow(f"SELECT {_ROW} FROM {_SOURCE} WHERE {where}", *where.values)  # noqa: S608
    return None if record is None else _row(record)


async def images(
    c: Connection, which: ImageFilter, viewer: Viewer, *, sort: Sequence[Key], marker: str, limit: int
) -> list[ImageRow] | None:
    """At most ``limit`` images after the image ``marker``; None when the viewer sees no such marker."""
    if marker and await image(c, marker, viewer) is None:
        return None
    where = _Where()
    _see(where, which, viewer)
    _narrow(where, which)
    if marker:
        where.add(after(sort, _SOURCE, where.mark(marker)))
    rows = await c.fetch(
        f"SELECT {_ROW} FROM {_SOURCE} WHERE {where} {order_by(sort)} LIMIT {where.mark(limit)}",  # noqa: S608
        *where.values,
    )
    return [_row(record) for record in rows]


def _see(where: _Where, which: ImageFilter, viewer: Viewer) -> None:
    """Add what the viewer may see of the visibilities that were asked for."""
    if which.visibility not in (None, "all"):
        where.add(f"r.visibility = {where.mark(which.visibility)}")
    if viewer.admin and which.visibility != "shared":
        return
    kinds = [
        f"r.owner = {where.mark(viewer.project)}",
        "r.visibility = 'public'",
        _shared_with(where, viewer.project, which.member_status),
    ]
    if which.visibility in ("community", "all"):
        kinds.append("r.visibility = 'community'")
    where.add("(" + " OR ".join(f"({kind})" for kind in kinds) + ")")


def _narrow(where: _Where, which: ImageFilter) -> None:
    for name, values in which.equal.items():
        where.add(f"{COLUMNS[name]} = ANY({where.mark(list(values))}::text[])")
    for name, compare, at in which.times:
        # Shown times are whole seconds, so they are compared as such.
        where.add(f"floor(r.{name}) {_COMPARE[compare]} {where.mark(at)}")
    where.add(f"r.hidden = {where.mark(which.hidden)}")
    if which.protected is not None:
        where.add(f"r.protected = {where.mark(which.protected)}")
    if which.size_min is not None:
        where.add(f"r.size_bytes >= {where.mark(which.size_min)}")
    if which.size_max is not None:
        where.add(f"r.size_bytes <= {where.mark(which.size_max)}")
    if which.tags:
        where.add(f"(r.view::jsonb -> 'tags') ?& {where.mark(list(which.tags))}::text[]")
    for name, value in which.properties.items():
        where.add(f"r.view::jsonb ->> {where.mark(name)} = {where.mark(value)}")


async def live_locations(c: Connection) -> set[str]:
    """Where there is anything of use to an image that is not gone."""
    rows = await c.fetch("SELECT unnest(held) AS location FROM image.image WHERE NOT gone")
    return {row["location"] for row in rows}


# --- members -------------------------------------------------------------------------------------

_MEMBER: Final = "image_id, member_id, status, created_at, updated_at"


async def members(c: Connection, ident: str, *, only: str | None = None) -> list[MemberRow]:
    """With whom an image is shared; ``only``: that project's row alone."""
    rows = await c.fetch(
        f"SELECT {_MEMBER} FROM image.member WHERE image_id = $1"  # noqa: S608  constants only
        " AND ($2::text IS NULL OR member_id = $2) ORDER BY created_at, member_id",
        ident,
        only,
    )
    return [MemberRow(**dict(row.items())) for row in rows]


async def add_member(
    c: Connection, ident: str, member: str, now: float, *, members_max: int
) -> MemberRow | None:
    """Share with a project; None: the image is shared with ``members_max`` already. Raises MemberExists."""
    try:
        row = await c.fetchrow(
            f"INSERT INTO image.member (image_id, member_id, created_at, updated_at)"  # noqa: S608
            " SELECT $1, $2, $3, $3 WHERE (SELECT count(*) FROM image.member WHERE image_id = $1) < $4"
            f" RETURNING {_MEMBER}",
            *(ident, member, now, members_max),
        )
    except asyncpg.UniqueViolationError as error:
        raise MemberExists(member) from error
    return None if row is None else MemberRow(**dict(row.items()))


async def set_member_status(
    c: Connection, ident: str, member: str, status: MemberStatus, now: float
) -> MemberRow | None:
    """What the project makes of it; None: the image is not shared with it."""
    row = await c.fetchrow(
        "UPDATE image.member SET status = $3, updated_at = $4 WHERE image_id = $1 AND member_id = $2"  # noqa: S608
        f" RETURNING {_MEMBER}",
        *(ident, member, status, now),
    )
    return None if row is None else MemberRow(**dict(row.items()))


async def remove_member(c: Connection, ident: str, member: str) -> bool:
    """End the sharing; False: there was none."""
    status = await c.execute("DELETE FROM image.member WHERE image_id = $1 AND member_id = $2", ident, member)
    return status != "DELETE 0"


async def forget_members(c: Connection) -> None:
    """Remove the members of images that are gone."""
    await c.execute("DELETE FROM image.member m USING image.image i WHERE i.id = m.image_id AND i.gone")
