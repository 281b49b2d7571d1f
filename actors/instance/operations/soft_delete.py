"""Soft delete and restore: the guest is powered off and kept for a while; then it is deleted for good.

The time is the actor's own alarm. Host and quota stay reserved meanwhile, so that a restore cannot fail
for want of them.

Source: Compute API, deletion with a reclaim interval, and ``restore``: a restored server is active.
"""

from typing import Final

from actors.instance.model import Fault, Instance, T, V, guest_spec, pair, to_guest
from actors.instance.operations.delete import DELETE
from actors.instance.operations.look import LOOK, LOOK_S, asked, look, settle
from actors.instance.operations.start import runs
from actors.instance.operations.stop import RETRY_S, TIMEOUT_S
from actors.machine import ANY, on, operation
from actors.turn import Send, Step
from protocol.agent import GuestSeen, GuestStarted, GuestStopped, StartGuest, StopGuest
from protocol.command import Caller, Tick
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.ids import address, derived
from protocol.instance import DeleteInstance, RestoreInstance, SoftDeleteInstance
from protocol.message import Message

BUSY_S: Final = 60.0
"""So long after its time a restoration under way is looked at again."""
_ON: Final = frozenset({PowerState.RUNNING, PowerState.PAUSED})


def power_off(vm: Instance, wish: SoftDeleteInstance) -> Step[Instance]:
    order = StopGuest(**pair(vm), timeout_s=TIMEOUT_S, retry_s=RETRY_S)
    return vm.but(keep_s=wish.keep_s), [to_guest(vm, order)]


def put_aside(vm: Instance, wish: SoftDeleteInstance) -> Step[Instance]:
    return _aside(vm.but(keep_s=wish.keep_s)), []


def is_off(vm: Instance, stopped: GuestStopped) -> Step[Instance]:
    return _aside(vm.but(power_state=PowerState.SHUTDOWN, heard=stopped.number)), []


def _aside(vm: Instance) -> Instance:
    return vm.but(vm_state=V.SOFT_DELETED, alarm_at=vm.updated_at + vm.keep_s)


def power_on(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [to_guest(vm, StartGuest(**pair(vm), spec=guest_spec(vm)))]


def is_back(vm: Instance, started: GuestStarted) -> Step[Instance]:
    return runs(vm.but(alarm_at=None), started)


def is_back_after_all(vm: Instance, seen: GuestSeen) -> Step[Instance]:
    return settle(vm.but(alarm_at=None), seen)


def stay_aside(vm: Instance, seen: GuestSeen) -> Step[Instance]:
    return vm.but(power_state=seen.power_state, heard=max(vm.heard, seen.after)), []


def not_restored(vm: Instance, failed: StepFailed) -> Step[Instance]:
    return vm.but(fault=Fault(500, failed.reason, vm.updated_at, failed.code)), []


def reclaim(vm: Instance, _: Tick) -> Step[Instance]:
    """Its time is over: ask oneself for the deletion, as an operation of its own."""
    by = Caller(
        user=vm.user, project=vm.project, request=f"req-{derived(vm.id, f'{vm.version}')}", admin=True
    )
    operation = derived(vm.id, f"reclaim {vm.version}")
    return vm, [Send(address("instance", vm.id), DeleteInstance(by=by), operation)]


def wait(vm: Instance, _: Tick) -> Step[Instance]:
    return vm.but(alarm_at=vm.updated_at + BUSY_S), []


def is_aside(vm: Instance, _: Tick) -> bool:
    return vm.vm_state is V.SOFT_DELETED and vm.task is None


def is_busy_aside(vm: Instance, _: Tick) -> bool:
    return vm.vm_state is V.SOFT_DELETED and vm.task is not None and vm.task.name != DELETE.name


def may_run(vm: Instance, _: Message) -> bool:
    return vm.here is not None and vm.here.spawned and (vm.power_state in _ON or vm.vm_state is V.ERROR)


def runs_again(vm: Instance, seen: GuestSeen) -> bool:
    return asked(vm, seen) and seen.power_state in _ON


# fmt: off
SOFT_DELETE = operation(
    "soft_delete",
    # while            hearing             do         then
    on(None,             SoftDeleteInstance, power_off, T.SOFT_DELETING, when=may_run),
    on(None,             SoftDeleteInstance, put_aside, None),
    on(T.SOFT_DELETING,  GuestStopped,       is_off,    None),
    on(T.SOFT_DELETING,  StepFailed,         look,      T.LOOKING),
    *LOOK,
    accepts=set(V) - {V.BUILDING, V.DELETED, V.SOFT_DELETED},
    interrupts={ANY},
    joins={"delete", "soft_delete"},
    deadlines={T.SOFT_DELETING: 3 * TIMEOUT_S, T.LOOKING: LOOK_S},
    action="delete",
)
RESTORE = operation(
    "restore",
    # while        hearing          do                 then
    on(None,         RestoreInstance, power_on,          T.RESTORING),
    on(T.RESTORING,  GuestStarted,    is_back,           None),
    on(T.RESTORING,  StepFailed,      look,              T.LOOKING),
    on(T.LOOKING,    GuestSeen,       is_back_after_all, None, when=runs_again),
    on(T.LOOKING,    GuestSeen,       stay_aside,        None, when=asked),
    on(T.LOOKING,    StepFailed,      not_restored,      None),
    accepts={V.SOFT_DELETED},
    deadlines={T.RESTORING: 120, T.LOOKING: LOOK_S},
)
# fmt: on
