"""A simulated host's memory across processes: guests outlive their agent, as real ones do.

One JSON line per change, appended without a sync: a killed process loses nothing, a machine that loses
power loses its simulated guests, which is what would happen to real ones. Rewritten short when opened. On a
full disk a line is written whole or not at all; what could not be written is written with the next line.
"""

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from hostagent.driver import DriverError
from hostagent.drivers.simulated.guest import SimulatedGuest

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class _Line(Struct, omit_defaults=True):
    instance: str
    guest: SimulatedGuest | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


class GuestFile:
    """The guests of one host in one file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.guests, self._size = _read(path)
        short = path.with_suffix(".new")
        content = b"".join(_lines(self.guests.values()))
        try:
            short.write_bytes(content)
        except OSError as error:
            short.unlink(missing_ok=True)
            if error.errno not in _FULL:
                raise
        else:
            short.replace(path)
            self._size = len(content)
        self._late: dict[str, bytes] = {}
        self._file = path.open("ab", buffering=0)
        self._file.truncate(self._size)

    def keep(self, guest: SimulatedGuest) -> None:
        """Write down the guest as it is now. Raises DriverError ``disk_full``; it is written later then."""
        self._late[guest.spec.instance] = _encoder.encode(_Line(guest.spec.instance, guest)) + b"\n"
        if not self._write():
            raise DriverError("disk_full", "The host's disk is full.")

    def forget(self, instance: str) -> None:
        """Write down that the guest is gone, sooner or later: taking away needs no space."""
        self._late[instance] = _encoder.encode(_Line(instance)) + b"\n"
        self._write()

    def _write(self) -> bool:
        lines = b"".join(self._late.values())
        try:
            written = self._file.write(lines)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False
        if written < len(lines):
            self._file.truncate(self._size)
            return False
        self._size += written
        self._late.clear()
        return True


def read_guests(path: Path) -> dict[str, SimulatedGuest]:
    """The guests written down there, by instance; the file is left as it is."""
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, SimulatedGuest], int]:
    """The guests, and how many bytes of the file are whole lines."""
    guests: dict[str, SimulatedGuest] = {}
    size = 0
    for text in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            line = _decoder.decode(text)
        except msgspec.MsgspecError:
            break  # the end of a line that a crash cut off
        if line.guest is None:
            guests.pop(line.instance, None)
        else:
            guests[line.instance] = line.guest
        size += len(text)
    return guests, size


def _lines(guests: Iterable[SimulatedGuest]) -> Iterable[bytes]:
    return (_encoder.encode(_Line(guest.spec.instance, guest)) + b"\n" for guest in guests)
