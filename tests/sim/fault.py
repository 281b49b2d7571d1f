"""The faults a run can suffer, one coroutine each, and the schedule that a seed makes of them.

A fault begins, lasts, and ends by itself; what it broke comes back. It counts as active a little
longer than it lasts, while its consequences are still being worked off.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from tests.sim.world import AgentParty, Party, World

AFTERMATH_S: Final = 5.0
FAULTS_MIN: Final = 7
FAULTS_MAX: Final = 14

Fault = Callable[[World, Random], Awaitable[None]]


async def _down(party: Party, seconds: float) -> None:
    party.world.watch.note(party.name, "crash", seconds)
    party.crash()
    await asyncio.sleep(seconds)
    party.start()


async def worker_crash(world: World, chance: Random) -> None:
    await _down(chance.choice(world.workers), chance.uniform(0.1, 8))


async def worker_crash_at_commit(world: World, chance: Random) -> None:
    """Die just before, or just after, the next commit takes effect."""
    party = chance.choice(world.workers)
    seconds = chance.uniform(0.1, 8)
    moment, call = chance.choice(
        (("before", "commit"), ("after", "commit"), ("after", "take"), ("after", "unpassed"))
    )
    party.weather.trap = (moment, call, party.crash)
    await asyncio.sleep(seconds)
    party.weather.trap = None
    party.start()


async def worker_pause(world: World, chance: Random) -> None:
    """Stand still, often past the lease."""
    party = chance.choice(world.workers)
    seconds = chance.uniform(0.5, 15)
    world.watch.note(party.name, "freeze", seconds)
    party.freeze(seconds)
    await asyncio.sleep(seconds)


async def worker_pause_at_commit(world: World, chance: Random) -> None:
    """Stand still between a batch's turns and its commit, or between commit and publish."""
    party = chance.choice(world.workers)
    seconds = chance.uniform(4, 12)
    moment = chance.choice(("before", "after"))
    party.weather.trap = (moment, "commit", lambda: party.freeze(seconds))
    await asyncio.sleep(seconds + 2)
    party.weather.trap = None


async def worker_restart(world: World, chance: Random) -> None:
    """A rolling update: the worker is asked to stop and started again."""
    party = chance.choice(world.workers)
    if party.worker is not None and party.task is not None:
        party.worker.stop()
    await asyncio.sleep(3)


async def agent_crash(world: World, chance: Random) -> None:
    await _down(chance.choice(world.agents), chance.uniform(0.1, 15))


async def agent_pause(world: World, chance: Random) -> None:
    party = chance.choice(world.agents)
    seconds = chance.uniform(1, 20)
    party.freeze(seconds)
    await asyncio.sleep(seconds)


async def gateway_crash(world: World, chance: Random) -> None:
    await _down(chance.choice(world.gateways), chance.uniform(0.1, 5))


async def scheduler_crash(world: World, chance: Random) -> None:
    await _down(chance.choice(world.schedulers), chance.uniform(0.1, 10))


async def host_power_loss(world: World, chance: Random) -> None:
    """The host goes dark with its agent and its guests, and comes back."""
    party = chance.choice(world.agents)
    party.crash()
    party.hardware.lose_power()
    await asyncio.sleep(chance.uniform(2, 40))
    party.start()


async def bus_cut(world: World, chance: Random) -> None:
    party = chance.choice(world.parties)
    seconds = chance.uniform(0.2, 20)
    world.watch.note(party.name, "bus cut", seconds)
    if party.bus is not None:
        party.bus.cut(seconds)
    await asyncio.sleep(seconds)


async def store_cut(world: World, chance: Random) -> None:
    party = chance.choice(world.workers)
    store = party.store
    seconds = chance.uniform(0.2, 12)
    world.watch.note(party.name, "store cut", seconds)
    if store is not None:
        store.cut = True
    await asyncio.sleep(seconds)
    if store is not None and store is party.store and party.bus is not None:
        store.cut = False


async def store_outage(world: World, chance: Random) -> None:
    world.weather.store_down = True
    await asyncio.sleep(chance.uniform(0.2, 12))
    world.weather.store_down = False


async def outage_with_answers_under_way(world: World, chance: Random) -> None:
    """The database is away for longer than steps may take, just when hosts are about to answer."""
    for _ in range(2000):
        if any(
            b'"agent/' in row.state for (kind, _), row in world.database.actors.items() if kind == "instance"
        ):
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(chance.uniform(0.001, 0.02))
    world.watch.note("world", "outage")
    world.weather.store_down = True
    await asyncio.sleep(chance.uniform(60, 200))
    world.weather.store_down = False


async def store_repeats(world: World, chance: Random) -> None:
    """Commits arrive a second time, up to some seconds later, as a retrying proxy would send them."""
    world.weather.store_repeats = 0.3
    await asyncio.sleep(chance.uniform(5, 20))
    world.weather.store_repeats = 0.0


async def store_flaky(world: World, chance: Random) -> None:
    """Calls fail before or after their effect."""
    world.weather.store_fails = chance.uniform(0.02, 0.2)
    await asyncio.sleep(chance.uniform(2, 15))
    world.weather.store_fails = 0.0


async def store_slow(world: World, chance: Random) -> None:
    world.weather.store_slow_s = chance.uniform(0.02, 1.5)
    await asyncio.sleep(chance.uniform(2, 15))
    world.weather.store_slow_s = 0.0


async def broker_restart(world: World, chance: Random) -> None:
    seconds = chance.uniform(0.1, 8)
    world.watch.note("broker", "restart", seconds)
    world.broker.restart(seconds)
    await asyncio.sleep(seconds)


async def broker_wipe(world: World, chance: Random) -> None:
    seconds = chance.uniform(0.1, 4)
    world.watch.note("broker", "wipe", seconds)
    world.broker.wipe(seconds)
    await asyncio.sleep(seconds)


