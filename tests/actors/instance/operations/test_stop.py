"""Stop: ACPI, then force; a failure is looked at, never guessed about."""

import pytest

from actors.instance.kind import INSTANCE
from actors.instance.model import T, V
from actors.instance.operations.stop import RETRY_S, STOP, TIMEOUT_S
from protocol.agent import LookAtGuest, StopGuest
from protocol.guest import PowerState
from protocol.instance import StopInstance
from tests.actors.instance.guest import BROKEN, active, broken, seen, stopped
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import OWNER, heard, reach, said, sent, turn

ASKED = reach(INSTANCE, active(), heard(StopInstance(by=OWNER)))
LOOKING = reach(INSTANCE, ASKED, BROKEN)
OFF = {"vm_state": V.STOPPED, "power_state": PowerState.SHUTDOWN}
CASES = (
    Case("stop asks the guest", active(), StopInstance(by=OWNER), T.POWERING_OFF, (StopGuest,)),
    Case("stop in error", broken(), StopInstance(by=OWNER), T.POWERING_OFF, (StopGuest,)),
    Case(
        "the guest is off", ASKED, stopped(ASKED), None,
        leaves=OFF,
    ),
    Case("a failure is looked at", ASKED, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it runs still", LOOKING, seen(LOOKING), None, leaves={"vm_state": V.ACTIVE}),
    Case("it is off", LOOKING, seen(LOOKING, PowerState.SHUTDOWN), None, leaves=OFF),
    Case("nobody looked", LOOKING, BROKEN, None, leaves={"vm_state": V.ACTIVE}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(STOP)


def test_each_step_fails() -> None:
    fail_each_step(STOP)


def test_every_row_is_taken() -> None:
    every_row_is_taken(STOP, CASES)


def test_the_order_says_how_long_to_wait() -> None:
    asked = turn(INSTANCE, active(), heard(StopInstance(by=OWNER)))
    order = said(asked, StopGuest)
    assert (order.timeout_s, order.retry_s) == (TIMEOUT_S, RETRY_S)
    assert sent(asked, StopGuest).to == f"agent/{active().placements[0].host}"
