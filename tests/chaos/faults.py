"""What goes wrong, in order: each fault strikes a running cloud, is undone by itself and says what it saw."""

import asyncio
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


class Faults:
    """The faults of one cloud. ``proxy`` stands between every process and the broker."""

    def __init__(self, cloud: DistributedCloud, proxy: Proxy, recovery: Recovery) -> None:
        self._cloud = cloud
        self._proxy = proxy
        self._recovery = recovery

    def all(self) -> list[tuple[str, Fault]]:
        """Every fault the tests know, each once."""
        return [
            ("kill -9 worker", self._kill_worker),
            ("kill -9 gateway", self._kill_gateway),
            ("kill -9 agent", self._kill_agent),
            ("kill -9 scheduler", self._kill_scheduler),
            ("cut the broker's links", self._cut),
            ("freeze a worker", self._freeze),
            ("restart RabbitMQ", self._restart_broker),
            ("restart PostgreSQL", self._restart_database),
            ("fill the journal's disk", self._fill_journal),
            ("wipe RabbitMQ", self._wipe_broker),
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
        leaving = asyncio.create_task(self._recovery.leave("spawning", began, hosts))
        await asyncio.sleep(DOWN_S)
        self._cloud.again("agent-1")
        return f"{await leaving} (it was started again after {DOWN_S:.0f} s)"

    async def _kill_scheduler(self) -> str:
        began = await self._kill("scheduler-0")
        noted = await self._recovery.leave("scheduling", began)
        self._cloud.again("scheduler-0")
        return noted

    async def _kill(self, name: str) -> float:
        began = time.monotonic()
        await asyncio.to_thread(self._cloud.kill, name)
        return began

    async def _freeze(self) -> str:
        name = await asyncio.to_thread(self._recovery.name_of, "worker-1")
        began = time.monotonic()
        self._cloud.signal("worker-1", signal.SIGSTOP)
        noted = await self._recovery.takeover(name, began)
        await asyncio.sleep(max(0.0, FREEZE_S - (time.monotonic() - began)))
        self._cloud.signal("worker-1", signal.SIGCONT)
        return noted

    async def _cut(self) -> str:
        self._proxy.cut(refuse=True)
        await asyncio.sleep(DOWN_S)
        self._proxy.resume()
        return ""

    async def _restart_broker(self) -> str:
        await asyncio.to_thread(self._cloud.broker.restart)
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
