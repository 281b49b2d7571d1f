"""Running a process: its parts under supervision, its end in order.

A part that raises is logged with its traceback and started again after a growing pause; what a part
declares fatal ends the process. SIGINT and SIGTERM drain the parts in the order given, within a limit for
all of them together; a second signal cuts the draining short. SIGHUP has files read or opened again.
"""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

PAUSE_FIRST_S: Final = 0.2
PAUSE_MAX_S: Final = 5.0
DRAIN_MAX_S: Final = 15.0
"""For all parts together."""
CANCEL_MAX_S: Final = 5.0
"""For one part to end after it was cancelled."""
COLLECT_EVERY: Final = 50_000
"""New objects between two looks of the collector at the youngest (Python's own: 700)."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Part(Struct, frozen=True):
    """Something that runs until it is cancelled or drained.

    ``drain`` asks it to finish what it has begun; ``fatal`` are the errors that starting again cannot mend.
    """

    name: str
    run: Callable[[], Awaitable[None]]
    drain: Callable[[], Awaitable[None]] | None = None
    fatal: tuple[type[Exception], ...] = ()


def calm_collector() -> None:
    """Let the garbage collector look seldom.

    Nearly all that a process makes is freed by reference counts; messages and states are immutable and can
    hold no cycle. Python's own interval costs a busy worker a tenth of its time.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 50)


def _nothing() -> None:
    """A process that keeps nothing of a file."""


async def run_parts(
    parts: list[Part],
    log: FilteringBoundLogger,
    *,
    ready: Callable[[], None] | None = None,
    reload: Callable[[], None] = _nothing,
) -> int:
    """Run the parts until a signal or a fatal error; the process's exit code. ``reload`` answers SIGHUP."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    failed: list[str] = []
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, reload)

    async def keep(part: Part) -> None:
        try:
            await _keep_running(part, log, stop)
        except part.fatal as error:
            log.exception("part.fatal", part=part.name, error=str(error))
            failed.append(part.name)
            stop.set()

    tasks = {part.name: asyncio.create_task(keep(part), name=part.name) for part in parts}
    if ready is not None:
        ready()
    await stop.wait()
    try:
        await _drain(parts, tasks, hurry, log)
    finally:
        for number in (*_SIGNALS, signal.SIGHUP):
            loop.remove_signal_handler(number)
    return 1 if failed else 0


async def _keep_running(part: Part, log: FilteringBoundLogger, stop: asyncio.Event) -> None:
    pause = PAUSE_FIRST_S
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        began = loop.time()
        try:
            await part.run()
        except part.fatal:
            raise
        except Exception as error:
            # Supervision: whatever it was, it is told of loudly and the part is started again.
            log.exception("part.failed", part=part.name, error=str(error))
        else:
            return
        if loop.time() - began > PAUSE_MAX_S * 2:
            pause = PAUSE_FIRST_S
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_MAX_S)


async def _drain(
    parts: list[Part], tasks: dict[str, asyncio.Task[None]], hurry: asyncio.Event, log: FilteringBoundLogger
) -> None:
    deadline = asyncio.get_running_loop().time() + DRAIN_MAX_S
    impatience = asyncio.create_task(hurry.wait())
    for part in parts:
        if part.drain is not None:
            await _drain_part(part.name, asyncio.ensure_future(part.drain()), deadline, impatience, log)
        task = tasks[part.name]
        task.cancel()
        _, stuck = await asyncio.wait([task], timeout=CANCEL_MAX_S)
        if stuck:
            log.error("part.stuck", part=part.name, limit_s=CANCEL_MAX_S)
    impatience.cancel()


async def _drain_part(
    name: str,
    drained: asyncio.Future[None],
    deadline: float,
    impatience: asyncio.Task[Literal[True]],
    log: FilteringBoundLogger,
) -> None:
    left_s = max(0.0, deadline - asyncio.get_running_loop().time())
    both: list[asyncio.Future[Any]] = [drained, impatience]
    await asyncio.wait(both, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    if not drained.done():
        log.warning("part.not_drained", part=name, limit_s=DRAIN_MAX_S)
        drained.cancel()
        await asyncio.wait([drained], timeout=CANCEL_MAX_S)
    elif error := drained.exception():
        # The other parts must still be stopped.
        log.error("part.drain_failed", part=name, error=str(error), exc_info=error)
