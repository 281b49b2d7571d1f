"""Virtual time: an event loop that never waits, and the clocks that simulated processes read.

Everything a run does happens on one ``SimLoop``. When nothing is ready it moves its clock to the next
timer, so an hour of the cloud's life costs what its callbacks cost. Callbacks run in the order they
were asked for, tasks hash by birth, and all chance comes from the seed: a run is a function of it.

A ``SimProcess`` marks the callbacks of one simulated process (through a context variable that its tasks
inherit). A frozen process's callbacks are put aside until it thaws, as SIGSTOP would.
"""

import asyncio
import contextvars
import heapq
import uuid
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

EPOCH: Final = 1_800_000_000.0
"""UTC epoch seconds at which every run begins."""


TURNS_MAX: Final = 1_000_000
"""Callbacks in one run; more is a circle without an end."""
CLEANUP_TURNS: Final = 1000
"""Turns of the loop that tasks get to end in when a run is over."""


class Stalled(Exception):  # noqa: N818  what happened to the run
    """Nothing is ready and no timer is set, or nothing but circles: the run cannot end."""


class SimProcess:
    """The scheduler's view of one process: running or frozen."""

    __slots__ = ("held", "name", "stopped")

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopped = False
        self.held: list[events.Handle] = []


PROCESS: Final[contextvars.ContextVar[SimProcess | None]] = contextvars.ContextVar("process", default=None)
_OUTSIDE: Final = contextvars.copy_context()


class SimTask(asyncio.Task[Any]):
    """A task whose hash is its birth number: sets of tasks iterate alike in every process."""

    _births = 0

    def __init__(self, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        SimTask._births += 1
        self._birth = SimTask._births
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._birth

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """Moves the clock instead of waiting. No sockets, no threads, no signals."""

    def __init__(self) -> None:
        super().__init__()
        SimTask._births = 0
        self.now = 0.0
        self.turns = 0
        self.failures: list[BaseException] = []
        self.outside: tuple[type, ...] = ()
        """Owners of timers that go on whatever becomes of the process that set them: brokers, disks."""
        self._line: deque[events.Handle] = deque()
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._sequence = 0
        self._ending = False
        self._stopped: dict[str, SimProcess] = {}
        self.set_task_factory(_make_task)
        self.set_exception_handler(_note_failure)

    def time(self) -> float:
        return self.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        self._line.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> events.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> events.TimerHandle:
        if context is None and isinstance(getattr(callback, "__self__", None), self.outside):
            context = _OUTSIDE
        handle = events.TimerHandle(when, callback, args, self, context)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, handle))
        return handle

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """Cancelled timers stay in the heap until their time: few of them live long."""

    def thaw(self, process: SimProcess) -> None:
        """Let a frozen process go on with everything that happened to it meanwhile, in order."""
        process.stopped = False
        self._line.extend(process.held)
        process.held.clear()

    def _run_once(self) -> None:
        line = self._line
        if not line:
            self._advance()
        for _ in range(len(line)):
            handle = line.popleft()
            if handle._cancelled:
                continue
            context = handle._context  # type: ignore[attr-defined]
            process = context.get(PROCESS)
            if process is not None and process.stopped and not self._ending:
                process.held.append(handle)
                self._stopped[process.name] = process
                continue
            self.turns += 1
            try:
                context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001  the run ends with it, see run()
                self.failures.append(error)
        if self.turns > TURNS_MAX and not self._ending:
            self.failures.append(Stalled("too many callbacks: something goes round in circles"))
        if self.failures:
            self.stop()

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Stalled("nothing is ready and no timer is set")
        self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                self._line.append(handle)

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else runs."""

    def _end(self) -> None:
        """Cancel whatever still runs, so that nothing is left to the garbage collector."""
        self.failures = []
        self._ending = True
        for process in self._stopped.values():
            self.thaw(process)
        tasks = sorted((task for task in asyncio.all_tasks(self) if not task.done()), key=hash)
        for task in tasks:
            task.cancel()
        for _ in range(CLEANUP_TURNS):
            if not self._line:
                break
            self._run_once()
            self._stopping = False
        self.failures = []

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """Play a story to its end. Raises what it raised, or what a callback raised."""
        asyncio.set_event_loop(self)
        try:
            task = self.create_task(story)
            task.add_done_callback(lambda _: self.stop())
            while not task.done() and not self.failures:
                self.run_forever()
            if self.failures:
                raise self.failures[0]
            task.result()
        finally:
            self._end()
            asyncio.set_event_loop(None)
            self._line.clear()
            self._timers.clear()
            self.close()


def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, context: Any = None) -> SimTask:
    return SimTask(coro, loop=loop, context=context)


def _note_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(loop, SimLoop) and error is not None and not isinstance(error, asyncio.CancelledError):
        loop.failures.append(error)


class SimClock:
    """``process.clock.Clock`` of one process: the loop's time, a skew, and its own chance."""

    def __init__(self, loop: SimLoop, chance: Random, skew_s: float = 0.0) -> None:
        self.skew_s = skew_s
        self._loop = loop
        self._chance = chance

    def now(self) -> float:
        return EPOCH + self._loop.now + self.skew_s

    def monotonic(self) -> float:
        return self._loop.now

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    @property
    def random(self) -> Random:
        return self._chance
