"""The host's ledger: room granted, refused and given back. A refusal says why, in words."""

from msgspec.structs import replace

from actors.host.model import TOMBSTONES_MAX, UP, HeldRoom, Host, shortage, tell
from actors.turn import Send, Step
from protocol.group import SeatLeft
from protocol.host import ClaimRefused, HostClaimed, HostReleased
from protocol.ids import address
from protocol.instance import ClaimHost, ClaimStands, ReleaseHost


def grant(host: Host, claim: ClaimHost) -> Step[Host]:
    older = host.claims.get(claim.instance)
    room = HeldRoom(
        claim.generation,
        claim.amount,
        host.updated_at,
        older.seen if older else None,
        group=claim.group,
        seated=claim.seated,
    )
    host = host.but(claims={**_less(host, claim.instance), claim.instance: room})
    granted = HostClaimed(
        instance=claim.instance,
        generation=claim.generation,
        hostname=host.hostname,
        availability_zone=host.zone,
    )
    return host, [
        Send(address("instance", claim.instance), granted),
        *_left(claim.instance, older),
        tell(host),
    ]


def refuse(host: Host, claim: ClaimHost) -> Step[Host]:
    refused = ClaimRefused(
        instance=claim.instance, generation=claim.generation, reason=_objection(host, claim)
    )
    answers = [Send(address("instance", claim.instance), refused), *_left(claim.instance, claim)]
    return host, [*answers, tell(host)]


def free(host: Host, wish: ReleaseHost) -> Step[Host]:
    room = host.claims.get(wish.instance)
    left = room if room is not None and room.generation <= wish.generation else None
    if left is not None:
        host = host.but(claims=_less(host, wish.instance))
    released = {**host.released, wish.instance: max(wish.generation, host.released.get(wish.instance, 0))}
    while len(released) > TOMBSTONES_MAX:
        del released[next(iter(released))]
    host = host.but(released=released)
    answer = HostReleased(instance=wish.instance, generation=wish.generation)
    return host, [Send(address("instance", wish.instance), answer), *_left(wish.instance, left), tell(host)]


def _left(instance: str, room: HeldRoom | ClaimHost | None) -> list[Send]:
    """The word to the group's ledger that this room is not, or no longer, taken."""
    if room is None or not room.seated:
        return []
    return [Send(address("group", room.group), SeatLeft(instance=instance, generation=room.generation))]


def free_last(host: Host, wish: ReleaseHost) -> Step[Host]:
    return free(host.but(duty="maintenance"), wish)


def was_drained(host: Host, wish: ReleaseHost) -> bool:
    """With this release nothing is left of what was to leave."""
    room = host.claims.get(wish.instance)
    last = room is not None and room.generation <= wish.generation and len(host.claims) == 1
    return host.duty == "draining" and last


def keep(host: Host, stands: ClaimStands) -> Step[Host]:
    room = host.claims.get(stands.instance)
    if room is None or room.generation != stands.generation:
        return host, []
    return host.but(claims={**host.claims, stands.instance: replace(room, since=host.updated_at)}), []


def has_room(host: Host, claim: ClaimHost) -> bool:
    return not _objection(host, claim)


def _objection(host: Host, claim: ClaimHost) -> str:
    if claim.generation <= host.released.get(claim.instance, 0):
        return "this claim was released before it was made"
    if host.life != UP:
        return f"the host is {host.life}"
    if host.duty != "service":
        return f"the host is {'in ' if host.duty == 'maintenance' else ''}{host.duty}"
    if claim.instance in host.claims:
        host = host.but(claims=_less(host, claim.instance))
    return shortage(host, claim.amount)


def _less(host: Host, instance: str) -> dict[str, HeldRoom]:
    """The claims without this instance's; the very same when it has none."""
    if instance not in host.claims:
        return host.claims
    return {name: room for name, room in host.claims.items() if name != instance}
