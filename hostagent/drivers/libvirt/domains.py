"""What is asked of libvirt, as blocking functions that look first and then act.

They take an open connection and an instance id, know nothing of files or locks, and run in the
connection's threads. They let ``libvirtError`` through; ``connection.py`` translates it.
"""

from typing import Final

import libvirt

from hostagent.driver import DriverError
from hostagent.drivers.libvirt.domain_xml import NAMESPACE, generation_of, is_rescued
from protocol.guest import GuestState, PowerState

_POWER: Final = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,  # on its way down: its process still lives
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,  # asleep: it keeps its process and its memory
}
_REASONS: Final = {
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN): "The guest shut itself down.",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): "The guest's process died.",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): "The guest could not be started.",
    (
        libvirt.VIR_DOMAIN_PMSUSPENDED,
        libvirt.VIR_DOMAIN_PMSUSPENDED_UNKNOWN,
    ): "The guest put itself to sleep.",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): "The guest's disk reported an error.",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): "The guest's system crashed.",
}
_ON: Final = frozenset({PowerState.RUNNING, PowerState.PAUSED})
_JOB_TOTAL, _JOB_DONE = 3, 4  # places in what jobInfo returns
_UNDEFINE: Final = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)


def is_on(state: GuestState) -> bool:
    """Whether the guest has a process: running or paused."""
    return state.power_state in _ON


def look(conn: libvirt.virConnect, instance: str) -> GuestState | None:
    """The guest as it is now; None when there is no domain, or not one of ours."""
    domain = _find(conn, instance)
    return None if domain is None else _state(domain)


def look_at_all(conn: libvirt.virConnect) -> list[GuestState]:
    """All guests that are ours. One that vanishes meanwhile is left out."""
    found = (_state(domain) for domain in conn.listAllDomains())
    return [state for state in found if state is not None]


def define(conn: libvirt.virConnect, xml: str) -> None:
    """Define the domain, or give it a new definition for its next start."""
    conn.defineXML(xml)


def power_on(conn: libvirt.virConnect, instance: str) -> None:
    """Start the domain unless it is on; one with saved memory goes on from there."""
    domain = _get(conn, instance)
    if not domain.isActive():
        domain.create()


def save(conn: libvirt.virConnect, instance: str) -> None:
    """Save the memory of a domain that is on, and end it. Takes as long as writing the memory does."""
    domain = _get(conn, instance)
    if not domain.isActive():
        raise DriverError("wrong_state", "The guest is not running.")
    domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)


def restore(conn: libvirt.virConnect, instance: str) -> None:
    """Go on from the saved memory; nothing when the domain is on."""
    domain = _get(conn, instance)
    if domain.isActive():
        return
    if not domain.hasManagedSaveImage():
        raise DriverError("wrong_state", "The guest is not suspended.")
    domain.create()


def discard_saved(conn: libvirt.virConnect, instance: str) -> None:
    """Forget the saved memory, if any."""
    domain = _find(conn, instance)
    if domain is not None and domain.hasManagedSaveImage():
        domain.managedSaveRemove()


def job_progress(conn: libvirt.virConnect, instance: str) -> tuple[int, int]:
    """Bytes done and bytes in all of the job under way; (0, 0) without one."""
    domain = _find(conn, instance)
    if domain is None:
        return 0, 0
    try:
        info = domain.jobInfo()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        return 0, 0
    return info[_JOB_DONE], info[_JOB_TOTAL]


def abort_job(conn: libvirt.virConnect, instance: str) -> None:
    """End the job under way; nothing without one."""
    domain = _find(conn, instance)
    try:
        if domain is not None:
            domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


def power_off(conn: libvirt.virConnect, instance: str) -> None:
    """Cut the power; nothing when it is off or gone."""
    domain = _find(conn, instance)
    if domain is None:
        return
    try:
        if domain.isActive():
            domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def press_power_button(conn: libvirt.virConnect, instance: str, *, restart: bool) -> None:
    """Ask the guest by ACPI to shut down; with ``restart`` libvirt then boots it again."""
    domain = _find(conn, instance)
    if domain is None or not domain.isActive():
        return
    try:
        if restart:
            domain.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)
        else:
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        # It may just have gone off by itself.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


def pause(conn: libvirt.virConnect, instance: str) -> None:
    """Freeze a running guest; nothing when it is frozen."""
    domain = _get(conn, instance)
    state = domain.state()[0]
    if state == libvirt.VIR_DOMAIN_RUNNING:
        domain.suspend()
    elif state != libvirt.VIR_DOMAIN_PAUSED:
        raise DriverError("wrong_state", "The guest is not running.")


def unpause(conn: libvirt.virConnect, instance: str) -> None:
    """Let a frozen guest go on; nothing when it runs."""
    domain = _get(conn, instance)
    state = domain.state()[0]
    if state == libvirt.VIR_DOMAIN_PAUSED:
        domain.resume()
    elif state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        domain.pMWakeup()
    elif state != libvirt.VIR_DOMAIN_RUNNING:
        raise DriverError("wrong_state", "The guest is not paused.")


def undefine(conn: libvirt.virConnect, instance: str) -> None:
    """Forget a domain that is off; nothing when there is none."""
    domain = _find(conn, instance)
    if domain is not None:
        domain.undefineFlags(_UNDEFINE)


def host_facts(conn: libvirt.virConnect) -> tuple[int, int, int]:
    """The hypervisor's version number, the host's memory in MiB, its CPUs."""
    # getInfo's memory adds up NUMA nodes, which leave out memory that was plugged in later.
    memory_kib = conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)["total"]
    return conn.getVersion(), memory_kib // 1024, int(conn.getInfo()[2])


def offers(conn: libvirt.virConnect, virt_type: str, machine: str) -> bool:
    """Whether libvirt itself would run guests of this type."""
    try:
        conn.getDomainCapabilities(None, "x86_64", machine, virt_type, 0)
    except libvirt.libvirtError:
        return False
    return True


def _find(conn: libvirt.virConnect, instance: str) -> libvirt.virDomain | None:
    try:
        return conn.lookupByUUIDString(instance)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _get(conn: libvirt.virConnect, instance: str) -> libvirt.virDomain:
    domain = _find(conn, instance)
    if domain is None:
        raise DriverError("not_found", "There is no such guest on this host.")
    return domain


def _state(domain: libvirt.virDomain) -> GuestState | None:
    try:
        metadata = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
        state, reason = domain.state()
        saved = state == libvirt.VIR_DOMAIN_SHUTOFF and domain.hasManagedSaveImage()
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            return None
        raise
    power = _POWER.get(state, PowerState.NOSTATE)
    if power is PowerState.SHUTDOWN and saved:
        power = PowerState.SUSPENDED
    if (state, reason) == (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED):
        power = PowerState.CRASHED
    return GuestState(
        instance=domain.UUIDString(),
        generation=generation_of(metadata),
        power_state=power,
        reason=_REASONS.get((state, reason), ""),
        rescued=is_rescued(metadata),
    )
