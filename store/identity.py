"""The tables of schema ``identity``: rows as Structs, and every statement about them.

Resource tables share five functions (get, find, add, replace, remove): a Struct's members are its
table's columns, in order. What joins tables has a function of its own. All take a connection and
leave the transaction to the caller. No policy here, and no HTTP.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import ClassVar, Final, Literal, TypeVar

import asyncpg
from msgspec import Struct, structs

from store.filter import Condition, clauses
from store.pool import Connection

NOTICE_TTL_S: Final = 3600.0  # how long a notice waits for gateways that lost the database


class Taken(Exception):  # noqa: N818  an answer, not a fault
    """The name (or id) belongs to another row already."""


class Dangling(Exception):  # noqa: N818  an answer, not a fault
    """The row refers to one that does not exist, or others still refer to it."""


class Row(Struct, frozen=True, kw_only=True):
    """A row of a table: the members are the table's columns, in their order."""

    table: ClassVar[str]

    id: str


class Domain(Row, frozen=True, kw_only=True):
    """A name space of projects and users."""

    table: ClassVar[str] = "identity.domain"

    name: str
    description: str = ""
    enabled: bool = True
    tags: list[str] = []
    options: str = "{}"
    epoch: int = 0
    extra: str = "{}"


class Project(Row, frozen=True, kw_only=True):
    """A tenant. ``parent_id`` None: directly under its domain."""

    table: ClassVar[str] = "identity.project"

    domain_id: str
    parent_id: str | None = None
    name: str
    description: str = ""
    enabled: bool = True
    tags: list[str] = []
    options: str = "{}"
    epoch: int = 0
    extra: str = "{}"


class User(Row, frozen=True, kw_only=True):
    """Somebody who may log in. ``epoch``: tokens of an earlier one are void.

    ``password_expires_at`` None: never; ``active_at``: a login within the last hours, None: not known.
    """

    table: ClassVar[str] = 'identity."user"'

    domain_id: str
    name: str
    enabled: bool = True
    default_project_id: str | None = None
    options: str = "{}"
    password_expires_at: float | None = None
    active_at: float | None = None
    epoch: int = 0
    extra: str = "{}"


class Group(Row, frozen=True, kw_only=True):
    """Users who share role assignments."""

    table: ClassVar[str] = 'identity."group"'

    domain_id: str
    name: str
    description: str = ""
    extra: str = "{}"


class Role(Row, frozen=True, kw_only=True):
    """A name that policy speaks of. With a ``domain_id`` it only stands for the roles it implies."""

    table: ClassVar[str] = "identity.role"

    domain_id: str | None = None
    name: str
    description: str = ""
    options: str = "{}"
    extra: str = "{}"


class Region(Row, frozen=True, kw_only=True):
    """Where endpoints are."""

    table: ClassVar[str] = "identity.region"

    description: str = ""
    parent_region_id: str | None = None


class Service(Row, frozen=True, kw_only=True):
    """One API in the catalog."""

    table: ClassVar[str] = "identity.service"

    type: str
    name: str = ""
    description: str = ""
    enabled: bool = True


class Endpoint(Row, frozen=True, kw_only=True):
    """Where a service is reached; a ``url`` with a leading slash is relative to the gateway."""

    table: ClassVar[str] = "identity.endpoint"

    service_id: str
    interface: str
    region_id: str | None = None
    url: str
    enabled: bool = True


class Credential(Row, frozen=True, kw_only=True):
    """A secret kept for a user. ``blob`` is sealed; ``access_hash`` finds an EC2 pair by its access key."""

    table: ClassVar[str] = "identity.credential"

    user_id: str
    type: str
    project_id: str | None = None
    blob: str
    access_hash: str | None = None
    extra: str = "{}"


@contextmanager
def constraints() -> Iterator[None]:
    """Turn violated constraints into Taken and Dangling."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Taken(error.constraint_name or "") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise Dangling(error.constraint_name or "") from error


R = TypeVar("R", bound=Row)


@cache
def columns(kind: type[Row]) -> tuple[str, ...]:
    """The columns of a resource's table."""
    return tuple(field.name for field in structs.fields(kind))


def _row(kind: type[R], record: asyncpg.Record) -> R:
    return kind(**dict(record.items()))


def _select(kind: type[Row]) -> str:
    return f"SELECT {', '.join(columns(kind))} FROM {kind.table}"  # noqa: S608  constants only


