"""A partition in hand: when its timers may fire, and which worker should hold which partition."""

import random
import uuid
from collections import Counter

import pytest

from actors.runtime.holding import BACKLOG_PATIENCE_S, Held, proposed
from bus.mailbox import Delivery
from store.turn import PartitionRow, Taken


class Box:
    """A mailbox that only has a depth."""

    def __init__(self) -> None:
        self.waiting = 0

    def take(self, limit: int) -> list[Delivery]:
        return []

    def ack(self, delivery: Delivery) -> None:
        return

    def depth(self) -> int:
        return self.waiting

    async def close(self) -> None:
        return


def held(backlog: int) -> tuple[Held, Box]:
    box = Box()
    taken = Taken(PartitionRow(0, 1, (0, 4), 9), (1, 5))
    return Held(taken, box, backlog, now=100.0), box


def test_it_goes_on_from_what_the_database_says() -> None:
    there, _ = held(0)
    assert there.streams.marks() == (0, 4)
    assert there.next_numbers == [1, 5]


def test_timers_wait_for_the_backlog_of_the_takeover() -> None:
    there, box = held(3)
    assert not there.caught_up(100.0)
    box.waiting = 1
    there.took(2, 101.0)
    assert not there.caught_up(101.0)
    box.waiting = 0
    there.took(1, 102.0)
    assert there.caught_up(102.0)


def test_timers_wait_while_anything_waits() -> None:
    there, box = held(0)
    assert there.caught_up(100.0)
    box.waiting = 1
    assert not there.caught_up(100.0 + 10 * BACKLOG_PATIENCE_S)


def test_a_backlog_that_never_comes_is_given_up_after_a_quiet_while() -> None:
    there, _ = held(3)
    there.took(1, 103.0)
    assert not there.caught_up(103.0 + BACKLOG_PATIENCE_S)
    assert there.caught_up(103.1 + BACKLOG_PATIENCE_S)


def test_how_long_something_has_been_waiting() -> None:
    there, box = held(0)
    there.took(0, 100.0)
    assert there.waiting_s(101.0) == 0.0
    box.waiting = 5
    there.took(0, 102.0)
    there.took(3, 103.0)
    assert there.waiting_s(104.0) == 2.0
    box.waiting = 0
    there.took(5, 105.0)
    assert there.waiting_s(106.0) == 0.0


WORKERS = [f"worker-{uuid.UUID(int=random.Random(n).getrandbits(128))}"[:20] for n in range(5)]
"""Named as the program names them."""


def test_nobody_is_proposed_where_nobody_lives() -> None:
    assert proposed(3, []) == ""


@pytest.mark.parametrize("partition", range(16))
def test_everybody_proposes_the_same(partition: int) -> None:
    order = list(WORKERS)
    random.Random(partition).shuffle(order)
    assert proposed(partition, order) == proposed(partition, WORKERS)


def test_a_worker_that_comes_or_goes_moves_only_what_is_its_own() -> None:
    before = {p: proposed(p, WORKERS) for p in range(256)}
    after = {p: proposed(p, WORKERS[:-1]) for p in range(256)}
    assert all(after[p] == before[p] for p in before if before[p] != WORKERS[-1])
    assert any(before[p] == WORKERS[-1] for p in before)


def test_the_partitions_are_spread() -> None:
    counts = Counter(proposed(p, WORKERS) for p in range(256))
    assert set(counts) == set(WORKERS)
    assert max(counts.values()) < 3 * min(counts.values())


def test_the_choice_is_the_same_in_every_release() -> None:
    assert [proposed(p, ["a", "b", "c"]) for p in range(6)] == list("baacab")
