"""Soft delete, restore, and the deletion when the time is over."""

import pytest

from actors.instance.kind import INSTANCE
from actors.instance.model import T, V
from actors.instance.operations.soft_delete import BUSY_S, RESTORE, SOFT_DELETE
from actors.turn import Heard, due_at
from protocol.agent import LookAtGuest, StartGuest, StopGuest
from protocol.command import Accepted, Tick
from protocol.errors import Refused
from protocol.guest import PowerState
from protocol.instance import DeleteInstance, RestoreInstance, SoftDeleteInstance
from tests.actors.instance.guest import (
    BROKEN,
    active,
    aside,
    broken,
    off,
    saved,
    seen,
    started,
    stopped,
)
from tests.actors.instance.proof import Case, every_row_is_taken, fail_each_step, run_each_step_twice
from tests.actors.stage import OWNER, answer_of, heard, reach, sent, turn, walk

KEEP_S = 86_400.0
WISH = SoftDeleteInstance(by=OWNER, keep_s=KEEP_S)
STOPPING = reach(INSTANCE, active(), heard(WISH))
LOOKING = reach(INSTANCE, STOPPING, BROKEN)
RESTORING = reach(INSTANCE, aside(), heard(RestoreInstance(by=OWNER)))
LOOKING_AGAIN = reach(INSTANCE, RESTORING, BROKEN)
ASIDE = {"vm_state": V.SOFT_DELETED}
OFF = {"vm_state": V.SOFT_DELETED, "power_state": PowerState.SHUTDOWN}
RUNS = {"vm_state": V.ACTIVE, "power_state": PowerState.RUNNING, "alarm_at": None}
SOFT_DELETES = (
    Case("one that runs is stopped", active(), WISH, T.SOFT_DELETING, (StopGuest,)),
    Case("one that may run is stopped", broken(), WISH, T.SOFT_DELETING, (StopGuest,)),
    Case("one that is off is put aside", off(), WISH, None, leaves=ASIDE),
    Case("one that is saved is put aside", saved(), WISH, None, leaves=ASIDE),
    Case("it is off", STOPPING, stopped(STOPPING), None, leaves=OFF),
    Case("a failure is looked at", STOPPING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it runs as before", LOOKING, seen(LOOKING), None, leaves={"vm_state": V.ACTIVE}),
    Case("nobody looked", LOOKING, BROKEN, None, leaves={"vm_state": V.ACTIVE}),
)
SHUT = seen(LOOKING_AGAIN, PowerState.SHUTDOWN)
RESTORES = (
    Case("restore starts the guest", aside(), RestoreInstance(by=OWNER), T.RESTORING, (StartGuest,)),
    Case("it is back", RESTORING, started(RESTORING), None, leaves=RUNS),
    Case("a failed start is looked at", RESTORING, BROKEN, T.LOOKING, (LookAtGuest,)),
    Case("it is back after all", LOOKING_AGAIN, seen(LOOKING_AGAIN), None, leaves=RUNS),
    Case("it stays aside", LOOKING_AGAIN, SHUT, None, leaves=OFF | {"alarm_at": aside().alarm_at}),
    Case("nobody looked at it", LOOKING_AGAIN, BROKEN, None, leaves={"alarm_at": aside().alarm_at}),
)


@pytest.mark.parametrize("case", SOFT_DELETES + RESTORES, ids=str)
def test_a_row(case: Case) -> None:
    case.check()


def test_each_step_twice() -> None:
    run_each_step_twice(SOFT_DELETE)
    run_each_step_twice(RESTORE)


def test_each_step_fails() -> None:
    fail_each_step(SOFT_DELETE)
    fail_each_step(RESTORE)


def test_every_row_is_taken() -> None:
    every_row_is_taken(SOFT_DELETE, SOFT_DELETES)
    every_row_is_taken(RESTORE, RESTORES)


def test_when_its_time_is_over_it_asks_for_its_deletion() -> None:
    vm = aside()
    assert due_at(vm) == vm.updated_at + KEEP_S
    early = turn(INSTANCE, vm, Heard(Tick()), at=vm.updated_at + KEEP_S - 1)
    assert not early.changed
    over = turn(INSTANCE, vm, Heard(Tick()), at=vm.updated_at + KEEP_S)
    send = sent(over, DeleteInstance)
    assert (send.to, send.operation != "") == (f"instance/{vm.id}", True)
    gone = walk(INSTANCE, over.state, Heard(send.message, send.to, send.operation))
    assert gone.state is not None
    assert gone.state.task is not None
    assert gone.state.task.name == "delete"


def test_a_restoration_under_way_is_not_cut_off() -> None:
    at = RESTORING.updated_at + 1.5
    later = turn(INSTANCE, RESTORING.but(alarm_at=at), Heard(Tick()), at=at)
    assert later.state is not None
    assert later.state.task == RESTORING.task
    assert later.state.alarm_at == at + BUSY_S


def test_another_soft_deletion_joins_the_first_and_a_real_one_ends_it() -> None:
    again = turn(INSTANCE, STOPPING, heard(WISH, operation="op-2"))
    assert isinstance(answer_of(again), Accepted)
    assert not again.changed
    real = turn(INSTANCE, STOPPING, heard(DeleteInstance(by=OWNER), operation="op-2"))
    assert real.state is not None
    assert real.state.task is not None
    assert real.state.task.name == "delete"
    late = turn(INSTANCE, real.state, heard(WISH, operation="op-3"))
    assert isinstance(answer_of(late), Accepted)
    assert not late.changed


def test_what_is_not_put_aside_cannot_be_restored() -> None:
    assert isinstance(answer_of(turn(INSTANCE, active(), heard(RestoreInstance(by=OWNER)))), Refused)
