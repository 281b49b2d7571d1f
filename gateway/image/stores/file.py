"""Image data as files of one folder, which several gateways may share.

A file under its final name is complete and durable: it is written beside it, synced, renamed, and its
folder synced. A full disk is told apart from every other failure.
"""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from gateway.image.store import KEY, READ_BYTES, ImageData, ImageStore, Sink, StoreFailed, StoreFull
from gateway.image.stores.load import StoreContext
from process.plugin import checked_options

THREADS: Final = 4
"""Blocking calls of one store at the same time."""
_PART: Final = ".part"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

T = TypeVar("T")


class FileOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``free_bytes_min``: an upload that would leave less free is refused, as the disk may be shared."""

    path: str
    free_bytes_min: int = 256 << 20


def make(context: StoreContext) -> ImageStore:
    """The factory that the entry point names. Raises DriverOptionsError."""
    options = checked_options(context.options, FileOptions, what=f"image store {context.name!r}")
    return FileStore(Path(options.path), free_bytes_min=options.free_bytes_min)


class FileData(Struct, frozen=True):
    """A file of a ``FileStore``."""

    store: "FileStore"
    path: Path
    size_bytes: int

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        file = await self.store.run(lambda: self.path.open("rb", buffering=0))
        try:
            await self.store.run(lambda: file.seek(start))
            while start < stop:
                block = await self.store.run(lambda: file.read(min(READ_BYTES, stop - start)))  # noqa: B023  awaited at once
                if not block:
                    raise StoreFailed(f"{self.path.name} is shorter than it was")
                start += len(block)
                yield block
        finally:
            file.close()


class FileStore:
    """A folder."""

    def __init__(self, folder: Path, *, free_bytes_min: int = FileOptions(path="").free_bytes_min) -> None:
        self._folder = folder
        self._free_bytes_min = free_bytes_min
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="image-store")

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work in the store's threads; operating system errors become the store's own."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull("The image store has no room left.") from error
            raise StoreFailed(f"image store: {error}") from error

    async def begin(self, key: str, length: int | None) -> Sink:
        return FileSink(self, await self.run(lambda: self._create(key, length)))

    def _create(self, key: str, length: int | None) -> "_Part":
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if length is not None and shutil.disk_usage(self._folder).free < length + self._free_bytes_min:
            raise OSError(errno.ENOSPC, "no room for the announced length")
        path = self._folder / (key + _PART)
        return _Part(
            path, self._folder / key, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        )

    async def open(self, key: str) -> ImageData | None:
        path = self._folder / key
        try:
            stat = await self.run(path.stat)
        except StoreFailed as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return FileData(self, path, stat.st_size)

    async def delete(self, key: str) -> None:
        path = self._folder / key
        await self.run(lambda: path.unlink(missing_ok=True))

    async def sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        return await self.run(lambda: self._sweep(wanted, older_than))

    async def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        removed = 0
        if not self._folder.is_dir():
            return removed
        for path in self._folder.iterdir():
            # The folder may hold what is not ours.
            ours = KEY.fullmatch(path.name.removesuffix(_PART)) is not None
            if not ours or path.name in wanted:
                continue
            try:
                if path.stat().st_mtime < older_than:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # another gateway's sweep was faster
        return removed


class _Part:
    """An open file that is not visible yet."""

    def __init__(self, path: Path, final: Path, fd: int) -> None:
        self.path, self.final, self.fd = path, final, fd

    def write(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self.fd, rest) :]

    def commit(self) -> None:
        os.fsync(self.fd)
        self.close()
        self.path.rename(self.final)
        folder = os.open(self.final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
        self.final.unlink(missing_ok=True)


class FileSink:
    """An upload into a ``FileStore``."""

    def __init__(self, store: FileStore, part: _Part) -> None:
        self._store = store
        self._part = part

    async def write(self, block: bytes) -> None:
        await self._store.run(lambda: self._part.write(block))

    async def commit(self) -> None:
        await self._store.run(self._part.commit)

    async def abandon(self) -> None:
        try:
            await self._store.run(self._part.remove)
        except (StoreFull, StoreFailed):
            return
