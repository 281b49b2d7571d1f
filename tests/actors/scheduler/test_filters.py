"""Filters: what each objects to, in words that name no other tenant."""

from typing import Any

import pytest

from actors.scheduler import filters
from actors.scheduler.weighers import DEFAULT as WEIGHERS
from actors.scheduler.weighers import free_memory, free_vcpus
from protocol.host import HostView
from protocol.instance import PlaceInstance
from tests.actors.scheduler.hosts import host, question
from tests.actors.stage import inventory

ARM = {"hw_architecture": "aarch64"}


@pytest.mark.parametrize(
    ("name", "asked", "offered", "objection"),
    [
        ("service", {}, {}, ""),
        ("service", {}, {"state": "enrolling"}, "the host is enrolling"),
        ("service", {}, {"state": "suspect"}, "the host is suspect"),
        ("service", {}, {"state": "down"}, "the host is down"),
        ("service", {}, {"duty": "disabled"}, "disabled by an operator"),
        ("service", {}, {"state": "fenced"}, "the host is fenced"),
        ("service", {}, {"duty": "draining"}, "being drained by an operator"),
        ("fresh", {"refused": ("b",)}, {}, ""),
        ("fresh", {"refused": ("b", "a")}, {}, "the host refused a moment ago"),
        ("zone", {}, {"availability_zone": "east"}, ""),
        ("zone", {"availability_zone": "east"}, {"availability_zone": "east"}, ""),
        ("zone", {"availability_zone": "east"}, {}, "the host is in zone nova"),
        ("forced", {}, {}, ""),
        ("forced", {"forced_host": "node-a"}, {}, ""),
        ("forced", {"forced_host": "a"}, {}, ""),
        ("forced", {"forced_host": "node-b"}, {}, "another host was asked for"),
        ("vcpus", {}, {"vcpus_used": 30}, ""),
        ("vcpus", {}, {"vcpus_used": 31}, "1 vCPUs free, 2 wanted"),
        ("vcpus", {}, {"vcpus_used": 7, "cpu_ratio": 1.0}, "1 vCPUs free, 2 wanted"),
        ("vcpus", {}, {"vcpus_used": 99}, "-67 vCPUs free, 2 wanted"),
        ("memory", {}, {"memory_mib_used": 15360}, ""),
        ("memory", {}, {"memory_mib_used": 15361}, "1023 MiB of memory free, 1024 wanted"),
        ("memory", {}, {"memory_mib_used": 15361, "memory_ratio": 1.5}, ""),
        ("disk", {}, {"disk_gib_used": 190}, ""),
        ("disk", {}, {"disk_gib_used": 191}, "9 GiB of disk free, 10 wanted"),
        ("architecture", {}, {}, ""),
        ("architecture", {"image_properties": {"architecture": "x86_64"}}, {}, ""),
        ("architecture", {"image_properties": ARM}, {}, "the host is x86_64"),
        ("architecture", {"image_properties": {**ARM, "architecture": "x86_64"}}, {}, "the host is x86_64"),
    ],
)
def test_what_a_filter_says(
    name: str, asked: dict[str, Any], offered: dict[str, Any], objection: str
) -> None:
    assert filters.DEFAULT[name](question(**asked), host("a", **offered)) == objection


def test_every_filter_is_tested_and_lets_an_idle_host_pass() -> None:
    assert all(objects(question(), host("a")) == "" for objects in filters.DEFAULT.values())
    assert set(filters.DEFAULT) == {
        "service", "fresh", "zone", "forced", "vcpus", "memory", "disk", "architecture",
    }  # fmt: skip


def test_a_host_that_told_nothing_yet_has_no_room() -> None:
    nothing = host("a", inventory=inventory(vcpus=0, memory_mib=0, disk_gib=0))
    assert filters.memory(question(), nothing) == "0 MiB of memory free, 1024 wanted"


@pytest.mark.parametrize(
    ("offered", "memory", "vcpus"),
    [
        ({}, 1.0, 1.0),
        ({"memory_mib_used": 4096, "vcpus_used": 8}, 0.75, 0.75),
        ({"memory_mib_used": 16384, "vcpus_used": 32}, 0.0, 0.0),
        ({"memory_mib_used": 16384, "memory_ratio": 2.0}, 0.5, 1.0),
        ({"inventory": inventory(vcpus=0, memory_mib=0)}, 0.0, 0.0),
    ],
)
def test_what_a_weigher_says(offered: dict[str, Any], memory: float, vcpus: float) -> None:
    assert free_memory(question(), host("a", **offered)) == memory
    assert free_vcpus(question(), host("a", **offered)) == vcpus


def test_memory_decides_and_processors_break_ties() -> None:
    def weight(one: HostView, asked: PlaceInstance) -> float:
        return sum(weigh(asked, one) * factor for weigh, factor in WEIGHERS.values())

    memory, vcpus = host("m", vcpus_used=32), host("v", memory_mib_used=8192)
    assert weight(memory, question()) > weight(vcpus, question())
    assert weight(host("i"), question()) > weight(memory, question())
