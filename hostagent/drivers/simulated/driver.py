"""The simulated driver: the driver interface over a ``SimulatedHost``, with latency and faults.

It waits only with ``asyncio.sleep`` and takes time and chance only from the clock, so it runs on a
virtual-time loop and one seed gives one history. It holds nothing worth keeping: state that must
outlive an agent belongs to ``SimulatedHost``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hostagent.driver import DriverError, GuestEvent, Progress, RebootKind
from hostagent.drivers.event_stream import EventStream
from hostagent.drivers.load import DriverContext, checked_options
from hostagent.drivers.lock import NamedLocks
from hostagent.drivers.simulated.disk import GuestFile
from hostagent.drivers.simulated.fault import FaultPlan, GuestDies, Hang, NoFaults
from hostagent.drivers.simulated.guest import SimulatedGuest
from hostagent.drivers.simulated.host import SimulatedHost, SimulatedHypervisor
from hostagent.drivers.simulated.settings import SECONDS, SimulatedSettings, Verb
from process.clock import Clock
from protocol.guest import GuestImage, GuestSpec, GuestState, HostInventory, PowerState

_GIB: Final = 1 << 30


class SimulatedDriver:
    """One host's simulated hypervisor; see ``hostagent.driver.Driver`` for the methods.

    Pass the same ``hypervisor`` to successive drivers of one host to let guests outlive the agent.
    """

    def __init__(
        self,
        settings: SimulatedSettings,
        clock: Clock,
        *,
        hypervisor: SimulatedHypervisor | None = None,
        faults: FaultPlan | None = None,
        host: SimulatedHost | None = None,
    ) -> None:
        self.host = host or (hypervisor or SimulatedHypervisor()).host(settings, clock)
        self._settings = settings
        self._clock = clock
        self._faults = faults or NoFaults()
        self._locks = NamedLocks()
        self._events = EventStream()
        self._hits = self._misses = 0

    async def open(self) -> None:
        self._events.close()
        self._events = EventStream()
        self.host.listen(self._events)

    async def close(self) -> None:
        self.host.listen(None)
        self._events.close()

    def events(self) -> AsyncIterator[GuestEvent]:
        return self._events

    async def inventory(self) -> HostInventory:
        async with self._verb("inventory", ""):
            await self._take("inventory")
            return self.host.inventory()

    async def guests(self) -> list[GuestState]:
        async with self._verb("look", ""):
            await self._take("look")
            return self.host.states()

    async def guest(self, instance: str) -> GuestState | None:
        async with self._verb("look", instance):
            await self._take("look")
            guest = self.host.find(instance)
            return guest.state if guest else None

    async def spawn(self, spec: GuestSpec, progress: Progress) -> GuestState:
        async with self._locks.hold(spec.instance), self._verb("spawn", spec.instance):
            there = self.host.find(spec.instance)
            if there is not None:
                if there.spec.generation > spec.generation:
                    raise DriverError("stale", "A newer generation of the guest is on this host.")
                if there.spec.generation < spec.generation:
                    self.host.remove(spec.instance)
                elif there.is_on:
                    return there.state
            await self._fetch(spec.image, progress)
            try:
                self.host.define(spec)
                await self._take("spawn")
                self.host.power_on(spec.instance)
            except DriverError:
                self.host.remove(spec.instance)
                raise
            return self._state(spec.instance)

    async def start(self, spec: GuestSpec) -> GuestState:
        async with self._locks.hold(spec.instance), self._verb("start", spec.instance):
            guest = self._of_generation(spec)
            if not guest.is_on:
                self.host.define(spec)
                await self._take("start")
                self.host.power_on(spec.instance)
            return self._state(spec.instance)

    async def shut_down(self, instance: str, timeout_s: float, retry_s: float) -> GuestState:  # noqa: ARG002
        async with self._locks.hold(instance), self._verb("shut_down", instance):
            guest = self.host.guest(instance)
            if guest.is_on:
                obeyed = await self._ask_by_acpi(guest, "shut_down", timeout_s)
                self.host.power_off(instance, by_guest=obeyed)
            return self._state(instance)

    async def power_off(self, instance: str) -> GuestState:
        async with self._locks.hold(instance), self._verb("power_off", instance):
            if self.host.guest(instance).is_on:
                await self._take("power_off")
                self.host.power_off(instance)
            return self._state(instance)

    async def reboot(self, spec: GuestSpec, kind: RebootKind, timeout_s: float) -> GuestState:
        async with self._locks.hold(spec.instance), self._verb("reboot", spec.instance):
            guest = self._of_generation(spec)
            obeyed = kind == "soft" and await self._ask_by_acpi(guest, "reboot", timeout_s)
            if not obeyed:
                await self._take("power_off")
            self.host.power_off(spec.instance, by_guest=obeyed)
            self.host.discard_saved(spec.instance)
            self.host.define(spec)
            await self._take("start")
            self.host.power_on(spec.instance)
            return self._state(spec.instance)

    async def pause(self, instance: str) -> GuestState:
        async with self._locks.hold(instance), self._verb("pause", instance):
            await self._take("pause")
            self.host.pause(instance)
            return self._state(instance)

    async def unpause(self, instance: str) -> GuestState:
        async with self._locks.hold(instance), self._verb("unpause", instance):
            await self._take("unpause")
            self.host.unpause(instance)
            return self._state(instance)

    async def suspend(self, instance: str, progress: Progress) -> GuestState:
        async with self._locks.hold(instance), self._verb("suspend", instance):
            guest = self.host.guest(instance)
            if guest.power_state is not PowerState.SUSPENDED:
                memory_bytes = guest.spec.memory_mib << 20
                progress("memory", 0, memory_bytes)
                await self._take("suspend", memory_bytes / _GIB)
                self.host.suspend(instance)
            return self._state(instance)

    async def resume(self, instance: str) -> GuestState:
        async with self._locks.hold(instance), self._verb("resume", instance):
            guest = self.host.guest(instance)
            if not guest.is_on:
                _require_saved(guest)
                await self._take("resume", (guest.spec.memory_mib << 20) / _GIB)
                self.host.power_on(instance)
            return self._state(instance)

    async def rescue(
        self,
        spec: GuestSpec,
        image: GuestImage,
        progress: Progress,
        *,
        own_first: bool,  # noqa: ARG002  no guest here looks at its disks
    ) -> GuestState:
        async with self._locks.hold(spec.instance), self._verb("rescue", spec.instance):
            guest = self._of_generation(spec)
            if not (guest.is_on and guest.rescue_image):
                await self._fetch(image, progress)
                await self._boot_anew(spec, "rescue", image.image)
            return self._state(spec.instance)

    async def unrescue(self, spec: GuestSpec, *, stay_off: bool) -> GuestState:
        async with self._locks.hold(spec.instance), self._verb("unrescue", spec.instance):
            guest = self._of_generation(spec)
            if guest.rescue_image or guest.is_on is stay_off:
                await self._boot_anew(spec, "unrescue", stay_off=stay_off)
            return self._state(spec.instance)

    async def destroy(self, instance: str) -> None:
        async with self._locks.hold(instance), self._verb("destroy", instance):
            if self.host.find(instance) is not None:
                await self._take("destroy")
                self.host.remove(instance)

    async def cache_image(self, image: GuestImage, progress: Progress) -> None:
        async with self._verb("fetch", ""):
            await self._fetch(image, progress)

    def figures(self) -> dict[str, float]:
        return {
            "image_hits": self._hits,
            "image_misses": self._misses,
            "images_evicted": self.host.images_evicted,
            "images_cached": len(self.host.images),
        }

    async def console_log(self, instance: str, bytes_max: int) -> bytes:
        async with self._verb("console_log", instance):
            await self._take("console_log")
            return self.host.console(instance, bytes_max)

    def lose_connection(self) -> None:
        """The hypervisor's connection breaks: events end, as they do when libvirtd restarts."""
        self._events.close()

    # The parts of the verbs.

    @asynccontextmanager
    async def _verb(self, verb: Verb, instance: str) -> AsyncIterator[None]:
        """Meet the fault planned for this verb, before or after its body."""
        fault = self._faults.fault(verb, instance)
        if isinstance(fault, DriverError):
            raise fault
        if isinstance(fault, Hang) and not fault.done:
            await _hang(fault.seconds)
        yield
        if isinstance(fault, Hang) and fault.done:
            await _hang(fault.seconds)
        if isinstance(fault, GuestDies):
            self.host.kill_guest(instance)

    async def _take(self, verb: Verb, times: float = 1.0) -> None:
        """Wait as long as the verb takes; not at all when the latency factor is 0."""
        seconds = SECONDS[verb] * times * self._settings.latency_factor
        if seconds > 0:
            jitter = self._settings.jitter
            await asyncio.sleep(seconds * self._clock.random.uniform(1 - jitter, 1 + jitter))

    async def _boot_anew(
        self, spec: GuestSpec, verb: Verb, rescue_image: str = "", *, stay_off: bool = False
    ) -> None:
        """Cut the power, define, and power on."""
        self.host.power_off(spec.instance)
        self.host.discard_saved(spec.instance)
        self.host.define(spec, rescue_image)
        await self._take(verb)
        if not stay_off:
            self.host.power_on(spec.instance)

    async def _fetch(self, image: GuestImage | None, progress: Progress) -> None:
        if image is None:
            return
        if self.host.has_image(image.image):
            self._hits += 1
            return
        self._misses += 1
        progress("image", 0, image.size_bytes)
        await self._take("fetch", image.size_bytes / _GIB)
        self.host.cache_image(image.image)
        progress("image", image.size_bytes, image.size_bytes)

    async def _ask_by_acpi(self, guest: SimulatedGuest, verb: Verb, timeout_s: float) -> bool:
        """Whether the guest powered itself off in time; it can only when it runs and listens."""
        if guest.power_state is not PowerState.RUNNING:
            return False
        if guest.ignores_acpi:
            await asyncio.sleep(timeout_s)
            return False
        await self._take(verb)
        return True

    def _of_generation(self, spec: GuestSpec) -> SimulatedGuest:
        guest = self.host.guest(spec.instance)
        if guest.spec.generation != spec.generation:
            raise DriverError("stale", "The guest on this host is of another generation.")
        return guest

    def _state(self, instance: str) -> GuestState:
        return self.host.guest(instance).state


def make(context: DriverContext) -> SimulatedDriver:
    """The entry point's factory: a host whose guests are remembered in the agent's state folder."""
    settings = checked_options(context, SimulatedSettings)
    file = GuestFile(context.state_folder / "guests.jsonl")
    return SimulatedDriver(settings, context.clock, host=SimulatedHost(settings, context.clock, file))


def _require_saved(guest: SimulatedGuest) -> None:
    if guest.power_state is not PowerState.SUSPENDED:
        raise DriverError("wrong_state", "The guest is not suspended.")


async def _hang(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)
