"""libvirtd dies under the driver: guests go on, the driver says so, opens again and finds them."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hostagent.driver import Driver, DriverError
from protocol.guest import GuestImage, PowerState
from tests.hostagent.drivers.harness import LibvirtHarness, beats, console_until
from tests.hostagent.drivers.specs import INSTANCE, quiet, spec

pytestmark = [pytest.mark.libvirt, pytest.mark.timeout(600)]


def _kill_libvirtd(uri: str) -> None:
    """Kill the libvirtd whose parent keeps the folder that the URI's socket lies in."""
    folder = uri.partition("socket=")[2].removesuffix("/run/libvirt-sock").encode()
    for status in Path("/proc").glob("[0-9]*/status"):
        lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        parent = Path("/proc") / lines["PPid"] / "cmdline"
        if lines["Name"] == "libvirtd" and folder in parent.read_bytes():
            os.kill(int(lines["Pid"]), signal.SIGKILL)


async def _open_again(harness: LibvirtHarness, driver: Driver) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                await driver.open()
            except DriverError:
                await harness.pass_time(0.5)
            else:
                return


async def test_guest_survives_libvirtd(
    libvirtd_uri: str, guest_image: GuestImage, guest_image_path: Path, tmp_path: Path
) -> None:
    harness = LibvirtHarness(libvirtd_uri, tmp_path, guest_image, guest_image_path)
    driver = harness.driver()
    await driver.open()
    await driver.spawn(spec(image=guest_image), quiet)
    await console_until(harness, driver, INSTANCE, r"HEARTBEAT n=1 ")

    _kill_libvirtd(libvirtd_uri)
    async with asyncio.timeout(60):
        assert [event async for event in driver.events()] == []  # they end: the connection is lost
    with pytest.raises(DriverError) as lost:
        await driver.power_off(INSTANCE)
    assert lost.value.code == "hypervisor_unavailable"

    await _open_again(harness, driver)
    states = await driver.guests()
    assert [(state.instance, state.power_state) for state in states] == [(INSTANCE, PowerState.RUNNING)]
    seen = await beats(driver, INSTANCE)
    await console_until(harness, driver, INSTANCE, rf"HEARTBEAT n={seen + 1} ")
    await driver.destroy(INSTANCE)
    await driver.close()
