"""The event stream: complete, in order, one's own only, and resumable from any point."""

import asyncio
from typing import Any

import asyncpg
import pytest

from gateway.own import events as events_module
from gateway.own import tail as tail_module
from store.event import events as read_events
from tests.gateway.own.conftest import CURSORS, Log

encode, ident = CURSORS.encode, CURSORS.event_id


async def test_an_event_is_a_cloud_event(log: Log) -> None:
    async with log.listen() as stream:
        await stream.settled()
        await log.write(2, subject="instance/i1")
        name, event = await stream.take()
    assert name == "message"
    assert event == {
        "specversion": "1.0",
        "id": ident(2, 1),
        "source": "/v1/events",
        "type": "starling.instance.create",
        "subject": "instance/i1",
        "time": "2017-07-14T02:40:01.000Z",
        "datacontenttype": "application/json",
        "project": "p1",
        "data": {"k": 1},
    }


async def test_a_new_client_begins_at_the_end_and_hears_all_that_follows(log: Log) -> None:
    await log.write(0, 3)
    async with log.listen() as one, log.listen() as two:
        await one.settled()
        await two.settled()
        for n in range(40):
            await log.write(n % 4)
        heard = await one.ids(40)
        assert heard == await two.ids(40)
    own = [[ident(p, n) for n in range(4 if p == 0 else 1, 14 if p == 0 else 11)] for p in range(4)]
    assert sorted(heard) == sorted(log.written[3:])
    for p in range(4):
        assert [at for at in heard if at in own[p]] == own[p]


async def test_resuming_misses_nothing_and_repeats_nothing(log: Log) -> None:
    async with log.listen() as stream:
        await stream.settled()
        last = stream.last
    heard: list[str] = []
    for n in range(12):
        await log.write(n % 4, 3)
        async with log.listen(last=last) as stream:
            heard += await stream.ids(2)
            last = stream.last
    async with log.listen(f"?after={last}") as stream:
        heard += await stream.ids(len(log.written) - len(heard))
    assert len(heard) == len(set(heard))
    assert set(heard) == set(log.written)


async def test_a_client_may_begin_with_the_oldest_event(log: Log) -> None:
    await log.write(0, 5)
    await log.write(1, 2)
    await log.forget(0, 3)
    async with log.listen("?after=start") as stream:
        assert set(await stream.ids(4)) == {ident(0, 4), ident(0, 5), ident(1, 1), ident(1, 2)}
        await stream.settled()


async def test_catching_up_meets_the_tail_while_events_pour_in(log: Log) -> None:
    await log.write(0, 700)
    await log.write(1, 500)
    start = encode([0, 0, 0, 0])

    async def pour() -> None:
        for n in range(60):
            await log.write(n % 4, 5)

    pouring = asyncio.create_task(pour())
    async with log.listen(last=start) as stream:
        heard = await stream.ids(1500)
    await pouring
    assert len(set(heard)) == 1500
    assert set(heard) == set(log.written)


async def test_a_project_hears_its_own_events_only(log: Log) -> None:
    async with (
        log.listen() as ann,
        log.listen(who="bob") as bob,
        log.listen("?all_projects=1", who="root") as root,
    ):
        for stream in (ann, bob, root):
            await stream.settled()
        await log.write(0, project="p1")
        await log.write(0, project="p2")
        await log.write(1, project="")
        await log.write(0, project="p1")
        await log.write(0, project="p2")
        assert await ann.ids(2) == [ident(0, 1), ident(0, 3)]
        assert await bob.ids(2) == [ident(0, 2), ident(0, 4)]
        assert set(await root.ids(5)) == set(log.written)
    async with log.listen(who="bob", last=encode([0, 0, 0, 0])) as bob:
        assert await bob.ids(2) == [ident(0, 2), ident(0, 4)]


async def test_filters_by_type_and_subject(log: Log) -> None:
    async with (
        log.listen("?type=instance.*") as instances,
        log.listen("?type=starling.image.create&type=host.*") as others,
        log.listen("?subject=image/7") as one,
    ):
        for stream in (instances, others, one):
            await stream.settled()
        await log.write(0, kind="instance.create.end")
        await log.write(0, kind="image.create", subject="image/7")
        await log.write(0, kind="image.delete", subject="image/8")
        await log.write(0, kind="instance.delete.end")
        assert await instances.ids(2) == [ident(0, 1), ident(0, 4)]
        assert await others.ids(1) == [ident(0, 2)]
        assert await one.ids(1) == [ident(0, 2)]


