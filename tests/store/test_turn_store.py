"""What a worker may rely on, held against both twins of the store."""

import asyncio

import pytest

from store.kinds import TABLES
from store.turn import Due, EventRow, Fenced, Holding, PartitionRow, Stored, VersionConflict
from tests.store.turn_harness import (
    LEASE_S,
    PARTITIONS,
    RUN_OUT_S,
    StoreHarness,
    actor,
    batch,
    columns_of,
    event,
    operation,
    parked,
    segment,
)

NO_MARKS = (0,) * PARTITIONS
ONES = (1,) * PARTITIONS


async def held(turns: StoreHarness, partition: int = 0, worker: str = "w1") -> PartitionRow:
    """The partition, just taken by the worker."""
    taken = await turns.store.take(worker, partition, LEASE_S)
    assert taken is not None
    return taken.row


def moved(row: PartitionRow, *, marks: tuple[int, ...] | None = None, event_n: int = 0) -> PartitionRow:
    """The partition as its owner would write it."""
    return PartitionRow(row.partition, row.epoch, marks or row.marks, event_n)


# --- ownership -----------------------------------------------------------------------------------


async def test_joining_tells_who_lives_and_who_holds_what(turns: StoreHarness) -> None:
    await held(turns, 2, "w2")
    await turns.store.join("w2", LEASE_S)
    live, holdings = await turns.store.join("w1", LEASE_S)
    assert live == ["w1", "w2"]
    assert holdings == [Holding(p, "w2" if p == 2 else "", p != 2) for p in range(PARTITIONS)]


async def test_a_worker_that_does_not_join_again_is_not_among_the_living(turns: StoreHarness) -> None:
    await turns.store.join("dead", RUN_OUT_S)
    live, _ = await turns.store.join("w1", LEASE_S)
    assert live == ["w1"]


async def test_joining_renews_a_lease(turns: StoreHarness) -> None:
    await turns.store.take("w1", 0, 5.0)
    await turns.store.join("w1", RUN_OUT_S)  # renewing sets the lease, here to one that has run out
    _, holdings = await turns.store.join("w2", LEASE_S)
    assert holdings[0] == Holding(0, "w1", True)


async def test_joining_does_not_renew_what_has_run_out(turns: StoreHarness) -> None:
    await turns.store.take("w1", 0, RUN_OUT_S)
    _, holdings = await turns.store.join("w1", LEASE_S)
    assert holdings[0] == Holding(0, "w1", True)


async def test_leaving_gives_everything_back(turns: StoreHarness) -> None:
    await turns.store.join("w1", LEASE_S)
    for partition in range(PARTITIONS):
        await held(turns, partition, "w1")
    await turns.store.leave("w1")
    live, holdings = await turns.store.join("w2", LEASE_S)
    assert live == ["w2"]
    assert all(holding.free for holding in holdings)


async def test_only_one_takes_a_free_partition(turns: StoreHarness) -> None:
    takes = await asyncio.gather(*(turns.store.take(f"w{n}", 1, LEASE_S) for n in range(8)))
    assert sum(taken is not None for taken in takes) == 1


async def test_a_held_partition_is_not_taken(turns: StoreHarness) -> None:
    await held(turns)
    assert await turns.store.take("w2", 0, LEASE_S) is None


async def test_taking_ones_own_again_begins_a_new_epoch(turns: StoreHarness) -> None:
    first, second = await held(turns), await held(turns)
    assert (first.epoch, second.epoch) == (1, 2)
    with pytest.raises(Fenced):
        await turns.store.commit("w1", batch([first]))


async def test_a_takeover_finds_marks_and_events_where_they_were(turns: StoreHarness) -> None:
    taken = await turns.store.take("w1", 3, RUN_OUT_S)
    assert taken is not None
    await turns.store.commit("w1", batch([moved(taken.row, marks=(4, 0, 0, 2), event_n=7)]))
    assert await held(turns, 3, "w2") == PartitionRow(3, 2, (4, 0, 0, 2), 7)


async def test_a_released_partition_is_free(turns: StoreHarness) -> None:
    row = await held(turns)
    await turns.store.release("w1", 0, row.epoch)
    assert (await held(turns, 0, "w2")).epoch == 2


