"""Identifiers are the same in every process and every release: they stand on disks."""

import uuid
from collections import Counter

import pytest

from protocol.ids import ACTOR_KINDS, address, derived, ident_of, keyed_operation, kind_of, partition_of

INSTANCE = "instance/6f0c2f1e-8b1c-4a52-9a55-0d1f6d0a7c11"


@pytest.mark.parametrize(
    ("to", "partition"),
    [
        (INSTANCE, 4),
        ("host/00000000-0000-4000-8000-000000000001", 4),
        ("image/0a8cbe4b-1d7d-4d5a-8a57-4b8f1f0b6e01", 0),
        ("project/b7f4a3c2d1e04f5f8a9b0c1d2e3f4a5b", 7),
        ("", 0),
        ("instance/zażółć", 9),
    ],
)
def test_an_address_has_its_partition_for_ever(to: str, partition: int) -> None:
    assert partition_of(to, 16) == partition


def test_partitions_are_spread() -> None:
    counts = Counter(partition_of(f"instance/{uuid.UUID(int=n << 64)}", 16) for n in range(4096))
    assert set(counts) == set(range(16))
    assert max(counts.values()) < 2 * min(counts.values())


def test_an_address_is_a_kind_and_a_name() -> None:
    assert address("instance", "i") == "instance/i"
    assert (kind_of("host/h"), ident_of("host/h")) == ("host", "h")
    assert (kind_of("host/a/b"), ident_of("host/a/b")) == ("host", "a/b")
    assert (kind_of("host"), ident_of("host")) == ("host", "")
    assert frozenset({"instance", "host", "image", "project", "group"}) == ACTOR_KINDS


def test_an_idempotency_key_stands_for_one_operation() -> None:
    request = ("p", "u", "POST", "/v2.1/servers", "key-1")
    assert keyed_operation(*request) == "6c5a8448-659f-5e5c-8645-e0fdb7f61790"
    others = [
        ("q", *request[1:]),
        ("p", "v", *request[2:]),
        (*request[:2], "PUT", *request[3:]),
        (*request[:3], "/v2.1/images", "key-1"),
        (*request[:4], "key-2"),
        ("p\0u", "", *request[2:]),
    ]
    assert len({keyed_operation(*other) for other in [request, *others]}) == len(others) + 1


def test_what_an_operation_creates_has_the_same_id_when_it_is_repeated() -> None:
    operation = "5d4f2f9e-0f0e-5b3c-8a57-0d1f6d0a7c11"
    assert derived(operation, "instance") == "15ec2b13-2e28-5f5b-9642-bdde7b74a93c"
    assert derived(operation, "instance") != derived(operation, "instance-1")
    with pytest.raises(ValueError, match="badly formed"):
        derived("no uuid", "instance")
