"""Every route of an API with microversions, at its edges, beyond them and in nonsense."""

from collections.abc import Iterator
from typing import Final

import pytest

from gateway.microversion import HEADER, text_of
from gateway.route import Api
from tests.gateway.hostile.cloud import Cloud
from tests.gateway.hostile.route import Place, places
from tests.gateway.hostile.test_bodies import speaker
from tests.gateway.hostile.test_headers import harmless
from tests.gateway.hostile.walk import Attack, walk
from tests.gateway.hostile.wire import Answer

pytestmark = pytest.mark.asyncio(loop_scope="package")

MALFORMED: Final = ("2", "2.x", "2.1.1", "2.01", "-2.1", "newest", "2.+1", "2.1e1", "0x2.1", "2.1 2.2")


def versioned() -> Iterator[tuple[Place, Api]]:
    for place in places(both_forms=True):
        if place.api.versions is not None:
            yield place, place.api


def spoken(cloud: Cloud, place: Place, version: str, *, old_header: bool = False) -> Attack:
    """The call in a version, by the new header or the older one."""
    versions = place.api.versions
    assert versions is not None
    target, body = harmless(place, cloud)
    headers = {versions.legacy: version} if old_header else {HEADER: f"{versions.service} {version}"}
    return Attack(place, version, target, speaker(cloud, place), headers, body)


def repeats(attack: Attack, answer: Answer, version: str) -> bool:
    """Whether the answer says which version it is in, in both headers, and that it varies by them."""
    versions = attack.place.api.versions
    assert versions is not None
    headers = answer.headers
    varies = headers.get("vary", "")
    return (
        headers.get(HEADER.lower()) == f"{versions.service} {version}"
        and headers.get(versions.legacy.lower()) == version
        and HEADER in varies
        and versions.legacy in varies
    )


def said_in(attack: Attack) -> str:
    versions = attack.place.api.versions
    assert versions is not None
    return text_of(versions.newest) if attack.label == "latest" else attack.label


@pytest.mark.parametrize("old_header", [False, True], ids=["new header", "old header"])
async def test_every_route_speaks_the_oldest_and_the_newest_version(cloud: Cloud, old_header: bool) -> None:
    work = (
        spoken(cloud, place, version, old_header=old_header)
        for place, api in versioned()
        if api.versions is not None
        for version in (text_of(api.versions.oldest), text_of(api.versions.newest), "latest")
    )

    def judge(attack: Attack, answer: Answer) -> str:
        return "" if repeats(attack, answer, said_in(attack)) else f"not in {said_in(attack)}"

    assert await walk(cloud, work, judge) > 300


async def test_a_version_beyond_the_newest_is_406_everywhere(cloud: Cloud) -> None:
    work = (
        spoken(cloud, place, version)
        for place, api in versioned()
        if api.versions is not None
        for version in (f"2.{api.versions.newest[1] + 1}", "2.999", "3.0", "2.0", "1.1")
    )

    def judge(attack: Attack, answer: Answer) -> str:
        versions = attack.place.api.versions
        assert versions is not None
        both = (text_of(versions.oldest), text_of(versions.newest))
        good = answer.status == 406 and all(text in answer.text for text in both)
        return "" if good and "computeFault" in answer.text else "not 406 with the versions there are"

    await walk(cloud, work, judge)


async def test_a_malformed_version_is_400_everywhere(cloud: Cloud) -> None:
    work = (spoken(cloud, place, version) for place, _ in versioned() for version in MALFORMED)

    def judge(_: Attack, answer: Answer) -> str:
        return "" if answer.status == 400 else "not 400"

    await walk(cloud, work, judge)


async def test_a_route_is_404_in_versions_without_it(cloud: Cloud) -> None:
    def outside() -> Iterator[Attack]:
        for place, api in versioned():
            bounds, versions = place.route.microversions, api.versions
            if bounds is None or versions is None:
                continue
            if bounds[0] > versions.oldest:
                yield spoken(cloud, place, text_of((bounds[0][0], bounds[0][1] - 1)))
            if bounds[1] < versions.newest:
                yield spoken(cloud, place, text_of((bounds[1][0], bounds[1][1] + 1)))

    def judge(attack: Attack, answer: Answer) -> str:
        """Unless another row of the same path has the call in that version."""
        others = [place for place in places() if place.name == attack.place.name]
        return "" if answer.status == 404 or len(others) > 1 else "not 404"

    assert await walk(cloud, outside(), judge) > 20


async def test_every_minor_version_of_every_readable_route_is_answered(cloud: Cloud) -> None:
    """Shapes are made on first use: each of them once, by a reader and by an admin."""
    api = next(place.api for place in places() if place.api.versions is not None)
    assert api.versions is not None
    minors = range(api.versions.oldest[1], api.versions.newest[1] + 1)
    wanted = (
        "/servers/detail",
        "/servers/{server_id}",
        "/flavors/detail",
        "/os-hypervisors/detail",
        "/os-services",
    )
    work = (
        Attack(
            place,
            f"2.{minor}",
            place.target(cloud.things),
            who,
            {HEADER: f"{api.versions.service} 2.{minor}"},
        )
        for place in places()
        if place.api is api and place.route.method == "GET" and place.route.path.endswith(wanted)
        for minor in minors
        for who in ("rita", "admin")
    )

    def judge(attack: Attack, answer: Answer) -> str:
        return "" if answer.status in (200, 403) else "not shown"

    assert await walk(cloud, work, judge) >= 900
