"""A simulated guest: its power state, how long it ran, and the console log that follows from that.

Nothing here waits and no guest has a task of its own: what a guest has "done" since it started is
computed from the clock when somebody looks.
"""

from typing import Final

from msgspec import Struct

from protocol.guest import GuestSpec, GuestState, PowerState

BOOT_S: Final = 4.0  # run time until the guest's first heartbeat
BOOTS_KEPT: Final = 8  # boots of which the console log still tells
_HEARTBEAT_BYTES_MIN: Final = 20

_ON: Final = frozenset({PowerState.RUNNING, PowerState.PAUSED})


class Boot(Struct):
    """One run of the guest from power on to power off. ``ran_s`` excludes time spent paused."""

    number: int
    ran_s: float = 0.0
    said_goodbye: bool = False
    rescue_image: str = ""


class SimulatedGuest(Struct):
    """One guest. ``resumed_at`` is the monotonic time since which it runs, None while it does not."""

    spec: GuestSpec
    power_state: PowerState = PowerState.SHUTDOWN
    reason: str = ""
    ignores_acpi: bool = False
    resumed_at: float | None = None
    boots: list[Boot] = []
    rescue_image: str = ""

    @property
    def is_on(self) -> bool:
        """Whether it takes host memory: running or paused."""
        return self.power_state in _ON

    @property
    def state(self) -> GuestState:
        """The guest as a driver reports it."""
        return GuestState(
            instance=self.spec.instance,
            generation=self.spec.generation,
            power_state=self.power_state,
            reason=self.reason,
            rescued=bool(self.rescue_image),
        )

    def boot(self, now: float) -> None:
        """Power on."""
        # The count lies on the guest's disk; a rescue system has a disk of its own.
        own = [boot.number for boot in self.boots if not boot.rescue_image]
        number = 1 if self.rescue_image else max(own, default=0) + 1
        self.boots = [*self.boots[1 - BOOTS_KEPT :], Boot(number, rescue_image=self.rescue_image)]
        self.power_state, self.reason, self.resumed_at = PowerState.RUNNING, "", now

    def freeze(self, now: float) -> None:
        """Pause: run time stands still."""
        self._count(now)
        self.power_state = PowerState.PAUSED

    def thaw(self, now: float) -> None:
        """Go on after a pause."""
        self.power_state, self.resumed_at = PowerState.RUNNING, now

    def save(self, now: float) -> None:
        """Suspend: as a pause, but without a process."""
        self._count(now)
        self.power_state = PowerState.SUSPENDED

    def halt(self, now: float, state: PowerState, reason: str, *, by_guest: bool) -> None:
        """Power off. ``by_guest``: it shut itself down and said so on its console."""
        self._count(now)
        if self.boots:
            self.boots[-1].said_goodbye = by_guest
        self.power_state, self.reason = state, reason

    def _count(self, now: float) -> None:
        if self.resumed_at is not None:
            self.boots[-1].ran_s += now - self.resumed_at
            self.resumed_at = None

    def console(self, now: float, bytes_max: int) -> bytes:
        """The last ``bytes_max`` bytes of the console log."""
        if bytes_max <= 0:
            return b""
        parts: list[bytes] = []
        size = 0
        for boot in reversed(self.boots):
            running_s = (
                now - self.resumed_at if boot is self.boots[-1] and self.resumed_at is not None else 0.0
            )
            text = self._lines(boot, boot.ran_s + running_s, bytes_max)
            parts.append(text)
            size += len(text)
            if size >= bytes_max:
                break
        return b"".join(reversed(parts))[-bytes_max:]

    def _lines(self, boot: Boot, ran_s: float, bytes_max: int) -> bytes:
        host = self.spec.hostname
        beats = max(0, int(ran_s - BOOT_S) + 1) if ran_s >= BOOT_S else 0
        first = max(1, beats - bytes_max // _HEARTBEAT_BYTES_MIN)
        lines = [
            "SeaBIOS (simulated)",
            *([f"RESCUE image={boot.rescue_image}"] if boot.rescue_image else []),
            f"BOOT count={boot.number} vcpus={self.spec.vcpus} memory={self.spec.memory_mib}M",
        ]
        if beats:
            lines.append(f"CLOUD uuid={self.spec.instance} hostname={host} from=config-drive")
        lines += [f"HEARTBEAT n={n} host={host}" for n in range(first, beats + 1)]
        if boot.said_goodbye:
            lines.append(f"SHUTDOWN up={ran_s:.2f}")
        return ("\n".join(lines) + "\n").encode()
