"""Start: power on a stopped instance. Source: Compute API, ``os-start``."""

from actors.instance.model import Instance, T, V, guest_spec, pair, to_guest
from actors.instance.operations.look import LOOK, LOOK_S, look
from actors.machine import on, operation
from actors.turn import Step
from protocol.agent import GuestStarted, StartGuest
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.instance import StartInstance
from protocol.message import Message


def start_guest(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [to_guest(vm, StartGuest(**pair(vm), spec=guest_spec(vm)))]


def runs(vm: Instance, started: GuestStarted) -> Step[Instance]:
    """The guest runs: active, and whatever was wrong is mended."""
    running = PowerState.RUNNING
    return vm.but(vm_state=V.ACTIVE, power_state=running, heard=started.number, fault=None), []


# fmt: off
START = operation(
    "start",
    # while          hearing        do           then
    on(None,           StartInstance, start_guest, T.POWERING_ON),
    on(T.POWERING_ON,  GuestStarted,  runs,        None),
    on(T.POWERING_ON,  StepFailed,    look,        T.LOOKING),
    *LOOK,
    accepts={V.STOPPED},
    deadlines={T.POWERING_ON: 120, T.LOOKING: LOOK_S},
)
# fmt: on
