"""What the conformance suite needs of each hypervisor beside its driver: time, consoles, accidents."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

import libvirt

from hostagent.driver import Driver
from hostagent.drivers.libvirt.driver import LibvirtDriver
from hostagent.drivers.libvirt.settings import LibvirtSettings
from hostagent.drivers.simulated import SimulatedDriver, SimulatedHypervisor, SimulatedSettings
from hostagent.images import ImageLimits
from process.clock import SystemClock
from protocol.guest import GuestImage
from tests.hostagent.drivers.specs import IMAGE, ManualClock

PATIENCE_S: Final = 120.0  # a guest on a busy machine boots twenty times slower than on a calm one
POLL_S: Final = 0.2
CONSOLE_BYTES: Final = 1 << 20


class Harness(Protocol):
    """One host with one driver at a time."""

    image: GuestImage

    def driver(self) -> Driver:
        """A new driver of the same host, as after the agent's restart."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Let guests run on for so long."""
        ...

    def kill_guest(self, instance: str) -> None:
        """Kill the guest's process."""
        ...

    def press_power_button(self, instance: str) -> None:
        """Let the guest shut itself down, unasked by the driver."""
        ...

    def leftovers(self, instance: str) -> list[str]:
        """What the host still stores of the guest."""
        ...


class SimulatedHarness:
    """Time passes when told to."""

    image = IMAGE

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._hypervisor = SimulatedHypervisor()
        self._settings = SimulatedSettings(latency_factor=0.0)

    def driver(self) -> SimulatedDriver:
        return SimulatedDriver(self._settings, self._clock, hypervisor=self._hypervisor)

    async def pass_time(self, seconds: float) -> None:
        self._clock.time += seconds

    def kill_guest(self, instance: str) -> None:
        self._hypervisor.host(self._settings, self._clock).kill_guest(instance)

    def press_power_button(self, instance: str) -> None:
        self._hypervisor.host(self._settings, self._clock).guest_shuts_down(instance)

    def leftovers(self, instance: str) -> list[str]:
        found = self._hypervisor.host(self._settings, self._clock).find(instance)
        return [instance] if found else []


class LibvirtHarness:
    """A real libvirtd, real QEMU, emulated processors."""

    def __init__(self, uri: str, folder: Path, image: GuestImage, image_path: Path) -> None:
        self.image = image
        self._image_path = image_path
        self._instances = folder / "instances"
        self._state = folder / "state"
        self._conn = libvirt.open(uri)
        self._settings = LibvirtSettings(
            hostname="compute-1",
            uri=uri,
            instances_path=str(self._instances),
            virt_type="qemu",
            images=ImageLimits(free_bytes_min=0),
        )

    def driver(self) -> LibvirtDriver:
        return LibvirtDriver(self._settings, self._state, SystemClock(), fetch=self._fetch)

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def kill_guest(self, instance: str) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            command = (process / "cmdline").read_bytes()
            if b"qemu-system" in command and f"guest=starling-{instance}".encode() in command:
                os.kill(int(process.name), signal.SIGKILL)

    def press_power_button(self, instance: str) -> None:
        self._conn.lookupByUUIDString(instance).shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def leftovers(self, instance: str) -> list[str]:
        domains = [domain.UUIDString() for domain in self._conn.listAllDomains()]
        return [name for name in domains if name == instance] + [
            str(path) for path in self._instances.glob(f"{instance}*")
        ]

    def close(self) -> None:
        self._conn.close()

    async def _fetch(self, url: str) -> AsyncIterator[bytes]:
        yield self._image_path.read_bytes()


async def console_until(harness: Harness, driver: Driver, instance: str, pattern: str) -> str:
    """Wait until the guest's console matches, and return all of it."""
    waited_s = 0.0
    while True:
        text = (await driver.console_log(instance, CONSOLE_BYTES)).decode(errors="replace")
        if re.search(pattern, text, re.DOTALL):
            return text
        assert waited_s < PATIENCE_S, f"no {pattern!r} on the console:\n{text[-2000:]}"
        await harness.pass_time(POLL_S)
        waited_s += POLL_S


async def beats(driver: Driver, instance: str) -> int:
    """How many heartbeats the guest has sent."""
    return (await driver.console_log(instance, CONSOLE_BYTES)).count(b"HEARTBEAT n=")