async def test_a_release_that_comes_late_changes_nothing(turns: StoreHarness) -> None:
    late = await held(turns)
    await held(turns)
    await turns.store.release("w1", 0, late.epoch)
    await turns.store.release("w2", 0, late.epoch + 1)
    assert await turns.store.take("w2", 0, LEASE_S) is None


# --- commit: all or nothing ----------------------------------------------------------------------


async def test_everything_in_a_batch_is_there_after_its_commit(turns: StoreHarness) -> None:
    row = await held(turns)
    await turns.store.commit("w1", batch(
        [moved(row, marks=(0, 3, 0, 0), event_n=2)],
        actors=[actor("a", state=b'{"x":1}'), actor("i", kind="instance")],
        segments=[segment(0, 1, 1, 2)],
        events=[event(1), event(2)],
        operations=[operation("op")],
        parked=[parked()],
    ))  # fmt: skip
    assert await turns.store.load("project", ["a", "b"]) == {"a": Stored(1, b'{"x":1}')}
    assert await turns.store.load("instance", ["i"]) == {"i": Stored(1, b"{}")}
    assert await turns.store.unpassed({1: NO_MARKS}, 0.0, 10) == [segment(0, 1, 1, 2)]
    assert await turns.events() == [event(1), event(2)]
    assert await turns.operations() == {"op": operation("op")}
    assert await turns.parked() == [(0, "project/p", "ValueError: x", "the story", 3.0)]


@pytest.mark.parametrize(
    "reason", ["another owner", "an older epoch", "one of two partitions", "a partition nobody holds"]
)
async def test_a_fenced_batch_leaves_nothing(turns: StoreHarness, reason: str) -> None:
    row = await held(turns)
    worker, rows = "w1", [moved(row, marks=ONES, event_n=1)]
    if reason == "another owner":
        worker = "w2"
    elif reason == "an older epoch":
        await held(turns)
    elif reason == "one of two partitions":
        other = await held(turns, 1, "w2")
        rows.append(moved(other, marks=ONES))
    else:
        rows = [PartitionRow(2, 0, ONES, 1)]
    full = batch(
        rows, actors=[actor("a")], segments=[segment(0, 1, 1, 1)], events=[event(1)],
        operations=[operation("op")], parked=[parked()],
    )  # fmt: skip
    with pytest.raises(Fenced):
        await turns.store.commit(worker, full)
    await nothing_is_there(turns)


@pytest.mark.parametrize("expected", [0, 1, 3], ids=["as new", "too old", "too new"])
async def test_a_row_at_another_version_leaves_nothing(turns: StoreHarness, expected: int) -> None:
    row = await held(turns)
    await turns.store.commit("w1", batch([row], actors=[actor("a")]))
    await turns.store.commit("w1", batch([row], actors=[actor("a", expected=1, state=b"2")]))
    full = batch(
        [moved(row, marks=ONES, event_n=1)],
        actors=[actor("b"), actor("a", expected=expected, state=b"wrong")],
        segments=[segment(0, 1, 1, 1)], events=[event(1)], operations=[operation("op")], parked=[parked()],
    )  # fmt: skip
    with pytest.raises(VersionConflict):
        await turns.store.commit("w1", full)
    assert await turns.store.load("project", ["a"]) == {"a": Stored(2, b"2")}
    await nothing_is_there(turns, actor_ids=["b"])


async def test_a_row_that_is_not_there_cannot_be_replaced(turns: StoreHarness) -> None:
    row = await held(turns)
    with pytest.raises(VersionConflict):
        await turns.store.commit("w1", batch([row], actors=[actor("a", expected=1)]))


async def nothing_is_there(turns: StoreHarness, actor_ids: tuple[str, ...] | list[str] = ("a",)) -> None:
    assert await turns.store.load("project", list(actor_ids)) == {}
    assert await turns.store.unpassed(dict.fromkeys(range(PARTITIONS), NO_MARKS), 0.0, 10) == []
    assert await turns.events() == []
    assert await turns.operations() == {}
    assert await turns.parked() == []
    await turns.store.leave("w1")
    await turns.store.leave("w2")
    for partition in range(PARTITIONS):
        again = await held(turns, partition, "w9")
        assert (again.marks, again.event_n) == (NO_MARKS, 0)


