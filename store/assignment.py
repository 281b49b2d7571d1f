"""Who was given which role where: single grants. The list of them all is ``assignment_list.py``.

Tokens do not read through here: what a token's user may do is store.identity.snapshot.
"""

from msgspec import Struct

from store.identity import Role, columns, constraints
from store.pool import Connection


class Grant(Struct, frozen=True, kw_only=True):
    """One of user and group, and at most one of project and domain; neither of those: the system.

    ``inherited``: on the projects below, not on the target itself.
    """

    user_id: str | None = None
    group_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    role_id: str | None = None
    inherited: bool = False


def _target(grant: Grant) -> tuple[str | None, str | None, str | None, str | None, bool]:
    return grant.user_id, grant.group_id, grant.project_id, grant.domain_id, grant.inherited


def _same(grant: Grant) -> tuple[str, list[str]]:
    """The condition that a row is of this actor and target, and its values: made to be found by the index."""
    conditions, values = ["inherited" if grant.inherited else "NOT inherited"], []
    for column in ("user_id", "group_id", "project_id", "domain_id"):
        value = getattr(grant, column)
        if value is None:
            conditions.append(f"{column} IS NULL")
        else:
            values.append(value)
            conditions.append(f"{column} = ${len(values)}")
    return " AND ".join(conditions), values


async def put(c: Connection, grant: Grant) -> None:
    """Give the role; repeating it changes nothing. Raises Dangling when a part does not exist."""
    with constraints():
        await c.execute(
            "INSERT INTO identity.assignment (user_id, group_id, project_id, domain_id, inherited, role_id)"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            *_target(grant),
            grant.role_id,
        )


async def take(c: Connection, grant: Grant) -> bool:
    """Take the role back; False: it was not given."""
    where, values = _same(grant)
    status = await c.execute(
        f"DELETE FROM identity.assignment WHERE {where} AND role_id = ${len(values) + 1}",  # noqa: S608
        *values,
        grant.role_id,
    )
    return bool(status != "DELETE 0")


async def roles_given(c: Connection, grant: Grant) -> list[Role]:
    """The roles this user or group was given directly on this target; ``role_id`` is not looked at."""
    where, values = _same(grant)
    records = await c.fetch(
        f"SELECT {', '.join(f'r.{column}' for column in columns(Role))} FROM identity.role r"  # noqa: S608
        f" WHERE r.id IN (SELECT role_id FROM identity.assignment WHERE {where}) ORDER BY r.name",
        *values,
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
