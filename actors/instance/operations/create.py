"""Create: choose a host, claim room on it, make the guest there.

The instance commits (host, generation) before it asks the host, so that a claim can always be found and
given back. A refused claim costs nothing and the next candidate is asked; when all candidates refused,
the scheduler is asked again without them, and only its empty answer means "no valid host". A failed
build is cleared from its host and tried on another, on PLACEMENTS_MAX hosts in all.

Source: Compute API, "create server"; states and order in docs/architecture.md.
"""

from msgspec.structs import replace

from actors.instance.model import (
    PLACEMENTS_MAX,
    Fault,
    Instance,
    T,
    V,
    destroy,
    forget,
    guest_spec,
    mended,
    note_progress,
    pair,
    release,
    to_guest,
    without,
)
from actors.instance.placing import (
    another_candidate,
    another_seat,
    ask_again,
    ask_scheduler,
    claim_first,
    claim_next,
    no_host_fault,
    some_host,
)
from actors.machine import on, operation
from actors.turn import Sends, Step
from protocol.agent import GuestDestroyed, GuestProgress, GuestStarted, SpawnGuest
from protocol.errors import StepFailed
from protocol.group import SeatRefused
from protocol.guest import PowerState
from protocol.host import ClaimRefused, HostClaimed
from protocol.instance import CreateInstance
from protocol.message import Message
from protocol.scheduling import PlacementProposed


def spawn(vm: Instance, claimed: HostClaimed) -> Step[Instance]:
    placed = replace(
        vm.placements[-1], hostname=claimed.hostname, zone=claimed.availability_zone, spawned=True
    )
    vm = vm.but(placements=(*vm.placements[:-1], placed), attempts=vm.attempts + 1)
    return vm, [to_guest(vm, SpawnGuest(**pair(vm), spec=guest_spec(vm)))]


def become_active(vm: Instance, started: GuestStarted) -> Step[Instance]:
    return (
        vm.but(
            vm_state=V.ACTIVE,
            power_state=PowerState.RUNNING,
            heard=started.number,
            launched_at=vm.launched_at or vm.updated_at,
            fault=None,
            candidates=(),
            refused=(),
            together=(),
        ),
        [],
    )


def clear(vm: Instance, failed: StepFailed) -> Step[Instance]:
    vm = vm.but(fault=Fault(500, failed.reason, vm.updated_at, failed.code))
    return vm, [destroy(vm, vm.placements[-1])]


def try_elsewhere(vm: Instance, destroyed: GuestDestroyed) -> Step[Instance]:
    vm, sends = _leave(vm.but(refused=(*vm.refused, vm.placements[-1].host), task=mended(vm)), destroyed)
    vm, more = ask_scheduler(vm, destroyed)
    return vm, [*sends, *more]


def give_up(vm: Instance, destroyed: GuestDestroyed) -> Step[Instance]:
    vm, sends = _leave(vm, destroyed)
    return _failed(vm, vm.fault), sends


def _leave(vm: Instance, destroyed: GuestDestroyed) -> tuple[Instance, Sends]:
    left = next(p for p in vm.placements if p.generation == destroyed.generation)
    return vm.but(placements=without(vm, left.host, left.generation)), [release(vm, left), forget(vm, left)]


def no_scheduler(vm: Instance, failed: StepFailed) -> Step[Instance]:
    return _failed(vm, Fault(500, f"No scheduler answered: {failed.reason}.", vm.updated_at, failed.code)), []


def no_claim(vm: Instance, failed: StepFailed) -> Step[Instance]:
    last = vm.placements[-1]
    vm = vm.but(placements=without(vm, last.host, last.generation))
    fault = Fault(
        500, f"The chosen host's ledger did not answer: {failed.reason}.", vm.updated_at, failed.code
    )
    return _failed(vm, fault), [release(vm, last)]


def not_cleared(vm: Instance, failed: StepFailed) -> Step[Instance]:
    what = vm.fault.message if vm.fault else failed.reason
    reason = f"{what}; its host does not answer. Delete the server to free it."
    return _failed(vm, Fault(500, reason, vm.updated_at, failed.code)), []


def no_valid_host(vm: Instance, proposed: PlacementProposed) -> Step[Instance]:
    return _failed(vm, no_host_fault(vm, proposed)), []


def _failed(vm: Instance, fault: Fault | None) -> Instance:
    vm = vm.but(vm_state=V.ERROR, power_state=PowerState.NOSTATE, fault=fault)
    return vm.but(candidates=(), refused=(), together=())


def tries_left(vm: Instance, _: Message) -> bool:
    return vm.attempts < PLACEMENTS_MAX


# fmt: off
CREATE = operation(
    "create",
    # while         hearing            do             then
    on(None,          CreateInstance,    ask_scheduler, T.SCHEDULING),
    on(T.SCHEDULING,  PlacementProposed, claim_first,   T.CLAIMING,   when=some_host),
    on(T.SCHEDULING,  PlacementProposed, no_valid_host, None),
    on(T.SCHEDULING,  StepFailed,        no_scheduler,  None),
    on(T.CLAIMING,    HostClaimed,       spawn,         T.SPAWNING),
    on(T.CLAIMING,    ClaimRefused,      claim_next,    T.CLAIMING,   when=another_candidate),
    on(T.CLAIMING,    ClaimRefused,      ask_again,     T.SCHEDULING),
    on(T.CLAIMING,    SeatRefused,       claim_next,    T.CLAIMING,   when=another_seat),
    on(T.CLAIMING,    SeatRefused,       ask_again,     T.SCHEDULING),
    on(T.CLAIMING,    StepFailed,        no_claim,      None),
    on(T.SPAWNING,    GuestStarted,      become_active, None),
    on(T.SPAWNING,    GuestProgress,     note_progress, T.SPAWNING),
    on(T.SPAWNING,    StepFailed,        clear,         T.CLEARING),
    on(T.CLEARING,    GuestDestroyed,    try_elsewhere, T.SCHEDULING, when=tries_left),
    on(T.CLEARING,    GuestDestroyed,    give_up,       None),
    on(T.CLEARING,    StepFailed,        not_cleared,   None),
    accepts={V.BUILDING},
    deadlines={T.SCHEDULING: 60, T.CLAIMING: 60, T.SPAWNING: 600, T.CLEARING: 120},
)
# fmt: on
