"""The tables of schema ``identity``: rows as Structs, and every statement about them.

Resource tables share five functions (get, find, add, replace, remove): a Struct's members are its
table's columns, in order. What joins tables has a function of its own. All take a connection and
leave the transaction to the caller. No policy here, and no HTTP.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal, TypeVar

import asyncpg
from msgspec import Struct, structs

from store.pool import Connection

NOTICE_TTL_S: Final = 3600.0  # how long a notice waits for gateways that lost the database


class Taken(Exception):  # noqa: N818  an answer, not a fault
    """The name (or id) belongs to another row already."""


class Dangling(Exception):  # noqa: N818  an answer, not a fault
    """The row refers to one that does not exist, or others still refer to it."""


class Domain(Struct, frozen=True, kw_only=True):
    """A name space of projects and users."""

    id: str
    name: str
    description: str = ""
    enabled: bool = True
    extra: str = "{}"


class Project(Struct, frozen=True, kw_only=True):
    """A tenant. ``parent_id`` None: directly under its domain."""

    id: str
    domain_id: str
    parent_id: str | None = None
    name: str
    description: str = ""
    enabled: bool = True
    tags: list[str] = []
    extra: str = "{}"


class User(Struct, frozen=True, kw_only=True):
    """Somebody who may log in. ``epoch``: tokens of an earlier one are void."""

    id: str
    domain_id: str
    name: str
    enabled: bool = True
    default_project_id: str | None = None
    epoch: int = 0
    extra: str = "{}"


class Group(Struct, frozen=True, kw_only=True):
    """Users who share role assignments."""

    id: str
    domain_id: str
    name: str
    description: str = ""
    extra: str = "{}"


class Role(Struct, frozen=True, kw_only=True):
    """A name that policy speaks of."""

    id: str
    name: str
    description: str = ""
    extra: str = "{}"


class Region(Struct, frozen=True, kw_only=True):
    """Where endpoints are."""

    id: str
    description: str = ""
    parent_region_id: str | None = None


class Service(Struct, frozen=True, kw_only=True):
    """One API in the catalog."""

    id: str
    type: str
    name: str = ""
    description: str = ""
    enabled: bool = True


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where a service is reached; a ``url`` with a leading slash is relative to the gateway."""

    id: str
    service_id: str
    interface: str
    region_id: str | None = None
    url: str
    enabled: bool = True


class Credential(Struct, frozen=True, kw_only=True):
    """A secret kept for a user. ``blob`` is sealed; ``access_hash`` finds an EC2 pair by its access key."""

    id: str
    user_id: str
    type: str
    project_id: str | None = None
    blob: str
    access_hash: str | None = None
    extra: str = "{}"


Resource = Domain | Project | User | Group | Role | Region | Service | Endpoint | Credential
R = TypeVar("R", Domain, Project, User, Group, Role, Region, Service, Endpoint, Credential)

_TABLE: Final[Mapping[type[Resource], str]] = {
    Domain: "identity.domain",
    Project: "identity.project",
    User: 'identity."user"',
    Group: 'identity."group"',
    Role: "identity.role",
    Region: "identity.region",
    Service: "identity.service",
    Endpoint: "identity.endpoint",
    Credential: "identity.credential",
}
_COLUMNS: Final = {kind: tuple(field.name for field in structs.fields(kind)) for kind in _TABLE}


