"""``transition``: what a transition of a real actor costs on RabbitMQ and PostgreSQL, and how many a second.

A worker hosts instances, hosts and projects; one process plays all gateways, schedulers and agents
in a closed loop. The limit is measured in the same run: the reference loop repeats what went over
the worker's wires with the bare drivers. Rounds of both alternate. CPU time is the least of the
rounds: what else the machine does only ever adds; the rate is their median.
"""

import asyncio
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvloop
from aio_pika import DeliveryMode
from aiormq import spec
from msgspec import Struct

from bench.load import Load
from bench.meter import load, median, tree_cpu_s, used_s
from bench.players import Players
from bench.process import Process
from bench.recording import TAKE, TURNS
from bench.reference import Errand, read
from bench.result import Result, progress
from bench.servers import Servers
from bench.worker_process import PARTITIONS, Figures, Order
from bus import topology
from bus.amqp import AmqpBus
from process.clock import SystemClock

ADDED_MAX_US: Final = 100.0
THROUGHPUT_MIN: Final = 4000.0
ROUNDS: Final = 4
INSTANCES: Final = 900
HOSTS: Final = 8
MEASURED_S: Final = 5.0
WARM_SHARE: Final = 0.3
"""Of a recording's turns: so many are not counted at its beginning, and pass after it before measuring."""
PUBLISH_AT_ONCE: Final = 200


class Round(Struct, frozen=True):
    """CPU in µs per transition, by who used it; and the rate."""

    worker: float
    reference: float
    postgres: float
    broker: float
    players: float
    rate: float
    per_batch: float
    rows: float

    @property
    def added(self) -> float:
        """What Starling adds to the bare drivers."""
        return self.worker - self.reference


def run() -> Result:
    """Alternate rounds of the worker and of the reference."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with Servers() as servers:
        rounds = []
        for number in range(ROUNDS):
            rounds.append(uvloop.run(_round(servers, number)))
            one = rounds[-1]
            progress(f"transition {number + 1}/{ROUNDS}: {one.rate:.0f}/s, worker {one.worker:.0f} µs,"
                     f" reference {one.reference:.0f} µs, load {load():.1f}")  # fmt: skip
    least = {name: min(getattr(one, name) for one in rounds) for name in Round.__struct_fields__}
    middle = {name: median([getattr(one, name) for one in rounds]) for name in Round.__struct_fields__}
    rate = Result(
        bench="transition.throughput",
        value=middle["rate"],
        unit="transitions/s",
        limit=THROUGHPUT_MIN,
        floor=True,
        details={"best": max(one.rate for one in rounds), "load_average": load()},
    )
    return Result(
        bench="transition",
        value=least["worker"] - least["reference"],
        unit="µs of CPU added to the reference per transition",
        limit=ADDED_MAX_US,
        details={
            "worker_us": least["worker"],
            "reference_us": least["reference"],
            "postgres_us": least["postgres"],
            "broker_us": least["broker"],
            "players_us": least["players"],
            "added_us_median": median([one.added for one in rounds]),
            "transitions_per_batch": middle["per_batch"],
            "rows_per_transition": middle["rows"],
            "rounds": len(rounds),
        },
        also=[rate],
    )


async def _round(servers: Servers, number: int) -> Round:
    recording = servers.folder / f"recording-{number}"
    database = servers.fresh_database()
    vhost = servers.fresh_vhost(f"worker-{number}")
    order = Order(f"worker-{number}", vhost, database, str(recording))
    process = await Process.start("worker_process", order)
    try:
        rates = await _loaded(servers, process, vhost)
    finally:
        await process.end()
    at_commit: list[int] = msgspec.json.decode(Path(f"{recording}.turns").read_bytes())
    used = await _repeated(servers, number, str(recording))
    recording.unlink()
    first = next(i for i, turns in enumerate(at_commit) if turns >= TURNS * WARM_SHARE)
    turns = at_commit[-1] - at_commit[first]
    return Round(reference=(used[-1] - used[first]) / turns * 1e6, **rates)


async def _loaded(servers: Servers, process: Process, vhost: str) -> dict[str, float]:
    async def figures() -> Figures:
        return msgspec.json.decode(await process.ask(), type=Figures)

    while (await figures()).held < PARTITIONS:
        await asyncio.sleep(0.1)
    clock = SystemClock()
    players = Players(vhost, clock, hosts=HOSTS, partitions=PARTITIONS, projects=8)
    await players.open()
    playing = asyncio.create_task(players.run())
    try:
        await players.enrol()
        Load(players, clock, instances=INSTANCES).start()
        while (await figures()).turns < TURNS * (1 + WARM_SHARE):
            await asyncio.sleep(0.1)
        began, before = clock.monotonic(), await figures()
        used = (tree_cpu_s(servers.postgres_pid), tree_cpu_s(servers.broker_pid), used_s())
        await asyncio.sleep(MEASURED_S)
        after = await figures()
        took, turns = clock.monotonic() - began, after.turns - before.turns
        if after.parked or after.recoveries:
            raise RuntimeError(
                f"{after.parked} messages parked, {after.recoveries} recoveries: not a measurement"
            )
        return {
            "worker": (after.cpu_s - before.cpu_s) / turns * 1e6,
            "postgres": (tree_cpu_s(servers.postgres_pid) - used[0]) / turns * 1e6,
            "broker": (tree_cpu_s(servers.broker_pid) - used[1]) / turns * 1e6,
            "players": (used_s() - used[2]) / turns * 1e6,
            "rate": turns / took,
            "per_batch": turns / (after.batches - before.batches),
            "rows": (after.committed - before.committed) / turns,
        }
    finally:
        playing.cancel()
        await players.close()


async def _repeated(servers: Servers, number: int, recording: str) -> list[float]:
    """The CPU seconds the reference loop has used up to each commit."""
    database = servers.fresh_database()
    await servers.own_all_partitions(database, f"worker-{number}", PARTITIONS)
    vhost = servers.fresh_vhost(f"reference-{number}")
    await _lay_out(vhost, recording)
    process = await Process.start("reference", Errand(vhost, database, recording))
    used: list[float] = msgspec.json.decode(await process.line(), type=list[float])
    await process.end()
    return used


async def _lay_out(vhost: str, recording: str) -> None:
    """Put every message the worker took into the queue it took it from, in order, and make all queues."""
    bus = AmqpBus(vhost, name="bench feeder")
    known: set[str] = set()
    for p in range(PARTITIONS):
        await bus.declare(topology.partition(p))
        known.add(topology.partition(p).name)
    sink = await (await bus._link.wire()).channel(publisher_confirms=True)
    sending = []
    for step in read(recording):
        if step[0] != TAKE:
            for queue, fanout, _ in step[1] if step[0] == "publish" else []:
                if queue not in known and not fanout:
                    known.add(queue)
                    await sink.queue_declare(queue, durable=True)
            continue
        _, queue, sender, body = step
        properties = spec.Basic.Properties(
            content_type="application/msgpack",
            delivery_mode=DeliveryMode.PERSISTENT,
            user_id=topology.login_of(sender) if sender else None,
        )
        key = f"{sender}.{queue.rpartition('.')[2]}" if sender else queue
        exchange = topology.HOST_IN if sender else ""
        sending.append(
            sink.basic_publish(  # type: ignore[call-arg]  # the abstract class lacks wait
                body, exchange=exchange, routing_key=key, properties=properties, wait=False
            )
        )
        if len(sending) >= PUBLISH_AT_ONCE:
            await asyncio.gather(*sending)
            sending.clear()
    await asyncio.gather(*sending)
    await bus.close()
