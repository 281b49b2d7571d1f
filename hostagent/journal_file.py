"""The journal on disk: a directory with ``journal``, ``host.json`` and ``journal.lock``.

``journal`` is append-only frames (mark, length, CRC-32, msgpack); one frame is one group, durable
as a whole, so a bad frame with a good one behind it is damage and never a torn write. The first
frame and ``host.json`` name the host. A missing or damaged journal is refused: a host that has lost
its journal could run guests that were deleted, so it must be enrolled anew. What must not go in:
anything about commands.
"""

import asyncio
import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from hostagent.journal import (
    GROUP_BYTES_MAX,
    GROUP_MAX,
    Change,
    GroupJournal,
    JournalBroken,
    JournalCorrupt,
    JournalEntry,
    JournalFull,
    JournalLocked,
)
from process.clock import Clock
from protocol.ids import HostId

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""No frame is larger; a length above it is damage."""

COMPACT_BYTES_MIN: Final = 1024 * 1024
"""A smaller file is never rewritten."""

COMPACT_RATIO: Final = 4
"""The file is rewritten when it is this many times larger than what it says."""

# No text in UTF-8 contains 0xFF or 0xFE, so nothing a tenant writes can look like a frame.
_MARK: Final = b"\xff\xfeSJ"
_HEAD: Final = struct.Struct(">4sII")
_FORMAT: Final = 1
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OPEN: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
_SECRET_MODE: Final = 0o600  # bodies hold signed URLs and user data


T = TypeVar("T")


class _Header(Struct, frozen=True):
    format: int
    host: str


class _Identity(Struct, frozen=True):
    host: str


_encode = msgspec.msgpack.Encoder().encode
_header_decoder = msgspec.msgpack.Decoder(_Header)
_group_decoder = msgspec.msgpack.Decoder(list[Change])


def create_journal(path: Path, host: HostId) -> None:
    """Make an empty journal in directory ``path`` for a host just enrolled; repeating it does nothing.

    Raises JournalCorrupt when there is another host's journal, or half of one.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (path / "host.json").exists():
        _check_identity(path, host)
        if not (path / "journal").exists():
            raise JournalCorrupt(_lost(path))
        return
    if (path / "journal").exists() and _read((path / "journal").read_bytes(), host)[0]:
        raise JournalCorrupt(f"{path} holds a journal but no host.json")
    _write_new(path / "journal", [_frame(_encode(_Header(_FORMAT, host)))])
    _sync_directory(path)
    _write_new(path / "host.json", [msgspec.json.encode(_Identity(host))])
    _sync_directory(path)


class JournalFile:
    """The blocking half: one thread at a time, no event loop. Offsets and sizes in bytes."""

    def __init__(self, path: Path, host: HostId) -> None:
        self._path = path
        self._host = host
        self._fd = -1
        self._lock_fd = -1
        self.size = 0

    def open(self) -> list[JournalEntry]:
        """Lock it, cut a torn tail, and return what it says. Raises JournalLocked, JournalCorrupt."""
        try:
            self._lock()
            _check_identity(self._path, self._host)
            return self._load()
        except BaseException:
            self.close()
            raise

    def append(self, changes: list[Change]) -> None:
        """Add one group and make it durable. Raises JournalFull (nothing was added), JournalBroken."""
        frame = _frame(_encode(changes))
        try:
            _write_all(self._fd, frame)
            os.fdatasync(self._fd)
        except OSError as error:
            self._take_back(error)
            raise _verdict(error, "writing") from error
        self.size += len(frame)

    def rewrite(self, entries: list[JournalEntry]) -> None:
        """Replace the file by one that says only this.

        Raises JournalFull (the old file stays as it was), JournalBroken.
        """
        frames = [_frame(_encode(_Header(_FORMAT, self._host)))]
        frames += [_frame(_encode(group)) for group in _groups(entries)]
        try:
            _write_new(self._path / "journal", frames)
        except OSError as error:
            raise _verdict(error, "rewriting") from error
        try:
            # The old descriptor now names a file without a name: from here on only the new one counts.
            _sync_directory(self._path)
            old, self._fd = self._fd, -1
            os.close(old)
            self._fd = os.open(self._path / "journal", _OPEN)
        except OSError as error:
            raise JournalBroken(f"the rewritten journal cannot be opened: {error.strerror}") from error
        self.size = sum(map(len, frames))

    def close(self) -> None:
        """Close and unlock. Idempotent."""
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    def _lock(self) -> None:
        if not self._path.is_dir():
            raise JournalCorrupt(_lost(self._path))
        self._lock_fd = os.open(
            self._path / "journal.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _SECRET_MODE
        )
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalLocked(f"another agent works on the journal in {self._path}") from error

    def _load(self) -> list[JournalEntry]:
        (self._path / "journal.new").unlink(missing_ok=True)
        try:
            self._fd = os.open(self._path / "journal", _OPEN)
        except FileNotFoundError as error:
            raise JournalCorrupt(_lost(self._path)) from error
        content = (self._path / "journal").read_bytes()
        groups, self.size = _read(content, self._host)
        if self.size < len(content):
            os.ftruncate(self._fd, self.size)
            os.fsync(self._fd)
        entries: dict[str, JournalEntry] = {}
        for change in (change for group in groups for change in group):
            if change.entry is None:
                entries.pop(change.instance, None)
            else:
                entries[change.instance] = change.entry
        return list(entries.values())

    def _take_back(self, cause: OSError) -> None:
        try:
            os.ftruncate(self._fd, self.size)
            os.fdatasync(self._fd)
        except OSError as error:
            raise JournalBroken(f"the journal could not be cut back after: {cause.strerror}") from error


