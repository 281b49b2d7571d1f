"""A host's life: heartbeats and silence, claims and releases, reports and what they tell the instances."""

from typing import Any

import pytest

from actors.host.kind import HOST
from actors.host.model import (
    CONFIRM_S,
    DOWN,
    DOWN_S,
    ENROLLING,
    FENCED,
    REMOVED,
    SESSIONS_MAX,
    SUSPECT,
    SUSPECT_S,
    TOMBSTONES_MAX,
    UP,
    HeldRoom,
    Host,
    shortage,
    used,
    view,
)
from actors.turn import Heard, due_at
from protocol.agent import CacheImage, Heartbeat, HeartbeatHeard, HostReport
from protocol.command import Tick
from protocol.errors import Refused
from protocol.group import SeatLeft
from protocol.guest import GuestImage, GuestState, PowerState
from protocol.host import (
    CacheImages,
    ClaimRefused,
    ConfirmClaim,
    EnrolHost,
    GuestUnclaimed,
    HostAggregate,
    HostChanged,
    HostClaimed,
    HostFound,
    HostReleased,
    RemoveHost,
    SetHostAggregates,
    SetHostService,
    TellAgain,
)
from protocol.instance import Amount, ClaimHost, ClaimStands, ReleaseHost
from protocol.message import Message
from tests.actors.life import LifeCase, every_life_row_is_taken
from tests.actors.stage import (
    ADMIN,
    HOSTS,
    INSTANCE_ID,
    NOW,
    answer_of,
    heard,
    inventory,
    only,
    reach,
    said,
    told,
    turn,
)

HOST_ID = HOSTS[0]
A, B = INSTANCE_ID, "7a0c2f1e-8b1c-4a52-9a55-0d1f6d0a7c12"
SMALL = Amount(2, 1024, 10)
RUNNING, SHUTDOWN = PowerState.RUNNING, PowerState.SHUTDOWN
ENROL = EnrolHost(by=ADMIN, hostname="node-1", availability_zone="east")


def by_agent(message: Message, *, host: str = HOST_ID) -> Heard:
    return Heard(message, f"agent/{host}")


def beat(*, session: str = "s1", sent_at: float = NOW) -> Heard:
    return by_agent(Heartbeat(session=session, sent_at=sent_at))


def report(*guests: GuestState, sequence: int = 1, session: str = "s1", **more: Any) -> Heard:
    return by_agent(
        HostReport(session=session, inventory=inventory(), guests=guests, sequence=sequence, **more)
    )


def guest(instance: str = A, power: PowerState = RUNNING, *, generation: int = 1, **more: Any) -> GuestState:
    return GuestState(instance=instance, generation=generation, power_state=power, **more)


def claim(instance: str = A, generation: int = 1, amount: Amount = SMALL) -> Heard:
    message = ClaimHost(instance=instance, generation=generation, amount=amount)
    return Heard(message, f"instance/{instance}", "op-1")


def give_back(instance: str = A, generation: int = 1) -> Heard:
    return Heard(ReleaseHost(instance=instance, generation=generation), f"instance/{instance}", "op-1")


def service(**changes: Any) -> SetHostService:
    return SetHostService(by=ADMIN, **changes)


