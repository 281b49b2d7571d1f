"""Image data as static large objects of a Swift account.

An upload is streamed into segments, ``container_segments/key/number``; its manifest, written last, makes it
one object, ``container/key``. Nothing is held but the block on its way. Segments without a manifest belong
to an upload that goes on or was cut; the sweep removes those that are old.

Source: Object Store API v1, "Static large objects"; Swift's default limits.
"""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct
from multidict import CIMultiDictProxy

from gateway.image.store import CUT_S, KEY, READ_BYTES, ImageData, ImageStore, Sink, StoreFailed, StoreFull
from gateway.image.stores.load import StoreContext
from gateway.image.stores.swift_login import Grant, SwiftLogin, log_in
from process.clock import Clock
from process.plugin import checked_options

SEGMENTS_MAX: Final = 1000
"""Of one manifest, by Swift's default."""
PAGE: Final = 1000
DELETES_AT_ONCE: Final = 8
_FULL: Final = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.INSUFFICIENT_STORAGE})
_GOOD: Final = range(200, 300)
_TYPE: Final = {"Content-Type": "application/octet-stream"}

Body = bytes | AsyncGenerator[bytes, None] | None


class SwiftOptions(SwiftLogin, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the data goes. ``segment_bytes`` is at most the service's largest object. Times in seconds."""

    container: str = "images"
    segment_bytes: int = 1 << 30
    ca_file: str = ""
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0


def make(context: StoreContext) -> ImageStore:
    """The factory that the entry point names. Raises DriverOptionsError."""
    what = f"image store {context.name!r}"
    options = checked_options(context.options, SwiftOptions, what=what)
    options.check(what)
    return SwiftStore(options, context.clock)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Failures of the connection as the store's own."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise StoreFailed(f"{what}: {type(error).__name__}: {error}") from error


class _Found(Struct):
    """An object in a container's listing."""

    name: str
    last_modified: str

    @property
    def at(self) -> float:
        """When it was written, UTC epoch seconds."""
        return datetime.fromisoformat(self.last_modified).replace(tzinfo=UTC).timestamp()


class SwiftStore:
    """Two containers of an account. They are made at the first upload."""

    def __init__(self, options: SwiftOptions, clock: Clock) -> None:
        self.options = options
        self._clock = clock
        self._http: aiohttp.ClientSession | None = None
        self._grant: Grant | None = None
        self._lock = asyncio.Lock()
        self._has_containers = False

    @property
    def segments(self) -> str:
        """The container of segments."""
        return f"{self.options.container}_segments"

    async def begin(self, key: str, length: int | None) -> Sink:
        with _told("begin an upload"):
            if not self._has_containers:
                for container in (self.options.container, self.segments):
                    await self.call("PUT", f"/{container}")
                self._has_containers = True
        return SwiftSink(self, key, length)

    async def open(self, key: str) -> ImageData | None:
        with _told("look up data"):
            status, headers, _ = await self.call("HEAD", self.path_of(key), missing=True)
            if status == HTTPStatus.NOT_FOUND:
                return None
            return SwiftData(self, key, int(headers["Content-Length"]))

    async def delete(self, key: str) -> None:
        """The manifest first: no reader finds an object whose segments are going."""
        with _told("delete data"):
            await self.call("DELETE", self.path_of(key), missing=True)
            names = [found.name async for found in self.listed(self.segments, prefix=f"{key}/")]
            for first in range(0, len(names), DELETES_AT_ONCE):
                some = names[first : first + DELETES_AT_ONCE]
                await _all(self.call("DELETE", f"/{self.segments}/{name}", missing=True) for name in some)

    async def sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        with _told("sweep"):
            whole, old = set(), []
            async for found in self.listed(self.options.container):
                whole.add(found.name)
                if KEY.fullmatch(found.name) and found.name not in wanted and found.at < older_than:
                    old.append(found.name)
            newest: dict[str, float] = {}
            async for found in self.listed(self.segments):
                key = found.name.partition("/")[0]
                if KEY.fullmatch(key) and key not in wanted and key not in whole:
                    newest[key] = max(found.at, newest.get(key, 0.0))
            old += [key for key, at in newest.items() if at < older_than - CUT_S]
            for key in old:
                await self.delete(key)
            return len(old)

    def path_of(self, key: str) -> str:
        """The object of a key."""
        return f"/{self.options.container}/{key}"

    async def prove(self) -> None:
        """See to it that the token is good: a stream cannot be sent again with another."""
        await self.call("HEAD", f"/{self.options.container}")

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def listed(self, container: str, *, prefix: str = "") -> AsyncGenerator[_Found, None]:
        """What a container holds, in the order of the names; nothing when it is not there."""
        marker = ""
        while True:
            query = (
                f"?format=json&limit={PAGE}&marker={quote(marker, safe='')}&prefix={quote(prefix, safe='')}"
            )
            status, _, body = await self.call("GET", f"/{container}{query}", missing=True)
            page = [] if status == HTTPStatus.NOT_FOUND else _decoded(body)
            for found in page:
                yield found
            if not page:
                return
            marker = page[-1].name

    async def call(
        self,
        method: str,
        path: str,
        *,
        data: Body = None,
        headers: Mapping[str, str] | None = None,
        missing: bool = False,
    ) -> tuple[int, CIMultiDictProxy[str], bytes]:
        """One request and its whole answer, once more with a fresh token when the one in hand is not taken.

        ``missing``: 404 is an answer like others. Raises StoreFull, StoreFailed and the client's errors.
        """
        for fresh in (False, True):
            async with self.asked(method, path, data=data, headers=headers, fresh=fresh) as answer:
                stale = answer.status == HTTPStatus.UNAUTHORIZED and not fresh
                if stale and not isinstance(data, AsyncGenerator):
                    continue
                if missing and answer.status == HTTPStatus.NOT_FOUND:
                    return answer.status, answer.headers, b""
                _check(method, answer.status)
                return answer.status, answer.headers, await answer.read()
        raise StoreFailed("Swift takes no token")

    @asynccontextmanager
    async def asked(
        self,
        method: str,
        path: str,
        *,
        data: Body = None,
        headers: Mapping[str, str] | None = None,
        fresh: bool = False,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """One request with a token; ``fresh``: with a new one."""
        grant = await self._granted(fresh=fresh)
        sent = {"X-Auth-Token": grant.token, **(headers or {})}
        request = self._session().request(
            method, grant.url + path, data=data, headers=sent, allow_redirects=False
        )
        async with request as answer:
            yield answer

    async def _granted(self, *, fresh: bool) -> Grant:
        had = self._grant
        async with self._lock:
            now, held = self._clock.now(), self._grant
            renewed_by_another = held is not had
            if held is None or held.renew_at < now or (fresh and not renewed_by_another):
                self._grant = held = await log_in(self._session(), self.options, self._clock)
            return held

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            given = self.options
            connector = aiohttp.TCPConnector(ssl=_ssl(given.ca_file), limit=0)
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=given.connect_timeout_s, sock_read=given.read_timeout_s
            )
            self._http = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self._http


async def _all(works: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Do all at once; the first failure, when all are over."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _check(method: str, status: int) -> None:
    if status in _FULL:
        raise StoreFull("The image store has no room left.")
    if status not in _GOOD:
        raise StoreFailed(f"Swift answered {method} with status {status}")


def _decoded(body: bytes) -> list[_Found]:
    try:
        return msgspec.json.decode(body, type=list[_Found])
    except msgspec.MsgspecError as error:
        raise StoreFailed("Swift's listing cannot be read") from error


def _ssl(ca_file: str) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=ca_file) if ca_file else True


class SwiftData(Struct, frozen=True):
    """An object, large or not."""

    store: SwiftStore
    key: str
    size_bytes: int

    @property
    def path(self) -> None:
        return None

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        if start >= stop:
            return
        path, headers = self.store.path_of(self.key), {"Range": f"bytes={start}-{stop - 1}"}
        with _told("read data"):
            await self.store.prove()
            async with self.store.asked("GET", path, headers=headers) as answer:
                if answer.status != HTTPStatus.PARTIAL_CONTENT:
                    raise StoreFailed(f"Swift answered a read with status {answer.status}")
                async for block in answer.content.iter_chunked(READ_BYTES):
                    start += len(block)
                    yield block
        if start != stop:
            raise StoreFailed(f"read data: {stop - start} bytes are missing")


class _Entry(Struct, frozen=True):
    """A segment in a manifest."""

    path: str
    etag: str
    size_bytes: int


class _Segment:
    """One segment on its way: what is written goes out as it comes."""

    def __init__(self, store: SwiftStore, name: str) -> None:
        self._store, self._path = store, f"/{store.segments}/{name}"
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sending = asyncio.create_task(self._send())
        self.size_bytes = 0

    async def _send(self) -> str:
        _, headers, _ = await self._store.call("PUT", self._path, data=self._body())
        return headers.get("ETag", "").strip('"')

    async def _body(self) -> AsyncGenerator[bytes, None]:
        while block := await self._blocks.get():
            await asyncio.to_thread(self._md5.update, block)
            yield block

    async def write(self, block: bytes) -> None:
        """Pass a block on; an empty one is the end. Raises what ended the request before that."""
        putting = asyncio.create_task(self._blocks.put(block))
        try:
            await asyncio.wait([putting, self._sending], return_when=asyncio.FIRST_COMPLETED)
            if not putting.done():
                self._sending.result()
                raise StoreFailed("Swift answered before the segment's end")
            self.size_bytes += len(block)
        finally:
            putting.cancel()

    async def finish(self) -> _Entry:
        """The manifest's entry, once Swift has it all."""
        await self.write(b"")
        if await self._sending != self._md5.hexdigest():
            raise StoreFailed("Swift has stored something else than was sent")
        return _Entry(self._path, self._md5.hexdigest(), self.size_bytes)

    async def stop(self) -> None:
        """Break it off; Swift keeps nothing of it."""
        self._sending.cancel()
        await asyncio.wait([self._sending])
        self._sending.cancelled() or self._sending.exception()


class SwiftSink:
    """An upload: finished segments, and the one that is open."""

    def __init__(self, store: SwiftStore, key: str, length: int | None) -> None:
        self._store, self._key = store, key
        self._segment_bytes = max(store.options.segment_bytes, -(-(length or 0) // SEGMENTS_MAX))
        self._entries: list[_Entry] = []
        self._open: _Segment | None = None

    async def write(self, block: bytes) -> None:
        rest = memoryview(block)
        with _told("upload a segment"):
            while rest:
                segment = self._open or await self._begun()
                room = self._segment_bytes - segment.size_bytes
                await segment.write(bytes(rest[:room]))
                rest = rest[room:]
                if segment.size_bytes == self._segment_bytes:
                    await self._finish()

    async def _begun(self) -> _Segment:
        if len(self._entries) == SEGMENTS_MAX:
            raise StoreFull(f"The image is longer than {SEGMENTS_MAX} segments of this image store.")
        await self._store.prove()
        self._open = _Segment(self._store, f"{self._key}/{len(self._entries) + 1:08}")
        return self._open

    async def _finish(self) -> None:
        if self._open is not None:
            self._entries.append(await self._open.finish())
            self._open = None

    async def commit(self) -> None:
        with _told("complete an upload"):
            await self._finish()
            path = self._store.path_of(self._key)
            if not self._entries:
                await self._store.call("PUT", path, data=b"", headers=_TYPE)
                return
            query = "?multipart-manifest=put&heartbeat=on"
            manifest = msgspec.json.encode(self._entries)
            headers = {**_TYPE, "Accept": "application/json"}
            status, _, body = await self._store.call("PUT", path + query, data=manifest, headers=headers)
            if status == HTTPStatus.ACCEPTED:
                _check_late(body)

    async def abandon(self) -> None:
        if self._open is not None:
            await self._open.stop()
            self._open = None
        with suppress(StoreFailed, StoreFull):
            await self._store.delete(self._key)


class _Late(Struct, rename={"status": "Response Status"}):
    """What a manifest's PUT with heartbeats says at its end."""

    status: str


def _check_late(body: bytes) -> None:
    """With many segments Swift says 202 first, then blanks while it looks at them, then the outcome."""
    try:
        late = msgspec.json.decode(body, type=_Late)
    except msgspec.MsgspecError as error:
        raise StoreFailed("Swift's word on a manifest cannot be read") from error
    if not late.status.startswith("201"):
        raise StoreFailed(f"Swift refused a manifest: {late.status[:100]}")
