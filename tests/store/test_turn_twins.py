"""The twins of the turn store give one answer to one story; and what only the real one can suffer."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from store.pool import open_pool
from store.turn import Fenced, StoreUnavailable, TurnStore, VersionConflict
from store.turns import PostgresTurnStore
from tests.store.turn_harness import (
    LEASE_S,
    PARTITIONS,
    RUN_OUT_S,
    MemoryStoreHarness,
    PostgresStoreHarness,
    StoreHarness,
    actor,
    batch,
    event,
    operation,
    segment,
)

pytestmark = pytest.mark.postgres

STEPS = 150
WORKERS = ("w1", "w2")


class Story:
    """A seeded run of calls, some of them wrong, by workers that may be behind the times."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._rows: dict[tuple[str, int], Any] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._versions: dict[str, int] = {}

    async def tell(self, turns: StoreHarness) -> list[object]:
        """What each call answered, and what was left at the end."""
        said: list[object] = []
        for _ in range(STEPS):
            worker, partition = self._chance.choice(WORKERS), self._chance.randrange(PARTITIONS)
            lease = self._chance.choice((LEASE_S, RUN_OUT_S))
            call = self._chance.choice(
                ("join", "take", "take", "release", "leave", "collect", "unpassed", "due")
            )
            if self._chance.random() < 0.6:
                call = "commit"
            try:
                said.append(await self._call(turns.store, call, worker, partition, lease))
            except (Fenced, VersionConflict) as error:
                said.append(type(error).__name__)
        said += [await turns.events(), await turns.operations()]
        said.append(await turns.store.load("project", [f"a{n}" for n in range(6)]))
        return said

    async def _call(self, store: TurnStore, call: str, worker: str, partition: int, lease: float) -> object:
        row = self._rows.get((worker, partition))
        match call:
            case "join":
                return await store.join(worker, lease)
            case "take":
                taken = await store.take(worker, partition, lease)
                if taken is not None:
                    self._rows[worker, partition] = taken.row
                    for destination, number in enumerate(taken.next_numbers):
                        self._numbers[partition, destination] = number
                return taken
            case "release":
                await store.release(worker, partition, row.epoch if row else 1)
            case "leave":
                await store.leave(worker)
            case "collect":
                return await store.collect([partition])
            case "unpassed":
                return await store.unpassed({partition: (0,) * PARTITIONS}, 0.0, 5)
            case "due":
                return sorted(await store.due(partition), key=lambda due: (due.kind, due.id))
            case _:
                return await self._commit(store, worker, partition)
        return None

    async def _commit(self, store: TurnStore, worker: str, partition: int) -> object:
        row = self._rows.get((worker, partition))
        if row is None:
            return None
        destination = self._chance.randrange(PARTITIONS)
        first = self._numbers.get((partition, destination), 1)
        marks = tuple(mark + self._chance.randrange(2) for mark in row.marks)
        after = type(row)(row.partition, row.epoch, marks, row.event_n + 1)
        ident = f"a{self._chance.randrange(6)}"
        behind = self._chance.random() < 0.2
        expected = self._chance.randrange(4) if behind else self._versions.get(ident, 0)
        made = batch(
            [after],
            actors=[actor(ident, expected=expected, due_at=self._chance.choice((None, 5.0)))],
            segments=[segment(partition, destination, first, first + 1)],
            events=[event(after.event_n, partition=partition)],
            operations=[
                operation(f"op{self._chance.randrange(4)}", updated_at=float(self._chance.randrange(9)))
            ],
        )
        await store.commit(worker, made)
        self._rows[worker, partition] = after
        self._numbers[partition, destination] = first + 2
        self._versions[ident] = expected + 1
        return "committed"


@pytest.mark.parametrize("seed", range(6))
async def test_one_story_has_one_ending(seed: int, database: str) -> None:
    told = await Story(seed).tell(MemoryStoreHarness())
    async with (
        await open_pool(database, settings={"role": "starling_worker"}) as worker,
        await open_pool(database, connections_max=2) as admin,
    ):
        await PostgresTurnStore(worker).prepare(PARTITIONS)
        assert await Story(seed).tell(PostgresStoreHarness(worker, admin)) == told
    assert told.count("committed") > STEPS // 20
    assert {"Fenced", "VersionConflict"} <= {said for said in told if isinstance(said, str)}


async def test_the_number_of_partitions_is_fixed(database: str) -> None:
    async with await open_pool(database, settings={"role": "starling_worker"}) as pool:
        store = PostgresTurnStore(pool)
        await store.prepare(PARTITIONS)
        await store.prepare(PARTITIONS)
        with pytest.raises(ValueError, match="the count is fixed"):
            await store.prepare(PARTITIONS * 2)


async def test_a_lost_connection_is_an_outage_and_the_next_call_connects_anew(database: str) -> None:
    async with await open_pool(database, settings={"role": "starling_worker"}, connections_max=1) as pool:
        store = PostgresTurnStore(pool)
        await store.prepare(PARTITIONS)
        admin = await asyncpg.connect(database)
        try:
            waiting = asyncio.create_task(_commit_when_unlocked(store, admin))
            with pytest.raises(StoreUnavailable):
                await waiting
        finally:
            await admin.close()
        assert await store.due(0) == []


async def _commit_when_unlocked(
    store: PostgresTurnStore, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Commit into a lock, and have the server end that session."""
    taken = await store.take("w1", 0, LEASE_S)
    assert taken is not None
    async with admin.transaction():
        await admin.execute("SELECT * FROM runtime.partition FOR UPDATE")
        commit = asyncio.create_task(store.commit("w1", batch([taken.row])))
        while not await admin.fetchval(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0)
    await commit