CACHE = CacheImages(
    by=ADMIN,
    images=tuple(
        GuestImage(image=f"image-{n}", url="", sha512="0" * 128, size_bytes=1, disk_format="raw")
        for n in (1, 2)
    ),
)
NEW = reach(HOST, None, heard(ENROL), ident=HOST_ID)
READY = reach(HOST, NEW, report())
CLAIMED = reach(HOST, READY, claim())
QUIET = reach(HOST, READY.but(alarm_at=NOW), Tick())
FENCED_HOST = reach(HOST, READY, heard(service(forced_down=True)))
DRAINING = CLAIMED.but(duty="draining")
GONE = reach(HOST, READY, heard(RemoveHost(by=ADMIN)))
FULL = reach(HOST, READY, claim(B, amount=Amount(1, 16384, 1)))
CASES: tuple[LifeCase[Host], ...] = (
    LifeCase("enrolled", None, ENROL, ENROLLING, (HostChanged,), "enrol", {"hostname": "node-1"}),
    LifeCase("a first heartbeat", NEW, beat(), UP, (HeartbeatHeard, HostChanged), "up"),
    LifeCase("one more heartbeat", READY, beat(), UP, (HeartbeatHeard,)),
    LifeCase("a first report", NEW, report(), UP, (HostChanged,), "up", {"inventory": inventory()}),
    LifeCase("one more report", READY, report(sequence=2), UP, (HostChanged,)),
    LifeCase("tell again", CLAIMED, TellAgain(instance=A, generation=1), UP),
    LifeCase("silence", READY.but(alarm_at=NOW), Tick(), SUSPECT, (HostChanged,), "suspect"),
    LifeCase("long silence", QUIET.but(alarm_at=NOW), Tick(), DOWN, (HostChanged,), "down"),
    LifeCase("a claim with room", READY, claim(), UP, (HostClaimed, HostChanged)),
    LifeCase("a claim without room", FULL, claim(), UP, (ClaimRefused, HostChanged)),
    LifeCase("a release", CLAIMED, give_back(), UP, (HostReleased, HostChanged), leaves={"claims": {}}),
    LifeCase("a claim that stands", CLAIMED, ClaimStands(instance=A, generation=1), UP),
    LifeCase("disabled", READY, service(duty="disabled", reason="disks"), UP, (HostChanged,), "service"),
    LifeCase(
        "its last instance leaves",
        DRAINING,
        give_back(),
        UP,
        (HostReleased, HostChanged),
        "drained",
        {"duty": "maintenance", "claims": {}},
    ),
    LifeCase(
        "fenced", READY, service(forced_down=True), FENCED, (HostChanged,), "service", {"alarm_at": None}
    ),
    LifeCase("a heartbeat from beyond the fence", FENCED_HOST, beat(), FENCED, (), leaves={"alarm_at": None}),
    LifeCase("a report from beyond the fence", FENCED_HOST, report(sequence=2), FENCED, (HostChanged,)),
    LifeCase("unfenced", FENCED_HOST, service(forced_down=False), SUSPECT, (HostChanged,), "service"),
    LifeCase(
        "aggregates", READY, SetHostAggregates(by=ADMIN, aggregates=()), UP, (HostChanged,), "aggregates"
    ),
    LifeCase("cache images", READY, CACHE, UP, (CacheImage, CacheImage), "cache_images"),
    LifeCase("removed", READY, RemoveHost(by=ADMIN), REMOVED, (HostChanged,), "remove", {"alarm_at": None}),
    LifeCase("a heartbeat of one removed", GONE, beat(), REMOVED),
    LifeCase("a report of one removed", GONE, report(sequence=2), REMOVED),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: LifeCase[Host]) -> None:
    decision = case.check(HOST)
    for send in decision.sends:
        if isinstance(send.message, HostChanged):
            assert decision.state is not None
            assert send.message.view == view(decision.state), "schedulers hear what is so afterwards"
            assert send.to == "schedulers/all"


def test_every_row_is_taken() -> None:
    every_life_row_is_taken(HOST, CASES)


# Heartbeats


def test_a_heartbeat_is_answered_with_its_own_time() -> None:
    decision = turn(HOST, READY, beat(sent_at=NOW - 3), at=NOW + 1)
    assert said(decision, HeartbeatHeard) == HeartbeatHeard(sent_at=NOW - 3, heard_at=NOW + 1)
    state = decision.state
    assert state is not None
    assert (state.clock_offset_s, state.heard_at, due_at(state)) == (-4, NOW + 1, NOW + 1 + SUSPECT_S)


