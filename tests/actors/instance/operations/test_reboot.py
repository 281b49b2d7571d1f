"""Reboot, soft and hard: the hard one pushes aside what the API says it may."""

import pytest

from actors.instance.kind import INSTANCE
from actors.instance.model import T, V
from actors.instance.operations.reboot import REBOOT, REBOOT_HARD, SOFT_TIMEOUT_S
from actors.turn import Heard
from protocol.agent import LookAtGuest, RebootGuest
from protocol.errors import Refused
from protocol.guest import PowerState
from protocol.instance import HardRebootInstance, PauseInstance, RebootInstance, StopInstance
from tests.actors.instance.guest import (
    BROKEN,
    active,
    broken,
    frozen,
    off,
    saved,
    seen,
    started,
)
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import OWNER, answer_of, heard, reach, said, turn

SOFT, HARD = RebootInstance(by=OWNER), HardRebootInstance(by=OWNER)
ASKED = reach(INSTANCE, active(), heard(SOFT))
CYCLING = reach(INSTANCE, broken(), heard(HARD))
LOOKING = reach(INSTANCE, ASKED, BROKEN)
LOOKING_HARD = reach(INSTANCE, CYCLING, BROKEN)
RUNS = {"vm_state": V.ACTIVE, "power_state": PowerState.RUNNING, "fault": None}
REBOOTS = (
    Case("reboot asks the guest", active(), SOFT, T.REBOOTING, (RebootGuest,)),
    Case("it is back", ASKED, started(ASKED), None, leaves=RUNS),
    Case("a failure is looked at", ASKED, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it runs", LOOKING, seen(LOOKING), None, leaves={"vm_state": V.ACTIVE}),
    Case("it is gone", LOOKING, seen(LOOKING, exists=False), None, leaves={"vm_state": V.ERROR}),
    Case("nobody looked", LOOKING, BROKEN, None, leaves={"vm_state": V.ACTIVE}),
)
HARD_REBOOTS = (
    *(
        Case(f"hard reboot of one that is {vm.vm_state}", vm, HARD, T.REBOOTING_HARD, (RebootGuest,))
        for vm in (active(), off(), frozen(), saved(), broken())
    ),
    Case("hard reboot of one that reboots", ASKED, HARD, T.REBOOTING_HARD, (RebootGuest,)),
    Case("what was broken is mended", CYCLING, started(CYCLING), None, leaves=RUNS),
    Case("a failed cycle is looked at", CYCLING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it runs after all", LOOKING_HARD, seen(LOOKING_HARD), None, leaves={"vm_state": V.ACTIVE}),
    Case("it stays broken", LOOKING_HARD, BROKEN, None, leaves={"vm_state": V.ERROR}),
)


@pytest.mark.parametrize("case", REBOOTS + HARD_REBOOTS, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(REBOOT)
    run_each_step_twice(REBOOT_HARD)


def test_each_step_fails() -> None:
    fail_each_step(REBOOT)
    fail_each_step(REBOOT_HARD)


def test_every_row_is_taken() -> None:
    every_row_is_taken(REBOOT, REBOOTS)
    every_row_is_taken(REBOOT_HARD, HARD_REBOOTS)


@pytest.mark.parametrize(("command", "kind"), [(SOFT, "soft"), (HARD, "hard")])
def test_the_order_says_how(command: RebootInstance | HardRebootInstance, kind: str) -> None:
    order = said(turn(INSTANCE, active(), heard(command)), RebootGuest)
    assert (order.kind, order.timeout_s) == (kind, SOFT_TIMEOUT_S)


def test_the_answer_of_what_was_pushed_aside_is_dropped() -> None:
    pausing = reach(INSTANCE, active(), heard(PauseInstance(by=OWNER), operation="op-pause"))
    cycling = reach(INSTANCE, pausing, heard(HARD, operation="op-reboot"))
    late = Heard(started(pausing).message, f"agent/{active().placements[0].host}", "op-pause")
    assert not turn(INSTANCE, cycling, late).changed
    assert reach(INSTANCE, cycling, started).vm_state is V.ACTIVE


def test_a_stop_is_not_pushed_aside() -> None:
    stopping = reach(INSTANCE, active(), heard(StopInstance(by=OWNER)))
    refused = answer_of(turn(INSTANCE, stopping, heard(HARD, operation="op-2")))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.attribute, refused.value) == ("conflict", "task_state", "powering-off")
