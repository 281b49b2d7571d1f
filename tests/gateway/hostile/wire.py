"""A client that says exactly the bytes it is told to: HTTP/1.1 over one connection, kept while it can be."""

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from msgspec import Struct

ANSWER_MAX_S: Final = 15.0
"""Longer than a gateway waits for an actor: a command that nobody answers is seen as a 503, not as a hang."""
STREAM_MAX_S: Final = 0.3
"""How long an event stream, which never ends, is listened to."""


class HungError(AssertionError):
    """No answer in time."""


class Answer(Struct):
    """What came back; header names are lower case, of a repeated header the last counts."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def __str__(self) -> str:
        return f"{self.status} {self.text[:160]!r}"


class Wire:
    """One connection; opened when it is needed and again when the server closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def call(
        self, method: str, target: str, headers: dict[str, str], body: Any = None, *, raw: bytes | None = None
    ) -> Answer:
        """A call with a JSON body, or with ``raw`` as its body; headers go out as they are given."""
        given = {name.lower() for name in headers}
        sent = dict(headers)
        content = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        if body is not None and "content-type" not in given:
            sent["Content-Type"] = "application/json"
        if not {"content-length", "transfer-encoding"} & given and (
            content or raw is not None or method in ("POST", "PUT", "PATCH")
        ):
            sent["Content-Length"] = str(len(content))
        if "host" not in given:
            sent["Host"] = f"{self._host}:{self._port}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        head = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape")
        return await self.exchange(head + content, head_only=method == "HEAD")

    async def exchange(self, request: bytes, *, head_only: bool = False) -> Answer:
        """Say these bytes and read one answer. A kept connection that turned out closed is opened anew."""
        kept = self._writer is not None
        try:
            return await self._once(request, head_only=head_only)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            if not kept:
                raise
        return await self._once(request, head_only=head_only)

    async def _once(self, request: bytes, *, head_only: bool) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                if self._writer is None:
                    self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
                assert self._reader is not None
                return await self._said(self._reader, self._writer, request, head_only=head_only)
        except TimeoutError as error:
            self.close()
            raise HungError(f"no answer within {ANSWER_MAX_S} s to {request[:200]!r}") from error

    async def _said(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, *, head_only: bool
    ) -> Answer:
        began = asyncio.get_running_loop().time()
        writer.write(request)
        sending = asyncio.ensure_future(writer.drain())
        try:
            status, headers = await _head(reader)
            while status == 100:
                status, headers = await _head(reader)
            body = b"" if head_only or status in (204, 304) else await _body(reader, headers)
        finally:
            finished = sending.done()
            sending.cancel()
            await asyncio.wait([sending])
            sending.cancelled() or sending.exception()
        if not finished or headers.get("connection", "").lower() == "close" or _is_endless(headers):
            self.close()
        return Answer(status, headers, body, asyncio.get_running_loop().time() - began)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = text.split("\r\n")
    headers = {}
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        assert colon, f"not a header: {line!r}"
        headers[name.lower()] = value.strip()
    return int(first.split(" ")[1]), headers


def _is_endless(headers: dict[str, str]) -> bool:
    return headers.get("content-type", "").startswith("text/event-stream")


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if _is_endless(headers):
        return await _listened(reader)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readuntil(b"\r\n")
        return b"".join(parts)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read()


async def _listened(reader: asyncio.StreamReader) -> bytes:
    heard = b""
    try:
        async with asyncio.timeout(STREAM_MAX_S):
            while part := await reader.read(1 << 16):
                heard += part
    except TimeoutError:
        pass
    return heard
