"""What only the simulated driver has: faults, capacity, survival of its host, virtual time."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable

import pytest

from hostagent.driver import DriverError
from hostagent.drivers.simulated import (
    FaultScript,
    GuestDies,
    Hang,
    SimulatedDriver,
    SimulatedHypervisor,
    SimulatedSettings,
)
from protocol.guest import GuestState, PowerState
from tests.hostagent.drivers.specs import IMAGE, INSTANCE, ManualClock, quiet, spec

OTHER = "11111111-2222-4333-8444-555555555555"
INSTANT = SimulatedSettings(latency_factor=0.0)


class _VirtualSelector(selectors.SelectSelector):
    """A selector that never sleeps: it moves the clock instead."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._clock.time += timeout or 0.0
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_VirtualSelector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.time


def _run_virtually(seed: int, story: Callable[[ManualClock], Awaitable[None]]) -> float:
    clock = ManualClock(seed)
    loop = _VirtualLoop(clock)
    try:
        began = clock.time
        loop.run_until_complete(story(clock))
        return clock.time - began
    finally:
        loop.close()


async def test_no_verb_suspends_when_latency_is_zero() -> None:
    driver = SimulatedDriver(INSTANT, ManualClock())
    verb = driver.spawn(spec(), quiet)
    with pytest.raises(StopIteration) as ended:
        verb.send(None)
    state: GuestState = ended.value.value
    assert state.power_state is PowerState.RUNNING


def test_same_seed_takes_the_same_virtual_time() -> None:
    async def story(clock: ManualClock) -> None:
        driver = SimulatedDriver(SimulatedSettings(), clock)
        await driver.spawn(spec(), quiet)
        await driver.shut_down(INSTANCE, 60.0, 10.0)
        await driver.start(spec())

    first, again, other = (_run_virtually(seed, story) for seed in (7, 7, 8))
    assert first == again != other
    assert 8.0 < first < 20.0  # the image of one GiB and a few boots


def test_guest_that_ignores_acpi_is_forced_off_after_the_timeout() -> None:
    async def story(clock: ManualClock) -> None:
        driver = SimulatedDriver(INSTANT, clock)
        await driver.spawn(spec(), quiet)
        driver.host.guest(INSTANCE).ignores_acpi = True
        state = await driver.shut_down(INSTANCE, 60.0, 10.0)
        assert state.power_state is PowerState.SHUTDOWN
        assert b"SHUTDOWN" not in await driver.console_log(INSTANCE, 10_000)

    assert _run_virtually(1, story) == pytest.approx(60.0)


async def test_guests_outlive_the_agent() -> None:
    clock, hypervisor = ManualClock(), SimulatedHypervisor()
    first = SimulatedDriver(INSTANT, clock, hypervisor=hypervisor)
    await first.open()
    await first.spawn(spec(), quiet)
    second = SimulatedDriver(INSTANT, clock, hypervisor=hypervisor)
    await second.open()
    assert [state.power_state for state in await second.guests()] == [PowerState.RUNNING]
    second.host.guest_shuts_down(INSTANCE)
    event = await anext(second.events())
    assert (event.instance, event.state.power_state) == (INSTANCE, PowerState.SHUTDOWN)


async def test_spawn_fails_when_memory_is_physically_out_and_leaves_nothing() -> None:
    driver = SimulatedDriver(SimulatedSettings(memory_mib=200, latency_factor=0.0), ManualClock())
    await driver.spawn(spec(), quiet)
    with pytest.raises(DriverError) as refused:
        await driver.spawn(spec(OTHER), quiet)
    assert refused.value.code == "no_memory"
    assert driver.host.running() == [(INSTANCE, 1)]
    assert await driver.guest(OTHER) is None
    await driver.power_off(INSTANCE)
    await driver.spawn(spec(OTHER), quiet)
    assert driver.host.running() == [(OTHER, 1)]


async def test_spawn_fails_when_the_disk_is_full() -> None:
    driver = SimulatedDriver(SimulatedSettings(disk_gib=1, latency_factor=0.0), ManualClock())
    await driver.spawn(spec(), quiet)
    with pytest.raises(DriverError) as refused:
        await driver.spawn(spec(OTHER), quiet)
    assert refused.value.code == "disk_full"
    await driver.destroy(INSTANCE)
    await driver.spawn(spec(OTHER), quiet)
    assert (driver.host.memory_used_mib, driver.host.disk_used_gib) == (128, 1)


async def test_faults_are_met_in_the_order_in_which_they_were_planned() -> None:
    faults = FaultScript()
    faults.add("spawn", DriverError("image_corrupt", "The image's checksum is wrong."), None)
    driver = SimulatedDriver(INSTANT, ManualClock(), faults=faults)
    with pytest.raises(DriverError):
        await driver.spawn(spec(), quiet)
    assert await driver.guest(INSTANCE) is None
    await driver.spawn(spec(), quiet)
    assert driver.host.running() == [(INSTANCE, 1)]


async def test_a_hung_verb_that_was_done_is_found_done_by_its_repetition() -> None:
    faults = FaultScript()
    faults.add("spawn", Hang(done=True))
    driver = SimulatedDriver(INSTANT, ManualClock(), faults=faults)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await driver.spawn(spec(), quiet)
    assert driver.host.running() == [(INSTANCE, 1)]
    assert (await driver.spawn(spec(), quiet)).power_state is PowerState.RUNNING


async def test_guest_dies_makes_an_event_after_the_answer() -> None:
    faults = FaultScript()
    faults.add("spawn", GuestDies())
    driver = SimulatedDriver(INSTANT, ManualClock(), faults=faults)
    await driver.open()
    assert (await driver.spawn(spec(), quiet)).power_state is PowerState.RUNNING
    event = await anext(driver.events())
    assert event.state.power_state is PowerState.CRASHED


def test_destroy_waits_for_the_spawn_it_ends() -> None:
    async def story(clock: ManualClock) -> None:
        driver = SimulatedDriver(SimulatedSettings(), clock)
        spawning = asyncio.ensure_future(driver.spawn(spec(), quiet))
        await asyncio.sleep(0.1)
        spawning.cancel()
        await driver.destroy(INSTANCE)
        assert spawning.cancelled()
        assert await driver.guests() == []

    _run_virtually(1, story)


async def test_running_twice_names_the_hosts() -> None:
    clock, hypervisor = ManualClock(), SimulatedHypervisor()
    for hostname in ("a", "b"):
        settings = SimulatedSettings(hostname=hostname, latency_factor=0.0)
        await SimulatedDriver(settings, clock, hypervisor=hypervisor).spawn(spec(), quiet)
    assert hypervisor.running_twice() == {INSTANCE: ["a", "b"]}


async def test_image_is_fetched_once_per_host() -> None:
    told: list[tuple[str, int, int]] = []
    driver = SimulatedDriver(INSTANT, ManualClock())
    await driver.spawn(spec(), lambda *step: told.append(step))
    await driver.spawn(spec(OTHER), lambda *step: told.append(step))
    assert told == [("image", 0, IMAGE.size_bytes), ("image", IMAGE.size_bytes, IMAGE.size_bytes)]


async def test_console_is_bounded_however_long_the_guest_ran() -> None:
    clock = ManualClock()
    driver = SimulatedDriver(INSTANT, clock)
    await driver.spawn(spec(), quiet)
    clock.time += 10_000_000
    text = await driver.console_log(INSTANCE, 4_096)
    assert len(text) == 4_096
    assert text.endswith(b"HEARTBEAT n=9999997 host=web-1\n")
