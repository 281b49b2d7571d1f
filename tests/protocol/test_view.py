"""Times as the APIs write them."""

import pytest

from protocol.view import BASE, stamp


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_700_000_000.0, "2023-11-14T22:13:20Z"),
        (1_700_000_000.999999, "2023-11-14T22:13:20Z"),
        (951_782_400.0, "2000-02-29T00:00:00Z"),
        (4_102_444_800.0, "2100-01-01T00:00:00Z"),
    ],
)
def test_a_stamp_is_whole_seconds_of_utc(at: float, text: str) -> None:
    assert stamp(at) == text
    assert stamp(at, zone=".000000") == text[:-1] + ".000000"


def test_the_base_can_stand_in_json_and_in_no_text_of_a_url() -> None:
    assert BASE.isascii()
    assert not set(BASE) & set('"\\/')
