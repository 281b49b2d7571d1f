"""Finding a place: ask a scheduler, claim room on a candidate, ask the next one when it is refused.

What operations that place an instance have in common. The instance commits (host, generation) before it asks
for it. A member of a server group with a binding policy asks through the group's ledger.
"""

from typing import Final

from actors.instance.model import Fault, Instance, Placement, without
from actors.turn import Send, Step
from protocol.group import ClaimSeat, SeatRefused
from protocol.host import ClaimRefused
from protocol.ids import Address, address
from protocol.instance import ClaimHost, PlaceInstance
from protocol.message import Message
from protocol.scheduling import PlacementProposed

SCHEDULER: Final = Address("scheduler/any")


def question_of(vm: Instance) -> PlaceInstance:
    """What a scheduler must know to find a place for the instance as it is now."""
    request = vm.request
    return PlaceInstance(
        instance=vm.id,
        project=vm.project,
        number=vm.version,
        amount=vm.amount,
        availability_zone=request.availability_zone,
        forced_host=request.forced_host,
        image_properties=request.image_properties,
        extra_specs=request.flavor.extra_specs,
        hints=request.hints,
        refused=vm.refused,
        group=request.group,
        together=vm.together,
        same_hosts=request.same_hosts,
        different_hosts=request.different_hosts,
    )


def ask_scheduler(vm: Instance, _: Message) -> Step[Instance]:
    return vm, [Send(SCHEDULER, question_of(vm))]


def claim_first(vm: Instance, proposed: PlacementProposed) -> Step[Instance]:
    return _claim(vm.but(candidates=proposed.hosts))


def _claim(vm: Instance) -> Step[Instance]:
    host, rest = vm.candidates[0], vm.candidates[1:]
    placed = Placement(host, vm.generation + 1)
    vm = vm.but(generation=placed.generation, candidates=rest, placements=(*vm.placements, placed))
    group = vm.request.group
    seated = group is not None and group.is_binding
    claim = ClaimHost(
        instance=vm.id,
        generation=placed.generation,
        amount=vm.amount,
        group=group.id if group else "",
        seated=seated,
    )
    if group is not None and seated:
        return vm, [Send(address("group", group.id), ClaimSeat(group=group, host=host, claim=claim))]
    return vm, [Send(address("host", host), claim)]


def claim_next(vm: Instance, refused: ClaimRefused | SeatRefused) -> Step[Instance]:
    return _claim(_was_refused(vm, refused))


def ask_again(vm: Instance, refused: ClaimRefused | SeatRefused) -> Step[Instance]:
    vm = _was_refused(vm, refused)
    return ask_scheduler(vm, refused)


def _was_refused(vm: Instance, refused: ClaimRefused | SeatRefused) -> Instance:
    last = vm.placements[-1]
    vm = vm.but(placements=without(vm, last.host, refused.generation))
    if isinstance(refused, SeatRefused) and refused.together:
        return vm.but(together=refused.together)
    return vm.but(refused=(*vm.refused, last.host))


def some_host(_: Instance, proposed: PlacementProposed) -> bool:
    return bool(proposed.hosts)


def another_candidate(vm: Instance, _: ClaimRefused) -> bool:
    return bool(vm.candidates)


def another_seat(vm: Instance, refused: SeatRefused) -> bool:
    """Another of the candidates may do; not when the group has said where it must be."""
    return bool(vm.candidates) and not refused.together


def no_host_fault(vm: Instance, proposed: PlacementProposed) -> Fault:
    """Why there is no place, in words for the tenant, with the operator's counts as details."""
    counts = "; ".join(
        f"{r.filter}: {r.hosts} ({r.example})" if r.example else f"{r.filter}: {r.hosts}"
        for r in proposed.refusals
    )
    full = f"; {len(vm.refused)} had no room when asked" if vm.refused else ""
    message = f"No valid host was found. {proposed.considered} hosts were considered{full}."
    return Fault(500, message, vm.updated_at, counts)
