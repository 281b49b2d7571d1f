"""Bodies that are not what a route takes: a clear no in the API's own format, and nothing changed."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.hostile.cloud import Cloud
from tests.gateway.hostile.furnish import COMPUTE
from tests.gateway.hostile.mutate import broken, misnamed, scrambled, spoiled
from tests.gateway.hostile.route import Place, places
from tests.gateway.hostile.sample import ACTION, samples, takes_json
from tests.gateway.hostile.walk import Attack, additions, differences, walk
from tests.gateway.hostile.wire import Answer

pytestmark = pytest.mark.asyncio(loop_scope="package")

REFUSED = frozenset({400, 413, 415})
ERROR_BYTES_MAX = 8192
DEADLY = frozenset({"forceDelete"})
"""Actions after which a server is no more: they get one that nobody else needs."""

REFERENCES = ("parent_region_id",)
"""Members that may name what another hostile body has made meanwhile."""

RULES_OF_ALL = frozenset({"PUT /compute/v2.1/os-quota-class-sets/{class_name}"})
"""Routes whose change is felt by every project: only harmless members of theirs are attacked."""
SCRAMBLED = 25
AGAIN_EVERY = 4


def speaker(cloud: Cloud, place: Place) -> str:
    """Who gets far with this route: the project's member where the rule lets one, else the admin."""
    policy = cloud.gateway.services.policy
    return "alice" if policy.allows(place.route.policy, cloud.callers["alice"]) else "admin"


def attacked(cloud: Cloud) -> Iterator[tuple[Place, str, dict[str, str], Any]]:
    """(place, target, headers, good body) of every route with a body."""
    for place in places():
        if not takes_json(place):
            continue
        headers = {"OpenStack-API-Version": "compute latest"} if place.api.name == "compute" else {}
        for body in samples(place, cloud.victims):
            things = cloud.victims
            if place.name == ACTION and DEADLY & body.keys():
                things = {**things, "compute:servers": cloud.victims["doomed"]}
            yield place, place.target(things), headers, body


def short(attack: Attack, answer: Answer) -> str:
    """An error is read by a person."""
    return "a very long error" if answer.status >= 400 and len(answer.body) > ERROR_BYTES_MAX else ""


def surely_refused(attack: Attack, answer: Answer) -> str:
    return short(attack, answer) or ("" if answer.status in REFUSED | {501} else "not refused")


async def test_what_is_no_json_is_refused_and_changes_nothing(cloud: Cloud) -> None:
    work = (
        Attack(place, label, target, speaker(cloud, place), headers, body)
        for place, target, headers, good in attacked(cloud)
        for label, body in broken(good)
    )
    await cloud.quiet()
    before = await cloud.all_rows()
    assert await walk(cloud, work, surely_refused) > 500
    after = await cloud.all_rows()
    assert not list(differences(before, after))
    assert not list(additions(before, after))


async def test_no_value_in_a_body_is_too_strange(cloud: Cloud) -> None:
    """Each value of each body by each hostile one. Some of the refused are sent again: they change no row."""
    refused: list[Attack] = []

    def judge(attack: Attack, answer: Answer) -> str:
        if answer.status in REFUSED and not any(word in attack.label for word in REFERENCES):
            refused.append(attack)
        return short(attack, answer)

    work = (
        Attack(place, label, target, speaker(cloud, place), headers, body)
        for place, target, headers, good in attacked(cloud)
        for spoil in (misnamed(good), spoiled(good, place.route.request))
        for label, body in spoil
        if not (place.name in RULES_OF_ALL and "server_groups" not in label)
    )
    count = await walk(cloud, work, judge)
    assert count > 5000
    assert len(refused) > count // 3
    await cloud.quiet()
    before = await cloud.all_rows()
    await walk(cloud, refused[::AGAIN_EVERY], surely_refused)
    after = await cloud.all_rows()
    assert not list(differences(before, after))
    assert not list(additions(before, after))
    mended = {"forced_down": False, "status": "enabled"}
    path = f"{COMPUTE}/os-services/{cloud.victims['compute:os-services']}"
    await cloud.must("PUT", path, mended, OpenStack_API_Version="compute 2.53")


async def test_no_mixture_of_values_is_too_strange(cloud: Cloud) -> None:
    work = (
        Attack(place, label, target, speaker(cloud, place), headers, body)
        for place, target, headers, good in attacked(cloud)
        if place.name not in RULES_OF_ALL
        for label, body in scrambled(good, f"{place.name} {good}", SCRAMBLED)
    )
    assert await walk(cloud, work, short) > 1000


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "x" * 500,
        "/;;,",
    ],
)
async def test_another_media_type_is_refused(cloud: Cloud, media_type: str) -> None:
    work = (
        Attack(place, media_type[:40], target, "admin", {**headers, "Content-Type": media_type}, b"{}")
        for place, target, headers, _ in attacked(cloud)
    )

    def judge(attack: Attack, answer: Answer) -> str:
        return "" if answer.status in (415, 501) else "not refused"

    await walk(cloud, work, judge)
