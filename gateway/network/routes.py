"""The Networking API as one table: all its rows, and who may do what.

This slice reads; what would write answers 501. Routers and floating IPs are lists that are empty.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.envelope import neutron
from gateway.network import discovery, quota, shape
from gateway.network.collection import Collection
from gateway.problem import Problem, neutron_refusal
from gateway.request import Request, Response
from gateway.route import Api, Route
from store.network_list import (
    NETWORKS,
    PORTS,
    SECURITY_GROUP_RULES,
    SECURITY_GROUPS,
    SUBNETS,
    Row,
    has_default_group,
    make_default_group,
    rules_of,
    zones,
)
from store.pool import Connection

_READ = "admin or project reader"
_WRITE = "admin or project member"


async def _ensure_default_group(request: Request) -> None:
    """A project gets its default security group the first time somebody looks."""
    project = request.caller.project_id
    if not project:
        return
    async with request.services.read_pool.acquire() as c:
        known = await has_default_group(c, project)
    if not known:
        async with request.services.pool.acquire() as c:
            await make_default_group(c, project, request.services.clock)


async def _add_rules(c: Connection, groups: list[Row]) -> None:
    rules = await rules_of(c, [group["id"] for group in groups])
    for group in groups:
        group["rules"] = rules[group["id"]]


COLLECTIONS: Final = (
    Collection(word="network", kind="network", source=NETWORKS, show=shape.network),
    Collection(word="subnet", kind="subnet", source=SUBNETS, show=shape.subnet),
    Collection(word="port", kind="port", source=PORTS, show=shape.port),
    Collection(
        word="security_group",
        kind="security_group",
        source=SECURITY_GROUPS,
        show=shape.security_group,
        enrich=_add_rules,
        prepare=_ensure_default_group,
    ),
    Collection(
        word="security_group_rule",
        kind="security_group_rule",
        source=SECURITY_GROUP_RULES,
        show=shape.rule,
        prepare=_ensure_default_group,
    ),
)
_EMPTY: Final = {"router": "Router", "floatingip": "FloatingIP", "agent": "Agent"}


def _nothing(plural: str) -> Callable[[Request], Awaitable[Response]]:
    async def nothing(_: Request) -> Response:
        return Response({plural: []})

    return nothing


def _missing(kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def missing(request: Request) -> Response:
        raise Problem(404, f"{kind} {request.params['id'][:64]} could not be found.", f"{kind}NotFound")

    return missing


async def list_zones(request: Request) -> Response:
    """The zones that hosts are in."""
    async with request.services.read_pool.acquire() as c:
        names = await zones(c)
    shown: list[dict[str, Any]] = [
        {"name": name, "resource": "network", "state": "available"} for name in names
    ]
    return Response({"availability_zones": shown})


async def not_implemented(_: Request) -> Response:
    """Calls of the API that this cloud does not have."""
    raise Problem(501, "This cloud does not implement this call of the Networking API.", "HTTPNotImplemented")


def _writes(word: str) -> tuple[Route, ...]:
    path = "/v2.0/" + (word + "s").replace("_", "-")
    rule = "network:write"
    return (
        Route("POST", path, not_implemented, rule, 201),
        Route("PUT", f"{path}/{{id}}", not_implemented, rule),
        Route("DELETE", f"{path}/{{id}}", not_implemented, rule, 204),
    )


RULES: Final = {
    "network:discover": "public",
    "network:get_resources": "authenticated",
    **{f"network:get_{collection.word}": _READ for collection in COLLECTIONS},
    **{f"network:get_{word}": _READ for word in _EMPTY},
    "network:get_availability_zone": _READ,
    "network:get_quota": _READ,
    "network:list_quotas": "admin",
    "network:write": _WRITE,
}

_QUOTA = "/v2.0/quotas/{project_id}"
ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/", discovery.list_versions, "network:discover"),
    Route("GET", "/v2.0", discovery.list_resources, "network:get_resources"),
    Route("GET", "/v2.0/extensions", discovery.list_extensions, "network:get_resources"),
    Route("GET", "/v2.0/extensions/{alias}", discovery.show_extension, "network:get_resources"),
    *(route for collection in COLLECTIONS for route in collection.routes()),
    *(
        route
        for word, kind in _EMPTY.items()
        for route in (
            Route("GET", f"/v2.0/{word}s", _nothing(f"{word}s"), f"network:get_{word}"),
            Route("GET", f"/v2.0/{word}s/{{id}}", _missing(kind), f"network:get_{word}"),
        )
    ),
    *(route for word in (*(c.word for c in COLLECTIONS), "router", "floatingip") for route in _writes(word)),
    Route("GET", "/v2.0/availability_zones", list_zones, "network:get_availability_zone"),
    Route("GET", "/v2.0/quotas", quota.list_quotas, "network:list_quotas"),
    Route("GET", _QUOTA, quota.show_quota, "network:get_quota"),
    Route("GET", f"{_QUOTA}/default", quota.show_quota, "network:get_quota"),
    Route("GET", f"{_QUOTA}/details.json", quota.show_details, "network:get_quota"),
    Route("GET", f"{_QUOTA}/details", quota.show_details, "network:get_quota"),
)

API: Final = Api(
    name="network",
    prefix="/network",
    routes=ROUTES,
    rules=RULES,
    envelope=neutron,
    refusal=neutron_refusal,
)
