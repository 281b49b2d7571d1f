"""Filters: what each objects to, in words that name no other tenant."""

from typing import Any

import pytest

from actors.scheduler import filters
from actors.scheduler.weighers import DEFAULT as WEIGHERS
from actors.scheduler.weighers import free_memory, free_vcpus, quiet, soft_group
from protocol.host import HostAggregate, HostView
from protocol.instance import PlaceInstance, ServerGroup
from tests.actors.scheduler.hosts import host, question
from tests.actors.stage import PROJECT_ID, inventory

PLAIN = HostAggregate(1, "plain")
FAST = HostAggregate(2, "fast", {"ssd": "true"})
OURS = HostAggregate(3, "ours", {"filter_tenant_id": f"p2,{PROJECT_ID}"})
SSD = {"aggregate_instance_extra_specs:ssd": "true"}
NO_SSD = "no aggregate of the host has ssd = true"
APART = ServerGroup("g", "anti-affinity", 2)
TOGETHER = ServerGroup("g", "affinity")
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
        ("tenants", {}, {"aggregates": (OURS, PLAIN)}, ""),
        ("tenants", {"project": "p3"}, {"aggregates": (OURS,)}, "the host is for other projects"),
        ("aggregates", {"extra_specs": SSD}, {"aggregates": (PLAIN, FAST)}, ""),
        (
            "aggregates",
            {"extra_specs": SSD},
            {"aggregates": (PLAIN,)},
            "no aggregate of the host has ssd = true",
        ),
        ("aggregates", {"extra_specs": {"hw:cpu_cores": "2"}}, {}, ""),
        ("same_host", {"same_hosts": ("a",)}, {}, ""),
        ("same_host", {"same_hosts": ()}, {}, "none of the servers named is here"),
        ("different_host", {"different_hosts": ("b",)}, {}, ""),
        ("different_host", {"different_hosts": ("a",)}, {}, "a server named is here"),
        ("group", {"group": APART}, {"groups": {"g": 1}}, ""),
        ("group", {"group": APART}, {"groups": {"g": 2}}, "2 members of its group are here"),
        ("group", {"group": TOGETHER, "together": ("b",)}, {}, "other members of its group are elsewhere"),
        ("group", {"group": TOGETHER}, {}, ""),
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
        "tenants", "aggregates", "same_host", "different_host", "group",
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


@pytest.mark.parametrize(
    ("value", "wanted", "meets"),
    [
        ("8", ">= 4", True), ("2", ">= 4", False), ("x", ">= 4", False), ("a", "<or> a <or> b", True),
        ("c", "<or> a <or> b", False), ("a", "s== a", True), ("a", "a", True), ("a", "b", False),
    ],
)  # fmt: skip
def test_what_an_aggregate_must_have(value: str, wanted: str, meets: bool) -> None:
    asked = question(extra_specs={"aggregate_instance_extra_specs:x": wanted})
    offered = host("a", aggregates=(HostAggregate(1, "one", {"x": value}),))
    assert (filters.aggregates(asked, offered) == "") is meets


def test_soft_policies_weigh() -> None:
    soft = [question(group=ServerGroup("g", policy)) for policy in ("soft-affinity", "soft-anti-affinity")]
    with_one, with_none = host("a", groups={"g": 1}), host("b")
    assert soft_group(soft[0], with_one) > soft_group(soft[0], with_none)
    assert soft_group(soft[1], with_one) < soft_group(soft[1], with_none)
    assert soft_group(question(), with_one) == soft_group(question(), with_none)
    assert quiet(question(), host("a")) > quiet(question(), host("b", building=3))
