"""Reboot: soft is the guest's own restart; hard cycles the power and repairs nearly every state.

Source: Compute API, ``reboot`` with type SOFT or HARD.
"""

from typing import Literal

from actors.instance.model import Instance, T, V, guest_spec, pair, to_guest
from actors.instance.operations.look import LOOK, LOOK_S, look
from actors.instance.operations.start import runs
from actors.machine import on, operation
from actors.turn import Step
from protocol.agent import GuestStarted, RebootGuest
from protocol.errors import StepFailed
from protocol.instance import HardRebootInstance, RebootInstance
from protocol.message import Message

SOFT_TIMEOUT_S = 120.0


def ask_guest(vm: Instance, _: Message) -> Step[Instance]:
    return _reboot(vm, "soft")


def cycle_power(vm: Instance, _: Message) -> Step[Instance]:
    return _reboot(vm, "hard")


def _reboot(vm: Instance, kind: Literal["soft", "hard"]) -> Step[Instance]:
    order = RebootGuest(**pair(vm), spec=guest_spec(vm), kind=kind, timeout_s=SOFT_TIMEOUT_S)
    return vm, [to_guest(vm, order)]


# fmt: off
REBOOT = operation(
    "reboot",
    # while         hearing         do         then
    on(None,          RebootInstance, ask_guest, T.REBOOTING),
    on(T.REBOOTING,   GuestStarted,   runs,      None),
    on(T.REBOOTING,   StepFailed,     look,      T.LOOKING),
    *LOOK,
    accepts={V.ACTIVE},
    deadlines={T.REBOOTING: 3 * SOFT_TIMEOUT_S, T.LOOKING: LOOK_S},
)
REBOOT_HARD = operation(
    "reboot_hard",
    # while             hearing             do           then
    on(None,              HardRebootInstance, cycle_power, T.REBOOTING_HARD),
    on(T.REBOOTING_HARD,  GuestStarted,       runs,        None),
    on(T.REBOOTING_HARD,  StepFailed,         look,        T.LOOKING),
    *LOOK,
    accepts={V.ACTIVE, V.STOPPED, V.PAUSED, V.SUSPENDED, V.ERROR},
    interrupts={T.REBOOTING, T.REBOOTING_HARD, T.PAUSING, T.UNPAUSING, T.SUSPENDING, T.RESUMING},
    deadlines={T.REBOOTING_HARD: 180, T.LOOKING: LOOK_S},
    action="reboot",
)
# fmt: on
