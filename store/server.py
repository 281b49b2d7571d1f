"""What the Compute API reads of actors' rows: servers by every filter it knows, operations, hosts.

Nothing is written here. Lists are one statement; what a row shows is its ready view, never decoded here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
from msgspec import Struct

from store.pool import Connection

PATTERN_TIMEOUT_MS: Final = 2000
"""How long a list with a tenant's regular expression may take."""


class BadPattern(Exception):  # noqa: N818  an answer, not a fault
    """A regular expression that PostgreSQL does not understand or that takes too long."""


class ServerRow(Struct, frozen=True):
    """A server's row. Host columns are None when it has no host or hosts were not asked for."""

    id: str
    project_id: str
    user_id: str
    name: str
    vm_state: str
    task_state: str | None
    gone: bool
    view: str
    host_life: str | None = None
    host_disabled: bool | None = None
    host_forced_down: bool | None = None


class Sort(Struct, frozen=True):
    """One key of SERVER_SORT to sort by."""

    key: str
    descending: bool


class ServerQuery(Struct, frozen=True, kw_only=True):
    """Which servers. ``gone``: False the living, True the deleted, None both.

    ``soft_deleted``: also the living that were put aside, unless ``exact`` says which states anyway.
    ``exact`` keys are of SERVER_EXACT, ``patterns`` of SERVER_PATTERNS; times are epoch seconds;
    ``hosts`` adds the host columns.
    """

    project: str | None = None
    gone: bool | None = False
    soft_deleted: bool = False
    exact: Mapping[str, Sequence[str]] = {}
    patterns: Mapping[str, str] = {}
    ip: str | None = None
    ip6: str | None = None
    tags: Sequence[str] = ()
    tags_any: Sequence[str] = ()
    not_tags: Sequence[str] = ()
    not_tags_any: Sequence[str] = ()
    changed_since: float | None = None
    changed_before: float | None = None
    locked: bool | None = None
    task_states: Sequence[str] = ()
    sort: tuple[Sort, ...] = (Sort("created_at", descending=True),)
    marker: str = ""
    limit: int = 1000
    hosts: bool = False


def _stamp(column: str) -> str:
    return f"to_char(to_timestamp({column}) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"


SERVER_EXACT: Final[Mapping[str, str]] = {
    "user_id": "i.user_id",
    "image": "i.image_id",
    "vm_state": "i.vm_state",
    "task_state": "i.task_state",
    "uuid": "i.id",
    "host": "(SELECT h.hostname FROM compute.host h WHERE h.id = i.host)",
    "flavor": "i.flavor_id",
    "power_state": "i.power_state::text",
    "launch_index": "(i.view::jsonb ->> 'OS-EXT-SRV-ATTR:launch_index')",
    "config_drive": "CASE WHEN i.view::jsonb ->> 'config_drive' = 'True' THEN 'true' ELSE 'false' END",
    "progress": "CASE WHEN i.status = 'ACTIVE' THEN '100' ELSE '0' END",
    "reservation_id": "(i.view::jsonb ->> 'OS-EXT-SRV-ATTR:reservation_id')",
}
"""The API's filters that compare, and what they compare with."""

SERVER_PATTERNS: Final[Mapping[str, str]] = {
    "name": "i.name",
    "hostname": "i.hostname",
    "key_name": "i.key_name",
    "description": "i.description",
    "availability_zone": "i.availability_zone",
    "node": "(SELECT h.hostname FROM compute.host h WHERE h.id = i.host)",
    "created_at": _stamp("i.created_at"),
    "launched_at": _stamp("i.launched_at"),
    "terminated_at": _stamp("i.deleted_at"),
    "access_ip_v4": "(i.view::jsonb ->> 'accessIPv4')",
    "access_ip_v6": "(i.view::jsonb ->> 'accessIPv6')",
    "root_device_name": "(i.view::jsonb ->> 'OS-EXT-SRV-ATTR:root_device_name')",
    "kernel_id": "(i.view::jsonb ->> 'OS-EXT-SRV-ATTR:kernel_id')",
    "ramdisk_id": "(i.view::jsonb ->> 'OS-EXT-SRV-ATTR:ramdisk_id')",
    "auto_disk_config": "(i.view::jsonb ->> 'OS-DCF:diskConfig')",
}
"""The API's filters that are regular expressions, and what they are matched against."""