def test_silence_is_counted_from_the_last_word() -> None:
    assert due_at(READY) == READY.heard_at + SUSPECT_S
    quiet = turn(HOST, READY, Tick(), at=READY.heard_at + SUSPECT_S).state
    assert quiet is not None
    assert (quiet.life, due_at(quiet)) == (SUSPECT, READY.heard_at + DOWN_S)
    down = turn(HOST, quiet, Tick(), at=READY.heard_at + DOWN_S).state
    assert down is not None
    assert (down.life, due_at(down)) == (DOWN, None)
    back = reach(HOST, down, beat())
    assert (back.life, back.claims) == (UP, READY.claims)


def test_nobody_speaks_for_another_host() -> None:
    for message in (beat().message, report().message):
        assert not turn(HOST, READY, by_agent(message, host=HOSTS[1])).changed


def test_what_an_earlier_run_of_the_agent_said_is_over() -> None:
    second = reach(HOST, READY, beat(session="s2"))
    assert not turn(HOST, second, beat(session="s1")).changed
    assert not turn(HOST, second, report(session="s1", sequence=9)).changed
    assert turn(HOST, second, report(session="s2", sequence=1)).changed
    assert (
        len(reach(HOST, READY, *(beat(session=f"t{n}") for n in range(20))).sessions_before) == SESSIONS_MAX
    )


def test_an_older_report_is_over() -> None:
    third = reach(HOST, READY, report(sequence=3))
    for sequence in (2, 3):
        assert not turn(HOST, third, report(sequence=sequence)).changed


# The ledger


def test_what_is_claimed_is_used() -> None:
    assert used(CLAIMED) == SMALL
    assert used(reach(HOST, CLAIMED, claim(B))) == Amount(4, 2048, 20)
    assert (view(CLAIMED).memory_mib_used, view(CLAIMED).instances) == (1024, 1)


@pytest.mark.parametrize(
    ("amount", "short"),
    [
        (Amount(32, 16384, 200), ""),
        (Amount(33, 1, 1), "33 vCPUs wanted, 32 of 32 free"),
        (Amount(1, 16385, 1), "16385 MiB of memory wanted, 16384 of 16384 free"),
        (Amount(1, 1, 201), "201 GiB of disk wanted, 200 of 200 free"),
    ],
)
def test_what_there_is_room_for(amount: Amount, short: str) -> None:
    assert shortage(READY, amount) == short
    answer = turn(HOST, READY, claim(amount=amount))
    assert told(answer)[0] == ("ClaimRefused" if short else "HostClaimed")


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (NEW.but(life=UP), "the host has not reported what it has yet"),
        (READY.but(life=SUSPECT), "the host is suspect"),
        (FENCED_HOST, "the host is fenced"),
        (READY.but(duty="disabled"), "the host is disabled"),
        (READY.but(duty="maintenance"), "the host is in maintenance"),
        (GONE, "the host is removed"),
        (READY.but(released={A: 1}), "this claim was released before it was made"),
    ],
)
def test_why_a_claim_is_refused(host: Host, reason: str) -> None:
    decision = turn(HOST, host, claim())
    refused = said(decision, ClaimRefused)
    assert (refused.reason, refused.generation, refused.instance) == (reason, 1, A)
    assert decision.state is not None
    assert decision.state.claims == host.claims


def test_a_claim_said_twice_takes_room_once() -> None:
    twice = reach(HOST, CLAIMED, claim())
    assert used(twice) == SMALL
    moved = reach(HOST, CLAIMED, claim(generation=2, amount=Amount(30, 15000, 190)))
    assert used(moved) == Amount(30, 15000, 190), "its own older claim is no obstacle"


def test_a_release_before_its_claim_holds() -> None:
    released = reach(HOST, READY, give_back(generation=2))
    assert told(turn(HOST, released, claim(generation=2)))[0] == "ClaimRefused"
    assert told(turn(HOST, released, claim(generation=3)))[0] == "HostClaimed"


