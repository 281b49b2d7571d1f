"""Which hypervisor ``starling up`` uses: libvirt when it really works here, else the simulated one."""

import asyncio
import socket
from typing import Final

from cli.wiring import Wiring
from hostagent.driver import DriverError
from hostagent.drivers.load import DriverContext, load_driver
from process.plugin import DriverNotInstalledError

TRY_MAX_S: Final = 30.0


async def choose_hypervisor(wiring: Wiring, options: dict[str, str | int | float | bool]) -> str:
    """The driver's name. ``auto`` connects to libvirt, asks what it can do, and says why not."""
    settings = wiring.settings
    if settings.hypervisor != "auto":
        return settings.hypervisor
    context = DriverContext(
        hostname=socket.gethostname(),
        state_folder=settings.state_path,
        clock=wiring.clock,
        options=dict(options),
    )
    try:
        driver = load_driver("libvirt", context)
        async with asyncio.timeout(TRY_MAX_S):
            await driver.open()
            try:
                await driver.inventory()
            finally:
                await driver.close()
    except (DriverNotInstalledError, DriverError, TimeoutError, OSError) as error:
        wiring.log.info(
            "hypervisor.simulated", reason=f"libvirt cannot be used: {error or type(error).__name__}"
        )
        return "simulated"
    return "libvirt"
