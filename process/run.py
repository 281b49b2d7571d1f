"""Running a process: its parts under supervision, its end in order.

A part that raises is logged with its traceback and started again after a growing pause; what a part
declares fatal ends the process. SIGINT and SIGTERM drain the parts in the order given, within a limit.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

PAUSE_FIRST_S: Final = 0.2
PAUSE_MAX_S: Final = 5.0
DRAIN_MAX_S: Final = 15.0


class Part(Struct, frozen=True):
    """Something that runs until it is cancelled or drained.

    ``drain`` asks it to finish what it has begun; ``fatal`` are the errors that starting again cannot mend.
    """

    name: str
    run: Callable[[], Awaitable[None]]
    drain: Callable[[], Awaitable[None]] | None = None
    fatal: tuple[type[Exception], ...] = ()


async def run_parts(
    parts: list[Part], log: FilteringBoundLogger, *, ready: Callable[[], None] | None = None
) -> int:
    """Run the parts until a signal or a fatal error; the process's exit code."""
    stop = asyncio.Event()
    failed: list[str] = []
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    async def keep(part: Part) -> None:
        try:
            await _keep_running(part, log, stop)
        except part.fatal as error:
            log.error("part.fatal", part=part.name, error=str(error))
            failed.append(part.name)
            stop.set()

    tasks = {part.name: asyncio.create_task(keep(part), name=part.name) for part in parts}
    if ready is not None:
        ready()
    await stop.wait()
    await _drain(parts, tasks, log)
    return 1 if failed else 0


async def _keep_running(part: Part, log: FilteringBoundLogger, stop: asyncio.Event) -> None:
    pause = PAUSE_FIRST_S
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        began = loop.time()
        try:
            await part.run()
            return
        except part.fatal:
            raise
        except Exception as error:  # noqa: BLE001  supervision: whatever it was, it is logged and mended
            log.error("part.failed", part=part.name, error=str(error), exc_info=error)
        if loop.time() - began > PAUSE_MAX_S * 2:
            pause = PAUSE_FIRST_S
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_MAX_S)


async def _drain(parts: list[Part], tasks: dict[str, asyncio.Task[None]], log: FilteringBoundLogger) -> None:
    for part in parts:
        if part.drain is not None:
            try:
                async with asyncio.timeout(DRAIN_MAX_S):
                    await part.drain()
            except TimeoutError:
                log.warning("part.not_drained", part=part.name, limit_s=DRAIN_MAX_S)
            except Exception as error:  # noqa: BLE001  the others must still be stopped
                log.error("part.drain_failed", part=part.name, exc_info=error)
        task = tasks[part.name]
        task.cancel()
        await asyncio.wait([task])