class FileJournal(GroupJournal):
    """See ``hostagent.journal.Journal``. The only place of an agent with a thread of its own."""

    def __init__(self, path: Path, host: HostId, clock: Clock) -> None:
        super().__init__()
        self._file = JournalFile(path, host)
        self._clock = clock
        self._thread: ThreadPoolExecutor | None = None
        self._compact_at = COMPACT_BYTES_MIN
        self.sync_s = 0.0
        """Seconds spent in writes and syncs since it was made."""

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return self._file.size

    async def _load(self) -> list[JournalEntry]:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        try:
            entries = await self._call(self._file.open)
        except BaseException:
            # Cancelled, the thread may still be opening: wait for it, or its lock would outlive us.
            self._thread.shutdown()
            self._file.close()
            self._thread = None
            raise
        self._plan_compaction(entries)
        return entries

    async def _write(self, changes: list[Change]) -> None:
        began = self._clock.monotonic()
        try:
            await self._call(partial(self._file.append, changes))
        finally:
            self.sync_s += self._clock.monotonic() - began
        if self._file.size > self._compact_at:
            await self._compact(changes)

    async def _release(self) -> None:
        # Not awaited: closing is quick, and it must happen even when the agent is being cancelled.
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
            self._file.close()

    async def _compact(self, changes: list[Change]) -> None:
        kept = dict(self._durable)
        for change in changes:
            if change.entry is None:
                kept.pop(change.instance, None)
            else:
                kept[change.instance] = change.entry
        entries = list(kept.values())
        try:
            await self._call(partial(self._file.rewrite, entries))
        except JournalFull:
            # No room for a second file now: the old one is whole, so try again when it has grown.
            self._compact_at = self._file.size * 2
            return
        self._plan_compaction(entries)

    def _plan_compaction(self, entries: list[JournalEntry]) -> None:
        live = sum(Change(entry.instance, entry).size_bytes() for entry in entries)
        self._compact_at = max(COMPACT_BYTES_MIN, COMPACT_RATIO * live)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _verdict(error: OSError, doing: str) -> JournalFull | JournalBroken:
    if error.errno in _FULL:
        return JournalFull(f"no space for {doing} the journal: {error.strerror}")
    return JournalBroken(f"{doing} the journal failed: {error.strerror}")


def _groups(entries: list[JournalEntry]) -> Iterator[list[Change]]:
    group: list[Change] = []
    size = 0
    for entry in entries:
        change = Change(entry.instance, entry)
        group.append(change)
        size += change.size_bytes()
        if len(group) == GROUP_MAX or size >= GROUP_BYTES_MAX:
            yield group
            group, size = [], 0
    if group:
        yield group


def _frame(payload: bytes) -> bytes:
    return _HEAD.pack(_MARK, len(payload), zlib.crc32(payload)) + payload


def _payload_at(content: bytes, offset: int) -> bytes | None:
    """The payload of the whole and sound frame that begins here, if one does."""
    if len(content) - offset < _HEAD.size:
        return None
    mark, length, checksum = _HEAD.unpack_from(content, offset)
    payload = content[offset + _HEAD.size : offset + _HEAD.size + min(length, FRAME_BYTES_MAX)]
    # No frame is empty: a torn head followed by zeros would pass for one, since their CRC is 0 too.
    if mark != _MARK or length == 0 or len(payload) != length or zlib.crc32(payload) != checksum:
        return None
    return payload


def _read(content: bytes, host: HostId) -> tuple[list[list[Change]], int]:
    """The groups, and how many bytes are sound. Raises JournalCorrupt for damage before the tail."""
    payloads: list[bytes] = []
    offset = 0
    while (payload := _payload_at(content, offset)) is not None:
        payloads.append(payload)
        offset += _HEAD.size + len(payload)
    behind = content.find(_MARK, offset + 1)
    while behind >= 0:
        if _payload_at(content, behind) is not None:
            raise JournalCorrupt(f"the journal is damaged at byte {offset}, before its tail")
        behind = content.find(_MARK, behind + 1)
    if not payloads:
        raise JournalCorrupt("the journal has no header")
    try:
        header = _header_decoder.decode(payloads[0])
        groups = [_group_decoder.decode(payload) for payload in payloads[1:]]
    except msgspec.DecodeError as error:
        raise JournalCorrupt(f"the journal was written by another version: {error}") from error
    if header != _Header(_FORMAT, host):
        raise JournalCorrupt(f"the journal is host {header.host}'s (format {header.format}), not {host}'s")
    return groups, offset


def _check_identity(path: Path, host: HostId) -> None:
    try:
        found = msgspec.json.decode((path / "host.json").read_bytes(), type=_Identity)
    except FileNotFoundError as error:
        raise JournalCorrupt(_lost(path)) from error
    except msgspec.DecodeError as error:
        raise JournalCorrupt(f"{path / 'host.json'} cannot be read: {error}") from error
    if found.host != host:
        raise JournalCorrupt(f"{path} belongs to host {found.host}, not to {host}")


def _lost(path: Path) -> str:
    return f"the journal in {path} is missing: a host that lost its journal must be enrolled as a new host"


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _write_new(path: Path, parts: list[bytes]) -> None:
    """Put the content under this name, whole or not at all. Raises OSError; the old file then stays."""
    new = path.with_name(path.name + ".new")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _SECRET_MODE)
        try:
            for part in parts:
                _write_all(fd, part)
            os.fsync(fd)
        finally:
            os.close(fd)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