async def get(c: Connection, kind: type[R], ident: str, *, lock: bool = False) -> R | None:
    """The row with this id; ``lock`` keeps it until the transaction ends."""
    record = await c.fetchrow(f"{_select(kind)} WHERE id = $1{' FOR UPDATE' if lock else ''}", ident)
    return None if record is None else _row(kind, record)


async def find(
    c: Connection,
    kind: type[R],
    equal: Mapping[str, str | bool],
    *,
    after: str = "",
    limit: int | None = None,
    ids: Sequence[str] | None = None,
    also: Sequence[Condition] = (),
) -> list[R]:
    """Rows whose columns equal what is given, by id, at most ``limit`` of those after id ``after``.

    ``ids`` restricts to those, ``also`` by other tests. Raises ValueError for a column the table has not.
    """
    unknown = {*equal, *(condition.column for condition in also)} - set(columns(kind))
    if unknown:
        msg = f"{kind.__name__} has no column {min(unknown)!r}"
        raise ValueError(msg)
    conditions = [*(Condition(column, "=", value) for column, value in equal.items()), *also]
    where = " AND ".join(["id > $1", "($3::text[] IS NULL OR id = ANY($3))", *clauses(conditions, first=4)])
    values = [condition.value for condition in conditions]
    records = await c.fetch(f"{_select(kind)} WHERE {where} ORDER BY id LIMIT $2", after, limit, ids, *values)
    return [_row(kind, record) for record in records]


async def add(c: Connection, row: Row) -> None:
    """Insert. Raises Taken or Dangling."""
    names = columns(type(row))
    marks = ", ".join(f"${n}" for n in range(1, len(names) + 1))
    statement = f"INSERT INTO {row.table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
    with constraints():
        await c.execute(statement, *structs.astuple(row))


async def replace(c: Connection, row: Row) -> None:
    """Write all columns of a row that was read with ``lock``. Raises Taken or Dangling."""
    sets = ", ".join(f"{column} = ${n}" for n, column in enumerate(columns(type(row))[1:], start=2))
    with constraints():
        await c.execute(f"UPDATE {row.table} SET {sets} WHERE id = $1", *structs.astuple(row))  # noqa: S608


async def remove(c: Connection, kind: type[Row], ident: str) -> bool:
    """Delete with all that belongs to it; False: there was none. Raises Dangling while it is referred to."""
    with constraints():
        status = await c.execute(f"DELETE FROM {kind.table} WHERE id = $1", ident)  # noqa: S608
    return bool(status != "DELETE 0")


async def lock_tables(c: Connection) -> None:
    """Let one transaction at a time fill the tables of a new cloud."""
    await c.execute("SELECT pg_advisory_xact_lock(hashtext('identity'))")


# --- who may do what where -----------------------------------------------------------------------

ScopeKind = Literal["unscoped", "project", "domain", "system"]


class Snapshot(Struct, frozen=True, kw_only=True):
    """A user within a scope, as the database has both now; roles include the implied ones.

    ``epoch`` is the sum over the user, the scope and their domains: a token made at another one is void.
    """

    user_id: str
    user_name: str
    epoch: int
    user_domain_id: str
    user_domain_name: str
    password_expires_at: float | None
    scope_id: str | None
    scope_name: str | None
    scope_domain_id: str | None
    scope_domain_name: str | None
    role_ids: list[str]
    role_names: list[str]


_MINE: Final = """
    (a.user_id = $1 AND a.group_id IS NULL
     OR a.user_id IS NULL
        AND a.group_id = ANY (ARRAY(SELECT m.group_id FROM identity.membership m WHERE m.user_id = $1)))
"""
_ABOVE: Final = """
    above AS (
        SELECT p.id, p.parent_id, p.domain_id FROM identity.project p WHERE p.id = $2
        UNION ALL
        SELECT p.id, p.parent_id, p.domain_id FROM above JOIN identity.project p ON p.id = above.parent_id
    ),
"""
_COUNTS: Final[Mapping[ScopeKind, str]] = {
    "unscoped": "$2::text IS NULL",
    "project": """(
        a.project_id = $2 AND NOT a.inherited
        OR a.inherited AND a.project_id = ANY (ARRAY(SELECT id FROM above WHERE id <> $2))
        OR a.inherited AND a.project_id IS NULL
           AND a.domain_id = (SELECT domain_id FROM above WHERE id = $2)
    )""",
    "domain": "a.project_id IS NULL AND a.domain_id = $2 AND NOT a.inherited",
    "system": "a.project_id IS NULL AND a.domain_id IS NULL AND $2 = ''",
}
_NOWHERE: Final = "SELECT NULL AS id, NULL AS name, NULL AS domain_id, NULL AS domain_name, 0 AS epoch"
_SCOPE: Final[Mapping[ScopeKind, str]] = {
    "unscoped": _NOWHERE,
    "project": """
        SELECT p.id, p.name, d.id AS domain_id, d.name AS domain_name, p.epoch + d.epoch AS epoch
        FROM identity.project p JOIN identity.domain d ON d.id = p.domain_id
        WHERE p.id = $2 AND p.enabled AND d.enabled
    """,
    "domain": """
        SELECT d.id, d.name, NULL AS domain_id, NULL AS domain_name, d.epoch
        FROM identity.domain d WHERE d.id = $2 AND d.enabled
    """,
    "system": _NOWHERE,
}


