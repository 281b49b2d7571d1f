"""Health and figures over HTTP."""

import asyncio
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