async def test_an_owner_whose_lease_ran_out_may_commit_until_another_takes(turns: StoreHarness) -> None:
    taken = await turns.store.take("w1", 0, RUN_OUT_S)
    assert taken is not None
    await turns.store.commit("w1", batch([taken.row], actors=[actor("a")]))
    await held(turns, 0, "w2")
    with pytest.raises(Fenced):
        await turns.store.commit("w1", batch([taken.row], actors=[actor("b")]))


async def test_of_two_that_write_one_row_at_once_one_loses(turns: StoreHarness) -> None:
    rows = [await held(turns, p, f"w{p}") for p in range(PARTITIONS)]
    done = await asyncio.gather(
        *(
            turns.store.commit(f"w{p}", batch([row], actors=[actor("a", state=str(p).encode())]))
            for p, row in enumerate(rows)
        ),
        return_exceptions=True,
    )
    assert sum(result is None for result in done) == 1
    assert sum(isinstance(result, VersionConflict) for result in done) == PARTITIONS - 1


@pytest.mark.parametrize("kind", sorted(TABLES))
async def test_every_kind_keeps_its_columns(turns: StoreHarness, kind: str) -> None:
    row = await held(turns)
    await turns.store.commit("w1", batch([row], actors=[actor("x", kind=kind)]))
    assert await turns.columns(kind, "x") == columns_of(kind)
    later = tuple(f"{value}é" if isinstance(value, str) else value for value in columns_of(kind))
    changed = actor("x", kind=kind, expected=1, columns=later)
    await turns.store.commit("w1", batch([row], actors=[changed]))
    assert await turns.columns(kind, "x") == later


# --- segments ------------------------------------------------------------------------------------


async def test_what_a_mark_has_not_passed_is_read_in_stream_order(turns: StoreHarness) -> None:
    rows = [await held(turns, 0), await held(turns, 1)]
    made = [segment(1, 2, 1, 1), segment(0, 2, 3, 5), segment(0, 2, 1, 2), segment(0, 3, 1, 1)]
    await turns.store.commit("w1", batch(rows, segments=made))
    assert await turns.store.unpassed({2: NO_MARKS}, 0.0, 10) == [
        segment(0, 2, 1, 2), segment(0, 2, 3, 5), segment(1, 2, 1, 1),
    ]  # fmt: skip
    assert await turns.store.unpassed({2: NO_MARKS}, 0.0, 2) == [segment(0, 2, 1, 2), segment(0, 2, 3, 5)]
    assert await turns.store.unpassed({2: (2, 1, 0, 0), 3: (1, 0, 0, 0)}, 0.0, 10) == [segment(0, 2, 3, 5)]
    assert await turns.store.unpassed({}, 0.0, 10) == []


async def test_a_mark_within_a_segment_has_not_passed_it(turns: StoreHarness) -> None:
    await turns.store.commit("w1", batch([await held(turns)], segments=[segment(0, 2, 1, 4)]))
    assert await turns.store.unpassed({2: (3, 0, 0, 0)}, 0.0, 10) == [segment(0, 2, 1, 4)]
    assert await turns.store.unpassed({2: (4, 0, 0, 0)}, 0.0, 10) == []


async def test_young_segments_are_left_to_the_bus(turns: StoreHarness) -> None:
    await turns.store.commit("w1", batch([await held(turns)], segments=[segment(0, 2, 1, 1)]))
    assert await turns.store.unpassed({2: NO_MARKS}, 60.0, 10) == []


async def test_only_passed_segments_of_the_given_sources_are_collected(turns: StoreHarness) -> None:
    rows = [await held(turns, 0), await held(turns, 1), await held(turns, 2)]
    made = [segment(0, 2, 1, 2), segment(0, 2, 3, 4), segment(1, 2, 1, 1), segment(0, 3, 1, 1)]
    await turns.store.commit("w1", batch(rows, segments=made))
    await turns.store.commit("w1", batch([moved(rows[2], marks=(3, 1, 0, 0))]))
    assert await turns.store.collect([0]) == 1
    assert await turns.store.collect([0]) == 0
    left = await turns.store.unpassed({2: NO_MARKS, 3: NO_MARKS}, 0.0, 10)
    assert left == [segment(0, 2, 3, 4), segment(0, 3, 1, 1), segment(1, 2, 1, 1)]


