"""The host's image cache: each image is downloaded once and shared as a backing file.

A file under its final name is complete, verified and durable; anything else is removed at the next
start. What is there survives restarts of the agent. The cache knows images by id and checksum; it does
not know which guests use them (the driver says so when it evicts), and it opens no image: what a format
may contain is the driver's ``check``.
"""

import asyncio
import errno
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final, Protocol

import aiohttp
from msgspec import Struct

from hostagent.driver import DriverError, Progress
from hostagent.drivers.lock import NamedLocks
from hostagent.drivers.thread import in_thread
from process.clock import Clock
from protocol.guest import GuestImage

CHUNK_BYTES: Final = 1 << 20
RESUMES_MAX: Final = 5
"""How often in a row a broken connection is made again without a single byte more."""
PROGRESS_BYTES: Final = 16 << 20
"""A download says how far it is each time it has passed another so many bytes."""
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAME: Final = re.compile(rf"({_UUID})\.[0-9a-f]{{16}}")
_IDENT: Final = re.compile(_UUID)
_SHA512: Final = re.compile(r"[0-9a-f]{128}")
_PART: Final = ".part"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

Check = Callable[[Path, GuestImage], Awaitable[None]]


class ImageLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes in bytes, times in seconds.

    ``unused_s``: an image that no guest has used for so long is evicted. ``grace_s``: never sooner than
    this, however short of room. ``free_bytes_min`` stays free on the file system.
    """

    image_bytes_max: int = 128 << 30
    cache_bytes_max: int = 256 << 30
    free_bytes_min: int = 1 << 30
    unused_s: float = 86_400.0
    grace_s: float = 600.0
    downloads_at_once: int = 2
    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 60.0


class Fetch(Protocol):
    """Where bytes come from. Raises ``DriverError`` ``image_unavailable``."""

    def __call__(self, url: str) -> AsyncIterator[bytes]:
        """The body at this URL, in chunks."""
        ...


class ImageFigures(Struct, kw_only=True):
    """What the cache counts since the agent's start; ``images_cached`` and its bytes: what is there now."""

    image_hits: int = 0
    image_misses: int = 0
    image_failures: int = 0
    image_bytes_fetched: int = 0
    images_evicted: int = 0
    images_cached: int = 0
    images_cached_bytes: int = 0


