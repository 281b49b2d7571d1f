"""Who has which role where: single grants, and the list of all with their names.

Tokens do not read through here: what a token's user may do is store.identity.snapshot.
"""

from typing import Final

from msgspec import Struct

from store.identity import Role, columns, constraints
from store.pool import Connection

ASSIGNMENTS_MAX: Final = 10_000  # rows in one list; the Identity API does not page this one


class Grant(Struct, frozen=True, kw_only=True):
    """One of user and group, and at most one of project and domain; neither of those: the system."""

    user_id: str | None = None
    group_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    role_id: str | None = None


_SAME: Final = (
    "user_id IS NOT DISTINCT FROM $1 AND group_id IS NOT DISTINCT FROM $2"
    " AND project_id IS NOT DISTINCT FROM $3 AND domain_id IS NOT DISTINCT FROM $4"
)


def _target(grant: Grant) -> tuple[str | None, str | None, str | None, str | None]:
    return grant.user_id, grant.group_id, grant.project_id, grant.domain_id


async def put(c: Connection, grant: Grant) -> None:
    """Give the role; repeating it changes nothing. Raises Dangling when a part does not exist."""
    with constraints():
        await c.execute(
            "INSERT INTO identity.assignment (user_id, group_id, project_id, domain_id, role_id)"
            " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            *_target(grant),
            grant.role_id,
        )


async def take(c: Connection, grant: Grant) -> bool:
    """Take the role back; False: it was not given."""
    status = await c.execute(
        f"DELETE FROM identity.assignment WHERE {_SAME} AND role_id = $5",  # noqa: S608  constants only
        *_target(grant),
        grant.role_id,
    )
    return bool(status != "DELETE 0")


async def roles_given(c: Connection, grant: Grant) -> list[Role]:
    """The roles this user or group was given directly on this target; ``role_id`` is not looked at."""
    records = await c.fetch(
        f"SELECT {', '.join(f'r.{column}' for column in columns(Role))} FROM identity.role r"  # noqa: S608
        f" WHERE r.id IN (SELECT role_id FROM identity.assignment WHERE {_SAME}) ORDER BY r.name",
        *_target(grant),
    )
    return [Role(**dict(record.items())) for record in records]


async def holds(
    c: Connection, role_name: str, *, user_id: str | None = None, group_id: str | None = None
) -> bool:
    """Whether this user (directly or through a group) or this group was given the role anywhere."""
    found = await c.fetchval(
        "SELECT EXISTS (SELECT FROM identity.assignment a JOIN identity.role r ON r.id = a.role_id"
        " WHERE r.name = $1 AND r.domain_id IS NULL AND (a.user_id = $2 OR a.group_id = $3"
        " OR a.group_id IN (SELECT m.group_id FROM identity.membership m WHERE m.user_id = $2)))",
        role_name,
        user_id,
        group_id,
    )
    return bool(found)


class AssignmentFilter(Struct, frozen=True, kw_only=True):
    """What to list. ``effective`` expands groups into users and roles into what they imply."""

    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    subtree: bool = False
    effective: bool = False
    within_domain: str | None = None
    """Only assignments on this domain or on projects of it."""


class Assignment(Struct, frozen=True, kw_only=True):
    """One row of the list with all its names; domains are those of the named things."""

    user_id: str | None
    user_name: str | None
    user_domain_id: str | None
    user_domain_name: str | None
    group_id: str | None
    group_name: str | None
    group_domain_id: str | None
    group_domain_name: str | None
    project_id: str | None
    project_name: str | None
    project_domain_id: str | None
    project_domain_name: str | None
    domain_id: str | None
    domain_name: str | None
    role_id: str
    role_name: str


_LIST: Final = """
WITH RECURSIVE direct AS (
    SELECT a.user_id, a.group_id, a.project_id, a.domain_id, a.role_id FROM identity.assignment a
    WHERE NOT $8 OR a.user_id IS NOT NULL
    UNION
    SELECT m.user_id, NULL, a.project_id, a.domain_id, a.role_id
    FROM identity.assignment a JOIN identity.membership m ON m.group_id = a.group_id WHERE $8
), closed AS (
    SELECT * FROM direct
    UNION
    SELECT closed.user_id, closed.group_id, closed.project_id, closed.domain_id, i.implied_id
    FROM closed JOIN identity.implied_role i ON i.prior_id = closed.role_id WHERE $8
), subtree AS (
    SELECT $4::text AS id WHERE $4 IS NOT NULL
    UNION
    SELECT p.id FROM subtree JOIN identity.project p ON p.parent_id = subtree.id WHERE $7
)
SELECT x.user_id, u.name AS user_name, u.domain_id AS user_domain_id, ud.name AS user_domain_name,
       x.group_id, g.name AS group_name, g.domain_id AS group_domain_id, gd.name AS group_domain_name,
       x.project_id, p.name AS project_name, p.domain_id AS project_domain_id, pd.name AS project_domain_name,
       x.domain_id, d.name AS domain_name, x.role_id, r.name AS role_name
FROM closed x JOIN identity.role r ON r.id = x.role_id
LEFT JOIN identity."user" u ON u.id = x.user_id LEFT JOIN identity.domain ud ON ud.id = u.domain_id
LEFT JOIN identity."group" g ON g.id = x.group_id LEFT JOIN identity.domain gd ON gd.id = g.domain_id
LEFT JOIN identity.project p ON p.id = x.project_id LEFT JOIN identity.domain pd ON pd.id = p.domain_id
LEFT JOIN identity.domain d ON d.id = x.domain_id
WHERE ($1::text IS NULL OR x.user_id = $1) AND ($2::text IS NULL OR x.group_id = $2)
  AND ($3::text IS NULL OR x.role_id = $3)
  AND ($4::text IS NULL OR x.project_id IN (SELECT id FROM subtree))
  AND ($5::text IS NULL OR x.domain_id = $5)
  AND (NOT $6 OR (x.project_id IS NULL AND x.domain_id IS NULL))
  AND ($9::text IS NULL OR x.domain_id = $9 OR p.domain_id = $9)
ORDER BY x.user_id, x.group_id, x.project_id, x.domain_id, r.name LIMIT $10
"""


async def assignments(c: Connection, wanted: AssignmentFilter) -> list[Assignment]:
    """The assignments that pass the filter, at most ASSIGNMENTS_MAX."""
    records = await c.fetch(
        _LIST,
        wanted.user_id,
        wanted.group_id,
        wanted.role_id,
        wanted.project_id,
        wanted.domain_id,
        wanted.system,
        wanted.subtree,
        wanted.effective,
        wanted.within_domain,
        ASSIGNMENTS_MAX,
    )
    return [Assignment(**dict(record.items())) for record in records]
