from typing import Annotated, Any

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from gateway.compute.schema import (
    Base64,
    Body,
    Boolean,
    Description,
    Ipv4,
    Metadata,
    Name,
    Positive,
    Uuid,
    check,
    required,
    since,
    truth,
    until,
    versions,
)
from gateway.problem import Problem


class Inner(Body, frozen=True):
    tag: Annotated[str | UnsetType, versions((32, 36), (42, 100))] = UNSET


class Sample(Body, frozen=True):
    name: Name
    description: Annotated[Description | UnsetType, since(19)] = UNSET
    personality: Annotated[list[str] | UnsetType, until(56)] = UNSET
    networks: Annotated[list[Inner] | UnsetType, required(37)] = UNSET
    count: Positive | UnsetType = UNSET
    data: Base64 | UnsetType = UNSET
    address: Ipv4 | UnsetType = UNSET
    ident: Uuid | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    drive: Boolean | UnsetType = UNSET


def accepted(minor: int, **members: Any) -> bool:
    try:
        check(msgspec.json.decode(msgspec.json.encode({"name": "a", **members}), type=Sample), minor)
    except (msgspec.ValidationError, Problem):
        return False
    return True


@pytest.mark.parametrize(
    ("minor", "members", "fits"),
    [
        (18, {"description": "x"}, False),
        (19, {"description": "x"}, True),
        (19, {"description": None}, True),
        (36, {"personality": []}, True),
        (57, {"personality": []}, False),
        (36, {}, True),
        (37, {}, False),
        (32, {"networks": [{"tag": "t"}]}, True),
        (37, {"networks": [{"tag": "t"}]}, False),
        (42, {"networks": [{"tag": "t"}]}, True),
        (42, {"networks": [{"colour": "t"}]}, False),
        (1, {"colour": 1}, False),
        (1, {"name": ""}, False),
        (1, {"name": " a"}, False),
        (1, {"name": "a\u0007"}, False),
        (1, {"name": "a\u2028b"}, False),
        (1, {"name": "Größe 2"}, True),
        (1, {"name": 1}, False),
        (1, {"count": "1"}, True),
        (1, {"count": 0}, False),
        (1, {"count": "0"}, False),
        (1, {"count": True}, False),
        (1, {"count": 2147483648}, False),
        (1, {"data": "ZWNo\nbyAi"}, True),
        (1, {"data": "%%"}, False),
        (1, {"address": "1.2.3.4"}, True),
        (1, {"address": "::1"}, False),
        (1, {"ident": "6f0c1f0e-0000-4000-8000-000000000001"}, True),
        (1, {"ident": "6f0c1f0e-0000-4000-8000-000000000001\n"}, False),
        (1, {"metadata": {"a:b.c-d_e f": ""}}, True),
        (1, {"metadata": {"a/b": ""}}, False),
        (1, {"metadata": {"a": 1}}, False),
        (1, {"drive": "Yes"}, True),
        (1, {"drive": 1}, False),
    ],
)
def test_members_follow_their_microversions_and_formats(
    minor: int, members: dict[str, Any], fits: bool
) -> None:
    assert accepted(minor, **members) is fits


def test_words_for_true_and_false() -> None:
    assert truth("On")
    assert not truth("off", default=True)
    assert truth(UNSET, default=True)
    assert not truth("perhaps")
