"""A crash at every turn of the event loop: the command ends all the same, and in the right order.

The controller is played as it is: it sends its command again every few seconds until it hears an
answer. The agent is cancelled after n turns of the loop, for every n until the story is over, and
once more some turns after it came back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from bus.fault import DELIVERED, DUPLICATED, LOST, OVERTAKEN, REFUSED, UNCONFIRMED, Fate
from bus.mailbox import BusUnavailable, Parcel
from hostagent.driver import Progress
from hostagent.drivers.simulated import SimulatedDriver
from process.clock import Clock
from protocol.agent import (
    DestroyGuest,
    ForgetGuest,
    GuestCommand,
    GuestDestroyed,
    GuestFact,
    GuestFailed,
    GuestProgress,
    GuestSeen,
    GuestStarted,
    GuestStopped,
    SpawnGuest,
    StopGuest,
)
from protocol.codec import decode_bundle, decode_message
from protocol.guest import GuestSpec, GuestState, PowerState
from tests.hostagent.drivers.specs import INSTANCE, spec
from tests.hostagent.harness import HOST, World, run

HOST_QUEUE = f"host.{HOST}"
AGAIN_S = 5.0
AGENT_BACK_S = 3.0

SPAWN = SpawnGuest(instance=INSTANCE, generation=1, number=1, spec=spec())
STOP = StopGuest(instance=INSTANCE, generation=1, number=2)
DESTROY = DestroyGuest(instance=INSTANCE, generation=1, number=3)
FORGET = ForgetGuest(instance=INSTANCE, generation=1, number=3)


class Watched:
    """The driver, and the promise that nothing is done before the journal has the command."""

    def __init__(self, driver: SimulatedDriver, world: World) -> None:
        self._driver = driver
        self._world = world

    def __getattr__(self, name: str) -> object:
        return getattr(self._driver, name)

    async def spawn(self, wanted: GuestSpec, progress: Progress) -> GuestState:
        self._require(SPAWN)
        return await self._driver.spawn(wanted, progress)

    async def shut_down(self, instance: str, timeout_s: float, retry_s: float) -> GuestState:
        self._require(STOP)
        return await self._driver.shut_down(instance, timeout_s, retry_s)

    async def destroy(self, instance: str) -> None:
        self._require(DESTROY)
        await self._driver.destroy(instance)

    def _require(self, command: GuestCommand) -> None:
        entry = self._world.content.entries[command.instance]
        assert entry.pair >= (command.generation, command.number), "done before it was journaled"


class Honest:
    """A bus without faults, and the promise that no answer is sent before the journal has it."""

    def __init__(self) -> None:
        self.world: World | None = None

    def fate(self, parcel: Parcel, publisher: str) -> Fate:
        if self.world is not None and publisher.startswith("agent"):
            for stretch in decode_bundle(parcel.body).stretches:
                for envelope in stretch.envelopes:
                    self._check(decode_message(envelope.body), envelope.body)
        return DELIVERED

    def _check(self, fact: object, body: bytes) -> None:
        if not isinstance(fact, GuestFact) or isinstance(fact, GuestProgress | GuestSeen):
            return
        if isinstance(fact, GuestFailed) and fact.code == "stale":
            return
        assert self.world is not None
        entry = self.world.content.entries[fact.instance]
        assert entry.answer == body or entry.pair > (fact.generation, fact.number), "sent before journaled"


async def ask(world: World, command: GuestCommand, kind: type[GuestFact]) -> GuestFact:
    """What the controller does: send until answered."""
    while True:
        await world.send(command)
        try:
            async with asyncio.timeout(AGAIN_S):
                return await world.heard(kind, command.number)
        except TimeoutError:
            continue


async def whole_life(world: World) -> None:
    await ask(world, SPAWN, GuestStarted)
    await ask(world, STOP, GuestStopped)
    assert world.driver is not None
    guest = world.driver.host.find(INSTANCE)
    assert guest is not None
    assert guest.power_state is PowerState.SHUTDOWN
    await ask(world, DESTROY, GuestDestroyed)
    await world.send(FORGET, SPAWN)
    await asyncio.sleep(90)
    # A late spawn after all this must not bring the guest back, whatever was lost in the crash.
    assert world.driver.host.states() == []
    assert world.content.entries[INSTANCE].deleted
    assert [fact.code for fact in world.said(GuestFailed) if fact.code != "stale"] == []


async def deleted_while_building(world: World) -> None:
    await world.send(SPAWN)
    await asyncio.sleep(1)
    await ask(world, DESTROY, GuestDestroyed)
    await world.send(SPAWN)
    await asyncio.sleep(90)
    assert world.driver is not None
    assert world.driver.host.states() == []
    assert world.said(GuestStarted) == []


def crash_after(world: World, turns: Iterator[int]) -> None:
    """Cancel the agent that many turns from now, and let it come back; again while there are more."""
    turn = next(turns, None)
    if turn is None:
        return
    at = world.loop.turns + turn

    def crash(now: int) -> None:
        if now >= at:
            world.loop.on_turn = lambda _: None
            world.loop.call_soon(lambda: asyncio.ensure_future(come_back(world, turns)))
            if world.task is not None:
                world.task.cancel()

    world.loop.on_turn = crash


async def come_back(world: World, turns: Iterator[int]) -> None:
    await world.stop_agent()
    await asyncio.sleep(AGENT_BACK_S)
    world.start_agent()
    crash_after(world, turns)


def turns_of(story: Callable[[World], Awaitable[None]]) -> int:
    counted = 0

    async def counting(world: World) -> None:
        nonlocal counted
        world.start_agent()
        began = world.loop.turns
        await story(world)
        counted = world.loop.turns - began

    run(counting)
    return counted


@pytest.mark.parametrize("again_after", [None, 1, 4, 9, 15])
@pytest.mark.parametrize("story", [whole_life, deleted_while_building])
def test_a_crash_at_any_turn_changes_nothing(
    story: Callable[[World], Awaitable[None]], again_after: int | None
) -> None:
    turns = turns_of(story)
    assert turns > 60
    for turn in range(1, turns + 1):
        bus = Honest()

        async def play(world: World, turn: int = turn, bus: Honest = bus) -> None:
            bus.world = world
            world.wrap = lambda driver: Watched(driver, world)
            world.start_agent()
            crash_after(world, iter([turn] if again_after is None else [turn, again_after]))
            await story(world)

        run(play, faults=bus)


def test_a_command_sent_once_is_in_the_queue_or_in_the_journal_and_is_done_without_being_asked_again() -> (
    None
):
    def at(turn: int) -> bool:
        crashed = False

        async def play(world: World) -> None:
            nonlocal crashed
            world.start_agent()
            await world.send(SPAWN)
            back: list[int] = []

            def crash(now: int) -> None:
                if now >= turn and not back and world.task is not None:
                    back.append(now)
                    world.task.cancel()

            world.loop.on_turn = crash
            await asyncio.sleep(60)
            if world.task is not None and world.task.done():
                crashed = True
                await world.stop_agent()
                assert INSTANCE in world.content.entries or await world.controller.waiting(HOST_QUEUE)
                world.start_agent()
                await asyncio.sleep(60)
            assert world.content.entries[INSTANCE].answer
            assert world.driver is not None
            assert [state.power_state for state in world.driver.host.states()] == [PowerState.RUNNING]

        run(play)
        return crashed

    assert all(at(turn) for turn in range(1, 40))


def test_stopping_an_agent_that_is_interrupting_work_does_not_begin_the_next() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        driver = world.driver
        assert driver is not None
        await ask(world, SPAWN, GuestStarted)

        async def slow_to_end(instance: str, timeout_s: float, retry_s: float) -> GuestState:
            try:
                await asyncio.sleep(timeout_s)
            except asyncio.CancelledError:
                await asyncio.sleep(3)
                raise
            return await SimulatedDriver.shut_down(driver, instance, timeout_s, retry_s)

        driver.shut_down = slow_to_end  # type: ignore[method-assign]
        await world.send(STOP)
        await asyncio.sleep(1)
        await world.send(DESTROY)
        await asyncio.sleep(1)
        began = world.clock.time
        await world.stop_agent()
        assert world.clock.time - began < 5
        assert [state.instance for state in driver.host.states()] == [INSTANCE]

    run(story)


class Bad:
    """A bus that loses, doubles, delays and overtakes, by its seed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def fate(self, parcel: Parcel, publisher: str) -> Fate:
        late = Fate(delay_s=self._clock.random.uniform(0.0, 8.0))
        fates = [DELIVERED] * 6 + [LOST, DUPLICATED, OVERTAKEN, REFUSED, UNCONFIRMED, late, late]
        return self._clock.random.choice(fates)


