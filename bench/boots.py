"""``boots``: servers booted to ACTIVE a second through the HTTP API, and how long one boot takes.

Two gateways, two workers, a scheduler and an agent process with simulated hosts without latency, RabbitMQ
and PostgreSQL, and the client: all on this machine. Beside it: a thousand servers listed, one shown.
"""

import asyncio
import time
from statistics import median, quantiles
from typing import Final

import asyncpg
import uvloop

from bench.result import Result, progress
from bench.tenant import Tenant
from tests.rig.cloud import DistributedCloud

SERVERS: Final = 1000
CONCURRENCY: Final = 48
ALONE: Final = 60
BOOTS_MIN: Final = 150.0
ALONE_MAX_MS: Final = 40.0
LIST_MAX_MS: Final = 20.0
SHOW_MAX_MS: Final = 2.0
READS: Final = 60
BOOT_MAX_S: Final = 120.0


def run() -> Result:
    """Start the cloud, measure, stop it."""
    cloud = DistributedCloud(hosts=12, host_options=("latency_factor=0", "vcpus=512", "memory_mib=1048576"))
    try:
        progress("starting a distributed cloud …")
        cloud.start()
        return uvloop.run(_measure(cloud))
    finally:
        cloud.close()


async def _measure(cloud: DistributedCloud) -> Result:
    urls = [f"http://127.0.0.1:{port}" for port in cloud.ports]
    tenant = Tenant(urls, cloud.secrets().admin_password)
    database = await asyncpg.connect(cloud.database)
    try:
        await tenant.prepare()
        await _boot_many(tenant, database, 100, "warm")
        alone = [await _boot_one(tenant, n) for n in range(ALONE)]
        seconds = await _boot_many(tenant, database, SERVERS, "boot")
        failed = await database.fetchval("SELECT count(*) FROM compute.instance WHERE vm_state <> 'active'")
        listed = [await _time(tenant, "/compute/v2.1/servers/detail?limit=1000") for _ in range(READS)]
        server = (await tenant.ask("GET", "/compute/v2.1/servers?limit=1"))["servers"][0]["id"]
        shown = [await _time(tenant, f"/compute/v2.1/servers/{server}") for _ in range(READS * 5)]
    finally:
        await database.close()
        await tenant.close()
    if failed:
        raise RuntimeError(f"{failed} servers did not become active")
    return Result(
        bench="boots",
        value=SERVERS / seconds,
        unit="boots/s",
        limit=BOOTS_MIN,
        floor=True,
        details={"servers": SERVERS, "concurrency": CONCURRENCY, "hosts": 12},
        also=[
            _figure("boot_alone", alone[5:], ALONE_MAX_MS),
            _figure("list_1000", listed[5:], LIST_MAX_MS),
            _figure("show", shown[5:], SHOW_MAX_MS),
        ],
    )


def _figure(name: str, seconds: list[float], limit_ms: float) -> Result:
    value = median(seconds) * 1000
    p99 = quantiles(seconds, n=100)[98] * 1000
    return Result(bench=name, value=value, unit="ms p50", limit=limit_ms, details={"p99_ms": p99})


async def _boot_many(tenant: Tenant, database: asyncpg.Connection, count: int, prefix: str) -> float:
    """Seconds from the first request until the last of ``count`` servers is active."""
    gate = asyncio.Semaphore(CONCURRENCY)
    before = await _active(database)

    async def boot(n: int) -> None:
        async with gate:
            await tenant.boot(f"{prefix}-{n}")

    began = time.perf_counter()
    async with asyncio.TaskGroup() as boots:
        for n in range(count):
            boots.create_task(boot(n))
    while await _active(database) - before < count:
        if time.perf_counter() - began > BOOT_MAX_S:
            raise TimeoutError(f"{await _active(database) - before} of {count} servers are active")
        await asyncio.sleep(0.02)
    return time.perf_counter() - began


async def _active(database: asyncpg.Connection) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM compute.instance WHERE vm_state = 'active'")
    return count


async def _boot_one(tenant: Tenant, n: int) -> float:
    began = time.perf_counter()
    server = await tenant.boot(f"alone-{n}")
    while await tenant.status(server) != "ACTIVE":
        await asyncio.sleep(0.001)
    return time.perf_counter() - began


async def _time(tenant: Tenant, path: str) -> float:
    began = time.perf_counter()
    await tenant.fetch(path)
    return time.perf_counter() - began
