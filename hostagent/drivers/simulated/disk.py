"""A simulated host's memory across processes: guests outlive their agent, as real ones do.

One JSON line per change, appended without a sync: a killed process loses nothing, a machine that loses
power loses its simulated guests, which is what would happen to real ones. Rewritten short when opened.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from hostagent.drivers.simulated.guest import SimulatedGuest


class _Line(Struct, omit_defaults=True):
    instance: str
    guest: SimulatedGuest | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


class GuestFile:
    """The guests of one host in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.guests = read_guests(path)
        short = path.with_suffix(".new")
        path.parent.mkdir(parents=True, exist_ok=True)
        short.write_bytes(b"".join(self._lines(self.guests.values())))
        short.replace(path)
        self._file = path.open("ab", buffering=0)

    def keep(self, guest: SimulatedGuest) -> None:
        """Write down the guest as it is now."""
        self._file.write(_encoder.encode(_Line(guest.spec.instance, guest)) + b"\n")

    def forget(self, instance: str) -> None:
        """Write down that the guest is gone."""
        self._file.write(_encoder.encode(_Line(instance)) + b"\n")

    @staticmethod
    def _lines(guests: Iterable[SimulatedGuest]) -> Iterable[bytes]:
        return (_encoder.encode(_Line(guest.spec.instance, guest)) + b"\n" for guest in guests)


def read_guests(path: Path) -> dict[str, SimulatedGuest]:
    """The guests written down there, by instance; the file is left as it is."""
    guests: dict[str, SimulatedGuest] = {}
    if not path.exists():
        return guests
    for text in path.read_bytes().splitlines():
        try:
            line = _decoder.decode(text)
        except msgspec.MsgspecError:
            break  # the end of a line that a crash cut off
        if line.guest is None:
            guests.pop(line.instance, None)
        else:
            guests[line.instance] = line.guest
    return guests
