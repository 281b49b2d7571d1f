"""What every driver promises: one suite for the simulated hypervisor and for libvirt.

Each verb is done twice, for each must be idempotent. On libvirt the guests really boot.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hostagent.driver import Driver, DriverError
from protocol.guest import GuestNic, GuestSpec, PowerState
from tests.hostagent.drivers.harness import (
    CONSOLE_BYTES,
    Harness,
    LibvirtHarness,
    SimulatedHarness,
    beats,
    console_until,
)
from tests.hostagent.drivers.specs import IMAGE, INSTANCE, quiet, spec

FIRST_BEAT = r"from=config-drive.*HEARTBEAT n=\d+ host=web-1"
NIC = GuestNic(
    port="7b2e4a10-0000-4000-8000-000000000001",
    network="7b2e4a10-0000-4000-8000-0000000000ff",
    mac="fa:16:3e:00:00:11",
    ip="10.0.0.11",
    gateway="10.0.0.1",
)


@pytest.fixture(
    params=["simulated", pytest.param("libvirt", marks=[pytest.mark.libvirt, pytest.mark.timeout(600)])]
)
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    if request.param == "simulated":
        yield SimulatedHarness()
        return
    real = LibvirtHarness(
        request.getfixturevalue("libvirtd_uri"),
        tmp_path,
        request.getfixturevalue("guest_image"),
        request.getfixturevalue("guest_image_path"),
    )
    yield real
    real.close()


@pytest.fixture
async def driver(harness: Harness) -> AsyncIterator[Driver]:
    opened = harness.driver()
    await opened.open()
    yield opened
    await opened.destroy(INSTANCE)
    await opened.close()


@pytest.fixture
def guest(harness: Harness) -> GuestSpec:
    return replace(spec(image=harness.image), nics=(NIC,))


async def _booted(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    await driver.spawn(guest, quiet)
    await console_until(harness, driver, INSTANCE, FIRST_BEAT)


async def test_spawn_boots_once_and_is_found(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    for _ in range(2):
        state = await driver.spawn(guest, quiet)
        assert (state.instance, state.generation) == (INSTANCE, 1)
        assert state.power_state is PowerState.RUNNING
    text = await console_until(harness, driver, INSTANCE, FIRST_BEAT)
    assert text.count("BOOT count=1 ") == 1
    assert f"CLOUD uuid={INSTANCE} hostname=web-1" in text
    assert await driver.guests() == [state]
    assert await driver.guest(INSTANCE) == state
    assert len(await driver.console_log(INSTANCE, 100)) == 100


async def test_an_image_can_be_there_before_its_first_guest(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    assert guest.image is not None
    for _ in range(2):
        await driver.cache_image(guest.image, quiet)
    await driver.spawn(guest, quiet)
    figures = driver.figures()
    assert (figures["image_misses"], figures["image_hits"]) == (1, 2)
    assert (figures["images_cached"], figures["images_evicted"]) == (1, 0)


async def test_pause_stops_the_heart_and_unpause_lets_it_go_on(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await _booted(harness, driver, guest)
    for _ in range(2):
        assert (await driver.pause(INSTANCE)).power_state is PowerState.PAUSED
    frozen = await beats(driver, INSTANCE)
    await harness.pass_time(3.0)
    assert await beats(driver, INSTANCE) == frozen
    for _ in range(2):
        assert (await driver.unpause(INSTANCE)).power_state is PowerState.RUNNING
    await console_until(harness, driver, INSTANCE, rf"HEARTBEAT n={frozen + 2} ")


async def test_a_suspended_guest_goes_on_where_it_was(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await _booted(harness, driver, guest)
    for _ in range(2):
        assert (await driver.suspend(INSTANCE, quiet)).power_state is PowerState.SUSPENDED
    saved = await beats(driver, INSTANCE)
    await driver.close()  # nothing that runs is needed to keep it
    await driver.open()
    assert [state.power_state for state in await driver.guests()] == [PowerState.SUSPENDED]
    await harness.pass_time(1.0)
    for _ in range(2):
        assert (await driver.resume(INSTANCE)).power_state is PowerState.RUNNING
    text = await console_until(harness, driver, INSTANCE, rf"HEARTBEAT n={saved + 2} ")
    assert text.count("BOOT count=") == 1


async def test_a_hard_reboot_discards_what_was_saved(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await _booted(harness, driver, guest)
    await driver.suspend(INSTANCE, quiet)
    assert (await driver.reboot(guest, "hard", 120.0)).power_state is PowerState.RUNNING
    await console_until(harness, driver, INSTANCE, r"BOOT count=2 .*HEARTBEAT")
    await driver.suspend(INSTANCE, quiet)
    await driver.destroy(INSTANCE)
    assert harness.leftovers(INSTANCE) == []


async def test_a_rescued_guest_runs_another_system_beside_its_disk(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await _booted(harness, driver, guest)
    for _ in range(2):
        state = await driver.rescue(guest, harness.image, quiet, own_first=False)
        assert (state.power_state, state.rescued) == (PowerState.RUNNING, True)
    await console_until(harness, driver, INSTANCE, r"BOOT count=1 .*BOOT count=1 .*HEARTBEAT n=1 ")
    assert (await driver.shut_down(INSTANCE, 120.0, 10.0)).rescued
    for _ in range(2):
        state = await driver.unrescue(guest, stay_off=False)
        assert (state.power_state, state.rescued) == (PowerState.RUNNING, False)
    text = await console_until(harness, driver, INSTANCE, r"BOOT count=2 .*HEARTBEAT n=1 ")
    assert "BOOT count=3" not in text


async def test_a_rescue_that_is_undone_leaves_the_guest_off(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await driver.spawn(guest, quiet)
    await driver.power_off(INSTANCE)
    await driver.rescue(guest, harness.image, quiet, own_first=True)
    for _ in range(2):
        state = await driver.unrescue(guest, stay_off=True)
        assert (state.power_state, state.rescued) == (PowerState.SHUTDOWN, False)


async def test_soft_reboot_lets_the_guest_say_goodbye(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await _booted(harness, driver, guest)
    assert (await driver.reboot(guest, "soft", 120.0)).power_state is PowerState.RUNNING
    text = await console_until(harness, driver, INSTANCE, rf"SHUTDOWN up=.*BOOT count=2 .*{FIRST_BEAT}")
    assert text.count("SHUTDOWN up=") == 1


async def test_hard_reboot_cuts_the_power(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    await _booted(harness, driver, guest)
    assert (await driver.reboot(guest, "hard", 120.0)).power_state is PowerState.RUNNING
    text = await console_until(harness, driver, INSTANCE, r"BOOT count=2 .*HEARTBEAT")
    assert "SHUTDOWN" not in text


async def test_shut_down_then_start(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    await _booted(harness, driver, guest)
    for _ in range(2):
        assert (await driver.shut_down(INSTANCE, 120.0, 10.0)).power_state is PowerState.SHUTDOWN
    assert b"SHUTDOWN up=" in await driver.console_log(INSTANCE, CONSOLE_BYTES)
    for _ in range(2):
        assert (await driver.start(guest)).power_state is PowerState.RUNNING
    text = await console_until(harness, driver, INSTANCE, r"BOOT count=2 .*HEARTBEAT")
    assert text.count("BOOT count=") == 2


async def test_shut_down_forces_a_guest_that_does_not_listen(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await _booted(harness, driver, guest)
    await driver.pause(INSTANCE)  # nobody is there to hear the power button
    assert (await driver.shut_down(INSTANCE, 120.0, 10.0)).power_state is PowerState.SHUTDOWN
    assert b"SHUTDOWN" not in await driver.console_log(INSTANCE, CONSOLE_BYTES)


async def test_power_off_cuts_the_power(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    await _booted(harness, driver, guest)
    for _ in range(2):
        assert (await driver.power_off(INSTANCE)).power_state is PowerState.SHUTDOWN
    assert b"SHUTDOWN" not in await driver.console_log(INSTANCE, CONSOLE_BYTES)


async def test_destroy_leaves_nothing(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    await driver.spawn(guest, quiet)
    assert harness.leftovers(INSTANCE)
    for _ in range(2):
        await driver.destroy(INSTANCE)
        assert harness.leftovers(INSTANCE) == []
    assert await driver.guests() == []
    assert await driver.guest(INSTANCE) is None


async def test_killed_guest_makes_an_event_and_can_be_started(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await driver.spawn(guest, quiet)
    harness.kill_guest(INSTANCE)
    async with asyncio.timeout(30):
        event = await anext(driver.events())
    assert (event.instance, event.state.generation) == (INSTANCE, 1)
    assert event.state.power_state is PowerState.CRASHED
    assert (await driver.start(guest)).power_state is PowerState.RUNNING


async def test_guest_that_shuts_itself_down_makes_an_event(
    harness: Harness, driver: Driver, guest: GuestSpec
) -> None:
    await _booted(harness, driver, guest)
    harness.press_power_button(INSTANCE)
    async with asyncio.timeout(60):
        event = await anext(driver.events())
    assert event.state.power_state is PowerState.SHUTDOWN
    assert event.reason


async def test_guest_outlives_the_agent(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    await _booted(harness, driver, guest)
    await driver.close()
    restarted = harness.driver()
    await restarted.open()
    assert [state.power_state for state in await restarted.guests()] == [PowerState.RUNNING]
    seen = await beats(restarted, INSTANCE)
    await console_until(harness, restarted, INSTANCE, rf"HEARTBEAT n={seen + 1} ")
    await restarted.destroy(INSTANCE)
    await restarted.close()
    await driver.open()


async def test_generations(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    await driver.spawn(replace(guest, generation=2), quiet)
    with pytest.raises(DriverError) as stale:
        await driver.spawn(guest, quiet)
    assert stale.value.code == "stale"
    with pytest.raises(DriverError):
        await driver.start(guest)
    state = await driver.spawn(replace(guest, generation=3), quiet)
    assert state.generation == 3
    text = await console_until(harness, driver, INSTANCE, FIRST_BEAT)
    assert "BOOT count=2" not in text  # a disk of its own, not the former generation's


async def test_a_spawn_that_fails_leaves_nothing(harness: Harness, driver: Driver, guest: GuestSpec) -> None:
    huge = replace(guest, memory_mib=1 << 30)
    with pytest.raises(DriverError) as failed:
        await driver.spawn(huge, quiet)
    assert failed.value.code in {"no_memory", "hypervisor"}
    assert harness.leftovers(INSTANCE) == []


async def test_verbs_on_a_guest_that_is_not_there(driver: Driver, guest: GuestSpec) -> None:
    for verb in (
        driver.start(guest),
        driver.shut_down(INSTANCE, 1.0, 1.0),
        driver.power_off(INSTANCE),
        driver.reboot(guest, "hard", 1.0),
        driver.pause(INSTANCE),
        driver.unpause(INSTANCE),
        driver.suspend(INSTANCE, quiet),
        driver.resume(INSTANCE),
        driver.rescue(guest, guest.image or IMAGE, quiet, own_first=False),
        driver.unrescue(guest, stay_off=False),
        driver.console_log(INSTANCE, 100),
    ):
        with pytest.raises(DriverError) as missing:
            await verb
        assert missing.value.code == "not_found"


async def test_pausing_a_guest_that_is_off_is_refused(driver: Driver, guest: GuestSpec) -> None:
    await driver.spawn(guest, quiet)
    await driver.power_off(INSTANCE)
    for verb in (
        driver.pause(INSTANCE),
        driver.unpause(INSTANCE),
        driver.suspend(INSTANCE, quiet),
        driver.resume(INSTANCE),
    ):
        with pytest.raises(DriverError) as refused:
            await verb
        assert refused.value.code == "wrong_state"


async def test_inventory(driver: Driver) -> None:
    inventory = await driver.inventory()
    assert inventory.vcpus > 0
    assert inventory.memory_mib > 0
    assert inventory.disk_gib > 0
    assert inventory.hostname


async def test_driver_is_opened_again_after_its_events_ended(driver: Driver, guest: GuestSpec) -> None:
    await driver.open()
    await driver.spawn(guest, quiet)
    await driver.open()
    assert [state.instance for state in await driver.guests()] == [INSTANCE]
