"""Types of the part of libvirt-python that the libvirt driver uses; the package ships none."""

from collections.abc import Callable
from typing import Any

VIR_CONNECT_CLOSE_REASON_CLIENT: int
VIR_DOMAIN_BLOCKED: int
VIR_DOMAIN_CRASHED: int
VIR_DOMAIN_EVENT_ID_LIFECYCLE: int
VIR_DOMAIN_EVENT_ID_REBOOT: int
VIR_DOMAIN_METADATA_ELEMENT: int
VIR_DOMAIN_NOSTATE: int
VIR_DOMAIN_PAUSED: int
VIR_DOMAIN_PAUSED_CRASHED: int
VIR_DOMAIN_PAUSED_IOERROR: int
VIR_DOMAIN_PMSUSPENDED: int
VIR_DOMAIN_REBOOT_ACPI_POWER_BTN: int
VIR_DOMAIN_RUNNING: int
VIR_DOMAIN_SHUTDOWN: int
VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN: int
VIR_DOMAIN_SHUTOFF: int
VIR_DOMAIN_SHUTOFF_CRASHED: int
VIR_DOMAIN_SHUTOFF_FAILED: int
VIR_DOMAIN_SHUTOFF_SHUTDOWN: int
VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA: int
VIR_DOMAIN_UNDEFINE_MANAGED_SAVE: int
VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA: int
VIR_ERR_INVALID_CONN: int
VIR_ERR_NO_CONNECT: int
VIR_ERR_NO_DOMAIN: int
VIR_ERR_NO_DOMAIN_METADATA: int
VIR_ERR_NO_MEMORY: int
VIR_ERR_OPERATION_INVALID: int
VIR_ERR_RPC: int
VIR_FROM_RPC: int
VIR_NODE_MEMORY_STATS_ALL_CELLS: int

class libvirtError(Exception):  # noqa: N801
    def get_error_code(self) -> int: ...
    def get_error_domain(self) -> int: ...

class virDomain:  # noqa: N801
    def UUIDString(self) -> str: ...  # noqa: N802
    def create(self) -> int: ...
    def destroy(self) -> int: ...
    def isActive(self) -> int: ...  # noqa: N802
    def metadata(self, type: int, uri: str | None, flags: int = 0) -> str: ...
    def reboot(self, flags: int = 0) -> int: ...
    def resume(self) -> int: ...
    def shutdownFlags(self, flags: int = 0) -> int: ...  # noqa: N802
    def state(self, flags: int = 0) -> list[int]: ...
    def suspend(self) -> int: ...
    def undefineFlags(self, flags: int = 0) -> int: ...  # noqa: N802

class virConnect:  # noqa: N801
    def close(self) -> int: ...
    def defineXML(self, xml: str) -> virDomain: ...  # noqa: N802
    def domainEventDeregisterAny(self, callbackID: int) -> int: ...  # noqa: N802, N803
    def domainEventRegisterAny(  # noqa: N802
        self, dom: virDomain | None, eventID: int, cb: Callable[..., None], opaque: Any  # noqa: N803
    ) -> int: ...
    def getDomainCapabilities(  # noqa: N802
        self, emulatorbin: str | None, arch: str | None, machine: str | None, virttype: str | None, flags: int = 0
    ) -> str: ...
    def getHostname(self) -> str: ...  # noqa: N802
    def getInfo(self) -> list[Any]: ...  # noqa: N802
    def getMemoryStats(self, cellNum: int, flags: int = 0) -> dict[str, int]: ...  # noqa: N802, N803
    def getVersion(self) -> int: ...  # noqa: N802
    def isAlive(self) -> int: ...  # noqa: N802
    def listAllDomains(self, flags: int = 0) -> list[virDomain]: ...  # noqa: N802
    def lookupByUUIDString(self, uuidstr: str) -> virDomain: ...  # noqa: N802
    def registerCloseCallback(self, cb: Callable[..., None], opaque: Any) -> int: ...  # noqa: N802
    def setKeepAlive(self, interval: int, count: int) -> int: ...  # noqa: N802
    def unregisterCloseCallback(self) -> int: ...  # noqa: N802

def open(name: str | None = None) -> virConnect: ...
def registerErrorHandler(f: Callable[[Any, Any], None], ctx: Any) -> int: ...  # noqa: N802
def virEventRegisterDefaultImpl() -> int: ...  # noqa: N802
def virEventRunDefaultImpl() -> int: ...  # noqa: N802
