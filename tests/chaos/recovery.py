"""How long until the work of a killed process goes on, measured where the work is: in the database."""

import asyncio
import time
import urllib.request

import asyncpg

from tests.chaos.load import Tenants
from tests.rig.cloud import DistributedCloud

RECOVERY_MAX_S = 60.0
CROWD_MAX_S = 20.0
POLL_S = 0.1

_UNFINISHED = "SELECT id FROM runtime.operation WHERE finished_at = 0"
_OF_WORKER = "SELECT p, epoch, event_n FROM runtime.partition WHERE owner = $1"
_WENT_ON = """
SELECT count(*) FROM runtime.partition AS t
JOIN unnest($1::int2[], $2::int8[], $3::int8[]) AS u(p, epoch, event_n) ON t.p = u.p
WHERE t.epoch > u.epoch AND t.event_n > u.event_n
"""
_IN_STATE = """
SELECT id, state::json->'placements'->-1->>'hostname' AS hostname FROM compute.instance
WHERE NOT gone AND task_state = $1
"""


class Recovery:
    """Questions to the database of one cloud, all times in seconds."""

    def __init__(self, cloud: DistributedCloud, load: Tenants) -> None:
        self._cloud, self._load = cloud, load

    async def in_flight(self, least: int) -> list[str]:
        """The operations under way, as soon as there are so many (or after CROWD_MAX_S)."""
        until = time.monotonic() + CROWD_MAX_S
        while True:
            found = [row["id"] for row in await self._fetch(_UNFINISHED)]
            if len(found) >= least or time.monotonic() > until:
                return found
            await asyncio.sleep(POLL_S)

    async def ended(self, operations: list[str], began: float) -> str:
        """Until the first and until all of these have ended."""
        left = set(operations)
        first_s = 0.0
        while left and time.monotonic() - began < RECOVERY_MAX_S:
            await asyncio.sleep(POLL_S)
            left &= {row["id"] for row in await self._fetch(_UNFINISHED)}
            if len(left) < len(operations):
                first_s = first_s or time.monotonic() - began
        what = f"but {len(left)}" if left else "all"
        return f"the first ended after {first_s:.1f} s, {what} after {time.monotonic() - began:.1f} s"

    def name_of(self, worker: str) -> str:
        """The name a worker process goes by in the database; from its metrics."""
        url = f"http://127.0.0.1:{self._cloud.metrics_ports[worker]}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        held = next(line for line in lines if line.startswith("starling_partitions_held{"))
        return str(held.split('"')[1])

    async def takeover(self, worker: str, began: float) -> str:
        """Until each partition of a dead worker has seen a commit of its next owner."""
        rows = await self._fetch(_OF_WORKER, worker)
        partitions, epochs, events = ([row[i] for row in rows] for i in range(3))
        first_s = all_s = 0.0
        while time.monotonic() - began < RECOVERY_MAX_S and not all_s:
            went_on = (await self._fetch(_WENT_ON, partitions, epochs, events))[0][0]
            now = time.monotonic() - began
            first_s = first_s or (now if went_on else 0.0)
            all_s = now if went_on == len(rows) else 0.0
            await asyncio.sleep(POLL_S)
        return (
            f"commits on the first of its {len(rows)} partitions after {first_s:.1f} s,"
            f" on all after {all_s or float('inf'):.1f} s"
        )

    async def next_create(self, began: float) -> str:
        """Until the next create is accepted, and until the requests that were open have their answers."""
        created, waiting = self._load.created, self._load.client.open_calls()
        while self._load.created == created and time.monotonic() - began < RECOVERY_MAX_S:
            await asyncio.sleep(POLL_S / 10)
        next_s = time.monotonic() - began
        while waiting & self._load.client.open_calls() and time.monotonic() - began < RECOVERY_MAX_S:
            await asyncio.sleep(POLL_S / 10)
        answered_s = time.monotonic() - began
        return (
            f"the next create accepted after {next_s:.2f} s,"
            f" {len(waiting)} open requests answered after {answered_s:.1f} s"
        )

    async def leave(self, state: str, began: float, hosts: list[str] | None = None) -> str:
        """Until the instances that are in this task state now, on these hosts, have left it."""
        rows = await self._fetch(_IN_STATE, state)
        stuck = {row["id"] for row in rows if hosts is None or row["hostname"] in hosts}
        count, first_s = len(stuck), 0.0
        while stuck and time.monotonic() - began < RECOVERY_MAX_S:
            await asyncio.sleep(POLL_S)
            stuck &= {row["id"] for row in await self._fetch(_IN_STATE, state)}
            if len(stuck) < count:
                first_s = first_s or time.monotonic() - began
        return (
            f"the first of {count} instances left {state} after {first_s:.1f} s,"
            f" all after {time.monotonic() - began:.1f} s"
        )

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        until = time.monotonic() + RECOVERY_MAX_S
        while True:
            try:
                connection = await asyncpg.connect(self._cloud.database)
                try:
                    return list(await connection.fetch(statement, *values))
                finally:
                    await connection.close()
            except (OSError, asyncpg.PostgresError):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(POLL_S)
