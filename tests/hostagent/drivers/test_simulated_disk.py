"""A simulated host's guests outlive the process that ran its agent."""

import errno
from pathlib import Path
from typing import Any

import pytest

from hostagent.driver import DriverError
from hostagent.drivers.simulated.disk import GuestFile, read_guests
from hostagent.drivers.simulated.host import SimulatedHost
from hostagent.drivers.simulated.settings import SimulatedSettings
from process.clock import SystemClock
from protocol.guest import GuestSpec, PowerState


def _host(path: Path) -> SimulatedHost:
    return SimulatedHost(SimulatedSettings(), SystemClock(), GuestFile(path))


def _spec(instance: str) -> GuestSpec:
    return GuestSpec(
        instance=instance, generation=3, project="p", name="n", hostname="n", vcpus=1, memory_mib=128,
        disk_gib=1, image=None,
    )  # fmt: skip


def test_guests_and_their_states_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "guests.jsonl"
    before = _host(path)
    for name in ("runs", "paused", "off", "removed"):
        before.define(_spec(name))
        before.power_on(name)
    before.pause("paused")
    before.power_off("off")
    before.remove("removed")

    after = _host(path)
    assert {s.instance: s.power_state for s in after.states()} == {
        "runs": PowerState.RUNNING,
        "paused": PowerState.PAUSED,
        "off": PowerState.SHUTDOWN,
    }
    assert after.running() == [("runs", 3), ("paused", 3)]
    assert after.memory_used_mib == before.memory_used_mib
    assert after.disk_used_gib == before.disk_used_gib


def test_a_line_cut_off_by_a_crash_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "guests.jsonl"
    _host(path).define(_spec("kept"))
    path.write_bytes(path.read_bytes() + b'{"instance":"half","gue')
    assert [s.instance for s in _host(path).states()] == ["kept"]


class _Disk:
    """The file on a disk with room for so many bytes more."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, lines: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written: int = self.file.write(lines[: self.room])
        self.room -= written
        return written

    def truncate(self, size: int) -> None:
        self.room += self.file.seek(0, 2) - size
        self.file.truncate(size)


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_refuses_a_guest_and_forgets_none(tmp_path: Path, room: int) -> None:
    path = tmp_path / "guests.jsonl"
    file = GuestFile(path)
    host = SimulatedHost(SimulatedSettings(), SystemClock(), file)
    for name in ("kept", "removed"):
        host.define(_spec(name))
    disk = _Disk(file._file, room)
    file._file = disk  # type: ignore[assignment]
    with pytest.raises(DriverError, match="full"):
        host.define(_spec("refused"))
    host.remove("refused")
    host.remove("removed")
    assert list(read_guests(path)) == ["kept", "removed"]
    disk.room = 10_000
    host.define(_spec("later"))
    assert list(read_guests(path)) == ["kept", "later"]
