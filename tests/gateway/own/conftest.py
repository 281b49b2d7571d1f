"""An event log to write to, and clients that read the stream."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import pytest
import structlog
from aiohttp import ClientResponse, ClientSession

from gateway.own.cursor import Cursors
from gateway.own.routes import API
from gateway.own.tail import EventTail
from process.clock import SystemClock
from store.pool import Pool, open_pool
from store.turns import PostgresTurnStore
from tests.gateway.fakes import KnownTokens, caller, services, serving

PARTITIONS = 4
WAIT_S = 10.0
CURSORS = Cursors([bytes(range(32))])


@dataclass
class Log:
    """The cloud's event log and a gateway in front of it."""

    session: ClientSession
    url: str
    pool: Pool
    tail: EventTail
    tokens: KnownTokens
    written: list[str] = field(default_factory=list)

    async def write(
        self,
        partition: int,
        count: int = 1,
        *,
        project: str = "p1",
        kind: str = "instance.create",
        subject: str = "",
    ) -> None:
        """Events as a worker writes them: numbered, with the partition's count, in one transaction."""
        async with self.pool.acquire() as c, c.transaction():
            last = await c.fetchval(
                "UPDATE runtime.partition SET event_n = event_n + $2 WHERE p = $1 RETURNING event_n",
                partition,
                count,
            )
            for n in range(last - count + 1, last + 1):
                await c.execute(
                    "INSERT INTO runtime.event VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    *(
                        partition,
                        n,
                        kind,
                        subject or f"instance/{partition}-{n}",
                        project,
                        1.5e9 + n,
                        '{"k": 1}',
                    ),
                )
                self.written.append(CURSORS.event_id(partition, n))

    async def forget(self, partition: int, upto: int) -> None:
        async with self.pool.acquire() as c:
            await c.execute("DELETE FROM runtime.event WHERE partition = $1 AND n <= $2", partition, upto)

    def listen(self, query: str = "", *, who: str = "ann", last: str = "") -> "Listener":
        headers = {"X-Auth-Token": who} | ({"Last-Event-ID": last} if last else {})
        return Listener(self.session, f"/v1/events{query}", headers)


class Listener:
    """An event source: ``take`` waits for the next event or notice."""

    def __init__(self, session: ClientSession, path: str, headers: dict[str, str]) -> None:
        self._session, self._path, self._headers = session, path, headers
        self.last = ""
        self.response: ClientResponse

    async def __aenter__(self) -> Self:
        self.response = await self._session.get(self._path, headers=self._headers)
        assert self.response.status == 200, await self.response.text()
        assert self.response.content_type == "text/event-stream"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.response.close()

    async def take(self) -> tuple[str, Any]:
        """(event name, data); the name is ``message`` where none was sent."""
        name, data = "message", None
        async with asyncio.timeout(WAIT_S):
            while True:
                line = (await self.response.content.readline()).decode()
                assert line, "the stream ended"
                word, _, value = line.rstrip("\n").partition(":")
                value = value.removeprefix(" ")
                if word == "id":
                    self.last = value
                elif word == "event":
                    name = value
                elif word == "data":
                    data = msgspec.json.decode(value)
                elif not line.strip() and data is not None:
                    return name, data
                elif not line.strip():
                    name = "message"

    async def ids(self, count: int) -> list[str]:
        """The ids of the next events; notices are passed over."""
        found: list[str] = []
        while len(found) < count:
            name, data = await self.take()
            if name == "message":
                found.append(data["id"])
        return found

    async def settled(self) -> Self:
        """Wait until the stream has reached the end of the log."""
        while (await self.take())[0] != "position":
            pass
        return self


@pytest.fixture
async def log(database: str) -> AsyncIterator[Log]:
    pool = await open_pool(database, connections_max=4)
    await PostgresTurnStore(pool).prepare(PARTITIONS)
    tail = EventTail(pool, structlog.get_logger(), CURSORS)
    tokens = KnownTokens(
        ann=caller(),
        bob=caller(user_id="u2", project_id="p2"),
        root=caller("admin", project_id="p0"),
        sys=caller("admin", scope="system"),
    )
    given = services([API], tokens, pool, clock=SystemClock(), events=tail)
    async with serving(given, [API]) as (session, url):
        yield Log(session, url, pool, tail, tokens)
        tail.stop()
    await pool.close()
