"""Create: choose, claim, spawn; refused claims cost nothing, failed builds are tried elsewhere."""

import pytest
from msgspec.structs import replace

from actors.instance.kind import INSTANCE
from actors.instance.model import PLACEMENTS_MAX, Instance, Placement, T, V
from actors.instance.operations.create import CREATE
from protocol.agent import DestroyGuest, ForgetGuest, GuestProgress, SpawnGuest
from protocol.group import ClaimSeat, SeatRefused
from protocol.guest import PowerState
from protocol.instance import ClaimHost, PlaceInstance, ReleaseHost, ServerGroup
from protocol.scheduling import HostRefusal, PlacementProposed
from tests.actors.instance.guest import (
    BROKEN,
    claim_refused,
    claimed,
    created,
    destroyed,
    fact,
    failed,
    proposed,
    started,
)
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import (
    CREATE_COMMAND,
    HOSTS,
    INSTANCE_ID,
    Said,
    event_names,
    heard,
    only,
    reach,
    said,
    told,
    turn,
    walk,
)

A, B, C, D = HOSTS
SCHEDULING = reach(INSTANCE, None, heard(CREATE_COMMAND))
CLAIMING = reach(INSTANCE, SCHEDULING, proposed(A, B))
CLAIMING_LAST = reach(INSTANCE, CLAIMING, claim_refused)
SPAWNING = created()
CLEARING = reach(INSTANCE, SPAWNING, failed)
_TRY: tuple[Said[Instance], ...] = (claimed, failed, destroyed)
CLEARING_LAST = reach(
    INSTANCE, SCHEDULING, proposed(A), *_TRY, proposed(B), *_TRY, proposed(C), claimed, failed
)
HOMELESS = {"vm_state": V.ERROR, "placements": (), "candidates": (), "refused": ()}
GROUP = ServerGroup("00000000-0000-4000-8000-0000000000a0", "anti-affinity")


def no_seat(vm: Instance, *, together: tuple[str, ...] = ()) -> SeatRefused:
    """The answer of its group's ledger."""
    return SeatRefused(instance=vm.id, generation=vm.generation, reason="policy", together=together)


