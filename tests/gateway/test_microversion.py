"""Microversion negotiation on its own."""

import pytest

from gateway.microversion import Negotiator, Version, VersionRange
from gateway.problem import Problem

OFFERED = VersionRange("compute", (2, 1), (2, 96), "X-OpenStack-Nova-API-Version")


def ask(new: str | None = None, legacy: str | None = None) -> Version:
    headers = {"OpenStack-API-Version": new, "X-OpenStack-Nova-API-Version": legacy}
    return Negotiator(OFFERED).version_of(
        {name: value for name, value in headers.items() if value is not None}
    )


@pytest.mark.parametrize(
    ("new", "legacy", "version"),
    [
        (None, None, (2, 1)),
        ("compute 2.50", None, (2, 50)),
        (None, "2.50", (2, 50)),
        ("compute 2.60", "2.50", (2, 60)),
        ("volume 3.0", "2.50", (2, 50)),
        ("volume 3.0, compute 2.7", None, (2, 7)),
        ("compute latest", None, (2, 96)),
        ("Compute 2.3", None, (2, 3)),
        ("volume 3.0", None, (2, 1)),
    ],
)
def test_what_is_asked_for(new: str | None, legacy: str | None, version: Version) -> None:
    assert ask(new, legacy) == version


@pytest.mark.parametrize(
    "text", ["2", "2.", ".1", "2.x", "two.one", "2.1.1", "02.1", "2.01", "-2.1", "2.9999999999", "²·1"]
)
def test_malformed(text: str) -> None:
    with pytest.raises(Problem) as caught:
        ask(legacy=text)
    assert caught.value.status == 400


@pytest.mark.parametrize("text", ["2.0", "2.97", "3.1", "1.1", "0.1"])
def test_out_of_range(text: str) -> None:
    with pytest.raises(Problem) as caught:
        ask(f"compute {text}")
    assert caught.value.status in (400, 406)
    if text[0] != "0":
        assert caught.value.message == (
            f"Version {text} is not supported by the API. Minimum is 2.1 and maximum is 2.96."
        )


def test_the_memory_of_headers_is_bounded() -> None:
    negotiator = Negotiator(OFFERED)
    for number in range(5000):
        negotiator.version_of({"OpenStack-API-Version": f"volume {number}"})
    assert len(negotiator._known) <= 1024
