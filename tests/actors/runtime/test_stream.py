"""Numbered streams at the receiving end: new is handled, old is dropped, too high is a gap."""

import pytest

from actors.runtime.stream import Streams
from protocol.codec import encode_envelopes
from protocol.message import Envelope, Stretch
from store.turn import Segment

SOURCE = 2
MARKS = (0, 0, 7, 0)


def envelopes(first: int, last: int) -> list[Envelope]:
    return [Envelope("instance/i", "host/h", b"", str(n)) for n in range(first, last + 1)]


@pytest.mark.parametrize("carrier", ["stretch", "segment"])
@pytest.mark.parametrize(
    ("first", "last", "taken", "mark", "gap", "repeated"),
    [
        (8, 8, [8], 8, False, 0),
        (8, 11, [8, 9, 10, 11], 11, False, 0),
        (7, 9, [8, 9], 9, False, 1),
        (1, 9, [8, 9], 9, False, 7),
        (7, 7, [], 7, False, 1),
        (1, 7, [], 7, False, 7),
        (9, 9, [], 7, True, 0),
        (20, 30, [], 7, True, 0),
    ],
)
def test_what_becomes_of_a_stretch(
    carrier: str, first: int, last: int, taken: list[int], mark: int, gap: bool, repeated: int
) -> None:
    streams, held = Streams(MARKS), envelopes(first, last)
    carried: Stretch | Segment = Stretch(SOURCE, 0, first, held)
    if carrier == "segment":
        carried = Segment(SOURCE, 0, first, last, encode_envelopes(held))
    assert [int(envelope.operation) for envelope in streams.accept(carried, held)] == taken
    assert streams.marks() == (0, 0, mark, 0)
    assert (streams.gap, streams.repeated) == (gap, repeated)


def test_what_has_no_stream_is_taken_as_it_comes() -> None:
    streams, held = Streams(MARKS), envelopes(1, 3)
    for _ in range(2):
        assert streams.accept(Stretch(-1, -1, 0, held), held) == held
    assert (streams.marks(), streams.repeated, streams.gap) == (MARKS, 0, False)


def test_the_missing_fill_the_gap_and_the_held_back_come_again() -> None:
    streams = Streams(MARKS)
    late, missing = envelopes(10, 12), envelopes(8, 9)
    assert streams.accept(Stretch(SOURCE, 0, 10, late), late) == []
    assert streams.accept(Stretch(SOURCE, 0, 8, missing), missing) == missing
    assert streams.accept(Stretch(SOURCE, 0, 10, late), late) == late
    assert streams.marks() == (0, 0, 12, 0)
    assert streams.gap, "only the one who reads the missing from the database puts it out"


def test_streams_do_not_mix() -> None:
    streams, held = Streams(MARKS), envelopes(1, 2)
    assert streams.accept(Stretch(0, 0, 1, held), held) == held
    assert streams.accept(Stretch(3, 0, 1, held), held) == held
    assert streams.marks() == (2, 0, 7, 2)
