"""Start: power on what is stopped."""

import pytest

from actors.instance.kind import INSTANCE
from actors.instance.model import T, V
from actors.instance.operations.start import START
from protocol.agent import LookAtGuest, StartGuest
from protocol.guest import PowerState
from protocol.instance import StartInstance
from tests.actors.instance.guest import BROKEN, off, seen, started
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import OWNER, heard, reach, said, turn

ASKED = reach(INSTANCE, off(), heard(StartInstance(by=OWNER)))
LOOKING = reach(INSTANCE, ASKED, BROKEN)
RUNS = {"vm_state": V.ACTIVE, "power_state": PowerState.RUNNING, "heard": ASKED.version, "fault": None}
CASES = (
    Case("start asks the guest", off(), StartInstance(by=OWNER), T.POWERING_ON, (StartGuest,)),
    Case(
        "the guest runs", ASKED, started(ASKED), None,
        leaves=RUNS,
    ),
    Case("a failure is looked at", ASKED, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it runs after all", LOOKING, seen(LOOKING), None, leaves={"vm_state": V.ACTIVE}),
    Case("it is off", LOOKING, seen(LOOKING, PowerState.SHUTDOWN), None, leaves={"vm_state": V.STOPPED}),
    Case("nobody looked", LOOKING, BROKEN, None, leaves={"vm_state": V.STOPPED}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(START)


def test_each_step_fails() -> None:
    fail_each_step(START)


def test_every_row_is_taken() -> None:
    every_row_is_taken(START, CASES)


def test_the_order_carries_what_the_guest_is() -> None:
    order = said(turn(INSTANCE, off(), heard(StartInstance(by=OWNER))), StartGuest)
    vm = ASKED
    assert vm.task is not None
    assert (order.instance, order.generation, order.number) == (vm.id, vm.generation, vm.task.number)
    assert order.spec.vcpus == vm.request.flavor.vcpus
    assert order.spec.generation == vm.generation
