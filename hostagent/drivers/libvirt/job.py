"""Long work of libvirt on one guest: it tells how far it is, and ends early when nobody wants it any more.

What the work is belongs to ``domains``; the caller holds the guest's lock.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import libvirt

from hostagent.driver import DriverError, Progress
from hostagent.drivers.libvirt import domains
from hostagent.drivers.libvirt.connection import Connection

LOOK_S: Final = 2.0  # between two looks at how far it is


async def run_job(
    connection: Connection,
    act: Callable[[libvirt.virConnect, str], None],
    instance: str,
    what: str,
    progress: Progress,
) -> None:
    """Do ``act`` in a thread for long work. Cancelled, the job is aborted and waited for."""
    work = asyncio.create_task(connection.call_long(act, instance), name=f"libvirt job {instance}")
    try:
        while not (await asyncio.wait([work], timeout=LOOK_S))[0]:
            done, total = await connection.call(domains.job_progress, instance)
            progress(what, done, total)
    except asyncio.CancelledError:
        with contextlib.suppress(DriverError):  # it may just have ended
            await connection.call(domains.abort_job, instance)
        await asyncio.wait([work])
        raise
    finally:
        if work.done():
            work.exception()  # looked at: the caller may have been cancelled
    work.result()