async def test_beyond_retention_there_is_a_reset_and_then_the_present(log: Log) -> None:
    await log.write(0, 10)
    await log.forget(0, 6)
    for cursor in (encode([5, 0, 0, 0]), encode([11, 0, 0, 0])):
        async with log.listen(last=cursor) as stream:
            name, data = await stream.take()
            assert name == "reset"
            assert "no longer" in data["reason"]
            await stream.settled()
            await log.write(1)
            assert await stream.ids(1) == [log.written[-1]]
    async with log.listen(last=encode([6, 2, 0, 0])) as stream:
        assert await stream.ids(4) == [ident(0, 7), ident(0, 8), ident(0, 9), ident(0, 10)]


async def test_a_heartbeat_moves_the_position_past_what_others_did(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "HEARTBEAT_S", 0.1)
    async with log.listen() as stream:
        await stream.settled()
        await log.write(3, 9, project="p2")
        async with asyncio.timeout(10):
            while stream.last != encode([0, 0, 0, 9]):
                line = (await stream.response.content.readline()).decode()
                if line.startswith("id: "):
                    stream.last = line[4:].strip()


async def test_a_slow_reader_is_let_go_and_nobody_else(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "BUFFER_BYTES_MAX", 64 << 10)
    monkeypatch.setattr(events_module, "FAREWELL_S", 0.2)
    reader, writer = await asyncio.open_connection(*log.url.removeprefix("http://").split(":"), limit=1024)
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nX-Auth-Token: ann\r\n\r\n")
    await reader.readuntil(b"event: position")
    async with log.listen() as good:
        await good.settled()
        heard = 0
        async with asyncio.timeout(60):
            while sum(len(group) for group in log.tail._audiences.values()) > 1:
                await log.write(0, 500)
                heard += len(await good.ids(500))
        await log.write(0)
        assert await good.ids(1) == [log.written[-1]]
    writer.close()


async def test_a_stream_ends_with_its_token(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "HEARTBEAT_S", 0.05)
    async with log.listen() as stream:
        await stream.settled()
        del log.tokens.callers["ann"]
        name, data = await stream.take()
    assert (name, data["code"]) == ("end", "token")


async def test_a_gateway_that_ends_says_so(log: Log) -> None:
    async with log.listen() as stream:
        await stream.settled()
        log.tail.stop()
        name, data = await stream.take()
        assert (name, data["code"]) == ("end", "shutdown")
    async with log.session.get("/v1/events", headers={"X-Auth-Token": "ann"}) as response:
        assert response.status == 503


async def test_the_log_is_polled_only_while_somebody_listens(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "HEARTBEAT_S", 0.05)

    def polled() -> bool:
        return "event-tail" in {task.get_name() for task in asyncio.all_tasks()}

    assert not polled()
    async with log.listen() as stream:
        await stream.settled()
        assert polled()
    async with asyncio.timeout(10):
        while polled():
            await asyncio.sleep(0.01)
    await log.write(0)
    async with log.listen() as stream:
        await stream.settled()
        await log.write(0)
        assert await stream.ids(1) == [ident(0, 2)]


async def test_a_short_outage_of_the_database_is_bridged(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "RETRY_S", 0.05)
    real, left = read_events, 3

    async def failing(*given: Any, **more: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise asyncpg.ConnectionDoesNotExistError("gone")
        return await real(*given, **more)

    async with log.listen() as stream:
        await stream.settled()
        monkeypatch.setattr(tail_module, "events", failing)
        async with asyncio.timeout(10):
            while left:
                await asyncio.sleep(0.01)
        await log.write(0, 2)
        assert await stream.ids(2) == [ident(0, 1), ident(0, 2)]


@pytest.mark.parametrize(
    ("query", "who", "status"),
    [
        ("?after=nonsense", "ann", 400),
        ("?after=" + encode([0, 0]), "ann", 400),
        ("?after=" + "A" * 5000, "ann", 400),
        ("?type=*x", "ann", 400),
        ("?type=", "ann", 400),
        ("?all_projects=1", "ann", 403),
        ("", "sys", 400),
        ("", "nobody", 401),
    ],
)
async def test_bad_requests_are_refused(log: Log, query: str, who: str, status: int) -> None:
    async with log.session.get(f"/v1/events{query}", headers={"X-Auth-Token": who}) as response:
        assert response.status == status
        assert (await response.json())["status"] == status
