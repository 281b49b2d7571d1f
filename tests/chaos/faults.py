"""What goes wrong, in order: each fault strikes a running cloud, is undone by itself and says what it saw."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.chaos.recovery import Recovery
from tests.fixtures.proxy import Proxy
from tests.rig.cloud import DistributedCloud

Fault = Callable[[], Awaitable[str]]
FREEZE_S = 20.0
DOWN_S = 3.0
RESTART_S = 1.0
"""After this a supervisor starts a process again."""
SPREE_S = 30.0
SPREE_PAUSE_MAX_S = 2.0


class Faults:
    """The faults of one cloud. ``proxy`` stands between every process and the broker."""

    def __init__(self, cloud: DistributedCloud, proxy: Proxy, recovery: Recovery, seed: int) -> None:
        self._cloud = cloud
        self._proxy = proxy
        self._recovery = recovery
        self._chance = random.Random(seed)

    def chosen(self, only: str, *, more: bool) -> list[tuple[str, Fault]]:
        """The faults whose name contains ``only``.

        ``more``: also power failures, many processes at once, other freezes.
        """
        faults = [*self._each(), *(self._others() if more else [])]
        return [(name, fault) for name, fault in faults if only in name]

    def _each(self) -> list[tuple[str, Fault]]:
        faults: list[tuple[str, Fault]] = [
            ("kill -9 worker", self._kill_worker),
            ("kill -9 gateway", self._kill_gateway),
            ("kill -9 agent", self._kill_agent),
            ("kill -9 scheduler", self._kill_scheduler),
            ("cut the broker's links", self._cut),
            ("freeze a worker", self._freeze_worker),
            ("restart RabbitMQ", self._restart_broker),
            ("restart PostgreSQL", self._restart_database),
            ("wipe RabbitMQ", self._wipe_broker),
        ]
        if self._cloud.has_small_disk:
            faults.append(("fill the journal's disk", self._fill_journal))
        return faults

    def _others(self) -> list[tuple[str, Fault]]:
        workers = [name for name in self._cloud.processes if name.startswith("worker")]
        return [
            ("kill -9 all workers", lambda: self._kill_all(workers)),
            ("kill -9 everything", lambda: self._kill_all(list(self._cloud.processes))),
            ("kill -9 PostgreSQL", self._kill_database),
            ("kill -9 RabbitMQ", self._kill_broker),
            ("kill -9 one after the other", self._spree),
            ("freeze an agent", lambda: self._freeze("agent-1")),
            ("freeze a gateway", lambda: self._freeze("gateway-0")),
            ("freeze a scheduler", lambda: self._freeze("scheduler-1")),
        ]

    async def _kill_worker(self) -> str:
        """It stays down until the others have its partitions."""
        name = await asyncio.to_thread(self._recovery.name_of, "worker-0")
        began = await self._kill("worker-0")
        noted = await self._recovery.takeover(name, began)
        self._cloud.again("worker-0")
        return noted

    async def _kill_gateway(self) -> str:
        began = await self._kill("gateway-1")
        noted = await self._recovery.next_create(began)
        self._cloud.again("gateway-1")
        return noted

    async def _kill_agent(self) -> str:
        """Only on its host can its work go on: something starts it again."""
        hosts = [place.name for place in self._cloud.hosts_of(1).iterdir()]
        began = await self._kill("agent-1")
        await asyncio.sleep(RESTART_S)  # what it had said is heard meanwhile
        self._cloud.again("agent-1")
        noted = await self._recovery.leave("spawning", began, hosts)
        return f"{noted} (it was started again after {RESTART_S:.0f} s)"

    async def _kill_scheduler(self) -> str:
        began = await self._kill("scheduler-0")
        noted = await self._recovery.leave("scheduling", began)
        self._cloud.again("scheduler-0")
        return noted

    async def _kill(self, name: str) -> float:
        began = time.monotonic()
        await asyncio.to_thread(self._cloud.kill, name)
        return began

    async def _kill_all(self, names: list[str]) -> str:
        for name in names:
            self._cloud.signal(name, signal.SIGKILL)
        for name in names:
            await asyncio.to_thread(self._cloud.kill, name)
            self._cloud.again(name)
        return ""

    async def _spree(self) -> str:
        """Whatever comes next, for a while; each is started again after a moment."""
        names = sorted(self._cloud.processes)
        killed, until = 0, time.monotonic() + SPREE_S
        while time.monotonic() < until:
            name = self._chance.choice(names)
            await self._kill(name)
            await asyncio.sleep(self._chance.uniform(0, SPREE_PAUSE_MAX_S))
            self._cloud.again(name)
            await asyncio.sleep(self._chance.uniform(0, SPREE_PAUSE_MAX_S))
            killed += 1
        return f"{killed} processes killed"

    async def _freeze_worker(self) -> str:
        name = await asyncio.to_thread(self._recovery.name_of, "worker-1")
        leaving = asyncio.create_task(self._recovery.takeover(name, time.monotonic()))
        await self._freeze("worker-1")
        return await leaving

    async def _freeze(self, name: str) -> str:
        self._cloud.signal(name, signal.SIGSTOP)
        await asyncio.sleep(FREEZE_S)
        self._cloud.signal(name, signal.SIGCONT)
        return ""

    async def _cut(self) -> str:
        self._proxy.cut(refuse=True)
        await asyncio.sleep(DOWN_S)
        self._proxy.resume()
        return ""

    async def _restart_broker(self) -> str:
        await asyncio.to_thread(self._cloud.broker.restart)
        return ""

    async def _kill_broker(self) -> str:
        await asyncio.to_thread(self._cloud.broker.kill)
        await asyncio.to_thread(self._cloud.broker.start)
        return ""

    async def _kill_database(self) -> str:
        await asyncio.to_thread(self._cloud.kill_postgres)
        return ""

    async def _wipe_broker(self) -> str:
        await asyncio.to_thread(self._cloud.wipe_broker)
        return ""

    async def _restart_database(self) -> str:
        await asyncio.to_thread(self._cloud.restart_postgres)
        return ""

    async def _fill_journal(self) -> str:
        ballast = Path(self._cloud.hosts_of(0)) / "ballast"
        await asyncio.to_thread(_fill, ballast)
        await asyncio.sleep(DOWN_S)
        ballast.unlink()
        return ""


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            return  # the disk is full: that was the purpose
