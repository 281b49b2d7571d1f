"""Delete: remove the guest from every host it may be on, give the room back, then the quota.

It interrupts whatever runs. It never gives up: a host that does not answer, or cannot, is asked again
until it does, and the instance stays ``deleting`` meanwhile. What remains is a tombstone that answers "gone".

Source: Compute API, "delete server" (any state).
"""

from typing import Final

from actors.instance.model import (
    GONE,
    Instance,
    Placement,
    T,
    V,
    destroy,
    forget,
    mended,
    release,
    without,
)
from actors.machine import ANY, on, operation
from actors.turn import Send, Step
from protocol.agent import GuestDestroyed
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.host import HostReleased
from protocol.ids import address
from protocol.instance import DeleteInstance, ReturnQuota
from protocol.message import Message

AGAIN_S: Final = 10.0
"""Pause after a host could not destroy a guest, before it is asked again."""


def _guests(vm: Instance) -> list[Placement]:
    return [p for p in vm.placements if p.spawned]


def destroy_next(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [destroy(vm, _guests(vm)[-1])]


def rest(vm: Instance, _: StepFailed) -> Step[Instance]:
    # Asked again at once, a host that cannot would be asked a hundred times a second.
    return vm, []


def destroy_another(vm: Instance, destroyed: GuestDestroyed) -> Step[Instance]:
    return destroy_next(_empty(vm, destroyed), destroyed)


def free_rooms(vm: Instance, destroyed: GuestDestroyed) -> Step[Instance]:
    return free_next(_empty(vm, destroyed), destroyed)


def free_next(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [release(vm, placement) for placement in vm.placements]


def note_freed(vm: Instance, released: HostReleased) -> Step[Instance]:
    freed = [forget(vm, p) for p in vm.placements if p.generation == released.generation]
    return vm.but(placements=_unfreed(vm, released)), freed


def note_last(vm: Instance, released: HostReleased) -> Step[Instance]:
    vm, freed = note_freed(vm, released)
    vm, said = vanish(vm, released)
    return vm, [*freed, *said]


def vanish(vm: Instance, _: Message) -> Step[Instance]:
    vm = vm.but(
        life=GONE,
        vm_state=V.DELETED,
        power_state=PowerState.NOSTATE,
        placements=(),
        deleted_at=vm.updated_at,
        alarm_at=None,
        task=mended(vm),
    )
    return vm, [Send(address("project", vm.project), ReturnQuota(instance=vm.id, amount=vm.amount))]


def _empty(vm: Instance, destroyed: GuestDestroyed) -> Instance:
    """No guest is there any more: only the room is left to give back."""
    kept = tuple(
        Placement(
            p.host, p.generation, p.hostname, spawned=p.spawned and p.generation != destroyed.generation
        )
        for p in vm.placements
    )
    return vm.but(placements=kept)


def _unfreed(vm: Instance, released: HostReleased) -> tuple[Placement, ...]:
    left = next((p for p in vm.placements if p.generation == released.generation), None)
    return vm.placements if left is None else without(vm, left.host, left.generation)


def has_guest(vm: Instance, _: Message) -> bool:
    return bool(_guests(vm))


def has_another(vm: Instance, destroyed: GuestDestroyed) -> bool:
    return any(p.generation != destroyed.generation for p in _guests(vm))


def has_room(vm: Instance, _: Message) -> bool:
    return bool(vm.placements)


def more_to_free(vm: Instance, released: HostReleased) -> bool:
    return bool(_unfreed(vm, released))


# fmt: off
DELETE = operation(
    "delete",
    # while        hearing         do               then
    on(None,         DeleteInstance, destroy_next,    T.DELETING,  when=has_guest),
    on(None,         DeleteInstance, free_next,       T.RELEASING, when=has_room),
    on(None,         DeleteInstance, vanish,          None),
    on(T.DELETING,   GuestDestroyed, destroy_another, T.DELETING,  when=has_another),
    on(T.DELETING,   GuestDestroyed, free_rooms,      T.RELEASING),
    on(T.DELETING,   StepFailed,     rest,            T.DELETING_AGAIN),
    on(T.DELETING_AGAIN, StepFailed, destroy_next,    T.DELETING),
    on(T.RELEASING,  HostReleased,   note_freed,      T.RELEASING, when=more_to_free),
    on(T.RELEASING,  HostReleased,   note_last,       None),
    on(T.RELEASING,  StepFailed,     free_next,       T.RELEASING),
    accepts=set(V),
    interrupts={ANY},
    joins={"delete"},
    deadlines={T.DELETING: 120, T.DELETING_AGAIN: AGAIN_S, T.RELEASING: 60},
)
# fmt: on
