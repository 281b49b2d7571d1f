"""The list of all role assignments: as given, or what follows from them.

Source: Identity API v3, "List role assignments"; the filters that exclude each other are Keystone's.
"""

from typing import Any

from msgspec import Struct, field

from gateway.identity.collection import listing
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from store import assignment_list
from store.assignment_list import ASSIGNMENTS_MAX, Assignment, AssignmentFilter


class AssignmentQuery(Struct):
    """Filters of the list. Flags count as set by their presence, unless their value is 0."""

    user_id: str | None = field(default=None, name="user.id")
    group_id: str | None = field(default=None, name="group.id")
    role_id: str | None = field(default=None, name="role.id")
    project_id: str | None = field(default=None, name="scope.project.id")
    domain_id: str | None = field(default=None, name="scope.domain.id")
    system: str | None = field(default=None, name="scope.system")
    inherited_to: str | None = field(default=None, name="scope.OS-INHERIT:inherited_to")
    effective: str | None = None
    include_names: str | None = None
    include_subtree: str | None = None


def _is_set(flag: str | None) -> bool:
    return flag is not None and flag.lower() not in ("0", "false")


def _wanted(query: AssignmentQuery, within_domain: str | None) -> AssignmentFilter:
    """The filter asked for. Raises Problem 400 for one that could never find anything."""
    system, effective = _is_set(query.system), _is_set(query.effective)
    inherited = None if query.inherited_to is None else query.inherited_to == "projects"
    for first, second, both in (
        ("domain", "project", query.domain_id and query.project_id),
        ("system", "domain", query.domain_id and system),
        ("system", "project", query.project_id and system),
        ("user", "group", query.user_id and query.group_id),
    ):
        if both:
            raise Problem(400, f"Specify a {first} or {second}, not both")
    if effective and query.group_id:
        raise Problem(400, "Combining effective and group filter will always result in an empty list.")
    if effective and inherited and query.domain_id:
        raise Problem(
            400, "Combining effective, domain and inherited filters will always result in an empty list."
        )
    if _is_set(query.include_subtree) and not query.project_id:
        raise Problem(400, "scope.project.id must be specified if include_subtree is also specified")
    return AssignmentFilter(
        user_id=query.user_id or None,
        group_id=query.group_id or None,
        role_id=query.role_id or None,
        project_id=query.project_id or None,
        domain_id=query.domain_id or None,
        system=system,
        subtree=_is_set(query.include_subtree),
        inherited=inherited,
        effective=effective,
        within_domain=within_domain,
        names=_is_set(query.include_names),
    )


async def list_assignments(request: Request) -> Response:
    """Who has which role where, with names if asked; readers of a domain see what is in it."""
    within = None if request.allows(request.route.policy, Target()) else request.caller.domain_id
    wanted = _wanted(request.query, within)
    async with request.services.read_pool.acquire() as c:
        rows = await assignment_list.assignments(c, wanted)
    shown = [_shaped(request, row, names=wanted.names) for row in rows[:ASSIGNMENTS_MAX]]
    return listing(request, "role_assignments", shown, truncated=len(rows) > ASSIGNMENTS_MAX)


def _named(ident: str | None, name: str | None, domain: tuple[str | None, str | None], *, names: bool) -> Any:
    if not names:
        return {"id": ident}
    return {"id": ident, "name": name, "domain": {"id": domain[0], "name": domain[1]}}


def _scope(row: Assignment, *, names: bool) -> dict[str, Any]:
    if row.project_id is not None:
        domain = (row.project_domain_id, row.project_domain_name)
        scope = {"project": _named(row.project_id, row.project_name, domain, names=names)}
    elif row.domain_id is not None:
        scope = {"domain": {"id": row.domain_id, "name": row.domain_name} if names else {"id": row.domain_id}}
    else:
        scope = {"system": {"all": True}}
    if row.inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    return scope


def _links(base: str, row: Assignment) -> dict[str, str]:
    """Where the assignment behind this row was given, and by which membership and implication it is here."""
    actor = f"groups/{row.group_id}" if row.group_id is not None else f"users/{row.user_id}"
    if row.from_project_id is not None:
        where = f"projects/{row.from_project_id}"
    elif row.from_domain_id is not None:
        where = f"domains/{row.from_domain_id}"
    elif row.project_id is not None:
        where = f"projects/{row.project_id}"
    else:
        where = f"domains/{row.domain_id}" if row.domain_id is not None else "system"
    path = f"{where}/{actor}/roles/{row.given_role_id}"
    links = {
        "assignment": f"{base}/OS-INHERIT/{path}/inherited_to_projects" if row.inherited else f"{base}/{path}"
    }
    if row.user_id is not None and row.group_id is not None:
        links["membership"] = f"{base}/groups/{row.group_id}/users/{row.user_id}"
    if row.prior_role_id is not None:
        links["prior_role"] = f"{base}/prior_role/{row.prior_role_id}/implies/{row.role_id}"
    return links


def _shaped(request: Request, row: Assignment, *, names: bool) -> dict[str, Any]:
    role: dict[str, Any] = {"id": row.role_id}
    if names:
        role["name"] = row.role_name
        if row.role_domain_id is not None:
            role["domain"] = {"id": row.role_domain_id, "name": row.role_domain_name}
    shown: dict[str, Any] = {"role": role, "scope": _scope(row, names=names)}
    if row.user_id is not None:
        domain = (row.user_domain_id, row.user_domain_name)
        shown["user"] = _named(row.user_id, row.user_name, domain, names=names)
    else:
        domain = (row.group_domain_id, row.group_domain_name)
        shown["group"] = _named(row.group_id, row.group_name, domain, names=names)
    shown["links"] = _links(f"{request.api_url}/v3", row)
    return shown
