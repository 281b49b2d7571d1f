"""Finding drivers by name."""

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from hostagent.drivers import load
from hostagent.drivers.load import DriverContext, load_driver
from hostagent.drivers.simulated import SimulatedDriver
from process import plugin
from process.plugin import DriverNotInstalledError, DriverOptionsError
from tests.hostagent.drivers.specs import ManualClock


def _context(tmp_path: Path, **options: object) -> DriverContext:
    return DriverContext(hostname="compute-1", state_folder=tmp_path, clock=ManualClock(), options=options)


async def test_simulated_takes_the_hosts_name_and_the_operators_options(tmp_path: Path) -> None:
    driver = load_driver("simulated", _context(tmp_path, memory_mib=512, latency_factor=0))
    assert isinstance(driver, SimulatedDriver)
    inventory = await driver.inventory()
    assert (inventory.hostname, inventory.memory_mib) == ("compute-1", 512)


def test_unknown_driver_lists_what_is_installed(tmp_path: Path) -> None:
    with pytest.raises(DriverNotInstalledError, match=r"'xen'; installed: libvirt, simulated"):
        load_driver("xen", _context(tmp_path))


def test_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DriverOptionsError, match="memory_gib"):
        load_driver("simulated", _context(tmp_path, memory_gib=1))


def test_driver_whose_library_is_missing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoints([EntryPoint("xen", "no_such_package_here:make", load.GROUP)])
    monkeypatch.setattr(plugin, "entry_points", lambda group: broken)
    with pytest.raises(DriverNotInstalledError, match=r"no_such_package_here.*others: libvirt, simulated"):
        load_driver("xen", _context(tmp_path))