class HttpFetch:
    """Reads signed URLs. Follows no redirect: the signer names the place itself.

    A connection that breaks is made again, from where it broke.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=limits.connect_timeout_s, sock_read=limits.stall_timeout_s
        )

    async def __call__(self, url: str) -> AsyncIterator[bytes]:
        done = resumes = 0
        async with aiohttp.ClientSession(timeout=self._timeout, auto_decompress=False) as session:
            while True:
                try:
                    async for chunk in self._from(session, url, done):
                        done += len(chunk)
                        resumes = 0
                        yield chunk
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    resumes += 1
                    if not done or resumes > RESUMES_MAX:
                        raise DriverError(
                            "image_unavailable", "The image store cannot be reached."
                        ) from error
                else:
                    return

    async def _from(self, session: aiohttp.ClientSession, url: str, done: int) -> AsyncIterator[bytes]:
        """The body from byte ``done`` on."""
        headers = {"Range": f"bytes={done}-"} if done else {}
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status != (HTTPStatus.PARTIAL_CONTENT if done else HTTPStatus.OK):
                raise DriverError(
                    "image_unavailable", f"The image store answered with status {response.status}."
                )
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                yield chunk


class ImageCache:
    """A folder of images. One per host: two caches must not share a folder."""

    def __init__(
        self, folder: Path, fetch: Fetch, limits: ImageLimits, clock: Clock, *, check: Check | None = None
    ) -> None:
        self._folder = folder
        self._fetch = fetch
        self._limits = limits
        self._clock = clock
        self._check = check
        self._locks = NamedLocks()
        self._downloads = asyncio.Semaphore(limits.downloads_at_once)
        self.figures = ImageFigures()

    async def open(self) -> None:
        """Make the folder, or find what an earlier run has left and remove what it did not finish."""
        await in_thread(None, self._sweep)

    def _sweep(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for partial in self._folder.glob(f"*{_PART}"):
            partial.unlink(missing_ok=True)
        self._count()

    def _count(self) -> None:
        sizes = [path.stat().st_size for path in self._by_age()]
        self.figures.images_cached, self.figures.images_cached_bytes = len(sizes), sum(sizes)

    async def path_of(self, image: GuestImage, progress: Progress) -> Path:
        """The image's file, downloaded first unless it is here.

        Calls for one image wait for the same download. Raises ``DriverError`` ``image_unavailable``,
        ``image_corrupt``, ``image_too_large``, ``disk_full`` and what ``check`` raises.
        """
        name = _file_name(image)
        if image.size_bytes > self._limits.image_bytes_max:
            raise DriverError("image_too_large", "The image is larger than this host accepts.")
        path = self._folder / name
        async with self._locks.hold(name):
            if await in_thread(None, self._is_there, path, image.size_bytes):
                self.figures.image_hits += 1
            else:
                await self._fetch_counted(image, path, progress)
            await in_thread(None, self._use, path)
            return path

    def _is_there(self, path: Path, size_bytes: int) -> bool:
        """Whether the file is whole. One that is not is replaced; who has it open keeps the old one."""
        return path.exists() and path.stat().st_size == size_bytes

    def _use(self, path: Path) -> None:
        """Count the image's age from now."""
        now = self._clock.now()
        os.utime(path, (now, now))

    async def _fetch_counted(self, image: GuestImage, path: Path, progress: Progress) -> None:
        figures = self.figures
        figures.image_misses += 1
        try:
            async with self._downloads:
                await self._download(image, path, progress)
        except DriverError:
            figures.image_failures += 1
            raise
        await in_thread(None, self._count)

    async def evict(self, in_use: set[str]) -> list[str]:
        """Remove images that no guest uses (``in_use`` holds ids) and that are old or in the way.

        Returns the ids removed, the longest unused first.
        """
        removed: list[str] = []
        excess = await in_thread(None, self._excess)
        for path in await in_thread(None, self._by_age):
            match = _NAME.fullmatch(path.name)
            if match is None or self._locks.held(path.name):
                continue
            async with self._locks.hold(path.name):
                if match[1] in in_use:
                    await in_thread(None, self._use, path)
                    continue
                size, age_s = _size_and_age(path, self._clock.now())
                if age_s > self._limits.unused_s or (excess > 0 and age_s > self._limits.grace_s):
                    await in_thread(None, path.unlink)
                    removed.append(match[1])
                    excess -= size
        self.figures.images_evicted += len(removed)
        await in_thread(None, self._count)
        return removed

    def _by_age(self) -> list[Path]:
        found = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.stat().st_mtime)

    def _excess(self) -> int:
        """Bytes that should go: over the cache's size, or under the file system's reserve."""
        used = sum(path.stat().st_size for path in self._by_age())
        free = shutil.disk_usage(self._folder).free
        return max(used - self._limits.cache_bytes_max, self._limits.free_bytes_min - free)

    async def _download(self, image: GuestImage, path: Path, progress: Progress) -> None:
        if shutil.disk_usage(self._folder).free < image.size_bytes + self._limits.free_bytes_min:
            raise DriverError("disk_full", "The host has no room for the image.")
        partial = path.with_suffix(path.suffix + _PART)
        try:
            with await in_thread(None, partial.open, "wb") as file:
                await self._receive(image, file, progress)
                await in_thread(None, _sync, file)
            if self._check is not None:
                await self._check(partial, image)
            await in_thread(None, _rename, partial, path)
        except OSError as error:
            if error.errno in _FULL:
                raise DriverError("disk_full", "The host has no room for the image.") from error
            raise DriverError("hypervisor", "The host could not store the image.") from error
        finally:
            partial.unlink(missing_ok=True)

    async def _receive(self, image: GuestImage, file: IO[bytes], progress: Progress) -> None:
        digest = hashlib.sha512()
        done = 0
        progress("image", 0, image.size_bytes)
        async for chunk in self._fetch(image.url):
            before, done = done, done + len(chunk)
            if done > image.size_bytes:
                raise DriverError("image_corrupt", "The image is longer than its record says.")
            await in_thread(None, _append, file, digest.update, chunk)
            self.figures.image_bytes_fetched += len(chunk)
            if before // PROGRESS_BYTES != done // PROGRESS_BYTES:
                progress("image", done, image.size_bytes)
        if done != image.size_bytes or digest.hexdigest() != image.sha512:
            raise DriverError("image_corrupt", "The image's data does not match its checksum.")
        progress("image", done, image.size_bytes)


def _file_name(image: GuestImage) -> str:
    """The final name. Raises for ids and checksums that are not what they should be."""
    if not _IDENT.fullmatch(image.image) or not _SHA512.fullmatch(image.sha512) or image.size_bytes <= 0:
        raise DriverError("image_corrupt", "The image's record is not valid.")
    return f"{image.image}.{image.sha512[:16]}"


def _size_and_age(path: Path, now: float) -> tuple[int, float]:
    stat = path.stat()
    return stat.st_size, now - stat.st_mtime


def _append(file: IO[bytes], digest: Callable[[bytes], None], chunk: bytes) -> None:
    file.write(chunk)
    digest(chunk)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _rename(partial: Path, path: Path) -> None:
    """Give the file its final name, durably: the folder's entry is synced too."""
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