SERVER_SORT: Final[Mapping[str, str]] = {
    "access_ip_v4": "(i.view::jsonb ->> 'accessIPv4')",
    "access_ip_v6": "(i.view::jsonb ->> 'accessIPv6')",
    "auto_disk_config": "(i.view::jsonb ->> 'OS-DCF:diskConfig')",
    "availability_zone": "coalesce(i.availability_zone, '')",
    "config_drive": "(i.view::jsonb ->> 'config_drive')",
    "created_at": "i.created_at",
    "display_description": "coalesce(i.description, '')",
    "display_name": "i.name",
    "host": "coalesce(i.host, '')",
    "hostname": "i.hostname",
    "image_ref": "coalesce(i.image_id, '')",
    "instance_type_id": "i.flavor_id",
    "kernel_id": "''",
    "key_name": "coalesce(i.key_name, '')",
    "launch_index": "(i.view::jsonb ->> 'OS-EXT-SRV-ATTR:launch_index')",
    "launched_at": "coalesce(i.launched_at, 0)",
    "locked": "i.locked",
    "locked_by": "i.locked",
    "node": "coalesce(i.host, '')",
    "power_state": "i.power_state",
    "progress": "(i.status = 'ACTIVE')",
    "project_id": "i.project_id",
    "ramdisk_id": "''",
    "root_device_name": "''",
    "task_state": "coalesce(i.task_state, '')",
    "terminated_at": "coalesce(i.deleted_at, 0)",
    "updated_at": "i.updated_at",
    "user_id": "i.user_id",
    "uuid": "i.id",
    "vm_state": "i.vm_state",
}
"""The API's sort keys of servers; none of the expressions is ever null."""

_ROW: Final = "i.id, i.project_id, i.user_id, i.name, i.vm_state, i.task_state, i.gone, i.view"
_HOST: Final = ", h.life, h.disabled, h.forced_down"
_JOIN: Final = " LEFT JOIN compute.host h ON h.id = i.host"
_ADDRESS: Final = (
    "EXISTS (SELECT FROM jsonb_each(i.view::jsonb -> 'addresses') n, jsonb_array_elements(n.value) a"
    " WHERE a ->> 'version' = '{version}' AND a ->> 'addr' ~ {{}})"
)
_TAGS: Final = "(i.view::jsonb -> 'tags')"


class _Where:
    """The conditions of one query and their values, as ``$n`` marks."""

    def __init__(self) -> None:
        self.tests: list[str] = []
        self.values: list[Any] = []

    def mark(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, test: str, *values: object) -> None:
        """A condition with a ``{}`` for each value."""
        self.tests.append(test.format(*map(self.mark, values)))

    def __str__(self) -> str:
        return " AND ".join(self.tests) or "true"


def _where(query: ServerQuery) -> _Where:
    where = _Where()
    if query.gone is not None:
        where.add("i.gone" if query.gone else "NOT i.gone")
    if query.gone is False and not query.soft_deleted and "vm_state" not in query.exact:
        where.add("i.vm_state <> 'soft-delete'")
    for name, values in query.exact.items():
        where.add(f"{SERVER_EXACT[name]} = ANY({{}}::text[])", list(values))
    for name, pattern in query.patterns.items():
        where.add(f"{SERVER_PATTERNS[name]} ~ {{}}", pattern)
    for value, test in (
        (query.project, "i.project_id = {}"),
        (query.changed_since, "i.updated_at >= {}"),
        (query.changed_before, "i.updated_at <= {}"),
        (query.locked, "i.locked = {}"),
        (query.ip, _ADDRESS.format(version=4)),
        (query.ip6, _ADDRESS.format(version=6)),
    ):
        if value is not None:
            where.add(test, value)
    for words, test in (
        (query.task_states, "i.task_state = ANY({}::text[])"),
        (query.tags, f"{_TAGS} ?& {{}}::text[]"),
        (query.tags_any, f"{_TAGS} ?| {{}}::text[]"),
        (query.not_tags, f"NOT {_TAGS} ?& {{}}::text[]"),
        (query.not_tags_any, f"NOT {_TAGS} ?| {{}}::text[]"),
    ):
        if words:
            where.add(test, list(words))
    return where


async def _after(c: Connection, where: _Where, query: ServerQuery) -> bool:
    """Add the condition of the page after the marker; False: there is no such server to be seen."""
    keys = [(SERVER_SORT[sort.key], sort.descending) for sort in query.sort]
    columns = ", ".join(expression for expression, _ in keys)
    seen = " AND i.project_id = $2" if query.project is not None else ""
    marker = await c.fetchrow(
        f"SELECT {columns} FROM compute.instance i WHERE i.id = $1{seen}",  # noqa: S608  constants only
        *(query.marker, *([query.project] if query.project is not None else [])),
    )
    if marker is None:
        return False
    marks = [where.mark(value) for value in marker]
    last = where.mark(query.marker)
    first, descending = keys[0]
    where.tests.append(f"{first} {'<=' if descending else '>='} {marks[0]}")
    alternatives, equal = [], ""
    for (expression, descending), mark in zip(keys, marks, strict=True):
        alternatives.append(f"({equal}{expression} {'<' if descending else '>'} {mark})")
        equal += f"{expression} = {mark} AND "
    where.tests.append(f"({' OR '.join(alternatives)} OR ({equal}i.id > {last}))")
    return True


