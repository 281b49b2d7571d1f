"""Reset: the hypervisor decides, and nothing but a deletion stands in the way."""

import pytest

from actors.instance.kind import INSTANCE
from actors.instance.model import Instance, T, V
from actors.instance.operations.reset import DECLARED, RESET
from protocol.agent import LookAtGuest
from protocol.errors import Refused
from protocol.guest import PowerState
from protocol.instance import DeleteInstance, PauseInstance, ResetInstance
from tests.actors.instance.guest import (
    BROKEN,
    active,
    aside,
    broken,
    created,
    homeless,
    in_rescue,
    seen,
)
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import ADMIN, OWNER, answer_of, heard, reach, turn

TO_ACTIVE = ResetInstance(by=ADMIN, state="active")
TO_ERROR = ResetInstance(by=ADMIN, state="error")
LOOKING = reach(INSTANCE, broken(), heard(TO_ACTIVE))
RUNS = {"vm_state": V.ACTIVE, "power_state": PowerState.RUNNING, "fault": None}
RESETS = (
    Case("it is declared broken", active(), TO_ERROR, None, leaves={"vm_state": V.ERROR}),
    Case("the host is asked", broken(), TO_ACTIVE, T.LOOKING, (LookAtGuest,)),
    Case("it runs", LOOKING, seen(LOOKING), None, leaves=RUNS),
    Case("it is gone", LOOKING, seen(LOOKING, exists=False), None, leaves={"vm_state": V.ERROR}),
    Case("the host is silent", LOOKING, BROKEN, None, leaves={"vm_state": V.ERROR}),
)


@pytest.mark.parametrize("case", RESETS, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(RESET)


def test_each_step_fails() -> None:
    fail_each_step(RESET)


def test_every_row_is_taken() -> None:
    every_row_is_taken(RESET, RESETS)


@pytest.mark.parametrize("vm", [created(), reach(INSTANCE, active(), heard(PauseInstance(by=OWNER)))])
def test_whatever_runs_is_dropped(vm: Instance) -> None:
    dropped = reach(INSTANCE, vm, heard(TO_ERROR, operation="op-2"))
    assert dropped.task is None
    assert dropped.fault is not None
    assert dropped.fault.message == DECLARED


def test_one_that_was_never_launched_and_runs_is_launched() -> None:
    vm = reach(INSTANCE, created(), heard(TO_ACTIVE, operation="op-2"), seen)
    assert (vm.vm_state, vm.launched_at is not None) == (V.ACTIVE, True)


def test_a_deletion_is_not_dropped() -> None:
    deleting = reach(INSTANCE, active(), heard(DeleteInstance(by=OWNER)))
    assert isinstance(answer_of(turn(INSTANCE, deleting, heard(TO_ERROR, operation="op-2"))), Refused)


def test_without_a_host_there_is_nothing_to_look_at() -> None:
    refused = answer_of(turn(INSTANCE, homeless(), heard(TO_ACTIVE)))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.attribute) == ("conflict", "host")


def test_one_put_aside_comes_back_as_it_is() -> None:
    vm = reach(INSTANCE, aside(), heard(TO_ACTIVE), lambda vm: seen(vm, PowerState.SHUTDOWN))
    assert (vm.vm_state, vm.alarm_at) == (V.STOPPED, None)
    assert in_rescue().vm_state is V.RESCUED
