"""Rescue and unrescue: boot another system with the instance's own disk beside it, and back.

A rescue that fails is undone: the instance's own system is started again unless it was off.

Source: Compute API, ``rescue`` and ``unrescue``; an unrescued server is active, whatever it was before.
"""

from actors.instance.model import Fault, Instance, T, V, guest_spec, note_progress, pair, to_guest
from actors.instance.operations.look import LOOK, LOOK_S, look
from actors.instance.operations.start import runs
from actors.machine import on, operation
from actors.turn import Refusal, Step
from protocol.agent import (
    GuestProgress,
    GuestRescued,
    GuestStarted,
    GuestStopped,
    RescueGuest,
    UnrescueGuest,
)
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.instance import RescueInstance, UnrescueInstance
from protocol.message import Message

SILENCE_S = 600.0
"""So long without a word of progress while the image is fetched and booted is a failure."""
BOOT_S = 120.0


def boot_other(vm: Instance, wish: RescueInstance) -> Step[Instance]:
    image = wish.image or vm.request.image
    if image is None:
        raise Refusal("invalid", f"Instance {vm.id} was not made of an image: name one to rescue it with")
    order = RescueGuest(**pair(vm), spec=guest_spec(vm), image=image, own_first=wish.own_first)
    return vm, [to_guest(vm, order)]


def is_rescued(vm: Instance, rescued: GuestRescued) -> Step[Instance]:
    running = PowerState.RUNNING
    return vm.but(vm_state=V.RESCUED, power_state=running, heard=rescued.number, fault=None), []


def put_back(vm: Instance, failed: StepFailed) -> Step[Instance]:
    vm = vm.but(fault=Fault(500, failed.reason, vm.updated_at, failed.code))
    order = UnrescueGuest(**pair(vm), spec=guest_spec(vm), stay_off=vm.vm_state is V.STOPPED)
    return vm, [to_guest(vm, order)]


def runs_as_before(vm: Instance, started: GuestStarted) -> Step[Instance]:
    return vm.but(vm_state=V.ACTIVE, power_state=PowerState.RUNNING, heard=started.number), []


def off_as_before(vm: Instance, stopped: GuestStopped) -> Step[Instance]:
    return vm.but(vm_state=V.STOPPED, power_state=PowerState.SHUTDOWN, heard=stopped.number), []


def boot_own(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [to_guest(vm, UnrescueGuest(**pair(vm), spec=guest_spec(vm)))]


# fmt: off
RESCUE = operation(
    "rescue",
    # while             hearing         do              then
    on(None,              RescueInstance, boot_other,     T.RESCUING),
    on(T.RESCUING,        GuestRescued,   is_rescued,     None),
    on(T.RESCUING,        GuestProgress,  note_progress,  T.RESCUING),
    on(T.RESCUING,        StepFailed,     put_back,       T.RESCUE_UNDOING),
    on(T.RESCUE_UNDOING,  GuestStarted,   runs_as_before, None),
    on(T.RESCUE_UNDOING,  GuestStopped,   off_as_before,  None),
    on(T.RESCUE_UNDOING,  StepFailed,     look,           T.LOOKING),
    *LOOK,
    accepts={V.ACTIVE, V.STOPPED, V.ERROR},
    deadlines={T.RESCUING: SILENCE_S, T.RESCUE_UNDOING: BOOT_S, T.LOOKING: LOOK_S},
)
UNRESCUE = operation(
    "unrescue",
    # while         hearing           do        then
    on(None,          UnrescueInstance, boot_own, T.UNRESCUING),
    on(T.UNRESCUING,  GuestStarted,     runs,     None),
    on(T.UNRESCUING,  StepFailed,       look,     T.LOOKING),
    *LOOK,
    accepts={V.RESCUED},
    deadlines={T.UNRESCUING: BOOT_S, T.LOOKING: LOOK_S},
)
# fmt: on
