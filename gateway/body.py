"""Reading what a client sent, within limits: JSON and queries into Structs, uploads as a stream."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from multidict import MultiMapping

from gateway.problem import Problem

JSON_BYTES_MAX: Final = 1 << 20  # what a JSON body may hold unless its route says otherwise
JSON_DEPTH_MAX: Final = 32  # the deepest request of any API here nests 8
READ_MAX_S: Final = 30.0
"""How long a JSON body may take to arrive."""
QUERY_PARAMETERS_MAX: Final = 200
UPLOAD_CHUNK_BYTES: Final = 256 << 10
UPLOAD_GRACE_S: Final = 60.0
UPLOAD_RATE_MIN: Final = 4 << 10
"""An upload may take the grace and a second for so many bytes: who sends less only holds a connection."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_FOLDED: Final = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{}"'))
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

T = TypeVar("T")


def too_large(bytes_max: int) -> Problem:
    """413 that names the limit."""
    return Problem(413, f"The request body is larger than {bytes_max} bytes.")


async def _begin(raw: web.BaseRequest) -> None:
    """Tell a waiting client to go on. Said only now: a refused request costs no upload."""
    if raw.headers.get("Expect", "").lower() == "100-continue" and raw.transport is not None:
        raw.transport.write(_CONTINUE)


class BodyStream:
    """An upload: iterate over its chunks.

    Raises Problem 413 past ``bytes_max``, 400 when cut off, 408 when it comes too slowly.
    """

    is_stream: Final = True

    def __init__(self, raw: web.BaseRequest, bytes_max: int) -> None:
        self._raw = raw
        self._bytes_max = bytes_max
        self.length: int | None = raw.content_length
        """What Content-Length announced, None for chunked uploads."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received, patience_s = 0, UPLOAD_GRACE_S
        await _begin(self._raw)
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            chunk = await self._next(patience_s)
            if not chunk:
                return
            # What we need to put the chunk away is not the client's delay.
            patience_s += len(chunk) / UPLOAD_RATE_MIN - (loop.time() - began)
            received += len(chunk)
            if received > self._bytes_max:
                raise too_large(self._bytes_max)
            yield chunk

    async def _next(self, patience_s: float) -> bytes:
        """The next chunk; empty: the end."""
        try:
            async with asyncio.timeout(patience_s):
                return await self._raw.content.read(UPLOAD_CHUNK_BYTES)
        except (web.RequestPayloadError, ConnectionError) as error:
            raise Problem(400, "The upload broke off.") from error
        except TimeoutError as error:
            raise Problem(408, "The upload comes too slowly.") from error


async def read_limited(raw: web.BaseRequest, bytes_max: int) -> bytes:
    """The whole body. Raises Problem 413, 408 or 400."""
    if (raw.content_length or 0) > bytes_max:
        raise too_large(bytes_max)
    try:
        async with asyncio.timeout(READ_MAX_S):
            chunks = [chunk async for chunk in BodyStream(raw, bytes_max)]
    except TimeoutError as error:
        raise Problem(408, f"The request body did not arrive within {READ_MAX_S:g} seconds.") from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _is_too_deep(body: bytes) -> bool:
    """Whether valid JSON nests deeper than JSON_DEPTH_MAX. Cheap: some milliseconds for the largest body."""
    if body.count(b"{") + body.count(b"[") <= JSON_DEPTH_MAX:
        return False
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_FOLDED, _NO_STRUCTURE)
    plain = b"".join(plain.split(b'"')[::2])  # without what strings hold
    for _ in range(JSON_DEPTH_MAX):
        plain = plain.replace(b"[]", b"")
    return bool(plain)


def check_json(body: bytes) -> None:
    """Refuse valid JSON that later decoders or PostgreSQL would choke on: deep nesting, NUL characters."""
    if _is_too_deep(body):
        raise _too_deep()
    if b"\\u0000" in body and _NUL.search(body):
        raise Problem(400, "The request body holds a NUL character.")


def _too_deep() -> Problem:
    return Problem(400, f"The request body nests deeper than {JSON_DEPTH_MAX} levels.")


def decode_json(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:
    """The decoded body. Raises Problem 400 that names the member at fault."""
    try:
        found = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Problem(400, f"Invalid request body: {error}") from error
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "Malformed request body: it is not valid JSON.") from error
    check_json(body)
    return found


def decoded(kind: type[T], part: bytes | msgspec.Raw) -> T:
    """A part of a body kept as ``msgspec.Raw``, such as one action's argument. Raises Problem 400."""
    try:
        return msgspec.json.decode(part, type=kind)
    except msgspec.ValidationError as error:
        raise Problem(400, f"Invalid request body: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a Raw was skipped over, not read
        raise Problem(400, "Malformed request body: it is not valid JSON.") from error


def check_query(query: MultiMapping[str], raw_query: str) -> None:
    """Refuse what no API takes: very many parameters, NUL characters. Raises Problem 400."""
    if len(query) > QUERY_PARAMETERS_MAX:
        raise Problem(400, f"There are more than {QUERY_PARAMETERS_MAX} query parameters.")
    if "%00" in raw_query or "\0" in raw_query:
        raise Problem(400, "A query parameter holds a NUL character.")


def repeated_in(kind: type[msgspec.Struct]) -> frozenset[str]:
    """The members of a query Struct that collect repeated parameters (lists and tuples)."""
    return frozenset(
        field.encode_name
        for field in msgspec.structs.fields(kind)
        if getattr(field.type, "__origin__", None) in (list, tuple)
    )


def query_struct(
    query: MultiMapping[str], kind: type[msgspec.Struct], repeated: frozenset[str]
) -> msgspec.Struct:
    """The query as its Struct; of a repeated single parameter the last counts. Raises Problem 400."""
    values: dict[str, Any] = {}
    for name, value in query.items():
        if name in repeated:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(400, f"Invalid query parameters: {error}") from error
