"""Stop: ACPI power button, asked again, then force. Source: Compute API, ``os-stop``."""

from actors.instance.model import Instance, T, V, pair, to_guest
from actors.instance.operations.look import LOOK, LOOK_S, look
from actors.machine import on, operation
from actors.turn import Step
from protocol.agent import GuestStopped, StopGuest
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.instance import StopInstance
from protocol.message import Message

TIMEOUT_S = 60.0
RETRY_S = 10.0


def stop_guest(vm: Instance, _: Message) -> Step[Instance]:
    order = StopGuest(**pair(vm), timeout_s=TIMEOUT_S, retry_s=RETRY_S)
    return vm, [to_guest(vm, order)]


def is_off(vm: Instance, stopped: GuestStopped) -> Step[Instance]:
    return vm.but(vm_state=V.STOPPED, power_state=PowerState.SHUTDOWN, heard=stopped.number), []


# fmt: off
STOP = operation(
    "stop",
    # while           hearing       do          then
    on(None,            StopInstance, stop_guest, T.POWERING_OFF),
    on(T.POWERING_OFF,  GuestStopped, is_off,     None),
    on(T.POWERING_OFF,  StepFailed,   look,       T.LOOKING),
    *LOOK,
    accepts={V.ACTIVE, V.ERROR},
    deadlines={T.POWERING_OFF: 3 * TIMEOUT_S, T.LOOKING: LOOK_S},
)
# fmt: on
