"""Which versions of the Image API there are, and what this cloud's image service can do."""

from typing import Any, Final

from gateway.problem import Problem
from gateway.request import Request, Response

NEWEST_MINOR: Final = 9
"""v2.9: hidden images and multihash. Source: Glance, "Image service API versions"."""


def _versions(request: Request) -> dict[str, Any]:
    links = [{"rel": "self", "href": f"{request.api_url}/v2/"}]
    minors = [NEWEST_MINOR, 7, 6, 5, 4, 3, 2, 1, 0]
    versions = [
        {"id": f"v2.{minor}", "status": "CURRENT" if minor == NEWEST_MINOR else "SUPPORTED", "links": links}
        for minor in minors
    ]
    return {"versions": versions}


async def list_versions(request: Request) -> Response:
    """All versions; at the root as choices (300), at ``/versions`` as a document (200)."""
    return Response(_versions(request), headers={"Location": f"{request.api_url}/v2/"})


async def show_import(_: Request) -> Response:
    """The import methods: none, data comes by PUT."""
    methods = {"description": "Import methods available.", "type": "array", "value": []}
    return Response({"import-methods": methods})


async def list_stores(request: Request) -> Response:
    """The stores, the default first among equals."""
    stores = request.services.images
    shown = [_store(store.name, store.description, default=store.name == stores.default) for store in stores]
    return Response({"stores": shown})


def _store(name: str, description: str, *, default: bool) -> dict[str, str]:
    shown = {"id": name}
    if description:
        shown["description"] = description
    return {**shown, "default": "true"} if default else shown


async def list_stores_in_detail(request: Request) -> Response:
    """The stores as an operator knows them, without what their drivers are given."""
    stores = request.services.images
    shown: list[dict[str, Any]] = [
        {
            **_store(store.name, store.description, default=store.name == stores.default),
            "type": store.kind,
            "weight": 0,
            "properties": {},
        }
        for store in stores
    ]
    return Response({"stores": shown})


async def not_implemented(_: Request) -> Response:
    """Calls of the API that this cloud does not have."""
    raise Problem(501, "This cloud does not implement this call of the Image API.")