def test_a_release_frees_no_later_claim() -> None:
    later = reach(HOST, READY, claim(generation=3))
    kept = reach(HOST, later, give_back(generation=2))
    assert kept.claims == later.claims
    assert kept.released == {A: 2}
    assert reach(HOST, kept, give_back(generation=1)).released == {A: 2}


def test_tombstones_are_bounded() -> None:
    host = READY
    for n in range(TOMBSTONES_MAX + 5):
        host = reach(HOST, host, give_back(f"i{n}"))
    assert len(host.released) == TOMBSTONES_MAX
    assert "i0" not in host.released


def test_an_answer_names_the_generation_and_keeps_the_operation() -> None:
    for hearing, kind in ((claim(generation=4), HostClaimed), (give_back(generation=4), HostReleased)):
        decision = turn(HOST, READY, hearing)
        (send,) = [s for s in decision.sends if isinstance(s.message, kind)]
        assert (send.to, send.operation) == (f"instance/{A}", "op-1")
        assert isinstance(send.message, HostClaimed | HostReleased)
        assert send.message.generation == 4


# Reports


def found(host: Host, *guests: GuestState, sequence: int = 2) -> tuple[Host, list[HostFound]]:
    decision = turn(HOST, host, report(*guests, sequence=sequence))
    assert decision.state is not None
    return decision.state, [send.message for send in decision.sends if isinstance(send.message, HostFound)]


def test_an_instance_is_told_what_is_new_once() -> None:
    host, news = found(CLAIMED, guest(reason="booted", after=8))
    (first,) = news
    assert first == HostFound(
        instance=A, generation=1, power_state=RUNNING, reason="booted", after=8, session="s1", sight=2
    )
    host, news = found(host, guest(after=8), sequence=3)
    assert news == []
    host, news = found(host, guest(power=SHUTDOWN, after=8), sequence=4)
    assert [one.power_state for one in news] == [SHUTDOWN]
    _, news = found(host, guest(power=SHUTDOWN, after=9), sequence=5)
    assert [one.after for one in news] == [9]


def test_a_guest_that_was_there_and_is_not_is_news() -> None:
    host, _ = found(CLAIMED, guest())
    host, news = found(host, sequence=3)
    assert [(one.exists, one.power_state) for one in news] == [(False, PowerState.NOSTATE)]
    assert found(host, sequence=4)[1] == []


def test_a_guest_that_is_not_there_yet_is_no_news() -> None:
    assert found(CLAIMED)[1] == []


def test_guests_of_other_generations_and_strangers_are_none_of_its_instances() -> None:
    host, news = found(CLAIMED, guest(generation=2), guest(B))
    assert news == []
    assert host.claims[A].seen is None


def test_who_was_busy_is_told_again() -> None:
    host, _ = found(CLAIMED, guest(after=8))
    host = reach(HOST, host, TellAgain(instance=A, generation=1, session="s1", sight=3))
    host, news = found(host, guest(after=8), sequence=3)
    assert len(news) == 1
    assert found(host, guest(after=8), sequence=4)[1] == []
    for stranger in (TellAgain(instance=B, generation=1), TellAgain(instance=A, generation=2)):
        assert reach(HOST, host, stranger).claims == host.claims


def test_a_report_from_before_it_was_asked_is_no_answer() -> None:
    """It had no guest yet, and the instance was told that its guest had vanished."""
    asked = reach(HOST, CLAIMED, TellAgain(instance=A, generation=1, session="s1", sight=9))
    host, news = found(asked, sequence=8)
    assert news == []
    earlier = TellAgain(instance=A, generation=1, session="s1", sight=7)
    host = reach(HOST, host, earlier)
    assert host.claims[A].again == ("s1", 9)
    host, news = found(host, sequence=10)
    assert [one.exists for one in news] == [False]
    assert host.claims[A].again is None
    restarted = reach(HOST, asked, beat(session="s2"))
    decision = turn(HOST, restarted, report(session="s2"))
    assert "HostFound" in told(decision), "what is asked of an earlier run is told by the next"