@contextmanager
def constraints() -> Iterator[None]:
    """Turn violated constraints into Taken and Dangling."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Taken(error.constraint_name or "") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise Dangling(error.constraint_name or "") from error


def _row(kind: type[R], record: asyncpg.Record) -> R:
    return kind(**dict(record.items()))


def _select(kind: type[Resource]) -> str:
    return f"SELECT {', '.join(_COLUMNS[kind])} FROM {_TABLE[kind]}"  # noqa: S608  constants only


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
) -> list[R]:
    """Rows whose columns equal what is given, by id, at most ``limit`` of those after id ``after``.

    ``ids`` restricts to those. Raises ValueError for a column the table does not have.
    """
    unknown = equal.keys() - set(_COLUMNS[kind])
    if unknown:
        msg = f"{kind.__name__} has no column {min(unknown)!r}"
        raise ValueError(msg)
    conditions: list[str] = [f"{column} = ${n}" for n, column in enumerate(equal, start=4)]
    where = " AND ".join(["id > $1", "($3::text[] IS NULL OR id = ANY($3))", *conditions])
    records = await c.fetch(
        f"{_select(kind)} WHERE {where} ORDER BY id LIMIT $2", after, limit, ids, *equal.values()
    )
    return [_row(kind, record) for record in records]


async def add(c: Connection, row: Resource) -> None:
    """Insert. Raises Taken or Dangling."""
    kind = type(row)
    columns = _COLUMNS[kind]
    marks = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    statement = f"INSERT INTO {_TABLE[kind]} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
    with constraints():
        await c.execute(statement, *structs.astuple(row))


async def replace(c: Connection, row: Resource) -> None:
    """Write all columns of a row that was read with ``lock``. Raises Taken or Dangling."""
    kind = type(row)
    columns = _COLUMNS[kind]
    sets = ", ".join(f"{column} = ${n}" for n, column in enumerate(columns[1:], start=2))
    with constraints():
        await c.execute(f"UPDATE {_TABLE[kind]} SET {sets} WHERE id = $1", *structs.astuple(row))  # noqa: S608


async def remove(c: Connection, kind: type[Resource], ident: str) -> bool:
    """Delete with all that belongs to it; False: there was none. Raises Dangling while it is referred to."""
    with constraints():
        status = await c.execute(f"DELETE FROM {_TABLE[kind]} WHERE id = $1", ident)  # noqa: S608
    return bool(status != "DELETE 0")


async def lock_tables(c: Connection) -> None:
    """Let one transaction at a time fill the tables of a new cloud."""
    await c.execute("SELECT pg_advisory_xact_lock(hashtext('identity'))")


# --- passwords -----------------------------------------------------------------------------------


class Login(Struct, frozen=True):
    """What a password login needs: the user's id and default project, and the hash, if there is one."""

    user_id: str
    default_project_id: str | None
    hash: str | None


async def login_by_id(c: Connection, user_id: str) -> Login | None:
    """The login of a user id."""
    record = await c.fetchrow(
        'SELECT u.id, u.default_project_id, p.hash FROM identity."user" u'
        " LEFT JOIN identity.password p ON p.user_id = u.id WHERE u.id = $1",
        user_id,
    )
    return None if record is None else Login(*record)


async def login_by_name(
    c: Connection, name: str, domain_id: str | None, domain_name: str | None
) -> Login | None:
    """The login of a user name in a domain given by id or by name."""
    record = await c.fetchrow(
        'SELECT u.id, u.default_project_id, p.hash FROM identity."user" u'
        " JOIN identity.domain d ON d.id = u.domain_id"
        " LEFT JOIN identity.password p ON p.user_id = u.id"
        " WHERE u.name = $1 AND (d.id = $2 OR d.name = $3)",
        name,
        domain_id,
        domain_name,
    )
    return None if record is None else Login(*record)


async def put_password(c: Connection, user_id: str, hashed: str, now: float) -> None:
    """Set the user's password and void all tokens made before."""
    await c.execute(
        "INSERT INTO identity.password (user_id, hash, changed_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at",
        user_id,
        hashed,
        now,
    )
    await c.execute('UPDATE identity."user" SET epoch = epoch + 1 WHERE id = $1', user_id)


# --- who may do what where -----------------------------------------------------------------------

ScopeKind = Literal["unscoped", "project", "domain", "system"]


class Snapshot(Struct, frozen=True, kw_only=True):
    """A user within a scope, as the database has both now; roles include the implied ones."""

    user_id: str
    user_name: str
    epoch: int
    user_domain_id: str
    user_domain_name: str
    scope_id: str | None
    scope_name: str | None
    scope_domain_id: str | None
    scope_domain_name: str | None
    role_ids: list[str]
    role_names: list[str]


_HELD = """
held AS (
    SELECT a.role_id FROM identity.assignment a
    WHERE (a.user_id = $1
           OR a.group_id IN (SELECT m.group_id FROM identity.membership m WHERE m.user_id = $1))
      AND CASE $2::text WHEN 'project' THEN a.project_id = $3
                        WHEN 'domain' THEN a.domain_id = $3
                        WHEN 'system' THEN a.project_id IS NULL AND a.domain_id IS NULL
                        ELSE false END
    UNION
    SELECT i.implied_id FROM held JOIN identity.implied_role i ON i.prior_id = held.role_id
)"""

