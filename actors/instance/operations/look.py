"""What follows a failed step on a host: look at what the hypervisor has, then settle on that.

Never guess: a command that was not answered may have been done. The rows are part of every table
whose steps act on a guest that exists.
"""

from actors.instance.model import Fault, Instance, T, V, pair, to_guest
from actors.machine import on
from actors.turn import Step, words
from protocol.agent import GuestSeen, LookAtGuest
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.host import HostFound

SETTLED = {
    PowerState.RUNNING: V.ACTIVE,
    PowerState.PAUSED: V.PAUSED,
    PowerState.SHUTDOWN: V.STOPPED,
    PowerState.CRASHED: V.STOPPED,
    PowerState.SUSPENDED: V.SUSPENDED,
}


def look(vm: Instance, failed: StepFailed) -> Step[Instance]:
    """Note the fault, then ask the agent what there is."""
    fault = Fault(500, failed.reason, vm.updated_at, failed.code)
    return vm.but(fault=fault), [to_guest(vm, LookAtGuest(**pair(vm)))]


def settle(vm: Instance, seen: GuestSeen) -> Step[Instance]:
    """Be what the hypervisor has; a guest that has vanished is an error."""
    return as_seen(vm.but(heard=max(vm.heard, seen.after)), seen), []


def asked(vm: Instance, seen: GuestSeen) -> bool:
    """It answers our question; what was seen unasked may be from before the failed command was over."""
    return vm.task is not None and seen.number == vm.task.number


def as_seen(vm: Instance, seen: GuestSeen | HostFound) -> Instance:
    """The instance with vm_state and power_state as the hypervisor has them."""
    power = seen.power_state
    if not seen.exists:
        fault = Fault(
            500, "The guest is no longer on its host; a hard reboot or rebuild repairs it.", vm.updated_at
        )
        return vm.but(vm_state=V.ERROR, power_state=PowerState.NOSTATE, fault=fault)
    if power is PowerState.CRASHED:
        fault = Fault(500, f"The guest stopped unexpectedly ({words(seen.reason)}).", vm.updated_at)
        vm = vm.but(fault=fault)
    if power is PowerState.NOSTATE:
        vm = vm.but(fault=Fault(500, "The hypervisor has the guest in no known state.", vm.updated_at))
    return vm.but(vm_state=V.RESCUED if seen.rescued else SETTLED.get(power, V.ERROR), power_state=power)


def unknown(vm: Instance, failed: StepFailed) -> Step[Instance]:
    """The host does not answer: keep the settled state, say so."""
    reason = f"{vm.fault.message if vm.fault else failed.reason}; the host did not answer when asked again"
    return vm.but(fault=Fault(500, reason, vm.updated_at, failed.code)), []


LOOK_S = 120.0
# fmt: off
LOOK = (
    on(T.LOOKING, GuestSeen,  settle,  None, when=asked),
    on(T.LOOKING, StepFailed, unknown, None),
)
# fmt: on
