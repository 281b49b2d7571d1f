"""Rescue and unrescue: the former system comes back when the rescue fails."""

import pytest
from msgspec.structs import replace

from actors.instance.kind import INSTANCE
from actors.instance.model import Instance, T, V
from actors.instance.operations.rescue import RESCUE, UNRESCUE
from actors.turn import Heard
from protocol.agent import GuestProgress, GuestSeen, GuestStopped, LookAtGuest, RescueGuest, UnrescueGuest
from protocol.errors import Refused
from protocol.guest import PowerState
from protocol.instance import RescueInstance, UnrescueInstance
from tests.actors.instance.guest import (
    BROKEN,
    active,
    broken,
    fact,
    in_rescue,
    noticed,
    off,
    rescued,
    seen,
    started,
)
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import OWNER, REQUEST, answer_of, heard, reach, said, turn

WISH = RescueInstance(by=OWNER)
RESCUING = reach(INSTANCE, active(), heard(WISH))
RESCUING_OFF = reach(INSTANCE, off(), heard(WISH))
UNDOING = reach(INSTANCE, RESCUING, BROKEN)
UNDOING_OFF = reach(INSTANCE, RESCUING_OFF, BROKEN)
LOOKING = reach(INSTANCE, UNDOING, BROKEN)
LEAVING = reach(INSTANCE, in_rescue(), heard(UnrescueInstance(by=OWNER)))
LOOKING_AGAIN = reach(INSTANCE, LEAVING, BROKEN)
IN_RESCUE = {"vm_state": V.RESCUED, "power_state": PowerState.RUNNING}
RUNS = {"vm_state": V.ACTIVE, "power_state": PowerState.RUNNING}
IS_OFF = {"vm_state": V.STOPPED, "power_state": PowerState.SHUTDOWN}


def seen_rescued(vm: Instance) -> Heard:
    hearing = seen(vm)
    assert isinstance(hearing.message, GuestSeen)
    return replace(hearing, message=replace(hearing.message, rescued=True))


RESCUES = (
    Case("rescue asks the guest", active(), WISH, T.RESCUING, (RescueGuest,)),
    Case("rescue of one that is off", off(), WISH, T.RESCUING, (RescueGuest,)),
    Case("rescue of one that is broken", broken(), WISH, T.RESCUING, (RescueGuest,)),
    Case(
        "the image comes", RESCUING, fact(GuestProgress, RESCUING, what="image", done=1, total=2), T.RESCUING
    ),
    Case("it is rescued", RESCUING, rescued(RESCUING), None, leaves=IN_RESCUE),
    Case("a failure is undone", RESCUING, BROKEN, T.RESCUE_UNDOING, (UnrescueGuest,)),
    Case("it runs as before", UNDOING, started(UNDOING), None, leaves=RUNS),
    Case("it is off as before", UNDOING_OFF, fact(GuestStopped, UNDOING_OFF), None, leaves=IS_OFF),
    Case("it cannot be undone", UNDOING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it was rescued after all", LOOKING, seen_rescued(LOOKING), None, leaves=IN_RESCUE),
    Case("nobody looked", LOOKING, BROKEN, None, leaves=RUNS),
)
UNRESCUES = (
    Case("unrescue asks the guest", in_rescue(), UnrescueInstance(by=OWNER), T.UNRESCUING, (UnrescueGuest,)),
    Case("its own system runs", LEAVING, started(LEAVING), None, leaves=RUNS),
    Case("a failure to leave is looked at", LEAVING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it left after all", LOOKING_AGAIN, seen(LOOKING_AGAIN), None, leaves=RUNS),
    Case("nobody looked at it", LOOKING_AGAIN, BROKEN, None, leaves=IN_RESCUE),
)


@pytest.mark.parametrize("case", RESCUES + UNRESCUES, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(RESCUE)
    run_each_step_twice(UNRESCUE)


def test_each_step_fails() -> None:
    fail_each_step(RESCUE)
    fail_each_step(UNRESCUE)


def test_every_row_is_taken() -> None:
    every_row_is_taken(RESCUE, RESCUES)
    every_row_is_taken(UNRESCUE, UNRESCUES)


def test_the_image_is_the_given_one_or_its_own() -> None:
    own = REQUEST.image
    assert own is not None
    order = said(turn(INSTANCE, active(), heard(WISH)), RescueGuest)
    assert (order.image, order.own_first) == (own, False)
    other = replace(own, image="11111111-0000-4000-8000-000000000001")
    wish = replace(WISH, image=other, own_first=True)
    order = said(turn(INSTANCE, active(), heard(wish)), RescueGuest)
    assert (order.image, order.own_first) == (other, True)


def test_one_without_any_image_is_refused() -> None:
    bare = active().but(request=replace(REQUEST, image=None))
    refused = answer_of(turn(INSTANCE, bare, heard(WISH)))
    assert isinstance(refused, Refused)
    assert refused.code == "invalid"


def test_only_one_that_was_off_stays_off() -> None:
    assert said(turn(INSTANCE, RESCUING_OFF, BROKEN), UnrescueGuest).stay_off
    assert not said(turn(INSTANCE, RESCUING, BROKEN), UnrescueGuest).stay_off


def test_a_rescue_system_that_goes_off_is_still_the_rescue() -> None:
    vm = reach(INSTANCE, in_rescue(), noticed(in_rescue(), PowerState.SHUTDOWN, rescued=True))
    assert (vm.vm_state, vm.power_state) == (V.RESCUED, PowerState.SHUTDOWN)
