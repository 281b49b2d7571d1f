"""Who has no business here: another project's people, nobody, and readers who write.

Every route is called with everything of the first project in its path and body. The answer is no, says
nothing that the caller did not say first, and no row changes.
"""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.gateway.hostile.cloud import PARTITIONS, Cloud
from tests.gateway.hostile.furnish import COMPUTE, MARK, NOWHERE, server_body
from tests.gateway.hostile.route import Place, places
from tests.gateway.hostile.sample import ACTION, SSH_KEY, samples, takes_json
from tests.gateway.hostile.walk import Attack, Judge, additions, differences, encoded, walk
from tests.gateway.hostile.wire import Answer

pytestmark = pytest.mark.asyncio(loop_scope="package")

VERSIONS: Final = ("2.1", "latest")
WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SHARED: Final = {
    "compute:extensions": "what the cloud can do",
    "network:extensions": "what the cloud can do",
    "image:resource_types": "the words that all metadata definitions share",
    "identity:regions": "anybody with a token may read them",
    "identity:roles": "those of the cloud are what managers of domains hand out",
    "identity:implies": "those of the cloud are what managers of domains hand out",
    "identity:registered_limits": "anybody with a token may read them",
    "identity:default": "a group of settings that every domain has",
    "identity:config": "a group of settings that every domain has",
    "identity:{group}": "a setting that every domain has",
    "image:stores": "anybody with a token may read them",
}
"""Things in paths that are not the first project's, and why."""
CLOUDS_OWN: Final = (
    "identity:domains", "identity:services", "identity:endpoints",
    "compute:os-quota-class-sets",
)  # fmt: skip
"""Things that are nobody's secret, though not everybody may look at them by their ids."""
OPEN: Final = {
    "GET /compute/v2.1/os-quota-sets/{project}/defaults": "the same for every project",
}
"""Routes about a project that tell a stranger nothing of it, and why."""
OWN_BUSINESS: Final = {
    "POST /compute/v2.1/os-keypairs": "a key pair belongs to its user, whatever the role in a project",
}
"""Routes that write and that a reader may use all the same, and why."""
READING_ACTIONS: Final = frozenset({"os-getConsoleOutput"})


def bodies(place: Place, cloud: Cloud) -> list[tuple[str, bytes | None]]:
    if not takes_json(place):
        return [("", b"stranger" if place.route.request is not None else None)]
    return [(next(iter(body), "") if place.name == ACTION else "", encoded(body))
            for body in samples(place, cloud.things)]  # fmt: skip


def attacks(cloud: Cloud, who: str, methods: frozenset[str] = frozenset()) -> Iterator[Attack]:
    """Every route with the first project's things; compute in an old and a new microversion."""
    for place in places(both_forms=True):
        if methods and place.route.method not in methods:
            continue
        for label, body in bodies(place, cloud):
            for version in VERSIONS if place.api.name == "compute" else ("",):
                headers = {"OpenStack-API-Version": f"compute {version}"} if version else {}
                yield Attack(place, label, place.target(cloud.things), who, headers, body)


OWN_DOMAIN: Final = "GET /identity/v3/domains/{id}"
NEIGHBOURS: Final = {"bob", "bess", "nick"}
"""People of other projects in the same domain: that one they may read."""


def is_theirs(place: Place) -> bool:
    """Whether the path leads to something of the first project."""
    return place.name not in OPEN and any(key not in SHARED for key in place.parameters)


def secrets(cloud: Cloud) -> list[str]:
    """What tells of the first project: its ids, and the mark in all its names."""
    shared = {cloud.things[key] for key in (*SHARED, *CLOUDS_OWN)} | {NOWHERE}
    return [MARK, *{thing for thing in cloud.things.values() if thing not in shared and MARK not in thing}]


def refused(cloud: Cloud) -> Judge:
    known, policy = secrets(cloud), cloud.gateway.services.policy

    def judge(attack: Attack, answer: Answer) -> str:
        leaked = [word for word in known if word in answer.text and word not in attack.text]
        if leaked:
            return f"tells of {leaked}"
        allowed = {403, 404, 501} | ({400} if attack.place.is_project_form else set())
        if attack.body and attack.headers.get("OpenStack-API-Version") == "compute 2.1":
            allowed |= {400}  # the sample is made for the newest microversion
        if policy.is_public(attack.place.route.policy):
            allowed |= {401}  # it asks for another proof than a token
        if attack.place.name == OWN_DOMAIN and attack.who in NEIGHBOURS:
            allowed |= {200}
        if is_theirs(attack.place) and answer.status not in allowed:
            return "not refused"
        return ""

    return judge


async def nothing_changes(cloud: Cloud, work: Iterator[Attack], judge: Judge) -> int:
    """Walk, and compare all rows: what was there is as it was, and what is new has nothing of alpha's."""
    await cloud.quiet()
    before = await cloud.all_rows()
    count = await walk(cloud, work, judge)
    after = await cloud.all_rows()
    assert not list(differences(before, after))
    known = secrets(cloud)
    stolen = [
        f"{table}: {row}" for table, row in additions(before, after) if any(word in row for word in known)
    ]
    assert not stolen
    return count


