"""Quota sets: the limits of a project, shown and set.

Source: Compute API reference, "Quota sets (os-quota-sets)". Limits are a project's, never a user's within it.
"""
# ruff: noqa: PLR2004  the numbers are microversions

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from gateway.compute.query import minor, pool, refuse_unknown
from gateway.compute.quota import DEFAULTS, FILES, GROUPS, NETWORK, limits_of, resources, used_of
from gateway.compute.schema import INT_MAX, Body, Boolean, check, truth, until
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from store.compute import clear_limits, set_limits, usage

_Limit = Annotated[int, Meta(ge=-1, le=INT_MAX)] | Annotated[str, Meta(pattern=r"\A(-1|[0-9]{1,9})\Z")]
_Member = _Limit | UnsetType
_Files = Annotated[_Member, until(56)]
_Network = Annotated[_Member, until(35)]
_ClassNetwork = Annotated[_Member, until(49)]


class _Limits(Body, frozen=True):
    instances: _Member = UNSET
    cores: _Member = UNSET
    ram: _Member = UNSET
    metadata_items: _Member = UNSET
    injected_files: _Files = UNSET
    injected_file_content_bytes: _Files = UNSET
    injected_file_path_bytes: _Files = UNSET
    key_pairs: _Member = UNSET
    server_groups: _Member = UNSET
    server_group_members: _Member = UNSET


class QuotaSet(_Limits, frozen=True):
    """``quota_set`` of PUT /os-quota-sets/{project}."""

    fixed_ips: _Network = UNSET
    floating_ips: _Network = UNSET
    security_groups: _Network = UNSET
    security_group_rules: _Network = UNSET
    force: Boolean | UnsetType = UNSET


class ClassSet(_Limits, frozen=True):
    """``quota_class_set`` of PUT /os-quota-class-sets/{class}."""

    fixed_ips: _ClassNetwork = UNSET
    floating_ips: _ClassNetwork = UNSET
    security_groups: _ClassNetwork = UNSET
    security_group_rules: _ClassNetwork = UNSET


class QuotaBody(Body, frozen=True):
    """PUT /os-quota-sets/{project}."""

    quota_set: QuotaSet


def _project(request: Request) -> str:
    """The project ``{project}``, allowed by the route's rule. Raises Problem 400, 403 or 501."""
    refuse_unknown(request, {"user_id"})
    project = request.params["project"]
    request.authorize(Target(project_id=project))
    if "user_id" in request.query and request.route.method != "GET":
        raise Problem(501, "Limits of a user within a project are not implemented.")
    return project


def _shown(project: str, values: dict[str, Any], at: int) -> dict[str, Any]:
    shown = {name: values[name] for name in resources(at)}
    return {"quota_set": {"id": project, **shown} if project else shown}


async def show_quota_set(request: Request) -> Response:
    """``GET /os-quota-sets/{project}``."""
    project = _project(request)
    async with pool(request).acquire() as connection:
        return Response(_shown(project, await limits_of(connection, project), minor(request)))


async def show_quota_detail(request: Request) -> Response:
    """``GET /os-quota-sets/{project}/detail``: with what is in use."""
    project = _project(request)
    async with pool(request).acquire() as connection:
        limits = await limits_of(connection, project)
        used = used_of(await usage(connection, project))
    values = {name: {"limit": limits[name], "in_use": used[name], "reserved": 0} for name in DEFAULTS}
    return Response(_shown(project, values, minor(request)))


async def show_quota_defaults(request: Request) -> Response:
    """``GET /os-quota-sets/{project}/defaults``."""
    project = request.params["project"]
    async with pool(request).acquire() as connection:
        return Response(_shown(project, await limits_of(connection, ""), minor(request)))


def _wanted(wish: QuotaSet | ClassSet) -> dict[str, int]:
    members = {name: getattr(wish, name) for name in DEFAULTS}
    return {name: int(value) for name, value in members.items() if value is not UNSET}


async def update_quota_set(request: Request) -> Response:
    """``PUT /os-quota-sets/{project}``: not below what is in use, unless by force."""
    body: QuotaBody = request.body
    check(body, minor(request))
    project = _project(request)
    wanted = _wanted(body.quota_set)
    async with request.services.pool.acquire() as connection:
        if not truth(body.quota_set.force):
            used = used_of(await usage(connection, project))
            _check_room(wanted, used)
        await set_limits(connection, project, wanted)
        return Response(_shown("", await limits_of(connection, project), minor(request)))


def _check_room(wanted: dict[str, int], used: dict[str, int]) -> None:
    for name, limit in wanted.items():
        if 0 <= limit < used[name]:
            message = (
                f"Quota limit {limit} for {name} must be greater than or equal to already used and "
                f"reserved {used[name]}."
            )
            raise Problem(400, message)


async def delete_quota_set(request: Request) -> Response:
    """``DELETE /os-quota-sets/{project}``: the defaults hold again. 202."""
    project = _project(request)
    async with request.services.pool.acquire() as connection:
        await clear_limits(connection, project)
    return Response()


class ClassBody(Body, frozen=True):
    """PUT /os-quota-class-sets/{class}."""

    quota_class_set: ClassSet


def _class(request: Request) -> str:
    name = request.params["class_name"]
    if name != "default":
        raise Problem(404, f"Quota class {name} could not be found.")
    return name


def _class_shown(values: dict[str, int], at: int, name: str = "") -> dict[str, Any]:
    """A class has the network's limits up to 2.49 and those of server groups from 2.50 on."""
    hidden = NETWORK if at >= 50 else GROUPS
    shown = {one: values[one] for one in DEFAULTS if one not in hidden and not (at >= 57 and one in FILES)}
    return {"quota_class_set": {"id": name, **shown} if name else shown}


async def show_quota_class(request: Request) -> Response:
    """``GET /os-quota-class-sets/default``: the limits of projects that have none of their own."""
    name = _class(request)
    async with pool(request).acquire() as connection:
        return Response(_class_shown(await limits_of(connection, ""), minor(request), name))


async def update_quota_class(request: Request) -> Response:
    """``PUT /os-quota-class-sets/default``."""
    body: ClassBody = request.body
    check(body, minor(request))
    _class(request)
    async with request.services.pool.acquire() as connection:
        await set_limits(connection, "", _wanted(body.quota_class_set))
        return Response(_class_shown(await limits_of(connection, ""), minor(request)))
