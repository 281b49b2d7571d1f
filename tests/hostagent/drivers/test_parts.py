"""What the drivers share: locks, events, threads."""

import asyncio
import threading

import pytest

from hostagent.driver import GuestEvent
from hostagent.drivers.event_stream import EventStream
from hostagent.drivers.lock import NamedLocks
from hostagent.drivers.thread import in_thread
from protocol.guest import GuestState, PowerState


def _event(instance: str) -> GuestEvent:
    state = GuestState(instance=instance, generation=1, power_state=PowerState.SHUTDOWN)
    return GuestEvent(instance=instance, state=state)


async def test_locks_of_different_names_do_not_wait_for_each_other() -> None:
    locks = NamedLocks()
    async with locks.hold("a"), locks.hold("b"):
        assert locks.held("a")
        assert locks.held("b")
    assert not locks.held("a")


async def test_a_name_is_served_in_order_and_then_forgotten() -> None:
    locks, order = NamedLocks(), list[int]()

    async def enter(number: int) -> None:
        async with locks.hold("a"):
            order.append(number)
            await asyncio.sleep(0)

    async with locks.hold("a"):
        waiting = [asyncio.create_task(enter(number)) for number in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == [0, 2]
    assert not locks.held("a")


async def test_events_are_read_in_order_and_end_after_close() -> None:
    stream = EventStream()
    stream.put(_event("a"))
    stream.put(_event("b"))
    stream.close()
    stream.put(_event("too late"))
    assert [event.instance async for event in stream] == ["a", "b"]


async def test_a_reader_that_waits_is_woken() -> None:
    stream = EventStream()
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.put(_event("a"))
    assert (await reading).instance == "a"
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await reading


async def test_the_oldest_events_are_dropped_first() -> None:
    stream = EventStream(limit=2)
    for name in "abc":
        stream.put(_event(name))
    stream.close()
    assert [event.instance async for event in stream] == ["b", "c"]


async def test_a_cancelled_call_is_waited_for() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait()
        ended.set()

    task = asyncio.create_task(in_thread(None, work))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_call_returns_and_raises() -> None:
    assert await in_thread(None, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(None, divmod, 7, 0)