async def test_numbers_go_on_after_a_takeover_whether_collected_or_not(turns: StoreHarness) -> None:
    rows = [await held(turns, 0), await held(turns, 2)]
    made = [segment(0, 2, 1, 4), segment(0, 3, 1, 2)]
    await turns.store.commit("w1", batch(rows, segments=made))
    await turns.store.commit("w1", batch([moved(rows[1], marks=(4, 0, 0, 0))]))
    await turns.store.collect([0])
    taken = await turns.store.take("w1", 0, LEASE_S)
    assert taken is not None
    assert taken.next_numbers == (1, 1, 5, 3)


# --- what else a batch holds ---------------------------------------------------------------------


async def test_a_later_row_of_an_operation_replaces_the_earlier(turns: StoreHarness) -> None:
    row = await held(turns)
    early, middle = operation("op"), operation("op", updated_at=3.0, steps=b"[1]")
    late = operation("op", updated_at=4.0, outcome="succeeded", steps=b"[1,2]")
    await turns.store.commit("w1", batch([row], operations=[early]))
    await turns.store.commit("w1", batch([row], operations=[middle, late]))
    assert await turns.operations() == {"op": late}


async def test_operations_that_have_begun_are_known(turns: StoreHarness) -> None:
    row = await held(turns)
    await turns.store.commit("w1", batch([row], operations=[operation("a"), operation("b")]))
    assert await turns.store.known(["a", "c"]) == {"a"}
    assert await turns.store.known([]) == set()


async def test_the_living_that_wait_for_a_time_are_due(turns: StoreHarness) -> None:
    row = await held(turns)
    await turns.store.commit("w1", batch([row], actors=[
        actor("waits", due_at=5.5),
        actor("rests"),
        actor("gone", due_at=5.5, gone=True),
        actor("elsewhere", due_at=5.5, partition=1),
        actor("another", kind="host", due_at=6.5),
    ]))  # fmt: skip
    found = sorted(await turns.store.due(0), key=lambda due: due.at)
    assert found == [Due("project", "waits", 5.5), Due("host", "another", 6.5)]


async def test_an_actor_that_came_to_rest_is_not_due(turns: StoreHarness) -> None:
    row = await held(turns)
    await turns.store.commit("w1", batch([row], actors=[actor("a", due_at=5.5)]))
    await turns.store.commit("w1", batch([row], actors=[actor("a", expected=1)]))
    assert await turns.store.due(0) == []


async def test_a_tombstone_is_still_loaded(turns: StoreHarness) -> None:
    row = await held(turns)
    await turns.store.commit("w1", batch([row], actors=[actor("a", gone=True)]))
    assert await turns.store.load("project", ["a"]) == {"a": Stored(1, b"{}")}


async def test_bytes_that_are_no_text_can_be_parked(turns: StoreHarness) -> None:
    row = await held(turns)
    await turns.store.commit("w1", batch([row], parked=[parked(body=bytes(range(256)))]))
    assert len(await turns.parked()) == 1


async def test_ended_operations_are_forgotten_by_age_and_running_ones_never(turns: StoreHarness) -> None:
    row = await held(turns)
    made = [
        operation(f"o{n}", began_at=float(n), finished_at=0.0 if n == 2 else n + 1.0) for n in range(1, 6)
    ]
    await turns.store.commit("w1", batch([row], operations=made))
    assert await turns.store.forget(4.0, 1) == 1
    assert await turns.store.forget(4.0, 10) == 1
    assert await turns.store.forget(4.0, 10) == 0
    assert await turns.store.known([f"o{n}" for n in range(1, 6)]) == {"o2", "o4", "o5"}


async def test_only_old_events_are_forgotten_and_the_oldest_first(turns: StoreHarness) -> None:
    rows = [await held(turns, 0), await held(turns, 1)]
    made = [EventRow(p, n, "t", "s", "p", float(n), b"{}") for p in (0, 1) for n in range(1, 6)]
    await turns.store.commit("w1", batch([moved(row, event_n=5) for row in rows], events=made))
    assert await turns.store.prune([0], 4.0, 2) == 2
    assert await turns.store.prune([0], 4.0, 10) == 1
    assert await turns.store.prune([0], 4.0, 10) == 0
    left = [(event.partition, event.n) for event in await turns.events()]
    assert left == [(0, 4), (0, 5), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]
