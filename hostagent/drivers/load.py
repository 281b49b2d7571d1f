"""Finds a hypervisor driver by name and makes it from its options.

Drivers are entry points of the group ``starling.hypervisors``; the two of this distribution are
known without being installed, so that a source checkout works. An entry point names a factory: a
function that takes a ``DriverContext`` and returns a ``Driver``. No driver is imported before it is
asked for, so that a host without libvirt's library can run another one.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from hostagent.driver import Driver
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


class DriverNotInstalledError(Exception):
    """No driver of that name, or its own imports are missing. Says what there is."""


class DriverOptionsError(Exception):
    """The operator's options are not what the driver understands."""


def installed() -> dict[str, EntryPoint]:
    """All drivers that can be named, by name. A plugin may not replace one of ours."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    return found | {name: EntryPoint(name, value, GROUP) for name, value in _OWN.items()}


def load_driver(name: str, context: DriverContext) -> Driver:
    """Make the driver, not opened yet. Raises DriverNotInstalledError or DriverOptionsError."""
    points = installed()
    if name not in points:
        known = ", ".join(sorted(points))
        raise DriverNotInstalledError(f"There is no hypervisor driver {name!r}; installed: {known}.")
    try:
        factory: Factory = points[name].load()
    except ImportError as error:
        others = ", ".join(sorted(set(points) - {name}))
        raise DriverNotInstalledError(
            f"The hypervisor driver {name!r} cannot be imported ({error}); others: {others}."
        ) from error
    return factory(context)


def checked_options(context: DriverContext, settings: type[S]) -> S:
    """The options as the driver's own Struct, with the context's hostname unless they name another."""
    options = {"hostname": context.hostname} | context.options
    try:
        return msgspec.convert(options, settings, strict=False)
    except msgspec.ValidationError as error:
        raise DriverOptionsError(f"The hypervisor's options are not valid: {error}.") from error
