"""Blocking calls, taken to a thread and waited for whatever happens.

A thread cannot be stopped. If a cancelled task went on while its call still worked on a guest's
disk, the next verb would meet it there; so a cancellation is raised only once the call has ended.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(executor: Executor | None, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run ``call`` in the executor (None: the loop's own) and return what it returns or raise.

    When the caller is cancelled meanwhile, ``CancelledError`` is raised after the call's end.
    """
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(executor, lambda: call(*args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue  # asked once more; the answer is the same
        if not future.cancelled():
            future.exception()  # looked at, so that the loop does not report it as forgotten
        raise
