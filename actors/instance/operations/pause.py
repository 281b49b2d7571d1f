"""Pause and unpause: freeze the guest in the host's memory, and go on.

Source: Compute API, ``pause`` and ``unpause``.
"""

from actors.instance.model import Instance, T, V, pair, to_guest
from actors.instance.operations.look import LOOK, LOOK_S, look
from actors.instance.operations.start import runs
from actors.machine import on, operation
from actors.turn import Step
from protocol.agent import GuestPaused, GuestStarted, PauseGuest, UnpauseGuest
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.instance import PauseInstance, UnpauseInstance
from protocol.message import Message


def freeze(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [to_guest(vm, PauseGuest(**pair(vm)))]


def thaw(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [to_guest(vm, UnpauseGuest(**pair(vm)))]


def is_frozen(vm: Instance, paused: GuestPaused) -> Step[Instance]:
    return vm.but(vm_state=V.PAUSED, power_state=PowerState.PAUSED, heard=paused.number), []


# fmt: off
PAUSE = operation(
    "pause",
    # while      hearing        do         then
    on(None,       PauseInstance, freeze,    T.PAUSING),
    on(T.PAUSING,  GuestPaused,   is_frozen, None),
    on(T.PAUSING,  StepFailed,    look,      T.LOOKING),
    *LOOK,
    accepts={V.ACTIVE},
    deadlines={T.PAUSING: 60, T.LOOKING: LOOK_S},
)
UNPAUSE = operation(
    "unpause",
    # while        hearing          do    then
    on(None,         UnpauseInstance, thaw, T.UNPAUSING),
    on(T.UNPAUSING,  GuestStarted,    runs, None),
    on(T.UNPAUSING,  StepFailed,      look, T.LOOKING),
    *LOOK,
    accepts={V.PAUSED},
    deadlines={T.UNPAUSING: 60, T.LOOKING: LOOK_S},
)
# fmt: on
