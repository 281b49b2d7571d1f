"""The libvirt driver: the driver interface over one host's libvirtd.

Each verb holds its instance's lock, looks at what is, and acts; blocking work happens in threads and
waiting is done by events with a slow look beside them, since events are lost over a reconnect. Not
here: XML (``domain_xml``), libvirt's calls (``domains``), files (``files``), disks (``disk``).
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from hostagent.config_drive import config_drive
from hostagent.driver import DriverError, GuestEvent, Progress, RebootKind
from hostagent.drivers.event_stream import EventStream
from hostagent.drivers.libvirt import domains, files, probe
from hostagent.drivers.libvirt.connection import Connection
from hostagent.drivers.libvirt.disk import check_image, make_overlay
from hostagent.drivers.libvirt.domain_xml import DomainPaths, Hardware, domain_xml
from hostagent.drivers.libvirt.files import GuestFolder
from hostagent.drivers.libvirt.job import run_job
from hostagent.drivers.libvirt.settings import EMULATOR_CPU, MACHINE, TB_CACHE_MIB, LibvirtSettings
from hostagent.drivers.lock import NamedLocks
from hostagent.drivers.thread import in_thread
from hostagent.images import Fetch, HttpFetch, ImageCache
from process.clock import Clock
from protocol.guest import GuestImage, GuestSpec, GuestState, HostInventory, PowerState

TEND_S: Final = 15.0  # between two looks at the console logs
EVICT_S: Final = 600.0  # between two looks at the image cache
LOOK_S: Final = 1.0  # between two looks at a guest that is expected to change
REBOOT_RETRY_S: Final = 10.0  # a guest that is still booting does not hear the power button
_GIB: Final = 1 << 30


class LibvirtDriver:
    """One host's libvirt; see ``hostagent.driver.Driver`` for the methods.

    ``events()`` ends when the connection is lost; ``open()`` connects again.
    """

    def __init__(
        self, settings: LibvirtSettings, state_folder: Path, clock: Clock, *, fetch: Fetch | None = None
    ) -> None:
        self._settings = settings
        self._state_folder = state_folder
        self._clock = clock
        self._instances = Path(settings.instances_path)
        self._images = ImageCache(
            self._instances / files.IMAGES,
            fetch or HttpFetch(settings.images),
            settings.images,
            clock,
            check=check_image,
        )
        self._connection = Connection(
            settings.uri, on_change=self._changed, on_reboot=self._rebooted, on_lost=self._lost
        )
        self._hardware: Hardware | None = None
        self._locks = NamedLocks()
        self._boots = asyncio.Semaphore(settings.boots_at_once)
        self._events = EventStream()
        self._known: dict[str, PowerState] = {}
        self._changes: dict[str, asyncio.Event] = {}
        self._reboots: dict[str, asyncio.Event] = {}
        self._unseen: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._log = structlog.get_logger(service="agent").bind(host=settings.hostname)

    async def open(self) -> None:
        await self._end_tasks()
        await self._connection.open()
        if self._hardware is None:  # the first time; later a download may be under way
            with files.stored():
                await in_thread(None, self._instances.mkdir, parents=True, exist_ok=True, mode=0o711)
                await self._images.open()
                direct_io = await in_thread(None, files.takes_direct_io, self._instances)
            self._hardware = await self._choose_hardware(direct_io=direct_io)
        self._events = EventStream()
        self._tasks = [
            asyncio.create_task(self._watch(), name="libvirt watch"),
            asyncio.create_task(self._tend(), name="libvirt tend"),
        ]

    async def close(self) -> None:
        await self._end_tasks()
        self._events.close()
        await self._connection.close()

    def events(self) -> AsyncIterator[GuestEvent]:
        return self._events

    async def inventory(self) -> HostInventory:
        hardware = self._ready()
        version, memory_mib, cpus = await self._connection.call(domains.host_facts)
        disk = await in_thread(None, shutil.disk_usage, self._instances)
        return HostInventory(
            hostname=self._settings.hostname,
            hypervisor_type="QEMU",
            hypervisor_version=version,
            vcpus=cpus,
            memory_mib=max(0, memory_mib - self._settings.reserved_memory_mib),
            disk_gib=disk.total // _GIB,
            cpu_model=hardware.cpu_model or "host-model",
            virt_type=hardware.virt_type,
            host_ip=self._settings.host_ip,
        )

    async def guests(self) -> list[GuestState]:
        states = {state.instance: state for state in await self._connection.call(domains.look_at_all)}
        for note in await in_thread(None, self._notes):
            states.setdefault(note.instance, _undefined(note))
        self._known = {state.instance: state.power_state for state in states.values()}
        return list(states.values())

    async def guest(self, instance: str) -> GuestState | None:
        folder = GuestFolder(self._instances, instance)
        state = await self._connection.call(domains.look, instance)
        if state is None:
            note = await in_thread(None, folder.note)
            return _undefined(note) if note else None
        return state

    async def spawn(self, spec: GuestSpec, progress: Progress) -> GuestState:
        self._ready()
        async with self._at_work(spec.instance) as folder:
            there = await self.guest(spec.instance)
            if there is not None:
                if there.generation > spec.generation:
                    raise DriverError("stale", "A newer generation of the guest is on this host.")
                if there.generation < spec.generation:
                    await self._remove(spec.instance, folder)
                elif domains.is_on(there):
                    return there
            try:
                await in_thread(None, folder.make, spec)
                await self._make_disk(spec, folder, progress)
                await self._boot(spec, folder)
            except DriverError:
                await self._undo_spawn(spec.instance, folder)
                raise
            return await self._state(spec.instance)

    async def start(self, spec: GuestSpec) -> GuestState:
        async with self._at_work(spec.instance) as folder:
            state = await self._of_generation(spec)
            if not domains.is_on(state):
                await self._boot(spec, folder)
            return await self._state(spec.instance)

    async def shut_down(self, instance: str, timeout_s: float, retry_s: float) -> GuestState:
        async with self._at_work(instance):
            state = await self._state(instance)
            # A paused guest cannot hear the power button.
            if state.power_state is PowerState.RUNNING:
                await self._ask_to_go_off(instance, timeout_s, retry_s)
            await self._connection.call(domains.power_off, instance)
            return await self._state(instance)

    async def power_off(self, instance: str) -> GuestState:
        async with self._at_work(instance):
            await self._connection.call(domains.power_off, instance)
            return await self._state(instance)

    async def reboot(self, spec: GuestSpec, kind: RebootKind, timeout_s: float) -> GuestState:
        async with self._at_work(spec.instance) as folder:
            state = await self._of_generation(spec)
            soft = kind == "soft" and state.power_state is PowerState.RUNNING
            if not (soft and await self._restart_by_guest(spec.instance, timeout_s)):
                await self._connection.call(domains.power_off, spec.instance)
                await self._connection.call(domains.discard_saved, spec.instance)
                await self._boot(spec, folder)
            return await self._state(spec.instance)

    async def pause(self, instance: str) -> GuestState:
        async with self._at_work(instance):
            await self._connection.call(domains.pause, instance)
            return await self._state(instance)

    async def unpause(self, instance: str) -> GuestState:
        async with self._at_work(instance):
            await self._connection.call(domains.unpause, instance)
            return await self._state(instance)

    async def suspend(self, instance: str, progress: Progress) -> GuestState:
        async with self._at_work(instance):
            state = await self._state(instance)
            if state.power_state is not PowerState.SUSPENDED:
                await run_job(self._connection, domains.save, instance, "memory", progress)
            return await self._state(instance)

    async def resume(self, instance: str) -> GuestState:
        async with self._at_work(instance), self._boots:
            await self._connection.call_long(domains.restore, instance)
            return await self._state(instance)

    async def rescue(
        self, spec: GuestSpec, image: GuestImage, progress: Progress, *, own_first: bool
    ) -> GuestState:
        async with self._at_work(spec.instance) as folder:
            state = await self._of_generation(spec)
            if not (state.rescued and domains.is_on(state)):
                base = await self._image(image, progress)
                await self._connection.call(domains.power_off, spec.instance)
                await in_thread(None, folder.make, spec, image.image)
                await make_overlay(base, image.disk_format, folder.rescue_disk, 0)
                await self._boot(spec, folder, rescue=True, own_first=own_first)
            return await self._state(spec.instance)

    async def unrescue(self, spec: GuestSpec, *, stay_off: bool) -> GuestState:
        async with self._at_work(spec.instance) as folder:
            state = await self._of_generation(spec)
            if state.rescued or domains.is_on(state) is stay_off:
                await self._connection.call(domains.power_off, spec.instance)
                await self._define(spec, folder)
            await in_thread(None, folder.make, spec)
            if not stay_off:
                await self._power_on(spec.instance)
            return await self._state(spec.instance)

    async def destroy(self, instance: str) -> None:
        async with self._at_work(instance) as folder:
            await self._remove(instance, folder)

    async def console_log(self, instance: str, bytes_max: int) -> bytes:
        folder = GuestFolder(self._instances, instance)
        if await self.guest(instance) is None:
            raise DriverError("not_found", "There is no such guest on this host.")
        return await in_thread(None, folder.read_console, max(0, bytes_max))

    # The parts of the verbs. Their callers hold the instance's lock.

    @asynccontextmanager
    async def _at_work(self, instance: str) -> AsyncIterator[GuestFolder]:
        """Hold the instance's lock; afterwards look again if it changed by itself meanwhile."""
        folder = GuestFolder(self._instances, instance)
        try:
            async with self._locks.hold(instance):
                yield folder
        finally:
            if instance in self._unseen:
                self._wake.set()

    def _ready(self) -> Hardware:
        if self._hardware is None:
            raise DriverError("hypervisor_unavailable", "The host's hypervisor is not connected.")
        return self._hardware

    async def _choose_hardware(self, *, direct_io: bool) -> Hardware:
        virt_type = self._settings.virt_type
        if virt_type == "auto":
            usable = await probe.kvm_runs_guests(self._state_folder)
            offered = usable and await self._connection.call(domains.offers, "kvm", MACHINE)
            virt_type = "kvm" if offered else "qemu"
        cpu_model = self._settings.cpu_model or (EMULATOR_CPU if virt_type == "qemu" else "")
        self._log.info("libvirt.hardware", virt_type=virt_type, cpu_model=cpu_model or "host-model")
        return Hardware(
            virt_type=virt_type,
            machine=MACHINE,
            cpu_model=cpu_model,
            disk_cache="none" if direct_io else "writeback",
            bridge=self._settings.bridge,
            tb_cache_mib=TB_CACHE_MIB,
        )

    async def cache_image(self, image: GuestImage, progress: Progress) -> None:
        await self._image(image, progress)

    def figures(self) -> dict[str, float]:
        return msgspec.structs.asdict(self._images.figures)

    async def _make_disk(self, spec: GuestSpec, folder: GuestFolder, progress: Progress) -> None:
        if spec.image is None:
            raise DriverError("unsupported", "This host boots guests from images only.")
        if await in_thread(None, folder.disk.exists):
            return
        base = await self._image(spec.image, progress)
        await make_overlay(base, spec.image.disk_format, folder.disk, spec.disk_gib)

    async def _image(self, image: GuestImage, progress: Progress) -> Path:
        try:
            return await self._images.path_of(image, progress)
        except DriverError as error:
            if error.code != "disk_full" or not await self._evict():
                raise
        return await self._images.path_of(image, progress)

    async def _boot(
        self, spec: GuestSpec, folder: GuestFolder, *, rescue: bool = False, own_first: bool = False
    ) -> None:
        """Define as the specification says now, and power on."""
        await self._define(spec, folder, rescue=rescue, own_first=own_first)
        await self._power_on(spec.instance)

    async def _define(
        self, spec: GuestSpec, folder: GuestFolder, *, rescue: bool = False, own_first: bool = False
    ) -> None:
        with_drive = spec.config_drive or self._settings.force_config_drive
        if with_drive:
            await in_thread(None, lambda: folder.write_config_drive(config_drive(spec)))
        paths = DomainPaths(
            disk=str(folder.disk),
            config_drive=str(folder.config_drive) if with_drive else "",
            console_log=str(folder.console_log),
            rescue_disk=str(folder.rescue_disk) if rescue else "",
            own_first=own_first,
        )
        await self._connection.call(domains.define, domain_xml(spec, self._ready(), paths))
        if not rescue:
            await in_thread(None, folder.remove_rescue)

    async def _power_on(self, instance: str) -> None:
        async with self._boots:
            await self._connection.call(domains.power_on, instance)

    async def _ask_to_go_off(self, instance: str, timeout_s: float, retry_s: float) -> None:
        """Press the power button every ``retry_s`` until the guest is off or ``timeout_s`` has passed."""
        give_up_at = self._clock.monotonic() + timeout_s
        while (left_s := give_up_at - self._clock.monotonic()) > 0:
            await self._connection.call(domains.press_power_button, instance, restart=False)
            if await self._off_within(instance, min(retry_s, left_s)):
                return

    async def _off_within(self, instance: str, seconds: float) -> bool:
        until = self._clock.monotonic() + seconds
        changed = self._changes.setdefault(instance, asyncio.Event())
        try:
            while True:
                changed.clear()
                if not domains.is_on(await self._state(instance)):
                    return True
                left_s = until - self._clock.monotonic()
                if left_s <= 0:
                    return False
                await _wait(changed, min(LOOK_S, left_s))
        finally:
            self._changes.pop(instance, None)

    async def _restart_by_guest(self, instance: str, timeout_s: float) -> bool:
        """Whether the guest restarted itself in time."""
        give_up_at = self._clock.monotonic() + timeout_s
        rebooted = self._reboots.setdefault(instance, asyncio.Event())
        try:
            while (left_s := give_up_at - self._clock.monotonic()) > 0:
                await self._connection.call(domains.press_power_button, instance, restart=True)
                if await _wait(rebooted, min(REBOOT_RETRY_S, left_s)):
                    return True
                if not domains.is_on(await self._state(instance)):
                    return False
            return False
        finally:
            self._reboots.pop(instance, None)

    async def _remove(self, instance: str, folder: GuestFolder) -> None:
        await self._connection.call(domains.power_off, instance)
        await self._connection.call(domains.undefine, instance)
        await in_thread(None, folder.remove)
        self._known.pop(instance, None)

    async def _undo_spawn(self, instance: str, folder: GuestFolder) -> None:
        try:
            await self._remove(instance, folder)
        except DriverError as error:
            # The folder stays, so the guest is reported and can be destroyed later.
            self._log.warning("libvirt.undo_failed", instance=instance, code=error.code)

    async def _of_generation(self, spec: GuestSpec) -> GuestState:
        state = await self._state(spec.instance)
        if state.generation != spec.generation:
            raise DriverError("stale", "The guest on this host is of another generation.")
        return state

    async def _state(self, instance: str) -> GuestState:
        """The guest as it is now, remembered as known. Raises ``DriverError`` ``not_found``."""
        state = await self._connection.call(domains.look, instance)
        if state is None:
            raise DriverError("not_found", "There is no such guest on this host.")
        self._known[instance] = state.power_state
        return state

    def _notes(self) -> list[files.Note]:
        notes = (folder.note() for folder in files.folders(self._instances))
        return [note for note in notes if note is not None]

    # What happens without being asked for. Callbacks come on the loop.

    def _changed(self, instance: str) -> None:
        changed = self._changes.get(instance)
        if changed is not None:
            changed.set()
        self._unseen[instance] = None
        self._wake.set()

    def _rebooted(self, instance: str) -> None:
        rebooted = self._reboots.get(instance)
        if rebooted is not None:
            rebooted.set()

    def _lost(self) -> None:
        self._events.close()

    async def _watch(self) -> None:
        """Look at guests that changed, and tell of those that are not as a verb left them."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for instance in [name for name in self._unseen if not self._locks.held(name)]:
                del self._unseen[instance]
                async with self._locks.hold(instance):
                    await self._tell_if_changed(instance)

    async def _tell_if_changed(self, instance: str) -> None:
        try:
            state = await self._connection.call(domains.look, instance)
        except DriverError as error:
            self._log.warning("libvirt.look_failed", instance=instance, code=error.code)
            return
        if state is not None and self._known.get(instance) is not state.power_state:
            self._known[instance] = state.power_state
            self._events.put(GuestEvent(instance=instance, state=state, reason=state.reason))

    async def _tend(self) -> None:
        """Keep console logs and the image cache within their limits."""
        evict_at = self._clock.monotonic() + EVICT_S
        while True:
            await asyncio.sleep(TEND_S)
            await in_thread(None, self._cut_consoles)
            if self._clock.monotonic() >= evict_at:
                evict_at = self._clock.monotonic() + EVICT_S
                await self._evict()

    def _cut_consoles(self) -> None:
        for folder in files.folders(self._instances):
            with contextlib.suppress(OSError):  # a guest may be destroyed meanwhile
                folder.cut_console(self._settings.console_bytes_max)

    async def _evict(self) -> list[str]:
        in_use = await in_thread(None, files.images_in_use, self._instances)
        if in_use is None:
            self._log.warning("images.not_evicted", reason="a guest's note is unreadable")
            return []
        return await self._images.evict(in_use)

    async def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                self._log.error("libvirt.task_broke", exc_info=result)


def _undefined(note: files.Note) -> GuestState:
    return GuestState(
        instance=note.instance,
        generation=note.generation,
        power_state=PowerState.NOSTATE,
        reason="The guest was never started.",
    )


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