_SNAPSHOT = f"""
WITH RECURSIVE {_HELD}, roles AS (
    SELECT coalesce(array_agg(r.id ORDER BY r.name), '{{}}') AS ids,
           coalesce(array_agg(r.name ORDER BY r.name), '{{}}') AS names
    FROM held JOIN identity.role r ON r.id = held.role_id
), scope AS (
    SELECT p.id, p.name, d.id AS domain_id, d.name AS domain_name
    FROM identity.project p JOIN identity.domain d ON d.id = p.domain_id
    WHERE $2 = 'project' AND p.id = $3 AND p.enabled AND d.enabled
    UNION ALL
    SELECT d.id, d.name, NULL, NULL FROM identity.domain d WHERE $2 = 'domain' AND d.id = $3 AND d.enabled
)
SELECT u.id AS user_id, u.name AS user_name, u.epoch, d.id AS user_domain_id, d.name AS user_domain_name,
       scope.id AS scope_id, scope.name AS scope_name,
       scope.domain_id AS scope_domain_id, scope.domain_name AS scope_domain_name,
       roles.ids AS role_ids, roles.names AS role_names
FROM identity."user" u JOIN identity.domain d ON d.id = u.domain_id
CROSS JOIN roles LEFT JOIN scope ON true
WHERE u.id = $1 AND u.enabled AND d.enabled
"""  # noqa: S608  constants only


async def snapshot(c: Connection, user_id: str, scope: ScopeKind, scope_id: str) -> Snapshot | None:
    """The user in this scope; None when user or scope is gone or disabled, or the user has no role there."""
    record = await c.fetchrow(_SNAPSHOT, user_id, scope, scope_id)
    if record is None or (scope in ("project", "domain") and record["scope_id"] is None):
        return None
    if scope != "unscoped" and not record["role_ids"]:
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


_REACHABLE: Final = """
    SELECT {column} FROM identity.assignment a WHERE {column} IS NOT NULL AND
    (a.user_id = $1 OR a.group_id IN (SELECT m.group_id FROM identity.membership m WHERE m.user_id = $1))
"""


async def projects_of(c: Connection, user_id: str) -> list[Project]:
    """The enabled projects on which the user has a role, directly or through a group."""
    columns = ", ".join(f"p.{column}" for column in _COLUMNS[Project])
    records = await c.fetch(
        f"SELECT {columns} FROM identity.project p JOIN identity.domain d ON d.id = p.domain_id"  # noqa: S608
        f" WHERE p.enabled AND d.enabled AND p.id IN ({_REACHABLE.format(column='a.project_id')})"
        " ORDER BY p.id",
        user_id,
    )
    return [_row(Project, record) for record in records]


async def domains_of(c: Connection, user_id: str) -> list[Domain]:
    """The enabled domains on which the user has a role, directly or through a group."""
    records = await c.fetch(
        f"{_select(Domain)} WHERE enabled AND id IN ({_REACHABLE.format(column='a.domain_id')}) ORDER BY id",
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


async def imply(c: Connection, prior_id: str, implied_id: str) -> None:
    """Let one role imply another; repeating it changes nothing. Raises Dangling."""
    with constraints():
        await c.execute(
            "INSERT INTO identity.implied_role (prior_id, implied_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            prior_id,
            implied_id,
        )


# --- revocations ---------------------------------------------------------------------------------

NoticeKind = Literal["token", "user", "project", "domain", "all"]


class Notice(Struct, frozen=True):
    """A revoked token (``subject``: its audit id) or whose cached callers to forget."""

    id: int
    kind: NoticeKind
    subject: str
    expires_at: float


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
        " r.id, r.kind, r.subject, r.expires_at"
        " FROM (VALUES (1)) one LEFT JOIN identity.revocation r ON r.tx >= $1 AND r.expires_at > $2",
        horizon,
        now,
    )
    notices = [Notice(*tuple(record)[1:]) for record in records if record["id"] is not None]
    return records[0]["horizon"], notices


async def forget_notices(c: Connection, now: float) -> None:
    """Remove notices nobody needs any more."""
    await c.execute("DELETE FROM identity.revocation WHERE expires_at <= $1", now)
