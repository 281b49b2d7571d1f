"""Reset: drop whatever runs, look at what the hypervisor has, and be that; or be declared broken.

Unlike a bare change of the record this cannot make an instance say what is not so: "active" means that
the host is asked. It pushes aside everything but a deletion, which never needs it.

Source: Compute API, ``os-resetState``.
"""

from typing import Final

from actors.instance.model import DELETION, Fault, Instance, T, V, pair, to_guest
from actors.instance.operations.look import LOOK_S, as_seen, asked, unknown
from actors.machine import on, operation
from actors.turn import Refusal, Step
from protocol.agent import GuestSeen, LookAtGuest
from protocol.errors import StepFailed
from protocol.instance import ResetInstance

DECLARED: Final = "An administrator declared this server broken."


def declare_broken(vm: Instance, _: ResetInstance) -> Step[Instance]:
    return vm.but(vm_state=V.ERROR, alarm_at=None, fault=Fault(500, DECLARED, vm.updated_at)), []


def ask_host(vm: Instance, _: ResetInstance) -> Step[Instance]:
    if vm.here is None or not vm.here.spawned:
        raise Refusal("conflict", f"Instance {vm.id} has no host to look at", "host", "")
    return vm, [to_guest(vm, LookAtGuest(**pair(vm)))]


def be_as_seen(vm: Instance, seen: GuestSeen) -> Step[Instance]:
    launched_at = vm.launched_at or (vm.updated_at if seen.exists else None)
    vm = vm.but(heard=max(vm.heard, seen.after), fault=None, alarm_at=None, launched_at=launched_at)
    return as_seen(vm, seen), []


def silent(vm: Instance, failed: StepFailed) -> Step[Instance]:
    vm, sends = unknown(vm, failed)
    return vm.but(vm_state=V.ERROR) if vm.vm_state is V.BUILDING else vm, sends


def to_error(_: Instance, wish: ResetInstance) -> bool:
    return wish.state == "error"


# fmt: off
RESET = operation(
    "reset",
    # while      hearing        do              then
    on(None,       ResetInstance, declare_broken, None, when=to_error),
    on(None,       ResetInstance, ask_host,       T.LOOKING),
    on(T.LOOKING,  GuestSeen,     be_as_seen,     None, when=asked),
    on(T.LOOKING,  StepFailed,    silent,         None),
    accepts=set(V) - {V.DELETED},
    interrupts=set(T) - DELETION,
    deadlines={T.LOOKING: LOOK_S},
    action="resetState",
)
# fmt: on
