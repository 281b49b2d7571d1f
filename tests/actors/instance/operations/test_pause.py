"""Pause and unpause."""

import pytest

from actors.instance.kind import INSTANCE
from actors.instance.model import T, V
from actors.instance.operations.pause import PAUSE, UNPAUSE
from protocol.agent import LookAtGuest, PauseGuest, UnpauseGuest
from protocol.guest import PowerState
from protocol.instance import PauseInstance, UnpauseInstance
from tests.actors.instance.guest import BROKEN, active, frozen, paused, seen, started
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import OWNER, heard, reach

PAUSING = reach(INSTANCE, active(), heard(PauseInstance(by=OWNER)))
UNPAUSING = reach(INSTANCE, frozen(), heard(UnpauseInstance(by=OWNER)))
LOOKING = reach(INSTANCE, PAUSING, BROKEN)
LOOKING_AGAIN = reach(INSTANCE, UNPAUSING, BROKEN)
FROZEN = {"vm_state": V.PAUSED, "power_state": PowerState.PAUSED}
RUNS = {"vm_state": V.ACTIVE, "power_state": PowerState.RUNNING}
PAUSES = (
    Case("pause asks the guest", active(), PauseInstance(by=OWNER), T.PAUSING, (PauseGuest,)),
    Case("the guest is frozen", PAUSING, paused(PAUSING), None, leaves=FROZEN | {"heard": PAUSING.version}),
    Case("a failure is looked at", PAUSING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it was frozen after all", LOOKING, seen(LOOKING, PowerState.PAUSED), None, leaves=FROZEN),
    Case("nobody looked", LOOKING, BROKEN, None, leaves=RUNS),
)
UNPAUSES = (
    Case("unpause asks the guest", frozen(), UnpauseInstance(by=OWNER), T.UNPAUSING, (UnpauseGuest,)),
    Case("the guest goes on", UNPAUSING, started(UNPAUSING), None, leaves=RUNS),
    Case("a failure to go on is looked at", UNPAUSING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it goes on after all", LOOKING_AGAIN, seen(LOOKING_AGAIN), None, leaves=RUNS),
    Case("nobody looked at it", LOOKING_AGAIN, BROKEN, None, leaves=FROZEN),
)


@pytest.mark.parametrize("case", PAUSES + UNPAUSES, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(PAUSE)
    run_each_step_twice(UNPAUSE)


def test_each_step_fails() -> None:
    fail_each_step(PAUSE)
    fail_each_step(UNPAUSE)


def test_every_row_is_taken() -> None:
    every_row_is_taken(PAUSE, PAUSES)
    every_row_is_taken(UNPAUSE, UNPAUSES)