async def servers(c: Connection, query: ServerQuery) -> list[ServerRow] | None:
    """The page of servers; None when its marker is no server of the caller's. Raises BadPattern."""
    where = _where(query)
    if query.marker and not await _after(c, where, query):
        return None
    order = [
        f"{SERVER_SORT[sort.key]} {'DESC' if sort.descending else 'ASC'}"
        for sort in query.sort
        if not SERVER_SORT[sort.key].startswith("'")  # a constant orders nothing, and PostgreSQL refuses it
    ]
    statement = (
        f"SELECT {_ROW}{_HOST if query.hosts else ''} FROM compute.instance i{_JOIN if query.hosts else ''}"  # noqa: S608
        f" WHERE {where} ORDER BY {', '.join([*order, 'i.id'])} LIMIT {where.mark(query.limit)}"
    )
    if not (query.patterns or query.ip or query.ip6):
        return [ServerRow(*record) for record in await c.fetch(statement, *where.values)]
    try:
        async with c.transaction(readonly=True):
            await c.execute(f"SET LOCAL statement_timeout = {PATTERN_TIMEOUT_MS}")
            return [ServerRow(*record) for record in await c.fetch(statement, *where.values)]
    except (asyncpg.InvalidRegularExpressionError, asyncpg.QueryCanceledError) as error:
        raise BadPattern(str(error)) from error


async def server(c: Connection, ident: str, *, gone: bool = False) -> ServerRow | None:
    """One server with its host columns; deleted ones only if ``gone``."""
    record = await c.fetchrow(
        f"SELECT {_ROW}{_HOST} FROM compute.instance i{_JOIN} WHERE i.id = $1 AND (NOT i.gone OR $2)",  # noqa: S608
        ident,
        gone,
    )
    return None if record is None else ServerRow(*record)


# --- operations ----------------------------------------------------------------------------------


class OperationRow(Struct, frozen=True):
    """One line of a server's action log. ``steps`` is a JSON list; a ``finished_at`` of 0: not yet."""

    name: str
    project_id: str
    user_id: str
    request_id: str
    began_at: float
    updated_at: float
    finished_at: float
    outcome: str
    reason: str
    steps: str


_OPERATION: Final = (
    "name, project_id, user_id, request_id, began_at, updated_at, finished_at, outcome, reason, steps"
)


async def operations(
    c: Connection, server_id: str, *, since: float | None, before: float | None, marker: str, limit: int
) -> list[OperationRow] | None:
    """A server's operations, newest first, at most ``limit`` after the one of request ``marker``.

    None: the marker is not one of them. ``since`` and ``before`` bound the last change.
    """
    subject = f"instance/{server_id}"
    at: float | None = None
    if marker:
        at = await c.fetchval(
            "SELECT min(began_at) FROM runtime.operation WHERE subject = $1 AND request_id = $2",
            *(subject, marker),
        )
        if at is None:
            return None
    records = await c.fetch(
        f"SELECT {_OPERATION} FROM runtime.operation WHERE subject = $1"  # noqa: S608  constants only
        " AND ($2::float8 IS NULL OR updated_at >= $2) AND ($3::float8 IS NULL OR updated_at <= $3)"
        " AND ($4::float8 IS NULL OR began_at < $4) ORDER BY began_at DESC, id LIMIT $5",
        *(subject, since, before, at, limit),
    )
    return [OperationRow(*record) for record in records]


async def operation(c: Connection, server_id: str, request_id: str) -> OperationRow | None:
    """The newest operation that this request began on this server."""
    record = await c.fetchrow(
        f"SELECT {_OPERATION} FROM runtime.operation WHERE subject = $1 AND request_id = $2"  # noqa: S608
        " ORDER BY began_at DESC LIMIT 1",
        *(f"instance/{server_id}", request_id),
    )
    return None if record is None else OperationRow(*record)


# --- hosts ---------------------------------------------------------------------------------------


class HostRow(Struct, frozen=True):
    """A host's row; ``view`` is a protocol.host.HostView in JSON."""

    id: str
    hostname: str
    life: str
    disabled: bool
    forced_down: bool
    availability_zone: str
    heard_at: float
    updated_at: float
    view: str


