"""Supervision: what fails is started again, what is fatal ends the process, a signal ends it in order."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import CapturingLogger
from structlog.typing import FilteringBoundLogger

from process import run
from process.run import Part, run_parts


class Recorder(CapturingLogger):
    """A log whose events can be listed."""

    def names(self) -> list[str]:
        return [str(call.args[0]) for call in self.calls]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(run, "PAUSE_FIRST_S", 0.001)
    return Recorder()


def bound(log: Recorder) -> FilteringBoundLogger:
    taken: Any = log  # it takes the call of every level
    bound: FilteringBoundLogger = taken
    return bound


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def forever() -> None:
    await asyncio.Event().wait()


def note(
    said: list[str], word: str, then: Callable[[], Awaitable[None]] | None = None
) -> Callable[[], Awaitable[None]]:
    async def drain() -> None:
        said.append(word)
        if then is not None:
            await then()

    return drain


async def test_a_part_that_fails_is_told_of_and_started_again(log: Recorder) -> None:
    runs = 0

    async def flaky() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise OSError("cut")
        interrupt()
        await forever()

    assert await run_parts([Part("flaky", flaky)], bound(log)) == 0
    assert runs == 3
    assert log.names() == ["part.failed", "part.failed"]


async def test_a_fatal_error_ends_the_process_after_draining_the_others(log: Recorder) -> None:
    said: list[str] = []

    async def doomed() -> None:
        raise PermissionError("wrong password")

    parts = [
        Part("gateway", forever, drain=note(said, "gateway drained")),
        Part("doomed", doomed, fatal=(PermissionError,)),
    ]
    assert await run_parts(parts, bound(log)) == 1
    assert said == ["gateway drained"]
    assert "part.fatal" in log.names()


async def test_parts_are_drained_in_their_order_then_cancelled(log: Recorder) -> None:
    said: list[str] = []

    async def part(name: str) -> None:
        try:
            await forever()
        finally:
            said.append(f"{name} ended")

    parts = [
        Part("gateway", lambda: part("gateway"), drain=note(said, "gateway drained")),
        Part("worker", lambda: part("worker"), drain=note(said, "worker drained")),
    ]
    assert await run_parts(parts, bound(log), ready=interrupt) == 0
    assert said == ["gateway drained", "gateway ended", "worker drained", "worker ended"]
    assert log.names() == []


async def test_draining_has_one_limit_for_all_parts(log: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "DRAIN_MAX_S", 0.05)
    parts = [Part(name, forever, drain=forever) for name in ("one", "two", "three")]
    async with asyncio.timeout(5):
        assert await run_parts(parts, bound(log), ready=interrupt) == 0
    assert log.names() == ["part.not_drained"] * 3


async def test_a_second_signal_cuts_the_draining_short(log: Recorder) -> None:
    async def again() -> None:
        interrupt()
        await forever()

    async with asyncio.timeout(run.DRAIN_MAX_S / 2):
        await run_parts([Part("slow", forever, drain=again)], bound(log), ready=interrupt)
    assert log.names() == ["part.not_drained"]


async def test_a_drain_that_fails_does_not_keep_the_others_from_it(log: Recorder) -> None:
    said: list[str] = []

    async def broken() -> None:
        raise OSError("no disk")

    parts = [
        Part("one", forever, drain=note(said, "one", broken)),
        Part("two", forever, drain=note(said, "two")),
    ]
    assert await run_parts(parts, bound(log), ready=interrupt) == 0
    assert said == ["one", "two"]
    assert log.names() == ["part.drain_failed"]


async def test_a_part_that_will_not_be_cancelled_does_not_hold_up_the_end(
    log: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CANCEL_MAX_S", 0.05)
    release, running = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        running.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def signaller() -> None:
        await running.wait()
        interrupt()
        await forever()

    parts = [Part("stubborn", stubborn), Part("signaller", signaller)]
    assert await run_parts(parts, bound(log)) == 0
    assert log.names() == ["part.stuck"]
    release.set()
    await asyncio.sleep(0)


async def test_sighup_reads_again_and_ends_nothing(log: Recorder) -> None:
    said: list[str] = []

    def reload() -> None:
        said.append("again")
        if len(said) < 2:
            os.kill(os.getpid(), signal.SIGHUP)
        else:
            interrupt()

    async def begin() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await forever()

    assert await run_parts([Part("p", begin)], bound(log), reload=reload) == 0
    assert said == ["again", "again"]
