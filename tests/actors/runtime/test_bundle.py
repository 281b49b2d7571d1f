"""What one batch says to one queue is split into bodies of a bounded size, in order and complete."""

from actors.runtime.bundle import BUNDLE_BYTES_MAX, bundles
from protocol.codec import decode_bundle
from protocol.message import Envelope, Stretch


def stretch(source: int, first: int, sizes: list[int]) -> Stretch:
    envelopes = [Envelope(f"instance/{n}", "host/h", b"x" * size) for n, size in enumerate(sizes, first)]
    return Stretch(source, 1, first, envelopes)


def numbers(bodies: list[bytes]) -> list[tuple[int, int, str]]:
    """(source, number, address) of everything in these bundles."""
    return [
        (one.source, one.first + place, envelope.to)
        for body in bodies
        for one in decode_bundle(body).stretches
        for place, envelope in enumerate(one.envelopes)
    ]


def test_what_fits_is_one_body() -> None:
    (body,) = bundles([stretch(0, 1, [10, 10]), stretch(1, 5, [10])])
    assert numbers([body]) == [(0, 1, "instance/1"), (0, 2, "instance/2"), (1, 5, "instance/5")]


def test_a_long_stretch_is_split_and_numbered_on() -> None:
    bodies = bundles([stretch(0, 7, [1000] * 500)])
    assert len(bodies) > 1
    assert all(len(body) <= BUNDLE_BYTES_MAX for body in bodies)
    assert numbers(bodies) == [(0, n, f"instance/{n}") for n in range(7, 507)]


def test_many_stretches_are_shared_out() -> None:
    bodies = bundles([stretch(source, 1, [20_000] * 2) for source in range(9)])
    assert all(len(body) <= BUNDLE_BYTES_MAX for body in bodies)
    assert numbers(bodies) == [(source, n, f"instance/{n}") for source in range(9) for n in (1, 2)]


def test_one_large_envelope_travels_alone() -> None:
    bodies = bundles([stretch(0, 1, [10, BUNDLE_BYTES_MAX * 2, 10])])
    assert [len(body) > BUNDLE_BYTES_MAX for body in bodies] == [False, True, False]
    assert [number for _, number, _ in numbers(bodies)] == [1, 2, 3]


def test_nothing_is_no_more_than_an_empty_bundle() -> None:
    (body,) = bundles([])
    assert decode_bundle(body).stretches == []
