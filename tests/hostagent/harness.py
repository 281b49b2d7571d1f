"""A world for one agent: virtual time, a bus, a journal and a hypervisor that outlive it.

No assertions. ``run`` plays a story on a loop whose clock moves instead of waiting; a crash is a
cancellation after a given number of the loop's turns, so every await can be tried.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from structlog.typing import EventDict

from bus import topology
from bus.fault import Faults
from bus.mailbox import Parcel
from bus.memory import MemoryBroker, MemoryBus, MemoryMailbox
from hostagent.agent import Agent, AgentSettings
from hostagent.drivers.simulated import FaultScript, SimulatedDriver, SimulatedHypervisor, SimulatedSettings
from hostagent.journal import MemoryContent, MemoryJournal
from protocol.agent import DestroyGuest, LookAtGuest, RebootGuest, SpawnGuest, StopGuest
from protocol.codec import decode_bundle, decode_message, encode_bundle, encode_message
from protocol.ids import HostId, address
from protocol.message import Bundle, Envelope, Message, Stretch
from tests.hostagent.drivers.specs import INSTANCE, ManualClock, spec

HOST = HostId("a0000000-0000-4000-8000-000000000001")
PARTITIONS = 4
STORY_S = 3600.0

F = TypeVar("F", bound=Message)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Moves the clock instead of waiting; calls ``on_turn`` with the count of its turns."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.turns = 0
        self.on_turn: Callable[[int], None] = lambda turn: None
        super().__init__(_VirtualSelector(self))

    def time(self) -> float:
        return self.clock.time


class _VirtualSelector(selectors.SelectSelector):
    loop: VirtualLoop

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.turns += 1
        self.loop.on_turn(self.loop.turns)
        self.loop.clock.time += timeout or 0.0
        return super().select(0)


class World:
    """What is there beside the agent. Make it inside ``run``."""

    def __init__(self, loop: VirtualLoop, faults: Faults | None = None) -> None:
        self.loop = loop
        self.clock = loop.clock
        self.broker = MemoryBroker(faults)
        self.controller = MemoryBus(self.broker, name="controller")
        self.hypervisor = SimulatedHypervisor()
        self.content = MemoryContent()
        self.script = FaultScript()
        self.settings = AgentSettings()
        self.simulated = SimulatedSettings(hostname="h1", jitter=0.0)
        self.wrap: Callable[[SimulatedDriver], Any] = lambda driver: driver
        self.logged: list[EventDict] = []
        self.facts: list[tuple[Envelope, Message]] = []
        self.agents = 0
        self.agent: Agent | None = None
        self.bus: MemoryBus | None = None
        self.driver: SimulatedDriver | None = None
        self.task: asyncio.Task[None] | None = None
        self._mailboxes: list[MemoryMailbox] = []
        self._wake = asyncio.Event()
        self._passed = 0.0

    async def begin(self) -> None:
        """Declare the queues and listen as the controller does."""
        await self.controller.declare(topology.host(HOST))
        for number in range(PARTITIONS):
            self._mailboxes.append(await self.controller.open(topology.partition(number), self._wake))

    def start_agent(self) -> Agent:
        """A new run of the agent on the same host."""
        self.agents += 1
        driver = SimulatedDriver(self.simulated, self.clock, hypervisor=self.hypervisor, faults=self.script)
        self.driver = driver
        self.bus = MemoryBus(self.broker, name=f"agent-{self.agents}", host=HOST)
        self.agent = Agent(
            host=HOST,
            bus=self.bus,
            driver=self.wrap(driver),
            journal=MemoryJournal(self.content),
            clock=self.clock,
            partitions=PARTITIONS,
            settings=self.settings,
            log=structlog.wrap_logger(None, processors=[self._keep]),
        )
        self.task = asyncio.ensure_future(self.agent.run())
        return self.agent

    async def stop_agent(self) -> None:
        """Cancel the agent, as a crash does, and let the broker notice."""
        assert self.task is not None
        assert self.bus is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.bus.close()

    async def send(self, *messages: Message, operation: str = "op-1") -> None:
        """Messages to the agent, in one bundle."""
        to = address("agent", HOST)
        envelopes = [
            Envelope(to, "instance/x", encode_message(message), operation, trace="trace-1")
            for message in messages
        ]
        bundle = Bundle([Stretch(-1, 0, 0, envelopes)])
        await self.controller.publish([Parcel(topology.host(HOST).name, encode_bundle(bundle))])

    async def pass_time(self, seconds: float) -> None:
        """Let the world go on for so long; fails when the story has become too long."""
        self._passed += seconds
        assert self._passed < STORY_S
        await asyncio.sleep(seconds)

    def hear(self) -> list[tuple[Envelope, Message]]:
        """Take what the agent said since the last time, and keep it in ``facts``."""
        heard: list[tuple[Envelope, Message]] = []
        for mailbox in self._mailboxes:
            for delivery in mailbox.take(1000):
                mailbox.ack(delivery)
                for stretch in decode_bundle(delivery.body).stretches:
                    heard += [(envelope, decode_message(envelope.body)) for envelope in stretch.envelopes]
        self.facts += heard
        return heard

    async def heard(self, kind: type[F], number: int | None = None) -> F:
        """Wait for a fact of this kind (and number), perhaps heard before."""
        seen = 0
        async with asyncio.timeout(STORY_S):
            while True:
                self._wake.clear()
                self.hear()
                for _, fact in self.facts[seen:]:
                    if isinstance(fact, kind) and (number is None or getattr(fact, "number", None) == number):
                        return fact
                seen = len(self.facts)
                await self._wake.wait()

    def said(self, kind: type[F]) -> list[F]:
        """All facts of this kind heard so far."""
        self.hear()
        return [fact for _, fact in self.facts if isinstance(fact, kind)]

    def events(self, name: str) -> list[EventDict]:
        """What was logged under this name."""
        return [event for event in self.logged if event["event"] == name]

    def _keep(self, _logger: Any, level: str, event: EventDict) -> EventDict:
        self.logged.append({**event, "level": level})
        raise structlog.DropEvent


def run(story: Callable[[World], Awaitable[None]], *, seed: int = 1, faults: Faults | None = None) -> None:
    """Play a story to its end."""
    loop = VirtualLoop(ManualClock(seed))

    async def play() -> None:
        world = World(loop, faults)
        await world.begin()
        try:
            await story(world)
        finally:
            if world.task is not None and not world.task.done():
                await world.stop_agent()

    try:
        loop.run_until_complete(play())
    finally:
        loop.close()


def spawn(number: int = 1, generation: int = 1, instance: str = INSTANCE) -> SpawnGuest:
    return SpawnGuest(
        instance=instance, generation=generation, number=number, spec=spec(instance, generation=generation)
    )


def stop(number: int, generation: int = 1, timeout_s: float = 60.0) -> StopGuest:
    return StopGuest(instance=INSTANCE, generation=generation, number=number, timeout_s=timeout_s)


def destroy(number: int, generation: int = 1) -> DestroyGuest:
    return DestroyGuest(instance=INSTANCE, generation=generation, number=number)


def look(number: int, generation: int = 1) -> LookAtGuest:
    return LookAtGuest(instance=INSTANCE, generation=generation, number=number)


def reboot(number: int, kind: str) -> RebootGuest:
    return RebootGuest(instance=INSTANCE, generation=1, number=number, spec=spec(), kind=kind)  # type: ignore[arg-type]
