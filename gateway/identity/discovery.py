"""Which versions of the Identity API there are. Read without a token, first of all."""

from typing import Any

from gateway.request import Request, Response
from gateway.route import Route

_UPDATED = "2020-04-07T00:00:00Z"  # of v3.14. Source: keystone's version document


def version(request: Request) -> dict[str, Any]:
    """The document of v3.14 as this client reaches it."""
    media = {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": _UPDATED,
        "links": [{"rel": "self", "href": f"{request.base_url}/identity/v3/"}],
        "media-types": [media],
    }


def versions(request: Request) -> dict[str, Any]:
    """The list of all versions, as the root documents hold it."""
    return {"versions": {"values": [version(request)]}}


async def list_versions(request: Request) -> Response:
    """Choices: one."""
    return Response(versions(request), headers={"Location": f"{request.base_url}/identity/v3/"})


async def show_version(request: Request) -> Response:
    """The one version."""
    return Response({"version": version(request)})


ROUTES = (
    Route("GET", "/", list_versions, "identity:discover", 300),
    Route("GET", "/v3", show_version, "identity:discover"),
)
