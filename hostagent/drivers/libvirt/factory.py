"""Makes the libvirt driver from the operator's options: the entry point's target."""

from hostagent.drivers.libvirt.driver import LibvirtDriver
from hostagent.drivers.libvirt.settings import LibvirtSettings
from hostagent.drivers.load import DriverContext, checked_options


def make(context: DriverContext) -> LibvirtDriver:
    """A driver that is not connected yet."""
    return LibvirtDriver(checked_options(context, LibvirtSettings), context.state_folder, context.clock)
