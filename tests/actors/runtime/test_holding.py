"""A partition in hand: when its timers may fire, and which worker should hold which partition."""

import random
import uuid
from collections import Counter

import pytest

from actors.runtime.holding import BACKLOG_PATIENCE_S, Held, Part, proposed
from bus.mailbox import Delivery
from protocol.message import Envelope, Stretch
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


def said(count: int) -> list[Part]:
    return [Part(Stretch(-1, 0, 0, [Envelope("instance/i", "", b"")] * count))] if count else []


def delivered(there: Held, now: float, count: int = 1) -> Delivery:
    delivery = Delivery(b"", 1)
    there.open(delivery, said(count), now)
    return delivery


def test_timers_wait_for_the_backlog_of_the_takeover() -> None:
    there, _ = held(2)
    assert not there.caught_up(99.0, 100.0)
    delivered(there, 101.0)
    assert there.next(9) is not None
    assert not there.caught_up(99.0, 101.0)
    delivered(there, 102.0)
    assert there.next(9) is not None
    assert there.caught_up(99.0, 102.0)


def test_timers_wait_for_what_was_said_before_their_time_and_for_no_more() -> None:
    there, box = held(0)
    there.look(100.0)
    box.waiting = 1
    assert not there.caught_up(101.0, 101.0)
    there.look(101.0)
    assert not there.caught_up(101.0, 101.1)
    delivered(there, 101.2)
    assert there.next(9) is not None
    there.look(101.3)  # the one that waited at 101 is through; another has come since
    assert there.caught_up(101.0, 101.3)
    assert not there.caught_up(101.2, 101.3)


def test_a_backlog_that_never_comes_is_given_up_after_a_quiet_while() -> None:
    there, _ = held(3)
    delivered(there, 103.0)
    assert there.next(9) is not None
    assert not there.caught_up(99.0, 103.0 + BACKLOG_PATIENCE_S)
    assert there.caught_up(99.0, 103.1 + BACKLOG_PATIENCE_S)


def test_a_delivery_is_heard_piece_by_piece_and_acknowledged_after_the_last() -> None:
    there, _ = held(0)
    parts = [Part(Stretch(0, 0, 5, [Envelope(f"instance/{n}", "", b"") for n in range(5)]))]
    delivery = Delivery(b"", 7)
    there.open(delivery, parts, 100.0)
    pieces = []
    while part := there.next(2):
        pieces.append((part.stretch.first, len(part.stretch.envelopes), there.last))
    assert pieces == [(5, 2, None), (7, 2, None), (9, 1, delivery)]


def test_a_delivery_without_anything_is_acknowledged() -> None:
    there, _ = held(0)
    delivery = delivered(there, 100.0, count=0)
    assert there.next(2) is not None
    assert there.last is delivery


def test_neighbours_come_before_segments_and_these_before_the_mailbox() -> None:
    there, _ = held(0)
    delivered(there, 100.0)
    there.pulled.append(Part(Stretch(1, 0, 5, []), resent=True))
    there.near.append(Part(Stretch(0, 0, 1, [])))
    order = [part.stretch.source for part in iter(lambda: there.next(9), None)]
    assert order == [0, 1, -1]


def test_how_long_something_has_been_waiting() -> None:
    there, box = held(0)
    there.look(100.0)
    assert there.waiting_s(101.0) == 0.0
    box.waiting = 2
    there.look(102.0)
    assert there.waiting_s(104.0) == 4.0
    for at in (105.0, 106.0):
        box.waiting -= 1
        delivered(there, at)
        assert there.next(9) is not None
        there.look(at)
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
