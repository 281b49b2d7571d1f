"""The folder of each guest: its disk, config drive, console log and a note about what it is.

The note lets a restarted agent know a guest whose domain was never defined, and which images are in
use. All functions block; the driver calls them in threads. No libvirt and no qemu-img here.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from hostagent.driver import DriverError
from protocol.guest import GuestSpec

IMAGES: Final = "_base"
_IDENT: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NOTE: Final = "guest.json"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Note(Struct, frozen=True, kw_only=True):
    """What is worth knowing of a guest without asking libvirt; no user data, no signed URL."""

    instance: str
    generation: int
    image: str
    rescue_image: str = ""


class GuestFolder:
    """One guest's folder. Raises ``DriverError`` for an id that is not a UUID."""

    def __init__(self, instances: Path, instance: str) -> None:
        if not _IDENT.fullmatch(instance):
            raise DriverError("unsupported", "The instance's id is not a UUID.")
        self.path = instances / instance
        self.disk = self.path / "disk.qcow2"
        self.rescue_disk = self.path / "rescue.qcow2"
        self.config_drive = self.path / "config.iso"
        self.console_log = self.path / "console.log"

    def make(self, spec: GuestSpec, rescue_image: str = "") -> None:
        """Make the folder, if need be, and write the note."""
        image = spec.image.image if spec.image else ""
        note = Note(
            instance=spec.instance, generation=spec.generation, image=image, rescue_image=rescue_image
        )
        with stored():
            self.path.mkdir(parents=True, exist_ok=True)
            _write(self.path / _NOTE, msgspec.json.encode(note))

    def write_config_drive(self, data: bytes) -> None:
        """Write the config drive; readable by root and by QEMU only, for it holds user data."""
        with stored():
            _write(self.config_drive, data)

    def note(self) -> Note | None:
        """The note; None when there is no folder or the note was never finished."""
        try:
            return msgspec.json.decode((self.path / _NOTE).read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            return None

    def remove_rescue(self) -> None:
        """Remove the rescue system's disk, if there is one."""
        with stored():
            self.rescue_disk.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything; succeeds when nothing is there."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.exists():
            raise DriverError("hypervisor", "The guest's files could not be removed.")

    def read_console(self, bytes_max: int) -> bytes:
        """The end of what the guest wrote, across one cut."""
        now = _tail(self.console_log, bytes_max)
        if len(now) < bytes_max:
            return _tail(self._console_before, bytes_max - len(now)) + now
        return now

    def cut_console(self, bytes_max: int) -> None:
        """Put the log's end aside and empty it once it is larger than ``bytes_max``.

        QEMU keeps it open for appending, so it is emptied in place; what the guest writes between
        the copy and the cut is lost.
        """
        try:
            if self.console_log.stat().st_size <= bytes_max:
                return
        except FileNotFoundError:
            return
        _write(self._console_before, _tail(self.console_log, bytes_max))
        os.truncate(self.console_log, 0)

    @property
    def _console_before(self) -> Path:
        return self.path / "console.log.0"


@contextmanager
def stored() -> Iterator[None]:
    """Turn what the file system refuses into ``DriverError`` ``disk_full`` or ``hypervisor``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DriverError("disk_full", "The host's disk is full.") from error
        raise DriverError("hypervisor", "The host could not store the guest's files.") from error


def takes_direct_io(folder: Path) -> bool:
    """Whether files in this folder can bypass the host's page cache; some file systems refuse."""
    probe = folder / ".direct-io"
    try:
        os.close(os.open(probe, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    finally:
        probe.unlink(missing_ok=True)
    return True


def folders(instances: Path) -> list[GuestFolder]:
    """The folders of all guests, by id."""
    if not instances.exists():
        return []
    names = sorted(entry.name for entry in os.scandir(instances) if _IDENT.fullmatch(entry.name))
    return [GuestFolder(instances, name) for name in names]


def images_in_use(instances: Path) -> set[str] | None:
    """Ids of the images that guests' disks are overlays of; None when one guest's note is unreadable."""
    notes = [folder.note() for folder in folders(instances)]
    if None in notes:
        return None
    named = {image for note in notes if note is not None for image in (note.image, note.rescue_image)}
    return named - {""}


def _write(path: Path, data: bytes) -> None:
    partial = path.with_suffix(path.suffix + ".part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _tail(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - bytes_max))
            return file.read(bytes_max)
    except FileNotFoundError:
        return b""
