"""Sending image data: whole, or the one range that was asked for.

A local file is sent by the kernel; anything else block by block, as the store gives it. Whose data it is
and whether the caller may have it is data.py's business. Source: RFC 9110, 14.2 (ranges), 13.1.5 (If-Range).
"""

from contextlib import aclosing
from typing import Final

import structlog
from aiohttp import web

from gateway.image.store import READ_BYTES, ImageData, StoreFailed
from gateway.problem import Problem
from gateway.request import Request

_log = structlog.get_logger(service="image")
_TYPE: Final = "application/octet-stream"


async def send_data(request: Request, data: ImageData, checksum: str) -> web.StreamResponse:
    """The answer to a download. ``checksum``: MD5 in hexadecimal of the whole, or empty.

    Raises Problem 416 for a range that is malformed or begins behind the end.
    """
    _check_range(request.raw, data.size_bytes)
    headers = {"Content-MD5": checksum} if checksum else {}
    if data.path is not None:
        joined = {**request.answer_headers, "Content-Type": _TYPE, **headers}
        return web.FileResponse(data.path, chunk_size=READ_BYTES, headers=joined)
    return await _stream(request, data, headers)


def _check_range(raw: web.Request, size_bytes: int) -> None:
    if "If-Range" in raw.headers:
        return  # the range is ignored when the condition fails
    try:
        start = raw.http_range.start
    except ValueError:
        start = size_bytes
    if start is not None and start >= size_bytes:
        headers = {"Content-Range": f"bytes */{size_bytes}"}
        raise Problem(416, f"The requested range is not one of {size_bytes} bytes.", headers=headers)


async def _stream(request: Request, data: ImageData, headers: dict[str, str]) -> web.StreamResponse:
    size, asked = data.size_bytes, request.raw.http_range
    # There is no validator a condition could hold for, so with one all is sent.
    partial = "If-Range" not in request.raw.headers and (asked.start is not None or asked.stop is not None)
    start, stop, _ = asked.indices(size) if partial else (0, size, 1)
    headers |= {"Content-Length": str(stop - start), "Accept-Ranges": "bytes"}
    if partial:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response = await request.stream(206 if partial else 200, headers, _TYPE)
    try:
        async with aclosing(data.read(start, stop)) as blocks:
            async for block in blocks:
                await response.write(block)
        await response.write_eof()
    except ConnectionError:
        _log.info("image.download_left", request_id=request.request_id)
    except StoreFailed as error:
        _log.error("image.store_failed", request_id=request.request_id, error=str(error))
        raise Problem(503, "The image store stopped in the middle.") from error
    return response
