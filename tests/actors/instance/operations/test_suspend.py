"""Suspend and resume."""

import msgspec
import pytest

from actors.instance.kind import INSTANCE
from actors.instance.model import T, V
from actors.instance.operations.suspend import RESUME, SUSPEND
from actors.instance.view import server_json
from protocol.agent import GuestProgress, LookAtGuest, RebootGuest, ResumeGuest, SuspendGuest
from protocol.guest import PowerState
from protocol.instance import HardRebootInstance, ResumeInstance, SuspendInstance
from tests.actors.instance.guest import BROKEN, active, fact, saved, seen, started, suspended
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import OWNER, heard, reach

SUSPENDING = reach(INSTANCE, active(), heard(SuspendInstance(by=OWNER)))
RESUMING = reach(INSTANCE, saved(), heard(ResumeInstance(by=OWNER)))
LOOKING = reach(INSTANCE, SUSPENDING, BROKEN)
LOOKING_AGAIN = reach(INSTANCE, RESUMING, BROKEN)
SAVED = {"vm_state": V.SUSPENDED, "power_state": PowerState.SUSPENDED}
RUNS = {"vm_state": V.ACTIVE, "power_state": PowerState.RUNNING}
HALF = fact(GuestProgress, SUSPENDING, what="memory", done=1, total=2)
SUSPENDS = (
    Case("suspend asks the guest", active(), SuspendInstance(by=OWNER), T.SUSPENDING, (SuspendGuest,)),
    Case("half of it is saved", SUSPENDING, HALF, T.SUSPENDING),
    Case(
        "it is saved", SUSPENDING, suspended(SUSPENDING), None, leaves=SAVED | {"heard": SUSPENDING.version}
    ),
    Case("a failure is looked at", SUSPENDING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it runs as before", LOOKING, seen(LOOKING), None, leaves=RUNS),
    Case("it was saved after all", LOOKING, seen(LOOKING, PowerState.SUSPENDED), None, leaves=SAVED),
    Case("nobody looked", LOOKING, BROKEN, None, leaves=RUNS),
)
RESUMES = (
    Case("resume asks the guest", saved(), ResumeInstance(by=OWNER), T.RESUMING, (ResumeGuest,)),
    Case("the guest goes on", RESUMING, started(RESUMING), None, leaves=RUNS),
    Case("a failure to go on is looked at", RESUMING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it is still saved", LOOKING_AGAIN, seen(LOOKING_AGAIN, PowerState.SUSPENDED), None, leaves=SAVED),
    Case("nobody looked at it", LOOKING_AGAIN, BROKEN, None, leaves=SAVED),
)


@pytest.mark.parametrize("case", SUSPENDS + RESUMES, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(SUSPEND)
    run_each_step_twice(RESUME)


def test_each_step_fails() -> None:
    fail_each_step(SUSPEND)
    fail_each_step(RESUME)


def test_every_row_is_taken() -> None:
    every_row_is_taken(SUSPEND, SUSPENDS)
    every_row_is_taken(RESUME, RESUMES)


def test_the_api_calls_it_off() -> None:
    shown = msgspec.json.decode(server_json(saved()))
    assert (shown["status"], shown["OS-EXT-STS:vm_state"]) == ("SUSPENDED", "suspended")
    assert shown["OS-EXT-STS:power_state"] == PowerState.SHUTDOWN


@pytest.mark.parametrize("vm", [SUSPENDING, RESUMING], ids=["suspending", "resuming"])
def test_a_hard_reboot_pushes_it_aside(vm: object) -> None:
    hard = heard(HardRebootInstance(by=OWNER), operation="op-2")
    Case("hard reboot", vm, hard, T.REBOOTING_HARD, (RebootGuest,)).check()  # type: ignore[arg-type]
