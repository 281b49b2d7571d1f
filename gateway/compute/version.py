"""The version documents: what this API is, where, and which microversions it speaks. They need no token.

Source: Compute API reference, "API Versions".
"""

from typing import Any, Final

from gateway.compute.schema import NEWEST
from gateway.request import Request, Response

_UPDATED: Final = "2013-07-23T11:33:21Z"
_MEDIA: Final = {
    "base": "application/json",
    "type": "application/vnd.openstack.compute+json;version=2.1",
}


def _entry(request: Request) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": f"2.{NEWEST}",
        "min_version": "2.1",
        "updated": _UPDATED,
        "links": [{"rel": "self", "href": f"{request.api_url}/v2.1/"}],
    }


async def list_versions(request: Request) -> Response:
    """``GET /``."""
    return Response({"versions": [_entry(request)]})


async def show_version(request: Request) -> Response:
    """``GET /v2.1``."""
    guide = {
        "rel": "describedby",
        "type": "text/html",
        "href": "https://docs.openstack.org/api-ref/compute/",
    }
    entry = _entry(request)
    entry |= {"links": [*entry["links"], guide], "media-types": [_MEDIA]}
    return Response({"version": entry})