def test_an_old_claim_without_a_guest_is_asked_after() -> None:
    young = turn(HOST, CLAIMED, report(sequence=2), at=CLAIMED.claims[A].since + CONFIRM_S)
    assert told(young) == ["HostChanged"]
    old = turn(HOST, CLAIMED, report(sequence=2), at=CLAIMED.claims[A].since + CONFIRM_S + 1)
    assert said(old, ConfirmClaim) == ConfirmClaim(host=HOST_ID, instance=A, generation=1)
    assert old.state is not None
    answered = turn(HOST, old.state, ClaimStands(instance=A, generation=1), at=NOW + 9999).state
    assert answered is not None
    assert answered.claims[A].since == NOW + 9999
    for other in (ClaimStands(instance=A, generation=2), ClaimStands(instance=B, generation=1)):
        assert reach(HOST, CLAIMED, other).claims == CLAIMED.claims


def test_a_report_carries_the_clock() -> None:
    assert reach(HOST, READY, report(sequence=2, clock_offset_s=0.25)).clock_offset_s == 0.25


# Operators


@pytest.mark.parametrize(
    ("change", "leaves"),
    [
        ({"duty": "disabled", "reason": "disks"}, ("disabled", "disks", UP)),
        ({"reason": "other"}, ("disabled", "other", UP)),
        ({"forced_down": True}, ("disabled", "why", FENCED)),
        ({"duty": "service"}, ("service", "", UP)),
        ({"duty": "service", "reason": "late"}, ("service", "", UP)),
        ({"duty": "draining"}, ("maintenance", "why", UP)),
    ],
)
def test_what_an_operator_sets(change: dict[str, Any], leaves: tuple[str, str, str]) -> None:
    host = reach(HOST, READY.but(duty="disabled", reason="why"), heard(service(**change)))
    assert (host.duty, host.reason, host.life) == leaves


def test_a_host_with_instances_is_drained_first() -> None:
    for wish in (service(duty="maintenance"), RemoveHost(by=ADMIN)):
        decision = turn(HOST, CLAIMED, heard(wish))
        assert answer_of(decision) == Refused(
            code="conflict", reason="Host node-1 still has 1 instances", attribute="claims", value="1"
        )
    draining = reach(HOST, CLAIMED, heard(service(duty="draining")), claim(B), give_back())
    assert (draining.duty, draining.claims) == ("maintenance", {}), "it takes no new ones"
    later = reach(HOST, DRAINING, give_back(generation=0))
    assert later.duty == "draining", "an older release frees nothing"


def test_only_a_host_that_is_up_is_asked_to_cache_images() -> None:
    decision = turn(HOST, READY, heard(CACHE))
    asked = [send.message for send in decision.sends if isinstance(send.message, CacheImage)]
    assert [one.image.image for one in asked] == ["image-1", "image-2"]
    for host in (NEW, QUIET, FENCED_HOST):
        refused = answer_of(turn(HOST, host, heard(CACHE)))
        assert isinstance(refused, Refused)
        assert refused.code == "conflict"


def test_a_fence_is_lifted_by_operators_alone() -> None:
    silent = reach(HOST, FENCED_HOST, beat(), report(sequence=2), heard(service(forced_down=False)))
    assert due_at(silent) == silent.heard_at + DOWN_S
    assert reach(HOST, silent, beat()).life == UP
    assert reach(HOST, silent.but(alarm_at=NOW), Tick()).life == DOWN
    long_ago = reach(HOST, FENCED_HOST.but(heard_at=0.0), heard(service(forced_down=False)))
    assert due_at(long_ago) == long_ago.updated_at, "a timer in the past is due now"