def _snapshot_sql(scope: ScopeKind) -> str:
    """The statement for one kind of scope: each reads no more than it needs."""
    above = _ABOVE if scope == "project" else ""
    return f"""
WITH RECURSIVE {above} held AS (
    SELECT a.role_id FROM identity.assignment a WHERE {_MINE} AND {_COUNTS[scope]}
    UNION
    SELECT i.implied_id FROM held JOIN identity.implied_role i ON i.prior_id = held.role_id
), roles AS (
    SELECT coalesce(array_agg(r.id ORDER BY r.name), '{{}}') AS ids,
           coalesce(array_agg(r.name ORDER BY r.name), '{{}}') AS names
    FROM held JOIN identity.role r ON r.id = held.role_id WHERE r.domain_id IS NULL
)
SELECT u.id AS user_id, u.name AS user_name, u.epoch + d.epoch + scope.epoch AS epoch,
       d.id AS user_domain_id, d.name AS user_domain_name, u.password_expires_at,
       scope.id AS scope_id, scope.name AS scope_name,
       scope.domain_id AS scope_domain_id, scope.domain_name AS scope_domain_name,
       roles.ids AS role_ids, roles.names AS role_names
FROM identity."user" u JOIN identity.domain d ON d.id = u.domain_id
CROSS JOIN ({_SCOPE[scope]}) AS scope CROSS JOIN roles
WHERE u.id = $1 AND u.enabled AND d.enabled
"""  # noqa: S608  constants only


_SNAPSHOT: Final[Mapping[ScopeKind, str]] = {
    scope: _snapshot_sql(scope) for scope in ("unscoped", "project", "domain", "system")
}


async def snapshot(c: Connection, user_id: str, scope: ScopeKind, scope_id: str) -> Snapshot | None:
    """The user in this scope; None when user or scope is gone or disabled, or the user has no role there."""
    record = await c.fetchrow(_SNAPSHOT[scope], user_id, scope_id)
    if record is None or (scope != "unscoped" and not record["role_ids"]):
        return None
    return Snapshot(**dict(record.items()))


async def project_named(
    c: Connection, name: str, domain_id: str | None, domain_name: str | None
) -> str | None:
    """The id of the project with this name in a domain given by id or by name."""
    found: str | None = await c.fetchval(
        "SELECT p.id FROM identity.project p JOIN identity.domain d ON d.id = p.domain_id"
        " WHERE p.name = $1 AND (d.id = $2 OR d.name = $3)",
        name,
        domain_id,
        domain_name,
    )
    return found


_PROJECTS_OF: Final = f"""
WITH RECURSIVE mine AS (
    SELECT a.project_id, a.domain_id, a.inherited FROM identity.assignment a WHERE {_MINE}
), below AS (
    SELECT p.id FROM mine JOIN identity.project p ON p.parent_id = mine.project_id WHERE mine.inherited
    UNION
    SELECT p.id FROM below JOIN identity.project p ON p.parent_id = below.id
)
SELECT {", ".join(f"p.{column}" for column in columns(Project))}
FROM identity.project p JOIN identity.domain d ON d.id = p.domain_id
WHERE (NOT $2::boolean OR p.enabled AND d.enabled)
  AND (p.id IN (SELECT project_id FROM mine WHERE NOT inherited)
       OR p.id IN (SELECT id FROM below)
       OR p.domain_id IN (SELECT domain_id FROM mine WHERE inherited))
ORDER BY p.id
"""  # noqa: S608  constants only


