"""Quotas of the Networking API: none is enforced in this slice, so every limit reads -1 (unlimited)."""

from typing import Final

from gateway.policy import Target
from gateway.request import Request, Response
from store.network_list import counts

RESOURCES: Final = (
    "network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule",
)  # fmt: skip
UNLIMITED: Final = -1


def _project(request: Request) -> str:
    project = request.params["project_id"].removesuffix(".json")
    request.authorize(Target(project_id=project))
    return project


async def list_quotas(_: Request) -> Response:
    """The projects whose limits were changed: none can be."""
    return Response({"quotas": []})


async def show_quota(request: Request) -> Response:
    """A project's limits; its defaults are the same."""
    _project(request)
    return Response({"quota": dict.fromkeys(RESOURCES, UNLIMITED)})


async def show_details(request: Request) -> Response:
    """A project's limits and what it uses."""
    project = _project(request)
    async with request.services.read_pool.acquire() as c:
        used = await counts(c, project)
    quota = {name: {"limit": UNLIMITED, "used": used.get(name, 0), "reserved": 0} for name in RESOURCES}
    return Response({"quota": quota})
