"""Where image data lies: the small driver interface, and the driver for a folder.

Data is written under a name of its own and becomes visible at once or not at all. A driver knows
nothing of records: which data is still wanted is told to ``sweep``. No HTTP here.
"""

import asyncio
import errno
import os
import re
import shutil
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

THREADS: Final = 4
"""Blocking calls of one store at the same time."""
FREE_BYTES_MIN: Final = 256 << 20
"""An upload that would leave less than this free is refused: the folder may share a disk."""
_NAME: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[0-9a-f]{32}")
_PART: Final = ".part"
_SCHEME: Final = "file:"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

T = TypeVar("T")


class StoreFull(Exception):  # noqa: N818  named for what the client is told
    """The store has no room for this data."""


class StoreFailed(Exception):  # noqa: N818
    """The store cannot be used now, or there is none. The text is for the log."""


class Sink(Protocol):
    """One upload's data on its way. Exactly one of ``commit`` and ``abandon`` ends it."""

    async def write(self, block: bytes) -> None:
        """Append. Raises StoreFull or StoreFailed."""
        ...

    async def commit(self) -> str:
        """Make it durable and visible; its location. Raises StoreFull or StoreFailed."""
        ...

    async def abandon(self) -> None:
        """Remove what was written. Never raises; what it cannot remove the sweep will."""
        ...


class ImageStore(Protocol):
    """A place for image data. ``name`` is the id the API shows, ``description`` its sentence."""

    name: str
    description: str

    async def begin(self, image: str, upload: str, length: int | None) -> Sink:
        """Begin an upload of ``length`` bytes (None: not known). Raises StoreFull or StoreFailed."""
        ...

    async def path_of(self, location: str) -> Path | None:
        """The local file to send from; None when the data is not there. Raises StoreFailed."""
        ...

    async def delete(self, location: str) -> None:
        """Remove data; removing what is not there is no error. Raises StoreFailed."""
        ...

    async def sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        """Remove data last written before ``older_than`` (epoch seconds) whose location is not wanted.

        How many were removed. Raises StoreFailed.
        """
        ...


class NoStore:
    """Stands where a gateway has no image store: records can be read, data not."""

    name = "none"
    description = "This gateway has no image store."

    async def begin(self, image: str, upload: str, length: int | None) -> Sink:  # noqa: ARG002  as in the interface
        raise StoreFailed(self.description)

    async def path_of(self, location: str) -> Path | None:  # noqa: ARG002  as in the interface
        raise StoreFailed(self.description)

    async def delete(self, location: str) -> None:  # noqa: ARG002  as in the interface
        raise StoreFailed(self.description)

    async def sweep(self, wanted: AbstractSet[str], older_than: float) -> int:  # noqa: ARG002  as in the interface
        return 0


class FileStore:
    """Images as files of one folder, which several gateways may share."""

    name = "file"
    description = "Files in a folder of the gateways."

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="image-store")

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work in the store's threads; operating system errors become the store's own."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull("The image store has no room left.") from error
            raise StoreFailed(f"image store: {error}") from error

    async def begin(self, image: str, upload: str, length: int | None) -> Sink:
        name = f"{image}.{upload.replace('-', '')}"
        if _NAME.fullmatch(name) is None:
            raise StoreFailed(f"not a name for data: {name[:100]!r}")
        return FileSink(self, await self.run(lambda: self._create(name, length)))

    def _create(self, name: str, length: int | None) -> "_Part":
        self._folder.mkdir(parents=True, exist_ok=True)
        if length is not None and shutil.disk_usage(self._folder).free < length + FREE_BYTES_MIN:
            raise OSError(errno.ENOSPC, "no room for the announced length")
        path = self._folder / (name + _PART)
        return _Part(
            path, self._folder / name, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        )

    async def path_of(self, location: str) -> Path | None:
        path = self._path(location)
        return path if await self.run(path.is_file) else None

    async def delete(self, location: str) -> None:
        path = self._path(location)
        await self.run(lambda: path.unlink(missing_ok=True))

    async def sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        return await self.run(lambda: self._sweep(wanted, older_than))

    def close(self) -> None:
        """Let the threads end once they are idle."""
        self._threads.shutdown(wait=False)

    def _path(self, location: str) -> Path:
        name = location.removeprefix(_SCHEME)
        if not location.startswith(_SCHEME) or _NAME.fullmatch(name) is None:
            raise StoreFailed(f"not a location of this store: {location[:100]!r}")
        return self._folder / name

    def _sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        removed = 0
        if not self._folder.is_dir():
            return removed
        for path in self._folder.iterdir():
            # Only what has a name this driver gives: the folder may hold what is not ours.
            ours = _NAME.fullmatch(path.name.removesuffix(_PART)) is not None
            if not ours or _SCHEME + path.name in wanted:
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

    async def commit(self) -> str:
        await self._store.run(self._part.commit)
        return _SCHEME + self._part.final.name

    async def abandon(self) -> None:
        try:
            await self._store.run(self._part.remove)
        except (StoreFull, StoreFailed):
            return
