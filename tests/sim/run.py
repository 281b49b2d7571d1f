"""One seed, from the first process to the last check."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

import actors.machine
from tests.sim.fault import suffer
from tests.sim.invariant import check, unrest
from tests.sim.loop import SimLoop, Stalled
from tests.sim.watch import Violation, Watch
from tests.sim.workload import Tenants
from tests.sim.world import World

WORK_S: Final = 100.0
SETTLE_MAX_S: Final = 2400.0
STEP_S: Final = 10.0
REPORTS_S: Final = 50.0
"""After the last task has ended, so long until every host's report has been compared."""


class Report(Struct):
    """What one run did. ``failure`` is empty when every invariant held."""

    seed: int
    commands: int
    faults: Counter[str]
    rows: Counter[tuple[str, int, str]]
    turns: int
    commits: int
    virtual_s: float
    trace: str
    failure: str = ""
    story: list[str] = []


async def _story(world: World, tenants: Tenants) -> None:
    await world.begin()
    faults = asyncio.create_task(suffer(world, world.stream("faults"), WORK_S))
    await tenants.work(WORK_S)
    await faults
    world.heal()
    await _settle(world)
    found = check(world, tenants)
    if not found and world.stream("end").random() < 0.5:
        tenants.delete_all()
        await tenants.wait()
        await _settle(world)
        found = check(world, tenants)
    if found:
        raise Violation(*found[0])


async def _settle(world: World) -> None:
    until = world.loop.now + SETTLE_MAX_S
    await asyncio.sleep(STEP_S)
    while unrest(world) and world.loop.now < until:
        await asyncio.sleep(STEP_S)
    await asyncio.sleep(REPORTS_S)
    while unrest(world) and world.loop.now < until:
        await asyncio.sleep(STEP_S)


def run_seed(seed: int) -> Report:
    """Play one seed."""
    loop = SimLoop()
    failure, story = "", []
    asyncio.set_event_loop(loop)
    world = World(loop, seed)
    tenants = Tenants(world)
    with _rows_told_to(world.watch):
        try:
            loop.run(_story(world, tenants))
        except Violation as violation:
            failure = str(violation)
            story = world.watch.story(violation.subject)
        except Stalled as error:
            failure = str(error)
    watch = world.watch
    return Report(
        seed, len(tenants.calls), watch.faults, watch.rows, watch.turns, watch.commits, loop.now,
        watch.digest.hexdigest(), failure, story,
    )  # fmt: skip


@contextlib.contextmanager
def _rows_told_to(watch: Watch) -> Iterator[None]:
    move = actors.machine._move

    def told(kind: Any, table: Any, row: Any, *rest: Any) -> Any:
        watch.took(table, row)
        return move(kind, table, row, *rest)

    actors.machine._move = told  # type: ignore[assignment]
    try:
        yield
    finally:
        actors.machine._move = move
