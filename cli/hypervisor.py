"""Which hypervisor ``starling up`` uses: libvirt when a probe guest really runs, else the simulated one."""

from structlog.typing import FilteringBoundLogger

from process.settings import Settings


async def choose_hypervisor(settings: Settings, log: FilteringBoundLogger) -> str:
    """The driver's name. ``auto`` tries libvirt and says why when it cannot be used."""
    if settings.hypervisor != "auto":
        return settings.hypervisor
    try:
        from hostagent.drivers.libvirt.probe import usable  # noqa: PLC0415  libvirt may not be installed

        reason = await usable(settings.libvirt_uri)
    except ImportError as error:
        reason = f"its library is not installed ({error.name})"
    if not reason:
        return "libvirt"
    log.info("hypervisor.simulated", reason=f"libvirt cannot be used: {reason}")
    return "simulated"
