"""Cursors: what is sealed comes out again, nothing else is taken for one, and none of it can be read."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.own.cursor import Cursors, NotACursor

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
CURSORS = Cursors([NEW, OLD])
POSITIONS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=64)


@given(POSITIONS)
def test_a_cursor_holds_its_position(position: list[int]) -> None:
    assert CURSORS.decode(CURSORS.encode(position), len(position)) == position


@given(POSITIONS, st.integers(1, 65))
def test_a_cursor_of_another_number_of_partitions_is_refused(position: list[int], partitions: int) -> None:
    if partitions != len(position):
        with pytest.raises(NotACursor):
            CURSORS.decode(CURSORS.encode(position), partitions)


def test_the_same_position_has_the_same_cursor_everywhere() -> None:
    assert Cursors([NEW]).encode([1, 2, 3]) == CURSORS.encode([1, 2, 3])


def test_a_cursor_of_an_older_key_is_still_good() -> None:
    assert CURSORS.decode(Cursors([OLD]).encode([1, 2, 3]), 3) == [1, 2, 3]
    with pytest.raises(NotACursor):
        Cursors([NEW]).decode(Cursors([OLD]).encode([1, 2, 3]), 3)


@given(st.text(max_size=100))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(NotACursor):
        CURSORS.decode(text, 3)


def test_a_changed_cursor_is_refused() -> None:
    sealed = base64.urlsafe_b64decode(CURSORS.encode([1, 2, 3]) + "==")
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        for data in (changed, sealed[:at]):
            with pytest.raises(NotACursor):
                CURSORS.decode(base64.urlsafe_b64encode(data).decode().rstrip("="), 3)


def test_a_position_cannot_be_read_nor_guessed_from_the_length() -> None:
    few, many = CURSORS.encode([1, 0, 0]), CURSORS.encode([1, 10**6, 10**9])
    assert len(few) == len(many)
    assert bytes([1, 0, 0]) not in base64.urlsafe_b64decode(few + "==")


def test_ids_of_events_are_unique_and_say_nothing() -> None:
    ids = {CURSORS.event_id(partition, n) for partition in range(20) for n in range(200)}
    assert len(ids) == 4000
    assert len({len(ident) for ident in ids}) == 1
    assert CURSORS.event_id(1, 11) != CURSORS.event_id(11, 1)
