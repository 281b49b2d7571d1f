"""The cloud of one run: real workers, schedulers, gateways and agents over simulated parts.

A party is one process with its own connections. It can crash (its connections are cut first, so
that nothing of its cleaning up gets out, then its tasks are cancelled), come back as a new
incarnation, stand still, and lose its bus or its store. What is durable (database, journals,
hypervisors) belongs to the world, not to the parties.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from random import Random
from typing import Any, Final

import msgspec
from msgspec import Struct

from actors.kinds import KINDS
from actors.runtime.worker import WorkerSettings
from actors.scheduler.filters import DEFAULT as FILTERS
from actors.scheduler.service import Scheduler
from actors.scheduler.weighers import DEFAULT as WEIGHERS
from bus import topology
from bus.mailbox import BusUnavailable
from bus.memory import MemoryBroker, MemoryBus
from gateway.bus_commands import BusCommands
from hostagent.agent import Agent, AgentSettings
from hostagent.drivers.simulated import SimulatedDriver, SimulatedSettings
from hostagent.journal import JournalBroken, MemoryContent, MemoryJournal
from protocol.command import Caller
from protocol.host import EnrolHost, HostView
from protocol.ids import HostId, address, ident_of
from store.memory import MemoryTurnStore
from store.turn import StoreUnavailable
from tests.sim.loop import PROCESS, SimClock, SimLoop, SimProcess
from tests.sim.part import SimBroker, SimDatabase, SimHypervisor, SimWorker, queue_of_actor
from tests.sim.watch import SimLog, Watch
from tests.sim.weather import BusFaults, HostFaults, StoreWeather, Weather

LEASE_S: Final = 4.0
RESTART_S: Final = 1.0
BROKER_PATIENCE_S: Final = 20.0
"""So long a frozen party keeps its connection to the broker."""
ADMIN: Final = Caller(user="operator", project="operators", request="req-0", admin=True)


class Shape(Struct, frozen=True, kw_only=True):
    """What a seed makes of the cloud."""

    partitions: int
    workers: int
    schedulers: int
    gateways: int
    hosts: int
    batch_max: int
    cache_max: int


def shape_of(chance: Random) -> Shape:
    """Draw one."""
    return Shape(
        partitions=chance.choice((3, 5, 8)),
        workers=chance.choice((2, 2, 3)),
        schedulers=chance.choice((1, 2)),
        gateways=2,
        hosts=chance.choice((3, 3, 4, 5)),
        batch_max=chance.choice((4, 20, 500)),
        cache_max=chance.choice((4, 20_000)),
    )


class Party(SimProcess):
    """One process that can fail."""

    role = "party"

    def __init__(self, world: "World", name: str, skew_s: float = 0.0) -> None:
        super().__init__(name)
        self.world = world
        self.incarnation = 0
        self.clock = SimClock(world.loop, world.stream(f"party {name}"), skew_s)
        self.log = SimLog(world.watch, name)
        self.bus: MemoryBus | None = None
        self.store: MemoryTurnStore | None = None
        self.task: asyncio.Task[None] | None = None
        self.wanted = False
        self._freezes = 0

    def build(self) -> Coroutine[Any, Any, None]:
        """A new incarnation's connections and its main coroutine."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin an incarnation; one that ends by itself is started again, as a supervisor does."""
        self.wanted = True
        if self.task is not None:
            return
        self.incarnation += 1
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        self.task = self.world.loop.create_task(context.run(self._main), context=context)
        self.task.add_done_callback(self._over, context=self.world.outside)

    async def _main(self) -> None:
        try:
            await self.build()
        except (BusUnavailable, StoreUnavailable, JournalBroken) as error:
            self.world.watch.note(self.name, "ended", repr(error))

    def _over(self, task: asyncio.Task[None]) -> None:
        self._cut_off()
        self.task = None
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            assert error is not None
            self.world.loop.failures.append(error)
        elif self.wanted:
            self.world.loop.call_later(RESTART_S, self._restart, context=self.world.outside)

    def _restart(self) -> None:
        if self.wanted:
            self.start()

    def crash(self) -> None:
        """kill -9: nothing it does from now on has any effect."""
        self.wanted = False
        if self.task is None:
            return
        self._cut_off()
        self.world.loop.thaw(self)
        self.task.cancel()

    def _cut_off(self) -> None:
        bus, self.bus = self.bus, None
        if bus is not None:
            bus._cut = True
            bus._cuts += 1
            bus._closed = True
            bus.lose()
            self.world.broker.leave(bus)
        if self.store is not None:
            self.store.cut = True

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, then SIGCONT. A broker drops a connection that is silent for too long."""
        self.stopped = True
        self._freezes += 1
        loop, outside = self.world.loop, self.world.outside
        loop.call_later(seconds, self._thaw, self._freezes, context=outside)
        if seconds > BROKER_PATIENCE_S and self.bus is not None:
            loop.call_later(
                BROKER_PATIENCE_S, self.bus.cut, seconds - BROKER_PATIENCE_S + 0.01, context=outside
            )

    def _thaw(self, freeze: int) -> None:
        if freeze == self._freezes:
            self.world.loop.thaw(self)

    def heal(self) -> None:
        """Undo everything that is wrong with it."""
        self._freezes += 1
        self.world.loop.thaw(self)
        if self.bus is not None and self.bus._cut:
            self.bus.cut(0.0)
        if self.store is not None:
            self.store.cut = False
        self.start()

    def connect(self, host: str = "") -> MemoryBus:
        """A connection to the broker."""
        self.bus = MemoryBus(self.world.broker, name=f"{self.name}-{self.incarnation}", host=host)
        return self.bus


class WorkerParty(Party):
    role = "worker"

    def __init__(self, world: "World", name: str, skew_s: float) -> None:
        super().__init__(world, name, skew_s)
        self.weather = StoreWeather(world.weather)
        self.worker: SimWorker | None = None

    async def build(self) -> None:
        bus = self.connect()
        self.store = MemoryTurnStore(self.world.database, self.weather)
        self.worker = SimWorker(
            name=bus.name,
            bus=bus,
            store=self.store,
            clock=self.clock,
            kinds=KINDS,
            seal=lambda to, message, now: message,
            settings=self.world.worker_settings,
            log=self.log,  # type: ignore[arg-type]
        )
        self.worker.watch = self.world.watch
        await self.worker.run()


class SchedulerParty(Party):
    role = "scheduler"

    async def build(self) -> None:
        bus = self.connect()
        scheduler = Scheduler(
            name=bus.name,
            bus=bus,
            hosts=self.world.read_hosts,
            clock=self.clock,
            partitions=self.world.shape.partitions,
            log=self.log,  # type: ignore[arg-type]
            filters=FILTERS,
            weighers=WEIGHERS,
        )
        await scheduler.run()


class GatewayParty(Party):
    role = "gateway"

    def __init__(self, world: "World", name: str, skew_s: float) -> None:
        super().__init__(world, name, skew_s)
        self.commands: BusCommands | None = None

    async def build(self) -> None:
        bus = self.connect()
        commands = BusCommands(
            name=bus.name,
            bus=bus,
            clock=self.clock,
            partitions=self.world.shape.partitions,
            log=self.log,  # type: ignore[arg-type]
        )
        await commands.open()
        self.commands = commands
        try:
            await commands.run()
        finally:
            self.commands = None


class AgentParty(Party):
    role = "agent"

    def __init__(self, world: "World", name: str, skew_s: float, settings: SimulatedSettings) -> None:
        super().__init__(world, name, skew_s)
        self.host = HostId(self.clock.uuid())
        self.settings = settings
        self.faults = HostFaults(world.weather, settings.hostname)
        self.content = world.hypervisor.contents.setdefault(settings.hostname, MemoryContent())
        self.hardware = world.hypervisor.host(settings, world.clock)
        world.watch.contents[self.host] = self.content

    async def build(self) -> None:
        driver = SimulatedDriver(
            self.settings, self.clock, hypervisor=self.world.hypervisor, faults=self.faults
        )
        agent = Agent(
            host=self.host,
            bus=self.connect(self.host),
            driver=driver,
            journal=MemoryJournal(self.content),
            clock=self.clock,
            partitions=self.world.shape.partitions,
            settings=self.world.agent_settings,
            log=self.log,  # type: ignore[arg-type]
        )
        await agent.run()


class World:
    """Everything of one run. Make it on its loop; ``begin`` before use."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.loop = loop
        self.seed = seed
        self.outside = contextvars.copy_context()
        self.watch = Watch(loop)
        self.shape = shape_of(self.stream("shape"))
        self.weather = Weather(loop, self.stream("weather"))
        self.clock = SimClock(loop, self.stream("clock"))
        self.database = SimDatabase(self.shape.partitions, self.clock, self.watch)
        repeats, weather = self.stream("repeats"), self.weather
        self.database.repeats = lambda: (
            bool(weather.store_repeats) and repeats.random() < weather.store_repeats
        )
        self.database.delay = repeats.random
        self.bus_faults = BusFaults(self.weather)
        self.broker = SimBroker(self.bus_faults, self.watch, loop)
        loop.outside = (MemoryBroker, MemoryBus)
        self.hypervisor = SimHypervisor(self.watch)
        self.worker_settings = WorkerSettings(
            partitions=self.shape.partitions,
            lease_s=LEASE_S,
            heartbeat_s=1.2,
            sweep_s=3.0,
            collect_s=4.0,
            batch_max=self.shape.batch_max,
            cache_max=self.shape.cache_max,
        )
        self.agent_settings = AgentSettings(heartbeat_s=10.0, report_s=15.0)
        chance = self.stream("parties")
        shape = self.shape
        self.workers = [WorkerParty(self, f"w{i}", chance.uniform(-1, 1)) for i in range(shape.workers)]
        self.schedulers = [SchedulerParty(self, f"s{i}") for i in range(shape.schedulers)]
        self.gateways = [GatewayParty(self, f"g{i}", chance.uniform(-1, 1)) for i in range(shape.gateways)]
        self.agents = [
            AgentParty(self, f"a{i}", chance.uniform(-20, 20), hardware(chance, i))
            for i in range(shape.hosts)
        ]
        self.parties: list[Party] = [*self.workers, *self.schedulers, *self.gateways, *self.agents]
        self.watch.hung = self._hung
        self.watch.queued = lambda worker, to: self.broker.queued(
            queue_of_actor(to, self.shape.partitions), worker
        )

    def stream(self, name: str) -> Random:
        """A source of chance of its own, so that one part's draws do not move another's."""
        return Random(f"{self.seed} {name}")

    async def begin(self) -> None:
        """Start everything, enrol the hosts, wait until they are up."""
        for party in [*self.workers, *self.schedulers, *self.gateways]:
            party.start()
        await asyncio.sleep(0.5)
        for agent in self.agents:
            commands = self.gateways[0].commands
            assert commands is not None
            order = EnrolHost(by=ADMIN, hostname=agent.settings.hostname)
            await commands.send(
                address("host", agent.host), order, operation=self.clock.uuid(), timeout_s=30.0
            )
            control = MemoryBus(self.broker, name="control")
            await control.declare(topology.host(agent.host))
            await control.close()
            agent.start()
        await asyncio.sleep(1.0)

    def heal(self) -> None:
        """End every fault."""
        self.weather.clear()
        for agent in self.agents:
            agent.content.full = False
        for worker in self.workers:
            worker.weather.trap = None
        for party in self.parties:
            party.heal()

    def _hung(self, instance: str) -> float:
        return max(agent.faults.hung.get(instance, -1e9) for agent in self.agents)

    async def read_hosts(self) -> list[HostView]:
        """What a scheduler reads from the database."""
        await asyncio.sleep(0.002)
        if self.weather.store_down:
            raise StoreUnavailable("down")
        return [
            _view_decoder.decode(row.columns[-1])
            for (kind, _), row in self.database.actors.items()
            if kind == "host" and not row.gone
        ]

    def agent_of(self, host: str) -> AgentParty:
        """The agent of a host's id or address."""
        return next(agent for agent in self.agents if agent.host in {host, ident_of(host)})


_view_decoder: Final = msgspec.json.Decoder(HostView)


def hardware(chance: Random, number: int) -> SimulatedSettings:
    """A host with little room: refusals and "no valid host" must happen."""
    return SimulatedSettings(
        hostname=f"h{number}",
        vcpus=chance.choice((1, 2, 4)),
        memory_mib=chance.choice((1024, 2048, 2048, 3072)),
        disk_gib=chance.choice((8, 16, 24)),
        latency_factor=chance.choice((0.5, 1.0, 1.0, 2.0)),
    )
