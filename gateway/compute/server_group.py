"""Server groups: which servers want to be together, or apart.

Source: Compute API reference, "Server groups (os-server-groups)". The policy is the scheduler's to weigh and
the group's ledger's to keep; here are only the rows.
"""
# ruff: noqa: PLR2004  the numbers are microversions

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from gateway.compute.query import minor, pool, refuse_unknown, whole_in
from gateway.compute.quota import limits_of
from gateway.compute.schema import Body, Name, Positive, check, required, since, truth_in, until
from gateway.pages import LIMIT_MAX
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.ids import address
from protocol.instance import UpdateInstance
from store.server_group import (
    ServerGroupRow,
    add_server_group,
    remove_server_group,
    server_group,
    server_groups,
)

_Policy = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
_Policies = Annotated[list[_Policy], Meta(min_length=1, max_length=1)]
_ALL_RULE: Final = "compute:server_groups:list_all"


class Rules(Body, frozen=True):
    """``rules``: how many members one host may have under anti-affinity."""

    max_server_per_host: Positive | UnsetType = UNSET


class NewGroup(Body, frozen=True):
    """``server_group``: ``policies`` until 2.63, ``policy`` and ``rules`` after; soft ones from 2.15 on."""

    name: Name
    policies: Annotated[_Policies | UnsetType, until(63)] = UNSET
    policy: Annotated[_Policy | UnsetType, since(64), required(64)] = UNSET
    rules: Annotated[Rules | UnsetType, since(64)] = UNSET


class GroupBody(Body, frozen=True):
    """POST /os-server-groups."""

    server_group: NewGroup


def _shown(row: ServerGroupRow, at: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": row.id, "name": row.name}
    if at >= 64:
        shown["policy"] = row.policy
        shown["rules"] = {} if row.per_host is None else {"max_server_per_host": row.per_host}
    else:
        shown |= {"policies": [row.policy], "metadata": {}}
    shown["members"] = row.members
    return shown | {"project_id": row.project_id, "user_id": row.user_id} if at >= 13 else shown


async def list_server_groups(request: Request) -> Response:
    """``GET /os-server-groups``; ``all_projects`` for operators."""
    refuse_unknown(request, {"all_projects", "limit", "offset"})
    query, project = request.query, request.caller.project_id or None
    if "all_projects" in query and request.allows(_ALL_RULE):
        text = query["all_projects"]
        project = None if not text or truth_in(text, "all_projects") else project
    offset = whole_in(query["offset"], "offset") if "offset" in query else 0
    limit = whole_in(query["limit"], "limit") if "limit" in query else LIMIT_MAX
    async with pool(request).acquire() as connection:
        rows = await server_groups(connection, project, offset=offset, limit=min(limit, LIMIT_MAX))
    return Response({"server_groups": [_shown(row, minor(request)) for row in rows]})


async def _found(request: Request) -> ServerGroupRow:
    """The group ``{group}`` of the caller's. Raises Problem 403 or 404."""
    ident = request.params["group"]
    async with pool(request).acquire() as connection:
        row = await server_group(connection, ident)
    caller = request.caller
    if row is None or not (caller.is_admin or row.project_id == caller.project_id):
        raise Problem(404, f"Instance group {ident} could not be found.")
    request.authorize(Target(project_id=row.project_id, user_id=row.user_id))
    return row


async def show_server_group(request: Request) -> Response:
    """``GET /os-server-groups/{id}``."""
    return Response({"server_group": _shown(await _found(request), minor(request))})


async def create_server_group(request: Request) -> Response:
    """``POST /os-server-groups``: 200; 403 over the quota, 409 for rules that do not go with the policy."""
    body: GroupBody = request.body
    at, wish = minor(request), body.server_group
    check(body, at)
    if at < 64 and wish.policies is UNSET:
        raise Problem(400, "Invalid request body: 'policies' is a required property in 'server_group'.")
    policy = wish.policies[0] if wish.policies is not UNSET else wish.policy
    if policy is UNSET or (at < 15 and policy.startswith("soft-")):
        raise Problem(400, f"Invalid input for field/attribute policies: {policy!r} is not one of them.")
    rules = UNSET if wish.rules is UNSET else wish.rules.max_server_per_host
    if rules is not UNSET and policy != "anti-affinity":
        raise Problem(400, "Only anti-affinity policy supports rules.")
    caller, services = request.caller, request.services
    row = ServerGroupRow(
        services.clock.uuid(),
        caller.project_id,
        caller.user_id,
        wish.name,
        policy,
        None if rules is UNSET else int(rules),
    )
    async with services.pool.acquire() as connection:
        limit = (await limits_of(connection, caller.project_id))["server_groups"]
        if not await add_server_group(connection, row, services.clock.now(), limit=limit):
            raise Problem(403, "Quota exceeded, too many server groups.")
    return Response({"server_group": _shown(row, at)})


async def delete_server_group(request: Request) -> Response:
    """``DELETE /os-server-groups/{id}``: its servers stay, without it. 204."""
    row = await _found(request)
    async with request.services.pool.acquire() as connection:
        if not await remove_server_group(connection, row.id):
            raise Problem(404, f"Instance group {row.id} could not be found.")
    for member in row.members:
        leave = UpdateInstance(by=request.said_by(), leave_group=row.id)
        await request.command(address("instance", member), leave, request.services.clock.uuid())
    return Response()