@pytest.mark.parametrize("who", ["bob", "bess", "nick", "unscoped", "dora", "dan"])
async def test_people_of_another_project_or_domain_are_refused_everywhere(cloud: Cloud, who: str) -> None:
    assert await nothing_changes(cloud, attacks(cloud, who), refused(cloud)) > 300


async def test_who_reads_the_system_changes_nothing_and_sees_no_projects_things(cloud: Cloud) -> None:
    """Who is who is what such a reader is for; what projects have is not."""
    strict = refused(cloud)

    def judge(attack: Attack, answer: Answer) -> str:
        if attack.place.api.name != "identity":
            return strict(attack, answer)
        wrote = attack.place.route.method in WRITES and answer.status < 400
        return "a reader wrote" if wrote and attack.place.name not in OWN_BUSINESS else ""

    await nothing_changes(cloud, attacks(cloud, "sid"), judge)


async def test_nobody_is_asked_for_a_token_everywhere(cloud: Cloud) -> None:
    policy = cloud.gateway.services.policy

    def judge(attack: Attack, answer: Answer) -> str:
        is_public = policy.is_public(attack.place.route.policy)
        return "" if is_public or answer.status == 401 else "not asked for a token"

    await nothing_changes(cloud, attacks(cloud, ""), judge)


async def test_a_public_route_tells_nobody_of_a_project(cloud: Cloud) -> None:
    policy = cloud.gateway.services.policy
    public = (attack for attack in attacks(cloud, "") if policy.is_public(attack.place.route.policy))
    known = secrets(cloud)

    def judge(attack: Attack, answer: Answer) -> str:
        leaked = [word for word in known if word in answer.text and word not in attack.text]
        return f"tells of {leaked}" if leaked else ""

    await nothing_changes(cloud, public, judge)


async def test_a_reader_of_the_project_changes_nothing(cloud: Cloud) -> None:
    def judge(attack: Attack, answer: Answer) -> str:
        if attack.place.name in OWN_BUSINESS or attack.label in READING_ACTIONS or answer.status >= 400:
            return ""
        return "a reader wrote"

    await cloud.quiet()
    before = await cloud.all_rows()
    await walk(cloud, attacks(cloud, "rita", WRITES), judge)
    after = await cloud.all_rows()
    assert not list(differences(before, after))
    own = {"compute.keypair"}
    assert [new for new in additions(before, after) if new[0] not in own] == []


async def test_a_member_of_the_project_may(cloud: Cloud) -> None:
    """The paths are right: what strangers are refused, the project's own reader sees."""
    seen: list[str] = []

    def judge(attack: Attack, answer: Answer) -> str:
        if answer.status == 200 and is_theirs(attack.place):
            seen.append(attack.place.name)
        return ""

    await walk(cloud, attacks(cloud, "rita", frozenset({"GET"})), judge)
    assert {
        "GET /compute/v2.1/servers/{server_id}",
        "GET /compute/v2.1/servers/{server_id}/metadata/{key}",
        "GET /compute/v2.1/servers/{server_id}/os-interface/{port_id}",
        "GET /compute/v2.1/servers/{server_id}/ips/{network}",
        "GET /compute/v2.1/flavors/{flavor_id}",
        "GET /image/v2/images/{image_id}",
        "GET /network/v2.0/networks/{id}",
        "GET /network/v2.0/ports/{id}",
    } <= set(seen)


QUERIES: Final = (
    "all_tenants=1", "all_projects=true", "deleted=true", "visibility=all", "member_status=all",
    "os_hidden=true", f"name={MARK}", "name=.*", "name=in:", "detailed=1", "status=ACTIVE",
    "fields=id&fields=name&fields=project_id", "sort_key=project_id", "sort_key=host", "page_reverse=True",
    "all_projects=1", "changes-since=1970-01-01T00:00:00Z", "limit=0", "limit=1000", "effective",
    "include_names=1",
)  # fmt: skip
OWNER_WORDS: Final = ("project_id", "tenant_id", "owner", "project", "scope.project.id", "tenant", "member")
USER_WORDS: Final = ("user_id", "user.id", "user")


def subjects(cloud: Cloud) -> list[str]:
    """What events and operations of the first project are about."""
    return [f"instance/{cloud.things['compute:servers']}", f"image/{cloud.things['image:images']}"]


def tricks(cloud: Cloud) -> Iterator[Attack]:
    """Lists asked for with what could widen them."""
    queries = [
        *QUERIES,
        *(f"{word}={cloud.projects['alpha']}" for word in OWNER_WORDS),
        *(f"{word}={cloud.users['alice']}" for word in USER_WORDS),
        *(f"id={thing}" for thing in set(cloud.things.values())),
        *(f"subject={subject}" for subject in subjects(cloud)),
    ]
    for place in places():
        if place.route.method == "GET" and not place.parameters:
            for query in queries:
                headers = {"OpenStack-API-Version": "compute 2.90"} if place.api.name == "compute" else {}
                yield Attack(place, query, f"{place.target({})}?{query}", "bob", headers)


