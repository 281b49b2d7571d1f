"""Finds a hypervisor driver by name and makes it from its options.

An entry point of the group ``starling.hypervisors`` names a factory: a function that takes a
``DriverContext`` and returns a ``Driver``. No driver is imported before it is asked for, so that a host
without libvirt's library can run another one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct

from hostagent.driver import Driver
from process import plugin
from process.clock import Clock

GROUP: Final = "starling.hypervisors"
_OWN: Final = {
    "libvirt": "hostagent.drivers.libvirt.factory:make",
    "simulated": "hostagent.drivers.simulated.driver:make",
}

S = TypeVar("S", bound=Struct)


class DriverContext(Struct, frozen=True, kw_only=True):
    """What every driver is made from.

    ``state_folder`` is the agent's own, on a local disk; a driver keeps small things of its own there.
    ``options`` is the operator's table for this driver, checked by the driver itself.
    """

    hostname: str
    state_folder: Path
    clock: Clock
    options: dict[str, Any] = {}


Factory = Callable[[DriverContext], Driver]


def load_driver(name: str, context: DriverContext) -> Driver:
    """Make the driver, not opened yet. Raises DriverNotInstalledError or DriverOptionsError."""
    factory: Factory = plugin.load_plugin(GROUP, _OWN, name, what="hypervisor driver")
    return factory(context)


def checked_options(context: DriverContext, settings: type[S]) -> S:
    """The options as the driver's own Struct, with the context's hostname unless they name another."""
    options = {"hostname": context.hostname} | context.options
    return plugin.checked_options(options, settings, what="hypervisor")