async def patient_life(world: World) -> None:
    """As ``whole_life``, on a bus where commands come late: only the end is certain."""
    await ask(world, SPAWN, GuestStarted)
    await ask(world, DESTROY, GuestDestroyed)
    await world.send(FORGET)
    await asyncio.sleep(300)
    assert world.driver is not None
    assert world.driver.host.states() == []


@pytest.mark.parametrize("seed", range(60))
def test_crashes_on_a_bad_bus_end_well_and_one_seed_gives_one_history(seed: int) -> None:
    histories = []
    for _ in range(2):
        log: list[str] = []

        async def play(world: World, log: list[str] = log) -> None:
            chance = world.clock.random
            world.broker.faults = Bad(world.clock)
            world.controller.publish = insist(world)  # type: ignore[method-assign, assignment]
            world.start_agent()
            crash_after(world, iter([chance.randrange(1, 80) for _ in range(4)]))
            await patient_life(world)
            log += [f"{event}" for event in world.logged]

        run(play, seed=seed)
        histories.append(log)
    assert histories[0] == histories[1]


def insist(world: World) -> Callable[[list[Parcel]], Awaitable[None]]:
    """The controller's publish, for which an unconfirmed command is one more lost one."""
    publish = type(world.controller).publish

    async def publish_or_not(parcels: list[Parcel]) -> None:
        try:
            await publish(world.controller, parcels)
        except BusUnavailable:
            return

    return publish_or_not