_HOST_ROW: Final = "id, hostname, life, disabled, forced_down, availability_zone, heard_at, updated_at, view"


async def hosts(c: Connection, pattern: str | None = None) -> list[HostRow]:
    """All hosts, oldest first; with ``pattern`` those whose name holds it (``%`` and ``_`` as in LIKE)."""
    records = await c.fetch(
        f"SELECT {_HOST_ROW} FROM compute.host WHERE NOT gone"  # noqa: S608  constants only
        " AND ($1::text IS NULL OR hostname LIKE '%' || $1 || '%' ESCAPE '') ORDER BY created_at, id",
        pattern,
    )
    return [HostRow(*record) for record in records]


async def servers_on(c: Connection, host_ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """By host: the ids and names of the servers on it, oldest first."""
    records = await c.fetch(
        "SELECT host, id, name FROM compute.instance WHERE NOT gone AND host = ANY($1::text[])"
        " ORDER BY created_at, id",
        list(host_ids),
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for record in records:
        found.setdefault(record["host"], []).append((record["id"], record["name"]))
    return found


async def places_of(c: Connection, idents: Sequence[str], project: str | None) -> list[str]:
    """The hosts of these servers, each once; with ``project`` of its servers alone."""
    records = await c.fetch(
        "SELECT DISTINCT host FROM compute.instance WHERE id = ANY($1::text[]) AND host IS NOT NULL"
        " AND NOT gone AND ($2::text IS NULL OR project_id = $2) ORDER BY host",
        *(list(idents), project),
    )
    return [record["host"] for record in records]


# --- network cards -------------------------------------------------------------------------------


class CardRow(Struct, frozen=True):
    """One address of a server's port; ``ip`` and ``subnet_id`` None: the port has no address."""

    port_id: str
    network_id: str
    mac: str
    subnet_id: str | None
    ip: str | None


async def cards(c: Connection, server_id: str) -> list[CardRow]:
    """A server's ports with their addresses, oldest first."""
    records = await c.fetch(
        "SELECT p.id, p.network_id, p.mac_address, a.subnet_id, host(a.ip) FROM network.port p"
        " LEFT JOIN network.address a ON a.port_id = p.id WHERE p.device_id = $1"
        " ORDER BY p.created_at, p.id, a.ip",
        server_id,
    )
    return [CardRow(*record) for record in records]


class GroupRow(Struct, frozen=True):
    """A security group; ``rules`` is a JSON list of {id, remote}: what it lets in, and from which group."""

    id: str
    project_id: str
    name: str
    description: str
    rules: str


async def groups_of(c: Connection, project: str, names: Sequence[str]) -> list[GroupRow]:
    """A project's security groups with these names or ids."""
    records = await c.fetch(
        "SELECT g.id, g.project_id, g.name, g.description, coalesce(json_agg(json_build_object("
        "'id', r.id, 'remote', o.name)) FILTER (WHERE r.id IS NOT NULL), '[]')::text"
        " FROM network.security_group g LEFT JOIN network.security_group_rule r"
        " ON r.security_group_id = g.id AND r.direction = 'ingress'"
        " LEFT JOIN network.security_group o ON o.id = r.remote_group_id"
        " WHERE g.project_id = $1 AND (g.name = ANY($2::text[]) OR g.id = ANY($2::text[]))"
        " GROUP BY g.id ORDER BY g.name, g.id",
        project,
        list(names),
    )
    return [GroupRow(*record) for record in records]


# --- usage ---------------------------------------------------------------------------------------


class UsedRow(Struct, frozen=True):
    """A server that ran within a period."""

    id: str
    project_id: str
    name: str
    vm_state: str
    launched_at: float
    deleted_at: float | None
    flavor: str
    """The view's flavor object, JSON."""


async def used(
    c: Connection, start: float, end: float, *, project: str | None, marker: str, limit: int
) -> list[UsedRow]:
    """At most ``limit`` servers that ran in the period, by project and id, after the server ``marker``."""
    records = await c.fetch(
        "SELECT i.id, i.project_id, i.name, i.vm_state, i.launched_at, i.deleted_at,"
        " i.view::jsonb ->> 'flavor' FROM compute.instance i"
        " WHERE i.launched_at < $2 AND (i.deleted_at IS NULL OR i.deleted_at > $1)"
        " AND ($3::text IS NULL OR i.project_id = $3)"
        " AND ($4 = '' OR (i.project_id, i.id) >"
        " (SELECT m.project_id, m.id FROM compute.instance m WHERE m.id = $4))"
        " ORDER BY i.project_id, i.id LIMIT $5",
        *(start, end, project, marker, limit),
    )
    return [UsedRow(*record) for record in records]