def test_who_is_removed_is_gone_and_answers_releases() -> None:
    assert HOST.gone(GONE)
    refused = answer_of(turn(HOST, GONE, heard(ENROL)))
    assert isinstance(refused, Refused)
    assert refused.code == "not_found"
    assert told(turn(HOST, GONE, give_back())) == ["HostReleased", "HostChanged"]


def zone(name: str) -> HostAggregate:
    return HostAggregate(1, "rack", {"availability_zone": name, "ssd": "true"})


def test_a_zone_is_that_of_an_aggregate_or_of_its_enrolment() -> None:
    told_so = heard(SetHostAggregates(by=ADMIN, aggregates=(HostAggregate(2, "fast"), zone("west"))))
    host = reach(HOST, READY, told_so)
    assert (view(host).availability_zone, view(host).aggregates) == ("west", host.aggregates)
    assert said(turn(HOST, host, claim()), HostClaimed).availability_zone == "west"
    assert reach(HOST, host, heard(ENROL)).zone == "west"
    assert reach(HOST, host, heard(SetHostAggregates(by=ADMIN, aggregates=()))).zone == "east"


def test_instances_are_never_moved_to_another_zone() -> None:
    decision = turn(HOST, CLAIMED, heard(SetHostAggregates(by=ADMIN, aggregates=(zone("west"),))))
    refused = answer_of(decision)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.attribute, refused.value) == ("conflict", "availability_zone", "east")
    same = reach(HOST, CLAIMED, heard(SetHostAggregates(by=ADMIN, aggregates=(zone("east"),))))
    assert same.zone == "east"


# Server groups


def seated(instance: str = A, generation: int = 1, amount: Amount = SMALL) -> Heard:
    message = ClaimHost(instance=instance, generation=generation, amount=amount, group="g", seated=True)
    return Heard(message, "group/g", "op-1")


def test_a_groups_ledger_hears_when_a_seat_is_free() -> None:
    held = reach(HOST, READY, seated())
    assert view(held).groups == {"g": 1}
    assert said(turn(HOST, held, give_back()), SeatLeft) == SeatLeft(instance=A, generation=1)
    assert "SeatLeft" not in told(turn(HOST, held, give_back(generation=0)))
    assert said(turn(HOST, FULL, seated()), SeatLeft) == SeatLeft(instance=A, generation=1)
    newer = turn(HOST, held, seated(generation=2))
    assert said(newer, SeatLeft) == SeatLeft(instance=A, generation=1)


def test_a_release_before_its_seat_frees_the_seat_once() -> None:
    released = turn(HOST, READY, give_back())
    assert "SeatLeft" not in told(released)
    assert released.state is not None
    assert said(turn(HOST, released.state, seated()), SeatLeft) == SeatLeft(instance=A, generation=1)


def test_enrolling_again_renames_and_keeps_the_ledger() -> None:
    again = reach(HOST, CLAIMED, heard(EnrolHost(by=ADMIN, hostname="node-9")))
    assert (again.hostname, again.life) == ("node-9", UP)
    assert again.claims == CLAIMED.claims
    assert only(turn(HOST, None, heard(ENROL), ident=HOST_ID).records).name == "enrol"


def test_what_it_has_in_its_row() -> None:
    host = CLAIMED.but(claims={A: HeldRoom(1, SMALL, NOW)})
    assert HOST.columns(host)[:5] == ("node-1", UP, False, False, "east")
    assert HOST.gone(host) is False
    assert HOST.project(host) == ""


def test_what_no_claim_explains_is_asked_after() -> None:
    there = report(guest(A), guest(B, generation=2), tombstones=((A, 3), (B, 1)), sequence=2)
    strays = [
        (stray.instance, stray.generation, stray.exists)
        for stray in (send.message for send in turn(HOST, CLAIMED, there).sends)
        if isinstance(stray, GuestUnclaimed)
    ]
    assert strays == [(B, 2, True), (A, 3, False), (B, 1, False)]
