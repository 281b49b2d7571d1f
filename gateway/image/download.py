"""Giving image data out: who may have it, by token or by signed URL, and from which of its stores.

How bytes are sent is send.py's business. Source: Image API v2, "Download binary image data".
"""

from typing import Final

import msgspec
import structlog
from aiohttp import web
from msgspec import Struct

from gateway.access import admit
from gateway.image.access import visible
from gateway.image.send import send_data
from gateway.image.store import ImageData, StoreFailed
from gateway.problem import Problem
from gateway.request import Request, Response, forbidden
from process.signed_url import is_valid
from store.image import ImageRow, Viewer, image

_READABLE: Final = frozenset({"active", "deactivated"})
"""A deactivated image's data is read by admins, and by hosts whose servers were made before."""
_SIGNED: Final = ("host", "generation", "expires", "signature")

_log = structlog.get_logger("image")


class _Sums(Struct):
    """What a download needs of an image's view."""

    checksum: str | None


async def get_file(request: Request) -> Response | web.StreamResponse:
    """Send an image's data: whole, or a range of it; 204 when it has none yet.

    The route is public because a signed URL needs no token; without a signature a token is asked for.
    """
    row = await _downloadable(request)
    if not row.locations or row.status not in _READABLE:
        return Response(status=204)
    data = await _opened(request, row)
    return await send_data(request, data, msgspec.json.decode(row.view, type=_Sums).checksum or "")


async def _opened(request: Request, row: ImageRow) -> ImageData:
    """The data in the first of its stores that has it. Raises Problem 404 or 503."""
    failed = False
    for location in row.locations:
        try:
            data = await request.services.images.open(location)
        except StoreFailed as error:
            failed = True
            _log.error("image.store_failed", request_id=request.request_id, error=str(error))
            continue
        if data is not None:
            return data
        _log.error("image.data_missing", image=row.id, location=location)
    if failed:
        raise Problem(503, "The image store cannot be used now.", headers={"Retry-After": "5"})
    raise Problem(404, f"The data of image {row.id} is not in the store.")


async def _downloadable(request: Request) -> ImageRow:
    if "signature" in request.query:
        return await _signed(request)
    caller = await admit(request)
    _require(request, "image:get_image")
    row = await visible(request)
    _require(request, "image:download_image")
    if row.status == "deactivated" and not caller.is_admin:
        raise Problem(403, "The requested image has been deactivated. Image data download is forbidden.")
    return row


def _require(request: Request, rule: str) -> None:
    if not request.allows(rule):
        raise forbidden(rule)


async def _signed(request: Request) -> ImageRow:
    """The image of a signed URL. Raises Problem 403 or 404."""
    services, ident = request.services, request.params["image_id"]
    host, generation, expires, given = (request.query.get(name, "") for name in _SIGNED)
    whole = generation.isascii() and generation.isdigit() and expires.isascii() and expires.isdigit()
    good = (
        bool(services.url_key)
        and whole
        and max(len(generation), len(expires)) <= 18  # noqa: PLR2004  fits 64 bits
        and is_valid(
            services.url_key,
            image=ident,
            host=host,
            generation=int(generation),
            expires=int(expires),
            given=given,
            now=services.clock.now(),
        )
    )
    if not good:
        raise Problem(403, "The signature of this URL is not valid, or no longer.")
    async with services.read_pool.acquire() as c:
        row = await image(c, ident, Viewer("", admin=True))
    if row is None:
        raise Problem(404, f"No image found with ID {ident}")
    return row