async def bus_unreliable(world: World, chance: Random) -> None:
    """Messages are lost, doubled, overtaken, refused, not confirmed."""
    world.weather.bus_fails = chance.uniform(0.05, 0.5)
    await asyncio.sleep(chance.uniform(2, 20))
    world.weather.bus_fails = 0.0


async def bus_delays(world: World, chance: Random) -> None:
    """Half of the messages come late, overtaken by others."""
    world.weather.bus_delay_s = chance.choice((0.05, 0.5, 3.0))
    await asyncio.sleep(chance.uniform(2, 20))
    world.weather.bus_delay_s = 0.0


async def slow_link(world: World, chance: Random) -> None:
    """One party's messages take long."""
    party = chance.choice(world.parties)
    name = party.bus.name if party.bus is not None else ""
    world.weather.slow_senders.add(name)
    await asyncio.sleep(chance.uniform(5, 20))
    world.weather.slow_senders.discard(name)


async def hypervisor_faults(world: World, chance: Random) -> None:
    """Verbs fail, hang, or kill the guest they are about."""
    party = chance.choice(world.agents)
    world.weather.driver_fails[party.settings.hostname] = chance.uniform(0.1, 0.6)
    await asyncio.sleep(chance.uniform(5, 30))
    world.weather.driver_fails.pop(party.settings.hostname, None)


async def deaths_during_a_pause(world: World, chance: Random) -> None:
    """All workers stand still while guests die and hosts report, then hear everything at once."""
    seconds = chance.uniform(2, 12)
    for worker in world.workers:
        worker.freeze(seconds)
    until = world.loop.now + seconds
    for at in sorted(chance.uniform(0, seconds) for _ in range(3)):
        await asyncio.sleep(max(0.0, at - (world.loop.now - until + seconds)))
        await guest_dies(world, chance)
    await asyncio.sleep(max(0.0, until - world.loop.now))


async def guest_dies(world: World, chance: Random) -> None:
    """QEMU is killed, or somebody types poweroff."""
    running = [(agent, instance) for agent in world.agents for instance, _ in agent.hardware.running()]
    if running:
        agent, instance = chance.choice(running)
        world.watch.note(f"instance/{instance}", "guest dies", agent.settings.hostname)
        die = agent.hardware.kill_guest if chance.random() < 0.5 else agent.hardware.guest_shuts_down
        die(instance)
    await asyncio.sleep(0.1)


async def journal_full(world: World, chance: Random) -> None:
    party = chance.choice(world.agents)
    party.content.full = True
    await asyncio.sleep(chance.uniform(1, 20))
    party.content.full = False


async def clock_step(world: World, chance: Random) -> None:
    """A process's wall clock jumps, as after a bad time server, and is put right."""
    party = chance.choice(world.parties)
    step = chance.uniform(-8, 8) if not isinstance(party, AgentParty) else chance.uniform(-300, 300)
    party.clock.skew_s += step
    await asyncio.sleep(chance.uniform(1, 20))
    party.clock.skew_s -= step


FAULTS: Final[dict[str, tuple[Fault, float]]] = {
    "worker crash": (worker_crash, 2.0),
    "worker crash at commit": (worker_crash_at_commit, 2.0),
    "worker pause": (worker_pause, 1.5),
    "worker pause at commit": (worker_pause_at_commit, 2.0),
    "worker restart": (worker_restart, 1.0),
    "agent crash": (agent_crash, 2.5),
    "agent pause": (agent_pause, 1.0),
    "gateway crash": (gateway_crash, 0.7),
    "scheduler crash": (scheduler_crash, 0.7),
    "host power loss": (host_power_loss, 1.0),
    "bus cut": (bus_cut, 2.0),
    "store cut": (store_cut, 1.5),
    "store outage": (store_outage, 0.7),
    "outage with answers under way": (outage_with_answers_under_way, 0.7),
    "store repeats": (store_repeats, 1.0),
    "store flaky": (store_flaky, 1.5),
    "store slow": (store_slow, 1.0),
    "broker restart": (broker_restart, 1.0),
    "broker wipe": (broker_wipe, 1.5),
    "bus unreliable": (bus_unreliable, 2.0),
    "bus delays": (bus_delays, 1.5),
    "slow link": (slow_link, 0.7),
    "hypervisor": (hypervisor_faults, 2.0),
    "guest dies": (guest_dies, 1.0),
    "deaths during a pause": (deaths_during_a_pause, 0.8),
    "journal full": (journal_full, 1.0),
    "clock step": (clock_step, 0.7),
}
"""Every kind of fault with its weight in the draw."""


async def suffer(world: World, chance: Random, over_s: float, only: frozenset[str] = frozenset()) -> None:
    """Let the seed's faults happen within ``over_s`` seconds; returns when the last has begun and ended."""
    names = [name for name in FAULTS if not only or name in only]
    weights = [FAULTS[name][1] for name in names]
    count = chance.randint(FAULTS_MIN, FAULTS_MAX)
    plan = sorted(
        (chance.uniform(0, over_s), i, name) for i, name in enumerate(chance.choices(names, weights, k=count))
    )
    began = world.loop.now
    tasks = []
    for at, i, name in plan:
        await asyncio.sleep(max(0.0, began + at - world.loop.now))
        tasks.append(asyncio.create_task(_happen(world, name, Random(f"{world.seed} fault {i}"))))
    for task in tasks:
        await task


async def _happen(world: World, name: str, chance: Random) -> None:
    world.watch.began(name)
    world.watch.note("world", "fault", name)
    await FAULTS[name][0](world, chance)
    await asyncio.sleep(AFTERMATH_S)
    world.watch.ended(name)
