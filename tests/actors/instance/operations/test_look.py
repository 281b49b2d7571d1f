"""Looking after a failure: the instance becomes what the hypervisor has, whatever was asked for."""

import pytest

from actors.instance.kind import INSTANCE
from actors.instance.model import T, V
from protocol.guest import PowerState
from protocol.instance import StopInstance
from tests.actors.instance.guest import BROKEN, active, noticed, seen
from tests.actors.stage import OWNER, heard, reach, turn, walk

LOOKING = reach(INSTANCE, active(), heard(StopInstance(by=OWNER)), BROKEN)


@pytest.mark.parametrize(
    ("power", "settles"),
    [
        (PowerState.RUNNING, V.ACTIVE),
        (PowerState.PAUSED, V.PAUSED),
        (PowerState.SHUTDOWN, V.STOPPED),
        (PowerState.CRASHED, V.STOPPED),
        (PowerState.NOSTATE, V.ERROR),
        (PowerState.SUSPENDED, V.SUSPENDED),
    ],
)
def test_what_is_seen_is_what_it_is(power: PowerState, settles: V) -> None:
    vm = reach(INSTANCE, LOOKING, seen(LOOKING, power))
    assert (vm.vm_state, vm.power_state, vm.task) == (settles, power, None)
    assert vm.fault is not None


def test_a_guest_that_is_gone_is_an_error_with_a_way_out() -> None:
    vm = reach(INSTANCE, LOOKING, seen(LOOKING, exists=False))
    assert (vm.vm_state, vm.power_state) == (V.ERROR, PowerState.NOSTATE)
    assert vm.fault is not None
    assert "hard reboot" in vm.fault.message


def test_the_operation_has_failed_whatever_is_seen() -> None:
    decision = walk(INSTANCE, LOOKING, seen(LOOKING))
    (record,) = decision.records
    assert (record.outcome, record.reason) == ("error", f"{BROKEN.code}: {BROKEN.reason}")
    assert [event.type for event in decision.events] == ["instance.stop.error"]


def test_what_is_seen_unasked_is_no_answer() -> None:
    decision = turn(INSTANCE, LOOKING, noticed(LOOKING, PowerState.SHUTDOWN))
    assert not decision.changed
    assert LOOKING.task is not None
    assert LOOKING.task.state == T.LOOKING


def test_what_was_seen_before_the_look_says_nothing_afterwards() -> None:
    vm = reach(INSTANCE, LOOKING, seen(LOOKING))
    assert LOOKING.task is not None
    stale = noticed(vm, PowerState.SHUTDOWN, after=LOOKING.task.number - 1)
    assert not turn(INSTANCE, vm, stale).changed