async def test_no_query_widens_a_list_to_another_project(cloud: Cloud) -> None:
    await nothing_changes(cloud, tricks(cloud), refused(cloud))


async def test_events_from_the_beginning_tell_a_project_of_itself_only(cloud: Cloud) -> None:
    tail = cloud.gateway.services.events
    assert tail is not None
    everything = ["after=start", *(f"after=start&subject={subject}" for subject in subjects(cloud))]
    place = next(place for place in places() if place.name == "GET /v1/events")
    work = (
        Attack(place, query, f"/v1/events?{query}", who) for who in ("bob", "gus") for query in everything
    )
    await walk(cloud, work, refused(cloud))
    heard = await cloud.call("GET", "/v1/events?after=start", who="rita")
    assert cloud.things["compute:servers"] in heard.text
    for numbers in ([2**62] * PARTITIONS, [0] * (PARTITIONS + 1), [0], [2**62, 0, 0, 0]):
        answer = await cloud.call("GET", f"/v1/events?after={tail.cursors.encode(numbers)}", who="bob")
        assert answer.status in (200, 400), answer
        assert not any(word in answer.text for word in secrets(cloud))


async def test_a_marker_of_another_project_is_one_that_does_not_exist(cloud: Cloud) -> None:
    for place in places():
        if place.route.method != "GET" or place.parameters:
            continue
        plain = place.target({})
        known = (*SHARED, *CLOUDS_OWN)
        own = f"{place.api.name}:"
        for thing in {
            thing for key, thing in cloud.things.items() if key.startswith(own) and key not in known
        }:
            theirs = await cloud.call("GET", f"{plain}?limit=1&marker={thing}", who="bob")
            none = await cloud.call("GET", f"{plain}?limit=1&marker={NOWHERE}", who="bob")
            assert theirs.status == none.status, f"{place.name}: {theirs} for {thing}, {none} for nothing"


async def test_who_is_shown_an_image_may_not_change_it(cloud: Cloud) -> None:
    """An image shared with gamma and one everybody sees: the share's own status is all there is to say."""
    own_word = "PUT /image/v2/images/{image_id}/members/{member_id}"
    community = {"name": f"{MARK}-community", "visibility": "community"}
    seen_by_all = await cloud.must("POST", "/image/v2/images", community, who="alice")
    for who, image in (("gus", cloud.things["image:images"]), ("bob", seen_by_all["id"])):
        things = {**cloud.things, "image:images": image}
        await cloud.must("GET", f"/image/v2/images/{image}", who=who)
        work = (
            Attack(place, "", place.target(things), who, {}, body)
            for place in places()
            if place.api.name == "image" and place.parameters and place.route.method in WRITES
            for _, body in bodies(place, cloud)
        )

        def judge(attack: Attack, answer: Answer) -> str:
            if attack.place.name == own_word and attack.who == "gus":
                return "" if answer.status == 200 else "may not accept"
            return "" if answer.status in (403, 404, 501) else "not refused"

        before = await cloud.all_rows()
        await walk(cloud, work, judge)
        after = await cloud.all_rows()
        assert not [lost for lost in differences(before, after) if not lost.startswith("image.member ")]
        assert not [new for new in additions(before, after) if new[0] != "image.member"]
    await cloud.must("DELETE", f"/image/v2/images/{seen_by_all['id']}", who="alice")


async def test_a_server_is_not_made_of_what_others_own(cloud: Cloud) -> None:
    """One thing of alpha's at a time, the rest beta's own: each is refused, and nothing is left behind."""
    shared = await cloud.must("GET", "/network/v2.0/networks?name=shared", who="bob")
    key = {"keypair": {"name": "mine", "public_key": SSH_KEY}}
    await cloud.must("POST", f"{COMPUTE}/os-keypairs", key, who="bob")
    made = await cloud.must("POST", "/image/v2/images", {"name": "mine"}, who="bob")
    own = {
        "name": "thief",
        "flavorRef": "42",
        "imageRef": made["id"],
        "networks": [{"uuid": shared["networks"][0]["id"]}],
        "key_name": "mine",
    }
    theirs = server_body(cloud, "thief")["server"]
    before = await cloud.all_rows()
    for member in ("imageRef", "flavorRef", "networks", "key_name"):
        body = {"server": {**own, member: theirs[member]}}
        answer = await cloud.call("POST", f"{COMPUTE}/servers", body, who="bob")
        assert answer.status in (400, 403, 404), f"{member}: {answer}"
    port = {"server": {**own, "networks": [{"port": cloud.things["network:ports"]}]}}
    answer = await cloud.call("POST", f"{COMPUTE}/servers", port, who="bob")
    assert answer.status in (400, 403, 404, 501), answer
    after = await cloud.all_rows()
    assert not list(differences(before, after))
    assert not list(additions(before, after))
