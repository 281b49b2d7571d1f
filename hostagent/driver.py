"""The hypervisor driver interface: what an agent may ask of a technology.

Every method is idempotent: it looks at what is, then acts, so repeating a finished call changes
nothing. Every method may raise ``DriverError``; the agent turns that into ``StepFailed`` in one
place. Drivers know guests by instance id and generation; they know no messages and no actors.
"""

from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol

from msgspec import Struct

from protocol.guest import GuestImage, GuestSpec, GuestState, HostInventory


class DriverError(Exception):
    """The hypervisor could not do it. ``code`` is stable, the text is for the tenant (no host paths).

    ``not_found`` no such guest here · ``stale`` another generation of it is here · ``wrong_state`` ·
    ``no_memory`` and ``disk_full`` the host is physically out · ``image_unavailable``,
    ``image_corrupt``, ``image_too_large`` and ``image_unsupported`` the fault is the image's ·
    ``config_drive_too_large`` · ``unsupported`` this driver cannot do it ·
    ``hypervisor_unavailable`` not connected, try again · ``hypervisor`` anything else it said.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ImageSource(Struct, frozen=True):
    """Where the bytes of a guest's image come from when they are not cached yet."""

    image: str
    url: str
    sha512: str
    size_bytes: int
    disk_format: str


class GuestEvent(Struct, frozen=True):
    """Something the hypervisor reports of its own accord."""

    instance: str
    state: GuestState
    reason: str = ""


Progress = Callable[[str, int, int], None]  # (what, bytes done, bytes in all)
RebootKind = Literal["soft", "hard"]


class Driver(Protocol):
    """One host's hypervisor. Opened once per agent process; all methods run on the agent's loop."""

    async def open(self) -> None:
        """Connect; called once at start, and again after the connection was lost."""
        ...

    async def close(self) -> None:
        """Disconnect. Guests go on running."""
        ...

    async def inventory(self) -> HostInventory:
        """What this host has: CPUs, memory, disk, hypervisor and CPU model. At start, then periodically."""
        ...

    async def guests(self) -> list[GuestState]:
        """Every guest that is here now, running or not. At start, periodically, after a reconnect."""
        ...

    async def guest(self, instance: str) -> GuestState | None:
        """One guest as it is now; None when there is no trace of it."""
        ...

    def events(self) -> AsyncIterator[GuestEvent]:
        """State changes nobody asked for (a guest shut itself down, QEMU was killed …)."""
        ...

    async def spawn(self, spec: GuestSpec, progress: Progress) -> GuestState:
        """Fetch the image unless cached, make disk and config drive, define and start. On create."""
        ...

    async def start(self, spec: GuestSpec) -> GuestState:
        """Start a guest that is off. On start and on the second half of a hard reboot."""
        ...

    async def shut_down(self, instance: str, timeout_s: float, retry_s: float) -> GuestState:
        """Ask by ACPI, again every ``retry_s``, then force after ``timeout_s``. On stop."""
        ...

    async def power_off(self, instance: str) -> GuestState:
        """Cut the power now. On hard reboot and before destruction."""
        ...

    async def reboot(self, spec: GuestSpec, kind: RebootKind, timeout_s: float) -> GuestState:
        """Soft: the guest's own restart, hard after ``timeout_s``. Hard: off, define anew, on."""
        ...

    async def pause(self, instance: str) -> GuestState:
        """Freeze in host memory."""
        ...

    async def unpause(self, instance: str) -> GuestState:
        """Go on after pause."""
        ...

    async def suspend(self, instance: str, progress: Progress) -> GuestState:
        """Save the memory to disk and power off: SUSPENDED. It survives a restart of the host."""
        ...

    async def resume(self, instance: str) -> GuestState:
        """Go on from the saved memory. A start does the same; a hard reboot discards what was saved."""
        ...

    async def rescue(
        self, spec: GuestSpec, image: GuestImage, progress: Progress, *, own_first: bool
    ) -> GuestState:
        """Cut the power and boot ``image`` with the guest's own disk beside it, before or behind."""
        ...

    async def unrescue(self, spec: GuestSpec, *, stay_off: bool) -> GuestState:
        """Remove the rescue system; boot from the guest's own disk unless ``stay_off``."""
        ...

    async def destroy(self, instance: str) -> None:
        """Remove guest, disks, config drive and logs. On delete; succeeds when nothing is there."""
        ...

    async def cache_image(self, image: GuestImage, progress: Progress) -> None:
        """Have the image ready before a guest needs it; nothing happens when it is cached."""
        ...

    def figures(self) -> dict[str, float]:
        """What it counts of its own, by name, for the operator's metrics: its image cache."""
        ...

    async def console_log(self, instance: str, bytes_max: int) -> bytes:
        """The last ``bytes_max`` bytes that the guest wrote on its serial console."""
        ...
