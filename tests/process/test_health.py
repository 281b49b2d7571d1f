"""Health and figures over HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web
from structlog.testing import CapturingLogger

from process import health
from process.health import Check, add_health, serve
from process.metrics import Metrics

Get = Callable[[str], Awaitable[tuple[int, str]]]


@asynccontextmanager
async def serving(checks: dict[str, Check], metrics: Metrics | None = None) -> AsyncIterator[Get]:
    app = web.Application()
    log: Any = CapturingLogger()
    add_health(app, checks, metrics or Metrics(), log)
    runner = await serve(app, "127.0.0.1", 0)
    host, port = runner.addresses[0]

    async def get(path: str) -> tuple[int, str]:
        async with session.get(f"http://{host}:{port}{path}") as response:
            return response.status, await response.text()

    async with ClientSession() as session:
        yield get
    await runner.cleanup()


async def good() -> dict[str, Any]:
    return {"clock_offset_s": 0.001}


async def bad() -> dict[str, Any]:
    raise ConnectionError("postgresql://user:hunter2@db refused")


async def slow() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def test_a_process_that_runs_is_healthy_whatever_its_checks_say() -> None:
    async with serving({"database": bad}) as get:
        assert (await get("/healthz"))[0] == 200


async def test_ready_shows_what_each_check_found() -> None:
    async with serving({"database": good}) as get:
        status, body = await get("/readyz")
    assert status == 200
    assert '"clock_offset_s": 0.001' in body


async def test_one_failed_check_makes_it_not_ready_and_keeps_its_text_to_itself() -> None:
    async with serving({"database": good, "bus": bad}) as get:
        status, body = await get("/readyz")
    assert status == 503
    assert "ConnectionError" in body
    assert "hunter2" not in body


async def test_a_check_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_MAX_S", 0.02)
    async with serving({"database": slow}) as get:
        status, body = await get("/readyz")
    assert status == 503
    assert "TimeoutError" in body


async def test_the_figures_are_prometheus_text() -> None:
    metrics = Metrics()
    metrics.batch(turns=3, seconds=0.002)
    metrics.operation("create", "succeeded", 1.5)
    metrics.request("compute", "/{id}", "GET", 200, 0.001)
    metrics.watch(lambda: [("starling_mailbox_depth", "Waiting", {"partition": "7"}, 42.0)])
    async with serving({}, metrics) as get:
        status, body = await get("/metrics")
    assert status == 200
    for line in (
        "starling_turns_total 3.0",
        'starling_operation_seconds_count{name="create",outcome="succeeded"} 1.0',
        'starling_http_request_seconds_count{api="compute",method="GET",route="/{id}",status="200"} 1.0',
        'starling_mailbox_depth{partition="7"} 42.0',
    ):
        assert line in body, line


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such limit")
async def test_who_reads_nothing_of_an_answer_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "UNREAD_MAX_S", 0.5)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def much(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1 << 20))
        finally:
            ended.set_result(None)

    app = web.Application()
    app.router.add_get("/", much)
    runner = await serve(app, "127.0.0.1", 0)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(runner.addresses[0])
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        await ended
    client.close()
    await runner.cleanup()


async def test_a_taken_port_is_refused() -> None:
    runner = await serve(web.Application(), "127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        await serve(web.Application(), "127.0.0.1", runner.addresses[0][1])
    await runner.cleanup()
