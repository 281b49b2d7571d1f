"""Simulated hypervisors: the state that outlives an agent.

A ``SimulatedHost`` is to the simulated driver what libvirtd and QEMU are to the libvirt driver. An
agent may crash and come back with a new driver; host and guests know nothing of it. All methods are
instantaneous; latency, faults and locks belong to the driver.
"""

from typing import Final

from hostagent.driver import DriverError, GuestEvent
from hostagent.drivers.event_stream import EventStream
from hostagent.drivers.simulated.disk import GuestFile
from hostagent.drivers.simulated.guest import SimulatedGuest
from hostagent.drivers.simulated.settings import SimulatedSettings
from process.clock import Clock
from protocol.guest import GuestSpec, GuestState, HostInventory, PowerState

_HYPERVISOR_VERSION: Final = 1_000_000


class SimulatedHost:
    """One host: its guests, its memory and disk, the images it has cached."""

    def __init__(self, settings: SimulatedSettings, clock: Clock, file: GuestFile | None = None) -> None:
        self.settings = settings
        self.images: dict[str, None] = {}
        """Ids of the cached images, the longest unused first."""
        self.images_evicted = 0
        self._clock = clock
        self._file = file
        self._guests: dict[str, SimulatedGuest] = {} if file is None else file.guests
        for guest in self._guests.values():
            if guest.resumed_at is not None:
                guest.resumed_at = min(guest.resumed_at, clock.monotonic())  # the machine started anew
        self._memory_used_mib = sum(guest.spec.memory_mib for guest in self._guests.values() if guest.is_on)
        self._disk_used_gib = sum(guest.spec.disk_gib for guest in self._guests.values())
        self._listener: EventStream | None = None

    def _keep(self, guest: SimulatedGuest) -> None:
        if self._file is not None:
            self._file.keep(guest)

    # What a driver does.

    def listen(self, stream: EventStream | None) -> None:
        """Send events there from now on; one listener at a time. Without one, events are lost."""
        self._listener = stream

    def inventory(self) -> HostInventory:
        """The host's totals."""
        return HostInventory(
            hostname=self.settings.hostname,
            hypervisor_type="simulated",
            hypervisor_version=_HYPERVISOR_VERSION,
            vcpus=self.settings.vcpus,
            memory_mib=self.settings.memory_mib,
            disk_gib=self.settings.disk_gib,
            cpu_model=self.settings.cpu_model,
            virt_type="simulated",
            host_ip=self.settings.host_ip,
        )

    def states(self) -> list[GuestState]:
        """All guests, in the order in which they were defined."""
        return [guest.state for guest in self._guests.values()]

    def find(self, instance: str) -> SimulatedGuest | None:
        """The guest, or None."""
        return self._guests.get(instance)

    def guest(self, instance: str) -> SimulatedGuest:
        """The guest. Raises ``DriverError`` ``not_found``."""
        guest = self._guests.get(instance)
        if guest is None:
            raise DriverError("not_found", "There is no such guest on this host.")
        return guest

    def define(self, spec: GuestSpec, rescue_image: str = "") -> SimulatedGuest:
        """Make an empty, powered-off guest, or give an existing one its new definition."""
        guest = self._guests.get(spec.instance)
        disk_gib = self._disk_used_gib + spec.disk_gib - (guest.spec.disk_gib if guest else 0)
        if disk_gib > self.settings.disk_gib:
            raise DriverError("disk_full", "The host has no room for the guest's disk.")
        if guest is None:
            guest = self._guests[spec.instance] = SimulatedGuest(spec)
        elif guest.is_on:
            raise DriverError("wrong_state", "A running guest cannot be defined anew.")
        guest.spec, self._disk_used_gib = spec, disk_gib
        guest.rescue_image = rescue_image
        self._keep(guest)
        return guest

    def has_image(self, image: str) -> bool:
        """Whether the image is cached; asking for it is using it."""
        if image not in self.images:
            return False
        self.images[image] = self.images.pop(image)
        return True

    def cache_image(self, image: str) -> None:
        """Keep the image; what is too much goes, unless a guest is made of it."""
        self.images[image] = None
        in_use = {image, *(guest.rescue_image for guest in self._guests.values())}
        in_use |= {guest.spec.image.image for guest in self._guests.values() if guest.spec.image}
        spare = [other for other in self.images if other not in in_use]
        for other in spare[: max(0, len(self.images) - self.settings.images_max)]:
            del self.images[other]
            self.images_evicted += 1

    def power_on(self, instance: str) -> None:
        """Start a guest that is off, or go on from its saved memory.

        Raises ``DriverError`` ``no_memory`` when physically out of it.
        """
        guest = self.guest(instance)
        if guest.is_on:
            return
        memory_mib = self._memory_used_mib + guest.spec.memory_mib
        if memory_mib > self.settings.memory_mib:
            raise DriverError("no_memory", "The host cannot allocate the guest's memory.")
        self._memory_used_mib = memory_mib
        if guest.power_state is PowerState.SUSPENDED:
            guest.thaw(self._clock.monotonic())
        else:
            guest.boot(self._clock.monotonic())
        self._keep(guest)

    def power_off(self, instance: str, *, by_guest: bool = False) -> None:
        """Stop a guest that is on: because it obeyed ACPI, or by cutting the power."""
        guest = self.guest(instance)
        if guest.is_on:
            self._halt(guest, PowerState.SHUTDOWN, "", by_guest=by_guest)

    def pause(self, instance: str) -> None:
        """Freeze a running guest."""
        guest = self.guest(instance)
        if not guest.is_on:
            raise DriverError("wrong_state", "The guest is not running.")
        if guest.power_state is PowerState.RUNNING:
            guest.freeze(self._clock.monotonic())
            self._keep(guest)

    def unpause(self, instance: str) -> None:
        """Let a frozen guest go on."""
        guest = self.guest(instance)
        if not guest.is_on:
            raise DriverError("wrong_state", "The guest is not paused.")
        if guest.power_state is PowerState.PAUSED:
            guest.thaw(self._clock.monotonic())
            self._keep(guest)

    def suspend(self, instance: str) -> None:
        """Save a guest that is on: its memory is free."""
        guest = self.guest(instance)
        if not guest.is_on:
            raise DriverError("wrong_state", "The guest is not running.")
        guest.save(self._clock.monotonic())
        self._memory_used_mib -= guest.spec.memory_mib
        self._keep(guest)

    def discard_saved(self, instance: str) -> None:
        """Forget the saved memory, if any: the guest is off then."""
        guest = self.guest(instance)
        if guest.power_state is PowerState.SUSPENDED:
            guest.power_state = PowerState.SHUTDOWN
            self._keep(guest)

    def remove(self, instance: str) -> None:
        """Forget the guest and all it stored."""
        guest = self._guests.pop(instance, None)
        if guest is not None:
            self._disk_used_gib -= guest.spec.disk_gib
            if guest.is_on:
                self._memory_used_mib -= guest.spec.memory_mib
            if self._file is not None:
                self._file.forget(instance)

    def console(self, instance: str, bytes_max: int) -> bytes:
        """The end of the guest's console log."""
        return self.guest(instance).console(self._clock.monotonic(), bytes_max)

    # What happens of its own accord; tests and simulations provoke it.

    def kill_guest(self, instance: str) -> None:
        """The guest's process dies. No effect on a guest that is off or absent."""
        self._end(instance, PowerState.CRASHED, "The guest's process died.", by_guest=False)

    def guest_shuts_down(self, instance: str) -> None:
        """Somebody inside the guest typed ``poweroff``."""
        self._end(instance, PowerState.SHUTDOWN, "The guest shut itself down.", by_guest=True)

    def lose_power(self) -> None:
        """The whole host goes dark: all guests are off, and nobody hears of it."""
        for guest in self._guests.values():
            if guest.is_on:
                self._halt(guest, PowerState.SHUTDOWN, "The host lost power.", by_guest=False)

    def _end(self, instance: str, state: PowerState, reason: str, *, by_guest: bool) -> None:
        guest = self._guests.get(instance)
        if guest is None or not guest.is_on:
            return
        self._halt(guest, state, reason, by_guest=by_guest)
        if self._listener is not None:
            self._listener.put(GuestEvent(instance=instance, state=guest.state, reason=reason))

    def _halt(self, guest: SimulatedGuest, state: PowerState, reason: str, *, by_guest: bool) -> None:
        guest.halt(self._clock.monotonic(), state, reason, by_guest=by_guest)
        self._memory_used_mib -= guest.spec.memory_mib
        self._keep(guest)

    # What proofs look at.

    def running(self) -> list[tuple[str, int]]:
        """(instance, generation) of every guest that is powered on here, paused ones included."""
        return [(key, guest.spec.generation) for key, guest in self._guests.items() if guest.is_on]

    @property
    def memory_used_mib(self) -> int:
        """Memory of the guests that are on."""
        return self._memory_used_mib

    @property
    def disk_used_gib(self) -> int:
        """Disk of all guests, on or off."""
        return self._disk_used_gib


class SimulatedHypervisor:
    """All simulated hosts of a process, by hostname: pass it to each new driver of a host."""

    def __init__(self) -> None:
        self.hosts: dict[str, SimulatedHost] = {}

    def host(self, settings: SimulatedSettings, clock: Clock) -> SimulatedHost:
        """The host of that name; made on first use, found again by a restarted agent."""
        return self.hosts.setdefault(settings.hostname, SimulatedHost(settings, clock))

    def running_twice(self) -> dict[str, list[str]]:
        """Instances that run on more than one host, with those hosts: always empty in a sound cloud."""
        where: dict[str, list[str]] = {}
        for name, host in self.hosts.items():
            for instance, _ in host.running():
                where.setdefault(instance, []).append(name)
        return {instance: names for instance, names in where.items() if len(names) > 1}
