"""One storm: a distributed cloud under load, struck by faults one after the other, then looked at."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

from gateway.own.cursor import Cursors
from tests.chaos.audit import unsettled, violations
from tests.chaos.events import Subscriber
from tests.chaos.faults import Faults
from tests.chaos.load import FLAVOR, Client, Tenants
from tests.chaos.recovery import Recovery
from tests.chaos.rows import make_image
from tests.fixtures.proxy import Proxy
from tests.rig.cloud import DistributedCloud

IN_FLIGHT_MIN = 50
PROJECTS = 8
SETTLE_MAX_S = 180.0
WARM_UP_S = 5.0
PAUSE_MIN_S = 1.0
FAULT_S = 5.0
"""What a fault usually takes."""
LOG_BYTES = 1500
VIOLATIONS_SHOWN = 40


@dataclass
class Plan:
    """``seconds``: the faults are spread over so long. ``only``: a part of the names of those wanted."""

    seconds: float = 60.0
    tenants: int = 120
    seed: int = 1
    only: str = ""
    more: bool = False
    keep: bool = False

    @property
    def in_flight_min(self) -> int:
        """How many operations must be under way when a fault strikes."""
        return min(IN_FLIGHT_MIN, self.tenants // 2)


@dataclass
class Report:
    """What was done and what was found."""

    created: int = 0
    deleted: int = 0
    repeated: int = 0
    seconds: float = 0.0
    settled_s: float = 0.0
    events: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """What the processes logged as an error, and how often."""
    in_flight: list[int] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def sound(self, plan: Plan) -> bool:
        """Whether nothing is wrong and enough was under way."""
        return not self.violations and all(count >= plan.in_flight_min for count in self.in_flight)

    def lines(self) -> list[str]:
        least = min(self.in_flight, default=0)
        done = f"created {self.created}, deleted {self.deleted}, requests repeated {self.repeated}"
        return [
            f"{self.seconds:.0f} s of load: {done}, least in flight at a fault {least}",
            f"settled {self.settled_s:.1f} s later, events {self.events}, violations {len(self.violations)}",
            *(f"   logged {times} times as an error: {event}" for event, times in self.errors.most_common()),
            *(f"   {violation}" for violation in self.violations[:VIOLATIONS_SHOWN]),
        ]


async def storm(plan: Plan) -> Report:
    """The whole of it. The cloud is gone afterwards."""
    loop = asyncio.get_running_loop()
    proxy = Proxy()
    cloud = DistributedCloud(
        hosts=6,
        agents=2,
        schedulers=2,
        host_options=("latency_factor=2", "vcpus=64", "memory_mib=262144"),
        amqp_port=lambda port: asyncio.run_coroutine_threadsafe(
            proxy.start("127.0.0.1", port), loop
        ).result(),
        small_disk_mib=16,
    )
    report = Report()
    try:
        await asyncio.to_thread(cloud.start)
        await _under_load(cloud, proxy, plan, report)
    finally:
        report.errors = _errors(cloud)
        if report.violations:
            for name in cloud.processes:
                print(f"--- {name}\n{cloud.log_of(name)[-LOG_BYTES:]}")
        await asyncio.to_thread(cloud.close, keep=plan.keep)
        await proxy.close()
    return report


def _errors(cloud: DistributedCloud) -> Counter[str]:
    found: Counter[str] = Counter()
    for name in cloud.processes:
        for line in cloud.log_of(name).splitlines():
            if line.startswith("{") and '"level": "error"' in line:
                found[f"{name.partition('-')[0]} {json.loads(line)['event']}"] += 1
            elif line.startswith("Traceback"):
                found[f"{name.partition('-')[0]} traceback"] += 1
    return found


async def _under_load(cloud: DistributedCloud, proxy: Proxy, plan: Plan, report: Report) -> None:
    client = Client(cloud.ports, "admin", cloud.secrets().admin_password, "admin")
    try:
        load = await _tenants(cloud, client, plan.seed)
        keys = [bytes.fromhex(key) for key in cloud.secrets().token_keys]
        subscriber = Subscriber(client, Cursors(keys))
        listening = asyncio.create_task(subscriber.run(), name="subscriber")
        began = time.monotonic()
        working = [asyncio.create_task(load.one(n)) for n in range(plan.tenants)]
        await asyncio.sleep(WARM_UP_S)
        await _strike(cloud, proxy, load, plan, report)
        load.stopping = True
        await asyncio.gather(*working)
        report.seconds = time.monotonic() - began
        report.settled_s = await _settle(cloud.database, time.monotonic())
        await subscriber.wait_for(cloud.database)
        listening.cancel()
        await asyncio.wait([listening])
        report.violations += await violations(cloud.database, cloud.folder / "hosts", load.asked)
        report.violations += await subscriber.violations(cloud.database)
        report.violations += load.refused
        report.created, report.deleted = load.created, load.deleted
        report.repeated, report.events = client.retries, subscriber.count
    finally:
        await client.close()


async def _tenants(cloud: DistributedCloud, client: Client, seed: int) -> Tenants:
    await client.log_in()
    projects = [await client.of_project(f"chaos-{n}") for n in range(PROJECTS)]
    limits = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
    for one in projects:
        await client.call("PUT", f"/compute/v2.1/os-quota-sets/{one.project}", limits)
    _, answer = await client.call("POST", "/compute/v2.1/flavors", {"flavor": FLAVOR})
    image = await make_image(cloud.database, client.project)
    return Tenants(client, projects, image, answer["flavor"]["id"], seed)


async def _strike(cloud: DistributedCloud, proxy: Proxy, load: Tenants, plan: Plan, report: Report) -> None:
    recovery = Recovery(cloud, load)
    faults = Faults(cloud, proxy, recovery, plan.seed).chosen(plan.only, more=plan.more)
    until = time.monotonic() + plan.seconds
    for left, (name, strike) in zip(range(len(faults), 0, -1), faults, strict=True):
        await asyncio.sleep(max(PAUSE_MIN_S, (until - time.monotonic()) / left - FAULT_S))
        in_flight = await recovery.in_flight(plan.in_flight_min)
        before, began = load.created, time.monotonic()
        report.in_flight.append(len(in_flight))
        ending = asyncio.create_task(recovery.ended(in_flight, began))
        noted = await strike()
        took_s = time.monotonic() - began
        ended_s = await ending
        print(
            f"{name}: {len(in_flight)} operations in flight, {ended_s};"
            f" {load.created - before} creates accepted meanwhile, undone after {took_s:.1f} s"
            f"{'; ' if noted else ''}{noted}",
            flush=True,
        )
    await asyncio.sleep(max(PAUSE_MIN_S, until - time.monotonic()))


async def _settle(database: str, began: float) -> float:
    while await unsettled(database) and time.monotonic() - began < SETTLE_MAX_S:
        await asyncio.sleep(0.5)
    return time.monotonic() - began
