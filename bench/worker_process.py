"""A worker as its own process, as ``starling worker`` makes it, that tells its figures when asked.

Each line on standard input is answered by one line of JSON on standard output; the end of input stops it.
With ``record`` it also writes down what went over its wires, for ``reference.py`` to repeat.
"""

import asyncio
import gc
import sys

import msgspec
import structlog
import uvloop
from msgspec import Struct

from actors.kinds import KINDS
from actors.runtime.worker import Worker, WorkerSettings
from bench.meter import used_s
from bench.recording import Recorder
from bus.amqp import AmqpBus
from cli.parts import seal_with
from process.clock import SystemClock
from process.log_file import LogFiles
from process.logs import set_up_logs
from process.metrics import Metrics
from process.run import calm_collector
from store.pool import open_pool
from store.turns import PostgresTurnStore

PARTITIONS = 16


class Order(Struct, frozen=True):
    """What a process of a benchmark is started with."""

    name: str
    amqp: str
    database: str
    record: str = ""


class Figures(Struct, frozen=True):
    """What a worker has done and used since it began."""

    turns: int
    committed: int
    batches: int
    parked: int
    recoveries: int
    held: int
    cpu_s: float
    gc_runs: int


async def lines() -> asyncio.StreamReader:
    """Standard input."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def main(order: Order) -> None:
    """Work until standard input ends."""
    calm_collector()
    set_up_logs(style="json", level="warning", files=LogFiles(""))
    clock = SystemClock()
    pool = await open_pool(order.database, connections_max=6, settings={"role": "starling_worker"})
    recorder = Recorder(lambda: worker.stats.turns) if order.record else None
    bus, store = AmqpBus(order.amqp, name=order.name), PostgresTurnStore(pool)
    await store.prepare(PARTITIONS)
    worker = Worker(
        name=order.name,
        bus=recorder.bus(bus) if recorder else bus,
        store=recorder.store(store) if recorder else store,
        clock=clock,
        kinds=KINDS,
        seal=seal_with("00" * 32, "http://127.0.0.1"),
        settings=WorkerSettings(partitions=PARTITIONS),
        log=structlog.get_logger(),
        observer=Metrics(),
    )
    running = asyncio.create_task(worker.run())
    orders = await lines()
    while await orders.readline():
        stats = worker.stats
        figures = Figures(
            stats.turns,
            stats.committed,
            stats.batches,
            stats.parked,
            stats.recoveries,
            len(worker.held),
            used_s(),
            sum(generation["collections"] for generation in gc.get_stats()),
        )
        print(msgspec.json.encode(figures).decode(), flush=True)
    worker.stop()
    await running
    if recorder:
        recorder.write(order.record)
    await bus.close()
    await pool.close()


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Order)))