IN_GROUP = replace(CREATE_COMMAND, request=replace(CREATE_COMMAND.request, group=GROUP))
SEATING = reach(INSTANCE, None, heard(IN_GROUP), proposed(A, B))
SEATING_LAST = reach(INSTANCE, SEATING, no_seat(SEATING))
CASES = (
    Case("create asks a scheduler", None, CREATE_COMMAND, T.SCHEDULING, (PlaceInstance,)),
    Case(
        "the best host is asked", SCHEDULING, proposed(A, B)(SCHEDULING), T.CLAIMING, (ClaimHost,),
        leaves={"generation": 1, "placements": (Placement(A, 1),), "candidates": (B,)},
    ),
    Case("no host fits", SCHEDULING, proposed()(SCHEDULING), None, leaves=HOMELESS),
    Case("no scheduler answers", SCHEDULING, BROKEN, None, leaves=HOMELESS),
    Case(
        "a granted claim is used", CLAIMING, claimed(CLAIMING), T.SPAWNING, (SpawnGuest,),
        leaves={"attempts": 1, "placements": (Placement(A, 1, "node-1", spawned=True),)},
    ),
    Case(
        "a refused claim costs nothing", CLAIMING, claim_refused(CLAIMING), T.CLAIMING, (ClaimHost,),
        leaves={"attempts": 0, "placements": (Placement(B, 2),), "refused": (A,)},
    ),
    Case(
        "all refused: ask again without them", CLAIMING_LAST, claim_refused(CLAIMING_LAST), T.SCHEDULING,
        (PlaceInstance,), leaves={"placements": (), "refused": (A, B)},
    ),
    Case(
        "another candidate may suit its group", SEATING, no_seat(SEATING), T.CLAIMING, (ClaimSeat,),
        leaves={"placements": (Placement(B, 2),), "refused": (A,)},
    ),
    Case(
        "no candidate suits its group", SEATING_LAST, no_seat(SEATING_LAST), T.SCHEDULING, (PlaceInstance,),
        leaves={"placements": (), "refused": (A, B), "together": ()},
    ),
    Case(
        "its group is elsewhere", SEATING, no_seat(SEATING, together=(C,)), T.SCHEDULING, (PlaceInstance,),
        leaves={"placements": (), "refused": (), "together": (C,)},
    ),
    Case("no ledger answers", CLAIMING, BROKEN, None, (ReleaseHost,), leaves=HOMELESS),
    Case(
        "the guest runs", SPAWNING, started(SPAWNING), None,
        leaves={"vm_state": V.ACTIVE, "power_state": PowerState.RUNNING, "fault": None},
    ),
    Case("it goes on", SPAWNING, fact(GuestProgress, SPAWNING, what="image", done=1, total=9), T.SPAWNING),
    Case("a failed build is cleared", SPAWNING, BROKEN, T.CLEARING, (DestroyGuest,)),
    Case(
        "cleared: try elsewhere", CLEARING, destroyed(CLEARING), T.SCHEDULING,
        (ReleaseHost, ForgetGuest, PlaceInstance),
        leaves={"placements": (), "refused": (A,)},
    ),
    Case(
        "the last try failed", CLEARING_LAST, destroyed(CLEARING_LAST), None, (ReleaseHost, ForgetGuest),
        leaves=HOMELESS,
    ),
    Case("a silent host", CLEARING, BROKEN, None, leaves={"placements": CLEARING.placements}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(CREATE)


def test_each_step_fails() -> None:
    fail_each_step(CREATE)


def test_every_row_is_taken() -> None:
    every_row_is_taken(CREATE, CASES)


def test_three_hosts_are_tried_and_never_one_twice() -> None:
    vm = CLEARING_LAST
    assert vm.attempts == PLACEMENTS_MAX
    assert vm.generation == PLACEMENTS_MAX
    again = reach(INSTANCE, SPAWNING, failed)
    question = said(walk(INSTANCE, again, destroyed), PlaceInstance)
    assert question.refused == (A,)


def test_a_group_is_asked_when_its_policy_binds() -> None:
    decision = walk(INSTANCE, None, heard(IN_GROUP), proposed(A))
    (send,) = [send for send in decision.sends if isinstance(send.message, ClaimSeat)]
    assert send.to == f"group/{GROUP.id}"
    claim = ClaimHost(instance=INSTANCE_ID, generation=1, amount=SEATING.amount, group=GROUP.id, seated=True)
    assert send.message == ClaimSeat(group=GROUP, host=A, claim=claim)
    soft = replace(IN_GROUP, request=replace(IN_GROUP.request, group=ServerGroup(GROUP.id, "soft-affinity")))
    asked = said(walk(INSTANCE, None, heard(soft), proposed(A)), ClaimHost)
    assert (asked.group, asked.seated) == (GROUP.id, False)


def test_where_its_group_is_goes_into_the_next_question() -> None:
    decision = turn(INSTANCE, SEATING, no_seat(SEATING, together=(C,)))
    assert said(decision, PlaceInstance).together == (C,)
    late = no_seat(SEATING)
    assert not turn(INSTANCE, SEATING_LAST, late).changed, "of an earlier generation"


def test_the_fault_says_why_no_host_fits() -> None:
    assert SCHEDULING.task is not None
    answer = PlacementProposed(
        instance=SCHEDULING.id, number=SCHEDULING.task.number, hosts=(), considered=7,
        refusals=(HostRefusal("memory", 5, "12 MiB of memory free, 1024 wanted"), HostRefusal("zone", 2)),
    )  # fmt: skip
    vm = reach(INSTANCE, SCHEDULING, answer)
    assert vm.fault is not None
    assert vm.fault.message == "No valid host was found. 7 hosts were considered."
    assert vm.fault.details == "memory: 5 (12 MiB of memory free, 1024 wanted); zone: 2"


def test_a_guest_that_runs_at_the_second_try_is_a_success() -> None:
    decision = walk(INSTANCE, CLEARING, destroyed, proposed(B), claimed, started)
    record = only(decision.records)
    assert (record.outcome, record.reason) == ("success", "")
    assert event_names(decision.events) == ["instance.create.end"]
    assert [step.result for step in record.steps].count("Error") == 1
    assert decision.state is not None
    assert decision.state.fault is None


def test_the_tenant_reads_why_the_last_build_failed() -> None:
    decision = walk(INSTANCE, CLEARING_LAST, destroyed)
    assert decision.state is not None
    assert decision.state.fault is not None
    assert decision.state.fault.message == BROKEN.reason
    assert only(decision.records).reason == f"{BROKEN.code}: {BROKEN.reason}"
    assert told(decision, to="host") == ["ReleaseHost"]


def test_progress_moves_the_deadline_and_not_the_number() -> None:
    later = reach(INSTANCE, SPAWNING, fact(GuestProgress, SPAWNING, what="image", done=1, total=9))
    assert SPAWNING.task is not None
    assert later.task is not None
    assert later.task.deadline > SPAWNING.task.deadline
    assert later.task.number == SPAWNING.task.number
    assert later.task.waiting == SPAWNING.task.waiting
    assert reach(INSTANCE, later, started(SPAWNING)).vm_state is V.ACTIVE
