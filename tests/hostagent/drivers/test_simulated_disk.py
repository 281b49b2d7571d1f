"""A simulated host's guests outlive the process that ran its agent."""

from pathlib import Path

from hostagent.drivers.simulated.disk import GuestFile
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
