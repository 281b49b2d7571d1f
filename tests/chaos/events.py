"""A subscriber of the event stream that lives through everything: it comes back, to another gateway perhaps,
with the last id it has seen, and must be told every position of the log exactly once.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter

import aiohttp
import asyncpg

from gateway.own.cursor import Cursors
from tests.chaos.load import Client

RETRY_S = 0.3
SILENCE_MAX_S = 25.0
"""The stream shows a sign of life every 15 s; when it is silent for longer, come back."""
CATCH_UP_MAX_S = 60.0


class Subscriber:
    """Follows all projects' events from the beginning of the log; ``run`` until cancelled."""

    def __init__(self, client: Client, cursors: Cursors) -> None:
        self._client, self._cursors = client, cursors
        self._last_id = "start"
        self.seen: Counter[str] = Counter()
        self.told: list[str] = []
        self.connections = 0

    @property
    def count(self) -> int:
        """Events heard."""
        return self.seen.total()

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE_MAX_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                # Broken off is what chaos does to it; the last id says where to go on.
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    await self._follow(session)
                await asyncio.sleep(RETRY_S)

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        headers = {"X-Auth-Token": self._client.token, "Last-Event-ID": self._last_id}
        url = f"http://127.0.0.1:{self._client.port()}/v1/events?all_projects=1"
        async with session.get(url, headers=headers) as answer:
            if answer.status >= 500:
                return
            answer.raise_for_status()
            self.connections += 1
            frame: dict[str, str] = {}
            async for raw in answer.content:
                line = raw.decode().rstrip("\n")
                if line:
                    name, _, value = line.partition(":")
                    frame[name] = value.removeprefix(" ")
                else:
                    self._hear(frame)
                    frame = {}

    def _hear(self, frame: dict[str, str]) -> None:
        """One whole frame: a cut one is never counted, and asked for again."""
        self._last_id = frame.get("id", self._last_id)
        if frame.get("event", "message") != "message":
            if frame["event"] == "reset":
                self.told.append(f"the stream was reset: {frame.get('data')}")
        elif "data" in frame:
            self.seen[json.loads(frame["data"])["id"]] += 1

    async def wait_for(self, database: str) -> None:
        """Until everything in the log has been heard, or CATCH_UP_MAX_S are over."""
        until = time.monotonic() + CATCH_UP_MAX_S
        while await self._log(database) - self.seen.keys() and time.monotonic() < until:
            await asyncio.sleep(0.3)

    async def violations(self, database: str) -> list[str]:
        """Positions not heard, heard twice, or heard and never written. Empty is good."""
        log = await self._log(database)
        lost, invented = log - self.seen.keys(), self.seen.keys() - log
        twice = {ident for ident, times in self.seen.items() if times > 1}
        found = list(self.told)
        for what, ids in (
            ("never told", lost),
            ("told and not in the log", invented),
            ("told more than once", twice),
        ):
            found += [f"{len(ids)} events {what}: {sorted(ids)[:5]}"] if ids else []
        return found

    async def _log(self, database: str) -> set[str]:
        """The ids of all events that were written."""
        connection = await asyncpg.connect(database)
        try:
            rows = await connection.fetch("SELECT partition, n FROM runtime.event")
        finally:
            await connection.close()
        return {self._cursors.event_id(row["partition"], row["n"]) for row in rows}
