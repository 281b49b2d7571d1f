"""The list of role assignments: as they were given, or what follows from them for every user.

One statement each, made of the conditions that were asked for, so that a filter finds its index however many
assignments there are. Values are always parameters.
"""

from typing import Final

from msgspec import Struct

from store.pool import Connection

ASSIGNMENTS_MAX: Final = 200_000  # rows in one list; the Identity API does not page this one


class AssignmentFilter(Struct, frozen=True, kw_only=True):
    """What to list. ``effective`` expands groups into users, roles into what they imply, inheritance."""

    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    subtree: bool = False
    """With ``project_id``: the projects below it too."""
    inherited: bool | None = None
    effective: bool = False
    within_domain: str | None = None
    """Only assignments on this domain or on projects of it."""
    names: bool = False


class Assignment(Struct, frozen=True, kw_only=True):
    """One row of the list; names are empty unless asked for, domains are those of the named things.

    ``given_role_id`` is the role that was given, ``prior_role_id`` the one that implies this one;
    ``group_id`` with a ``user_id``: the group whose member the user is; ``from_…``: where an inherited role
    was given.
    """

    user_id: str | None
    group_id: str | None
    project_id: str | None
    domain_id: str | None
    role_id: str
    inherited: bool
    given_role_id: str
    prior_role_id: str | None
    from_project_id: str | None
    from_domain_id: str | None
    user_name: str | None = None
    user_domain_id: str | None = None
    user_domain_name: str | None = None
    group_name: str | None = None
    group_domain_id: str | None = None
    group_domain_name: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    domain_name: str | None = None
    role_name: str | None = None
    role_domain_id: str | None = None
    role_domain_name: str | None = None


_NAMED: Final = """
SELECT x.*, u.name AS user_name, u.domain_id AS user_domain_id, ud.name AS user_domain_name,
       g.name AS group_name, g.domain_id AS group_domain_id, gd.name AS group_domain_name,
       p.name AS project_name, p.domain_id AS project_domain_id, pd.name AS project_domain_name,
       d.name AS domain_name, r.name AS role_name, r.domain_id AS role_domain_id, rd.name AS role_domain_name
FROM listed x JOIN identity.role r ON r.id = x.role_id LEFT JOIN identity.domain rd ON rd.id = r.domain_id
LEFT JOIN identity."user" u ON u.id = x.user_id LEFT JOIN identity.domain ud ON ud.id = u.domain_id
LEFT JOIN identity."group" g ON g.id = x.group_id LEFT JOIN identity.domain gd ON gd.id = g.domain_id
LEFT JOIN identity.project p ON p.id = x.project_id LEFT JOIN identity.domain pd ON pd.id = p.domain_id
LEFT JOIN identity.domain d ON d.id = x.domain_id
"""
_SUBTREE: Final = """
wanted AS (
    SELECT p.id FROM identity.project p WHERE p.id = {project}
    UNION
    SELECT p.id FROM wanted JOIN identity.project p ON p.parent_id = wanted.id WHERE {subtree}
),
"""
_ABOVE: Final = """
above AS (
    SELECT p.id, p.parent_id FROM identity.project p WHERE p.id = {project}
    UNION ALL
    SELECT p.id, p.parent_id FROM above JOIN identity.project p ON p.id = above.parent_id
),
"""
# What an actor's direct and group assignments become: groups are replaced by their members, inherited
# assignments by one for each project below, roles by all they imply; roles of a domain are left out.
_EFFECTIVE: Final = """
WITH RECURSIVE {wanted}{above} given AS (
    SELECT a.user_id, a.group_id, a.project_id, a.domain_id, a.role_id, a.inherited
    FROM identity.assignment a WHERE {given}
), people AS (
    SELECT user_id, NULL::text AS group_id, project_id, domain_id, role_id, inherited
    FROM given WHERE user_id IS NOT NULL
    UNION ALL
    SELECT m.user_id, given.group_id, given.project_id, given.domain_id, given.role_id, given.inherited
    FROM given JOIN identity.membership m ON m.group_id = given.group_id WHERE {member}
), below AS (
    SELECT p.id, p.parent_id AS top FROM identity.project p
    WHERE p.parent_id IN (SELECT project_id FROM given WHERE inherited)
    UNION
    SELECT p.id, below.top FROM below JOIN identity.project p ON p.parent_id = below.id
), placed AS (
    SELECT user_id, group_id, project_id, domain_id, role_id, inherited,
           NULL::text AS from_project_id, NULL::text AS from_domain_id
    FROM people WHERE NOT inherited
    UNION ALL
    SELECT people.user_id, people.group_id, below.id, NULL, people.role_id, true, people.project_id, NULL
    FROM people JOIN below ON below.top = people.project_id WHERE people.inherited AND {reached_below}
    UNION ALL
    SELECT people.user_id, people.group_id, p.id, NULL, people.role_id, true, NULL, people.domain_id
    FROM people JOIN identity.project p ON p.domain_id = people.domain_id
    WHERE people.inherited AND people.project_id IS NULL AND {reached}
), closure AS (
    SELECT r.id AS given_role_id, r.id AS role_id, NULL::text AS prior_role_id FROM identity.role r
    UNION
    SELECT closure.given_role_id, i.implied_id, i.prior_id
    FROM closure JOIN identity.implied_role i ON i.prior_id = closure.role_id
), implied AS (
    SELECT DISTINCT ON (given_role_id, role_id) given_role_id, role_id, prior_role_id
    FROM closure ORDER BY given_role_id, role_id, prior_role_id NULLS FIRST
), listed AS (
    SELECT placed.user_id, placed.group_id, placed.project_id, placed.domain_id, implied.role_id,
           placed.inherited, implied.given_role_id, implied.prior_role_id,
           placed.from_project_id, placed.from_domain_id
    FROM placed JOIN implied ON implied.given_role_id = placed.role_id
    JOIN identity.role r ON r.id = implied.role_id
    WHERE r.domain_id IS NULL AND {kept}
)
"""
_DIRECT: Final = """
WITH RECURSIVE {wanted} listed AS (
    SELECT a.user_id, a.group_id, a.project_id, a.domain_id, a.role_id, a.inherited,
           a.role_id AS given_role_id, NULL::text AS prior_role_id,
           NULL::text AS from_project_id, NULL::text AS from_domain_id
    FROM identity.assignment a WHERE {given}
)
"""
_FROM_ABOVE: Final = (
    "a.inherited AND (a.project_id IN (SELECT id FROM above UNION SELECT id FROM wanted)"
    " OR a.project_id IS NULL AND a.domain_id ="
    " (SELECT q.domain_id FROM identity.project q WHERE q.id = {project}))"
)
_GROUPS: Final = "ARRAY(SELECT m.group_id FROM identity.membership m WHERE m.user_id = {user})"
_IN_DOMAIN: Final = (
    "(x.domain_id = {domain}"
    " OR x.project_id IN (SELECT q.id FROM identity.project q WHERE q.domain_id = {domain}))"
)
_END: Final = "ORDER BY x.user_id, x.group_id, x.project_id, x.domain_id, x.role_id"


