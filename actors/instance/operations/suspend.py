"""Suspend and resume: the guest's memory goes to the host's disk, and comes back, also after a host restart.

A failed suspension is looked at: a guest that still runs is active as before.

Source: Compute API, ``suspend`` and ``resume``.
"""

from actors.instance.model import Instance, T, V, note_progress, pair, to_guest
from actors.instance.operations.look import LOOK, LOOK_S, look
from actors.instance.operations.start import runs
from actors.machine import on, operation
from actors.turn import Step
from protocol.agent import GuestProgress, GuestStarted, GuestSuspended, ResumeGuest, SuspendGuest
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.instance import ResumeInstance, SuspendInstance
from protocol.message import Message

SILENCE_S = 300.0
"""Of a guest that is being saved, so long without progress is a failure."""


def save(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [to_guest(vm, SuspendGuest(**pair(vm)))]


def is_saved(vm: Instance, suspended: GuestSuspended) -> Step[Instance]:
    saved = PowerState.SUSPENDED
    return vm.but(vm_state=V.SUSPENDED, power_state=saved, heard=suspended.number, fault=None), []


def restore(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [to_guest(vm, ResumeGuest(**pair(vm)))]


# fmt: off
SUSPEND = operation(
    "suspend",
    # while         hearing          do             then
    on(None,          SuspendInstance, save,          T.SUSPENDING),
    on(T.SUSPENDING,  GuestSuspended,  is_saved,      None),
    on(T.SUSPENDING,  GuestProgress,   note_progress, T.SUSPENDING),
    on(T.SUSPENDING,  StepFailed,      look,          T.LOOKING),
    *LOOK,
    accepts={V.ACTIVE},
    deadlines={T.SUSPENDING: SILENCE_S, T.LOOKING: LOOK_S},
)
RESUME = operation(
    "resume",
    # while       hearing         do       then
    on(None,        ResumeInstance, restore, T.RESUMING),
    on(T.RESUMING,  GuestStarted,   runs,    None),
    on(T.RESUMING,  StepFailed,     look,    T.LOOKING),
    *LOOK,
    accepts={V.SUSPENDED},
    deadlines={T.RESUMING: SILENCE_S, T.LOOKING: LOOK_S},
)
# fmt: on
