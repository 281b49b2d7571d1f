"""Delete: every guest, every room, then the quota; it interrupts anything and never gives up."""

import pytest
from msgspec.structs import replace

from actors.instance.kind import INSTANCE
from actors.instance.model import GONE, Instance, Placement, T, V
from actors.instance.operations.delete import DELETE
from protocol.agent import DestroyGuest, ForgetGuest, SpawnGuest
from protocol.command import Accepted
from protocol.errors import Refused
from protocol.guest import PowerState
from protocol.instance import DeleteInstance, ReleaseHost, ReturnQuota, StartInstance
from tests.actors.instance.guest import (
    BROKEN,
    active,
    claimed,
    created,
    destroyed,
    failed,
    homeless,
    proposed,
    released,
    started,
)
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import (
    CREATE_COMMAND,
    HOSTS,
    OWNER,
    PROJECT_ID,
    answer_of,
    event_names,
    heard,
    only,
    reach,
    said,
    sent,
    told,
    turn,
    walk,
)

DELETE_IT = DeleteInstance(by=OWNER)
CLAIMING = reach(INSTANCE, None, heard(CREATE_COMMAND), proposed(*HOSTS[:2]))
TWO_PLACES = active().but(
    generation=2, placements=(*active().placements, Placement(HOSTS[1], 2, "node-2", spawned=True))
)
DELETING = reach(INSTANCE, active(), heard(DELETE_IT))
DELETING_TWO = reach(INSTANCE, TWO_PLACES, heard(DELETE_IT))
RESTING = reach(INSTANCE, DELETING, BROKEN)
RELEASING = reach(INSTANCE, DELETING, destroyed)
RELEASING_TWO = reach(
    INSTANCE,
    DELETING_TWO,
    destroyed,
    lambda vm: replace(
        destroyed(vm), message=replace(destroyed(vm).message, generation=1), sender=f"agent/{HOSTS[0]}"
    ),
)
GONE_NOW = {"vm_state": V.DELETED, "life": GONE, "placements": (), "power_state": PowerState.NOSTATE}
CASES = (
    Case("a guest is removed first", active(), DELETE_IT, T.DELETING, (DestroyGuest,)),
    Case("a claim without a guest is given back", CLAIMING, DELETE_IT, T.RELEASING, (ReleaseHost,)),
    Case("nothing to wait for", homeless(), DELETE_IT, None, (ReturnQuota,), leaves=GONE_NOW),
    Case("one guest, then the other", DELETING_TWO, destroyed(DELETING_TWO), T.DELETING, (DestroyGuest,)),
    Case("no guest is left", DELETING, destroyed(DELETING), T.RELEASING, (ReleaseHost,)),
    Case("a host that cannot is left in peace for a while", DELETING, BROKEN, T.DELETING_AGAIN),
    Case("it is asked again", RESTING, BROKEN, T.DELETING, (DestroyGuest,)),
    Case("one room, then the other", RELEASING_TWO, released(RELEASING_TWO), T.RELEASING, (ForgetGuest,)),
    Case("no room is held", RELEASING, released(RELEASING), None, (ForgetGuest, ReturnQuota),
         leaves=GONE_NOW),
    Case("a silent ledger is asked again", RELEASING, BROKEN, T.RELEASING, (ReleaseHost,)),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(DELETE)


def test_each_step_fails() -> None:
    fail_each_step(DELETE)


def test_every_row_is_taken() -> None:
    every_row_is_taken(DELETE, CASES)


def test_a_delete_that_had_to_ask_twice_is_a_success() -> None:
    decision = walk(INSTANCE, DELETING, BROKEN, BROKEN, destroyed, BROKEN, released)
    record = only(decision.records)
    assert (record.outcome, record.reason) == ("success", "")
    assert event_names(decision.events) == ["instance.delete.end"]


def test_the_quota_is_returned_once_and_in_full() -> None:
    freed = walk(INSTANCE, RELEASING, released)
    assert sent(freed, ReturnQuota).to == f"project/{PROJECT_ID}"
    assert said(freed, ReturnQuota).amount == active().amount


def test_it_interrupts_a_build_and_records_that() -> None:
    decision = walk(INSTANCE, created(), heard(DELETE_IT, operation="op-delete"))
    records = {record.id: record for record in decision.records}
    assert records["op-1"].outcome == "error"
    assert records["op-1"].reason == "interrupted by delete"
    assert records["op-delete"].outcome == ""
    assert decision.state is not None
    assert not turn(INSTANCE, decision.state, started(created())).changed


@pytest.mark.parametrize("vm", [DELETING, RELEASING], ids=["deleting", "releasing"])
def test_a_second_delete_joins_the_first(vm: Instance) -> None:
    decision = turn(INSTANCE, vm, heard(DELETE_IT, operation="op-again"))
    assert isinstance(answer_of(decision), Accepted)
    assert not decision.changed


@pytest.mark.parametrize("command", [DELETE_IT, StartInstance(by=OWNER), CREATE_COMMAND])
def test_what_is_gone_answers_so(command: DeleteInstance) -> None:
    gone = reach(INSTANCE, RELEASING, released)
    refused = answer_of(turn(INSTANCE, gone, heard(command, operation="op-late")))
    assert isinstance(refused, Refused)
    assert refused.code == "not_found"


def test_nothing_wakes_what_is_gone() -> None:
    gone = reach(INSTANCE, RELEASING, released)
    for late in (started(created()), claimed(created()), proposed(*HOSTS)(CLAIMING), failed(created())):
        decision = turn(INSTANCE, gone, late)
        assert not decision.changed
        assert SpawnGuest.__name__ not in told(decision)
