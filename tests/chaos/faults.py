"""What goes wrong, in order: each fault strikes a running cloud and is undone by itself."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.fixtures.proxy import Proxy
from tests.rig.cloud import DistributedCloud

Fault = Callable[[], Awaitable[None]]
FREEZE_S = 20.0
DOWN_S = 3.0


class Faults:
    """The faults of one cloud. ``proxy`` stands between every process and the broker."""

    def __init__(self, cloud: DistributedCloud, proxy: Proxy) -> None:
        self._cloud = cloud
        self._proxy = proxy

    def all(self) -> list[tuple[str, Fault]]:
        """Every fault the tests know, each once."""
        return [
            ("kill -9 worker", lambda: self._kill("worker-0")),
            ("kill -9 gateway", lambda: self._kill("gateway-1")),
            ("kill -9 agent", lambda: self._kill("agent-0")),
            ("kill -9 scheduler", lambda: self._kill("scheduler-0")),
            ("cut the broker's links", self._cut),
            ("freeze a worker", self._freeze),
            ("restart RabbitMQ", self._restart_broker),
            ("restart PostgreSQL", self._restart_database),
            ("fill the journal's disk", self._fill_journal),
            ("wipe RabbitMQ", self._wipe_broker),
        ]

    async def _kill(self, name: str) -> None:
        await asyncio.to_thread(self._cloud.kill, name)
        await asyncio.sleep(DOWN_S)
        self._cloud.again(name)

    async def _freeze(self) -> None:
        self._cloud.signal("worker-1", signal.SIGSTOP)
        await asyncio.sleep(FREEZE_S)
        self._cloud.signal("worker-1", signal.SIGCONT)

    async def _cut(self) -> None:
        self._proxy.cut(refuse=True)
        await asyncio.sleep(DOWN_S)
        self._proxy.resume()

    async def _restart_broker(self) -> None:
        await asyncio.to_thread(self._cloud.broker.restart)

    async def _wipe_broker(self) -> None:
        await asyncio.to_thread(self._cloud.wipe_broker)

    async def _restart_database(self) -> None:
        await asyncio.to_thread(self._cloud.restart_postgres)

    async def _fill_journal(self) -> None:
        ballast = Path(self._cloud.hosts_of(0)) / "ballast"
        await asyncio.to_thread(_fill, ballast)
        await asyncio.sleep(DOWN_S)
        ballast.unlink()


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            return  # the disk is full: that was the purpose
