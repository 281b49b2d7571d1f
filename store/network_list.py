"""Reading networks' rows as the Networking API names them: filtered, sorted, in pages.

Columns carry the API's own attribute names. Attributes that are lists of objects come as JSON text. No
policy and no HTTP here, but whom a row is visible to is a condition of the query.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from process.clock import Clock
from store.keyset import Key, after, order_by
from store.pool import Connection

ColumnType = Literal["text", "bool", "int"]
Row = dict[str, Any]


class Source(Struct, frozen=True):
    """One collection: the query of its rows, what may be compared, and who may see a row.

    ``visible`` is true for rows that the project $1 may see.
    """

    rows: str
    columns: Mapping[str, ColumnType]
    visible: str


_TIMES: Final = "created_at, {0}.updated_at, {0}.revision AS revision_number"

NETWORKS: Final = Source(
    rows=f"""
        SELECT n.id, n.name, n.description, n.project_id, n.shared, n.external AS "router:external",
               n.is_default, n.admin_state_up, 'ACTIVE' AS status, n.mtu, n.{_TIMES.format("n")},
               ARRAY(SELECT s.id FROM network.subnet s WHERE s.network_id = n.id
                     ORDER BY s.created_at, s.id) AS subnets
        FROM network.network n
    """,  # noqa: S608  constants only
    columns={
        "id": "text",
        "name": "text",
        "description": "text",
        "project_id": "text",
        "shared": "bool",
        "router:external": "bool",
        "is_default": "bool",
        "admin_state_up": "bool",
        "status": "text",
        "mtu": "int",
        "revision_number": "int",
    },
    visible="(r.project_id = $1 OR r.shared)",
)
SUBNETS: Final = Source(
    rows=f"""
        SELECT s.id, s.name, s.description, s.project_id, s.network_id, n.shared, 4 AS ip_version,
               s.cidr::text AS cidr, host(s.gateway_ip) AS gateway_ip, s.enable_dhcp, s.dns_nameservers,
               s.{_TIMES.format("s")},
               (SELECT coalesce(json_agg(json_build_object('start', host(p.first_ip),
                                                           'end', host(p.first_ip + p.size - 1))
                                         ORDER BY p.first_ip), '[]')::text
                FROM network.pool p WHERE p.subnet_id = s.id) AS allocation_pools
        FROM network.subnet s JOIN network.network n ON n.id = s.network_id
    """,  # noqa: S608
    columns={
        "id": "text",
        "name": "text",
        "description": "text",
        "project_id": "text",
        "network_id": "text",
        "ip_version": "int",
        "cidr": "text",
        "gateway_ip": "text",
        "enable_dhcp": "bool",
        "revision_number": "int",
    },
    visible="(r.project_id = $1 OR r.shared)",
)
PORTS: Final = Source(
    rows=f"""
        SELECT p.id, p.name, p.description, p.project_id, p.network_id, p.mac_address, p.admin_state_up,
               p.device_id, p.device_owner, p.{_TIMES.format("p")},
               CASE WHEN i.power_state = 1 THEN 'ACTIVE' ELSE 'DOWN' END AS status,
               coalesce(h.hostname, '') AS "binding:host_id",
               (SELECT coalesce(json_agg(json_build_object('subnet_id', a.subnet_id, 'ip_address', host(a.ip))
                                         ORDER BY a.ip), '[]')::text
                FROM network.address a WHERE a.port_id = p.id) AS fixed_ips
        FROM network.port p
        LEFT JOIN compute.instance i ON i.id = p.device_id
        LEFT JOIN compute.host h ON h.id = i.host
    """,  # noqa: S608
    columns={
        "id": "text",
        "name": "text",
        "description": "text",
        "project_id": "text",
        "network_id": "text",
        "mac_address": "text",
        "admin_state_up": "bool",
        "device_id": "text",
        "device_owner": "text",
        "status": "text",
        "binding:host_id": "text",
        "revision_number": "int",
    },
    visible="r.project_id = $1",
)
SECURITY_GROUPS: Final = Source(
    rows=f"""
        SELECT g.id, g.name, g.description, g.project_id, g.{_TIMES.format("g")}
        FROM network.security_group g
    """,  # noqa: S608
    columns={
        "id": "text",
        "name": "text",
        "description": "text",
        "project_id": "text",
        "revision_number": "int",
    },
    visible="r.project_id = $1",
)
SECURITY_GROUP_RULES: Final = Source(
    rows=f"""
        SELECT l.id, l.security_group_id, l.project_id, l.direction, l.ethertype, l.remote_group_id,
               l.{_TIMES.format("l")}
        FROM network.security_group_rule l
    """,  # noqa: S608
    columns={
        "id": "text",
        "security_group_id": "text",
        "project_id": "text",
        "direction": "text",
        "ethertype": "text",
        "remote_group_id": "text",
        "revision_number": "int",
    },
    visible="r.project_id = $1",
)

# What an address filter of ports compares.
_ADDRESS: Final[Mapping[str, str]] = {
    "ip_address": "host(a.ip) = ANY({0}::text[])",
    "subnet_id": "a.subnet_id = ANY({0}::text[])",
}


class Wanted(Struct, frozen=True, kw_only=True):
    """Which rows: several values of one column mean any of them. ``project`` None sees every row.

    ``addresses`` compares fixed IPs of ports (``ip_address``, ``subnet_id``).
    """

    project: str | None
    equal: Mapping[str, Sequence[Any]] = {}
    addresses: Mapping[str, Sequence[str]] = {}


async def rows(
    c: Connection, source: Source, wanted: Wanted, *, sort: Sequence[Key], marker: str = "", limit: int
) -> list[Row]:
    """At most ``limit`` rows after the row ``marker``."""
    conditions = ["($1::text IS NULL OR " + source.visible + ")"]
    values: list[Any] = [wanted.project]

    def mark(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    for name, options in wanted.equal.items():
        conditions.append(f'r."{name}" = ANY({mark(list(options))}::{source.columns[name]}[])')
    for name, options in wanted.addresses.items():
        test = _ADDRESS[name].format(mark(list(options)))
        conditions.append(f"EXISTS (SELECT FROM network.address a WHERE a.port_id = r.id AND {test})")
    if marker:
        conditions.append(after(sort, f"({source.rows}) r", mark(marker)))
    found = await c.fetch(
        f"SELECT * FROM ({source.rows}) r WHERE {' AND '.join(conditions)}"  # noqa: S608
        f" {order_by(sort)} LIMIT {mark(limit)}",
        *values,
    )
    return [dict(row.items()) for row in found]


async def row(c: Connection, source: Source, ident: str, project: str | None) -> Row | None:
    """One row, when the project may see it."""
    found = await c.fetchrow(
        f"SELECT * FROM ({source.rows}) r WHERE r.id = $2 AND ($1::text IS NULL OR {source.visible})",  # noqa: S608
        project,
        ident,
    )
    return None if found is None else dict(found.items())


async def rules_of(c: Connection, groups: Sequence[str]) -> dict[str, list[Row]]:
    """The rules of security groups, by group."""
    found = await c.fetch(
        f"SELECT * FROM ({SECURITY_GROUP_RULES.rows}) r WHERE r.security_group_id = ANY($1::text[])"  # noqa: S608
        " ORDER BY r.created_at, r.id",
        list(groups),
    )
    by_group: dict[str, list[Row]] = {group: [] for group in groups}
    for rule in found:
        by_group[rule["security_group_id"]].append(dict(rule.items()))
    return by_group


async def counts(c: Connection, project: str) -> dict[str, int]:
    """How many rows of each kind a project has."""
    found = await c.fetchrow(
        "SELECT (SELECT count(*) FROM network.network WHERE project_id = $1) AS network,"
        " (SELECT count(*) FROM network.subnet WHERE project_id = $1) AS subnet,"
        " (SELECT count(*) FROM network.port WHERE project_id = $1) AS port,"
        " (SELECT count(*) FROM network.security_group WHERE project_id = $1) AS security_group,"
        " (SELECT count(*) FROM network.security_group_rule WHERE project_id = $1) AS security_group_rule",
        project,
    )
    return {} if found is None else dict(found.items())


async def zones(c: Connection) -> list[str]:
    """The availability zones that hosts are in."""
    found = await c.fetch(
        "SELECT DISTINCT availability_zone AS zone FROM compute.host WHERE NOT gone ORDER BY 1"
    )
    return [row["zone"] for row in found]


_DEFAULT_RULES: Final = (
    ("egress", "IPv4", False),
    ("egress", "IPv6", False),
    ("ingress", "IPv4", True),
    ("ingress", "IPv6", True),
)


async def has_default_group(c: Connection, project: str) -> bool:
    """Whether the project has its default security group."""
    found: bool = await c.fetchval(
        "SELECT EXISTS (SELECT FROM network.security_group WHERE project_id = $1 AND name = 'default')",
        project,
    )
    return found


async def make_default_group(c: Connection, project: str, clock: Clock) -> None:
    """Make the project's default security group, unless another gateway was faster.

    All may leave, and what is in the group may reach each other. Source: Networking API, default group.
    """
    group, now = clock.uuid(), clock.now()
    async with c.transaction():
        made = await c.fetchval(
            "INSERT INTO network.security_group (id, project_id, name, description, created_at, updated_at)"
            " VALUES ($1, $2, 'default', 'Default security group', $3, $3)"
            " ON CONFLICT (project_id) WHERE name = 'default' DO NOTHING RETURNING true",
            *(group, project, now),
        )
        if made is None:
            return
        await c.executemany(
            "INSERT INTO network.security_group_rule"
            " (id, security_group_id, project_id, direction, ethertype, remote_group_id,"
            " created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
            [
                (clock.uuid(), group, project, direction, ethertype, group if own else None, now)
                for direction, ethertype, own in _DEFAULT_RULES
            ],
        )
