"""A server group's ledger: two members placed at the same moment cannot both be right against its policy.

It remembers a seat from the moment it passes a claim on until the host says that the room is free again;
streams being exact and in order, no seat is forgotten and none leaks. Invariants: under affinity the members'
newest seats are on one host, under anti-affinity no host has seats of more than ``per_host`` members. What
must not go in: soft policies, which only weigh.
"""

from typing import Any

import msgspec
from msgspec import Struct

from actors.machine import ANY, Kind, on
from actors.turn import ActorState, Heard, Send, Step
from protocol.command import Command
from protocol.errors import Refused
from protocol.group import ClaimSeat, SeatLeft, SeatRefused
from protocol.ids import address


class Seat(Struct, frozen=True):
    """One generation of a member on a host."""

    instance: str
    generation: int
    host: str


class Group(ActorState, frozen=True, kw_only=True):
    """Who sits where. A group without seats has nothing to remember."""

    seats: tuple[Seat, ...] = ()


def born(_: ClaimSeat, ident: str, now: float) -> Group:
    return Group(id=ident, life="open", created_at=now, updated_at=now)


def seat(group: Group, wish: ClaimSeat) -> Step[Group]:
    taken = Seat(wish.claim.instance, wish.claim.generation, wish.host)
    return group.but(seats=(*group.seats, taken)), [Send(address("host", wish.host), wish.claim)]


def refuse(group: Group, wish: ClaimSeat) -> Step[Group]:
    refused = SeatRefused(
        instance=wish.claim.instance,
        generation=wish.claim.generation,
        reason=f"the server group's policy is {wish.group.policy}",
        together=_others(group, wish) if wish.group.policy == "affinity" else (),
    )
    return group, [Send(address("instance", wish.claim.instance), refused)]


def leave(group: Group, left: SeatLeft) -> Step[Group]:
    gone = (left.instance, left.generation)
    return group.but(seats=tuple(s for s in group.seats if (s.instance, s.generation) != gone)), []


def fits(group: Group, wish: ClaimSeat) -> bool:
    """Whether the policy allows the member on that host."""
    if wish.group.policy == "affinity":
        others = _others(group, wish)
        return not others or wish.host in others
    there = {s.instance for s in group.seats if s.host == wish.host} - {wish.claim.instance}
    return len(there) < wish.group.per_host


def _others(group: Group, wish: ClaimSeat) -> tuple[str, ...]:
    """Where the other members are or are going; what they are leaving does not count."""
    newest = {s.instance: s for s in sorted(group.seats, key=lambda s: s.generation)}
    return tuple(sorted({s.host for name, s in newest.items() if name != wish.claim.instance}))


def guard(_: Group, __: Command, ___: Heard) -> Refused | None:
    return None


def columns(group: Group) -> tuple[Any, ...]:
    """The typed columns of ``compute.group_ledger``, in the order of store.kinds."""
    return (len(group.seats),)


def summary(group: Group) -> bytes:
    """The data of an event about this ledger."""
    return msgspec.json.encode({"id": group.id, "seats": len(group.seats)})


# fmt: off
LIFE = (
    # while  hearing    do      then
    on(ANY,    ClaimSeat, seat,   ANY, when=fits),
    on(ANY,    ClaimSeat, refuse, ANY),
    on(ANY,    SeatLeft,  leave,  ANY),
)
# fmt: on

GROUP: Kind[Group] = Kind(
    name="group",
    state=Group,
    births={ClaimSeat: born},
    life=LIFE,
    settled=lambda group: group.life,
    guard=guard,
    relevant=lambda _, __: True,
    project=lambda _: "",
    summary=summary,
    gone=lambda group: not group.seats,
    columns=columns,
)