class _Query:
    """A statement in the making: its parameters and the conditions they stand in."""

    def __init__(self) -> None:
        self.values: list[str] = []

    def place(self, value: str) -> str:
        """The place of a new parameter."""
        self.values.append(value)
        return f"${len(self.values)}"


def _all(conditions: list[str]) -> str:
    return " AND ".join(conditions) or "true"


def _target(query: _Query, wanted: AssignmentFilter, project: str) -> list[str]:
    """The conditions on where assignments were given; ``project`` is the place of the filter's project."""
    found: list[str] = []
    if wanted.project_id is not None:
        on = "a.project_id IN (SELECT id FROM wanted)"
        if wanted.effective:
            on = f"(NOT a.inherited AND {on} OR {_FROM_ABOVE.format(project=project)})"
        found.append(on)
    if wanted.domain_id is not None:
        found.append(f"a.project_id IS NULL AND a.domain_id = {query.place(wanted.domain_id)}")
        if wanted.effective:
            found.append("NOT a.inherited")
    if wanted.system:
        found.append("a.project_id IS NULL AND a.domain_id IS NULL")
    if wanted.inherited is not None:
        found.append("a.inherited" if wanted.inherited else "NOT a.inherited")
    return found


def _effective(query: _Query, wanted: AssignmentFilter, project: str) -> str:
    given, member = [], "true"
    if wanted.user_id is not None:
        user = query.place(wanted.user_id)
        given.append(
            f"(a.user_id = {user} AND a.group_id IS NULL"
            f" OR a.user_id IS NULL AND a.group_id = ANY ({_GROUPS.format(user=user)}))"
        )
        member = f"m.user_id = {user}"
    given += _target(query, wanted, project)
    kept = f"r.id = {query.place(wanted.role_id)}" if wanted.role_id is not None else "true"
    filtered = wanted.project_id is not None
    return _EFFECTIVE.format(
        wanted=_SUBTREE.format(project=project, subtree=str(wanted.subtree).lower()) if filtered else "",
        above=_ABOVE.format(project=project) if filtered else "",
        given=_all(given),
        member=member,
        reached_below="below.id IN (SELECT id FROM wanted)" if filtered else "true",
        reached="p.id IN (SELECT id FROM wanted)" if filtered else "true",
        kept=kept,
    )


def _direct(query: _Query, wanted: AssignmentFilter, project: str) -> str:
    given = []
    for column, value in (("user_id", wanted.user_id), ("group_id", wanted.group_id)):
        if value is not None:
            given.append(f"a.{column} = {query.place(value)}")
    if wanted.role_id is not None:
        given.append(f"a.role_id = {query.place(wanted.role_id)}")
    given += _target(query, wanted, project)
    filtered = wanted.project_id is not None
    subtree = _SUBTREE.format(project=project, subtree=str(wanted.subtree).lower()) if filtered else ""
    return _DIRECT.format(wanted=subtree, given=_all(given))


async def assignments(c: Connection, wanted: AssignmentFilter) -> list[Assignment]:
    """The assignments that pass the filter, at most ASSIGNMENTS_MAX + 1: one more tells there are more."""
    query = _Query()
    project = query.place(wanted.project_id) if wanted.project_id is not None else ""
    head = _effective(query, wanted, project) if wanted.effective else _direct(query, wanted, project)
    where = ""
    if wanted.within_domain is not None:
        where = f"WHERE {_IN_DOMAIN.format(domain=query.place(wanted.within_domain))}"
    body = _NAMED if wanted.names else "SELECT x.* FROM listed x"
    records = await c.fetch(f"{head} {body} {where} {_END} LIMIT {ASSIGNMENTS_MAX + 1}", *query.values)
    return [Assignment(**dict(record.items())) for record in records]
