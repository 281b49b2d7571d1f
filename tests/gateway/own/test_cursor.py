"""Cursors: what is packed comes out again, and nothing else is taken for one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.own.cursor import NotACursor, decode, encode

POSITIONS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=64)


@given(POSITIONS)
def test_a_cursor_holds_its_position(position: list[int]) -> None:
    assert decode(encode(position), len(position)) == position


@given(st.text(max_size=100))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        found = decode(text, 3)
    except NotACursor:
        return
    assert len(found) == 3
    assert all(0 <= number < 2**63 for number in found)


@pytest.mark.parametrize("packed", [b"", b"\x01", b"\x02\x00", b"\x01\x80", b"\x01" + b"\xff" * 10 + b"\x01"])
def test_what_is_packed_otherwise_is_refused(packed: bytes) -> None:
    with pytest.raises(NotACursor):
        decode(base64.urlsafe_b64encode(packed).decode().rstrip("="), 1)
