"""Image data as objects of one bucket of any S3-compatible service.

An upload becomes a multi-part upload once it is longer than one part: a part is on its way while the next
one fills, so two parts are in memory. What is not completed is never visible; it is aborted, by the sweep
if its gateway has died.

Source: Amazon S3 API reference, "Multipart upload limits", "AbortMultipartUpload"; RFC 1864 (Content-MD5).
"""

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncGenerator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from gateway.image.store import CUT_S, KEY, READ_BYTES, ImageData, ImageStore, Sink, StoreFailed, StoreFull
from gateway.image.stores.load import StoreContext
from process.plugin import DriverOptionsError, checked_options

PARTS_MAX: Final = 10_000
PART_BYTES_MIN: Final = 5 << 20
"""Limits of the API."""
EVEN_PARTS: Final = 8_000
GROW_PARTS: Final = 250
"""When the length is not known, parts are all alike up to EVEN_PARTS, then double every GROW_PARTS."""
CONNECTIONS: Final = 32
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchUpload"})
_FULL: Final = frozenset(
    {"QuotaExceeded", "EntityTooLarge", "XMinioStorageFull", "InsufficientStorage", "507"}
)


class S3Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``endpoint_url`` empty: Amazon. Without keys: the machine's own credentials. Times in seconds."""

    bucket: str
    endpoint_url: str = ""
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_access_key: str = ""
    prefix: str = ""
    addressing_style: str = "auto"
    part_bytes: int = 8 << 20
    ca_file: str = ""
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0


def make(context: StoreContext) -> ImageStore:
    """The factory that the entry point names. Raises DriverOptionsError."""
    options = checked_options(context.options, S3Options, what=f"image store {context.name!r}")
    if options.part_bytes < PART_BYTES_MIN:
        raise DriverOptionsError(f"image store {context.name!r}: part_bytes is at least {PART_BYTES_MIN}.")
    if bool(options.access_key_id) != bool(options.secret_access_key):
        raise DriverOptionsError(f"image store {context.name!r}: a key's id and its secret belong together.")
    return S3Store(options)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Failures of the library as the store's own. The text names no credential."""
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _FULL:
            raise StoreFull("The image store has no room left.") from error
        raise StoreFailed(f"{what}: {code}") from error
    except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise StoreFailed(f"{what}: {type(error).__name__}: {error}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


class S3Store:
    """A bucket. The connection is made at the first use, so that a gateway starts without it."""

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._client: Any = None

    async def client(self) -> Any:
        """The library's client, one for all."""
        async with self._lock:
            if self._client is None:
                self._client = await self._stack.enter_async_context(self._made())
            return self._client

    def _made(self) -> Any:
        given = self.options
        config = AioConfig(
            connect_timeout=given.connect_timeout_s,
            read_timeout=given.read_timeout_s,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 4},
            # Content-MD5 guards each part; what newer libraries add by themselves not every service takes.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": given.addressing_style, "payload_signing_enabled": False},
        )
        return get_session().create_client(
            "s3",
            region_name=given.region,
            endpoint_url=given.endpoint_url or None,
            aws_access_key_id=given.access_key_id or None,
            aws_secret_access_key=given.secret_access_key or None,
            verify=given.ca_file or None,
            config=config,
        )

    def at(self, key: str) -> dict[str, str]:
        """The object of a key, as every call names it."""
        return {"Bucket": self.options.bucket, "Key": self.options.prefix + key}

    async def begin(self, key: str, length: int | None) -> Sink:
        with _told("begin an upload"):
            return S3Sink(self, await self.client(), key, length)

    async def open(self, key: str) -> ImageData | None:
        with _told("look up data"):
            client = await self.client()
            try:
                head = await client.head_object(**self.at(key))
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            return S3Data(self, key, head["ContentLength"], head["ETag"])

    async def delete(self, key: str) -> None:
        with _told("delete data"):
            await (await self.client()).delete_object(**self.at(key))

    async def sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        with _told("sweep"):
            client = await self.client()
            return await self._sweep_objects(client, wanted, older_than) + await self._sweep_uploads(
                client, wanted, older_than - CUT_S
            )

    async def close(self) -> None:
        async with self._lock:
            self._client = None
            await self._stack.aclose()

    def _unwanted(self, name: str, wanted: AbstractSet[str]) -> str | None:
        """The key under this name, when it is one of ours that nobody wants."""
        key = name.removeprefix(self.options.prefix)
        return key if KEY.fullmatch(key) and key not in wanted else None

    async def _sweep_objects(self, client: Any, wanted: AbstractSet[str], older_than: float) -> int:
        removed = 0
        async for found in _listed(client, "list_objects_v2", "Contents", **self._all()):
            key = self._unwanted(found["Key"], wanted)
            if key is not None and found["LastModified"].timestamp() < older_than:
                await client.delete_object(**self.at(key))
                removed += 1
        return removed

    async def _sweep_uploads(self, client: Any, wanted: AbstractSet[str], older_than: float) -> int:
        removed = 0
        async for found in _listed(client, "list_multipart_uploads", "Uploads", **self._all()):
            key = self._unwanted(found["Key"], wanted)
            if key is None or found["Initiated"].timestamp() >= older_than:
                continue
            upload = {**self.at(key), "UploadId": found["UploadId"]}
            times = [part["LastModified"] async for part in _listed(client, "list_parts", "Parts", **upload)]
            if all(time.timestamp() < older_than for time in times):
                await client.abort_multipart_upload(**upload)
                removed += 1
        return removed

    def _all(self) -> dict[str, str]:
        return {"Bucket": self.options.bucket, "Prefix": self.options.prefix}