async def projects_of(c: Connection, user_id: str, *, enabled: bool) -> list[Project]:
    """The projects on which the user has a role, directly, through a group or from above.

    ``enabled``: only those a token can be had for.
    """
    return [_row(Project, record) for record in await c.fetch(_PROJECTS_OF, user_id, enabled)]


async def domains_of(c: Connection, user_id: str) -> list[Domain]:
    """The enabled domains on which the user has a role, directly or through a group."""
    records = await c.fetch(
        f"{_select(Domain)} WHERE enabled AND id IN"  # noqa: S608  constants only
        f" (SELECT a.domain_id FROM identity.assignment a WHERE {_MINE} AND NOT a.inherited) ORDER BY id",
        user_id,
    )
    return [_row(Domain, record) for record in records]


async def groups_of(c: Connection, user_id: str) -> list[Group]:
    """The groups a user belongs to."""
    records = await c.fetch(
        f"{_select(Group)} WHERE id IN"  # noqa: S608  constants only
        " (SELECT group_id FROM identity.membership WHERE user_id = $1)"
        " ORDER BY id",
        user_id,
    )
    return [_row(Group, record) for record in records]


async def users_in(c: Connection, group_id: str) -> list[User]:
    """The members of a group."""
    records = await c.fetch(
        f"{_select(User)} WHERE id IN"  # noqa: S608  constants only
        " (SELECT user_id FROM identity.membership WHERE group_id = $1)"
        " ORDER BY id",
        group_id,
    )
    return [_row(User, record) for record in records]


async def join_group(c: Connection, group_id: str, user_id: str) -> None:
    """Make the user a member; repeating it changes nothing. Raises Dangling."""
    with constraints():
        await c.execute(
            "INSERT INTO identity.membership (group_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            group_id,
            user_id,
        )


async def leave_group(c: Connection, group_id: str, user_id: str) -> bool:
    """End a membership; False: there was none."""
    status = await c.execute(
        "DELETE FROM identity.membership WHERE group_id = $1 AND user_id = $2", group_id, user_id
    )
    return bool(status != "DELETE 0")


async def is_member(c: Connection, group_id: str, user_id: str) -> bool:
    """Whether the user is in the group."""
    found = await c.fetchval(
        "SELECT EXISTS (SELECT FROM identity.membership WHERE group_id = $1 AND user_id = $2)",
        group_id,
        user_id,
    )
    return bool(found)


# --- revocations ---------------------------------------------------------------------------------

NoticeKind = Literal["token", "user", "project", "domain", "keys", "all"]


class Notice(Struct, frozen=True):
    """A revoked token (``subject``: its audit id) or whose cached callers to forget."""

    id: int
    kind: NoticeKind
    subject: str
    expires_at: float
    made_at: float


async def revoke(c: Connection, kind: NoticeKind, subject: str, expires_at: float) -> None:
    """Tell every gateway. ``expires_at``: when a token would have expired; NOTICE_TTL_S on for the others."""
    await c.execute(
        "INSERT INTO identity.revocation (kind, subject, expires_at) VALUES ($1, $2, $3)",
        kind,
        subject,
        expires_at,
    )


async def notices_since(c: Connection, horizon: int, now: float) -> tuple[int, list[Notice]]:
    """Notices of transactions from ``horizon`` on, and the horizon to ask with next time.

    A notice may be told twice, never not at all.
    """
    records = await c.fetch(
        "SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint AS horizon,"
        " r.id, r.kind, r.subject, r.expires_at, r.made_at"
        " FROM (VALUES (1)) one LEFT JOIN identity.revocation r ON r.tx >= $1 AND r.expires_at > $2",
        horizon,
        now,
    )
    notices = [Notice(*tuple(record)[1:]) for record in records if record["id"] is not None]
    return records[0]["horizon"], notices


async def notices(c: Connection, since: float, limit: int) -> list[Notice]:
    """The notices still kept that were made since then, oldest first."""
    records = await c.fetch(
        "SELECT id, kind, subject, expires_at, made_at FROM identity.revocation"
        " WHERE made_at >= $1 ORDER BY id LIMIT $2",
        since,
        limit,
    )
    return [Notice(*record) for record in records]


async def forget_notices(c: Connection, now: float) -> None:
    """Remove notices nobody needs any more."""
    await c.execute("DELETE FROM identity.revocation WHERE expires_at <= $1", now)