async def _listed(client: Any, operation: str, member: str, **which: str) -> AsyncGenerator[Any, None]:
    async for page in client.get_paginator(operation).paginate(**which):
        for found in page.get(member, []):
            yield found


class S3Data(Struct, frozen=True):
    """An object. ``etag`` keeps a read to the data that was looked up."""

    store: S3Store
    key: str
    size_bytes: int
    etag: str

    @property
    def path(self) -> None:
        return None

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        if start >= stop:
            return
        with _told("read data"):
            client = await self.store.client()
            which = f"bytes={start}-{stop - 1}"
            answer = await client.get_object(**self.store.at(self.key), Range=which, IfMatch=self.etag)
            async with answer["Body"] as body:
                while block := await body.read(READ_BYTES):
                    start += len(block)
                    yield block
            if start != stop:
                raise StoreFailed(f"read data: {stop - start} bytes are missing")


class S3Sink:
    """An upload: one object put at once, or parts."""

    def __init__(self, store: S3Store, client: Any, key: str, length: int | None) -> None:
        self._store, self._client, self._key = store, client, key
        self._even = max(store.options.part_bytes, -(-(length or 0) // PARTS_MAX))
        self._grows = length is None
        self._held = bytearray()
        self._upload = ""
        self._tags: list[str] = []
        self._sending: asyncio.Task[str] | None = None
        self._committing = False

    @property
    def _part_bytes(self) -> int:
        over = len(self._tags) - EVEN_PARTS
        return self._even << (1 + over // GROW_PARTS) if self._grows and over >= 0 else self._even

    async def write(self, block: bytes) -> None:
        with _told("upload a part"):
            self._held += block
            while len(self._held) > (size := self._part_bytes):
                part = bytes(memoryview(self._held)[:size])
                del self._held[:size]
                await self._send(part)

    async def _send(self, part: bytes) -> None:
        """Put the part on its way once the one before has arrived."""
        await self._arrived()
        if not self._upload:
            begun = await self._client.create_multipart_upload(
                **self._store.at(self._key), ContentType="application/octet-stream"
            )
            self._upload = begun["UploadId"]
        self._sending = asyncio.create_task(self._put_part(len(self._tags) + 1, part))

    async def _put_part(self, number: int, part: bytes) -> str:
        answer = await self._client.upload_part(
            **self._store.at(self._key),
            UploadId=self._upload,
            PartNumber=number,
            Body=io.BytesIO(part),
            ContentLength=len(part),
            ContentMD5=await asyncio.to_thread(_md5, part),
        )
        return str(answer["ETag"])

    async def _arrived(self) -> None:
        if self._sending is not None:
            self._tags.append(await self._sending)
            self._sending = None

    async def commit(self) -> None:
        with _told("complete an upload"):
            rest = bytes(self._held)
            self._held.clear()
            if not self._upload:
                self._committing = True
                await self._put_whole(rest)
                return
            if rest:
                await self._send(rest)
            await self._arrived()
            parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(self._tags, 1)]
            self._committing = True
            answer = await self._client.complete_multipart_upload(
                **self._store.at(self._key), UploadId=self._upload, MultipartUpload={"Parts": parts}
            )
            if "ETag" not in answer:  # the API may say 200 first and fail in the body
                raise StoreFailed("complete an upload: the service did not say that it has")
            self._upload = ""

    async def _put_whole(self, data: bytes) -> None:
        await self._client.put_object(
            **self._store.at(self._key),
            Body=io.BytesIO(data),
            ContentLength=len(data),
            ContentMD5=await asyncio.to_thread(_md5, data),
            ContentType="application/octet-stream",
        )

    async def abandon(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            self._sending.cancelled() or self._sending.exception()
            self._sending = None
        self._held.clear()
        with suppress(StoreFailed, StoreFull), _told("abort an upload"):
            if self._upload:
                await self._client.abort_multipart_upload(**self._store.at(self._key), UploadId=self._upload)
        if self._committing:
            with suppress(StoreFailed, StoreFull):
                await self._store.delete(self._key)


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
