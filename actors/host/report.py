"""What a host's agent says: heartbeats, reports, and what instances are told of them. And its silence."""

from typing import Final

from msgspec.structs import replace

from actors.host.model import (
    CONFIRM_S,
    DOWN,
    DOWN_S,
    FENCED,
    SESSIONS_MAX,
    SUSPECT,
    SUSPECT_S,
    UP,
    HeldRoom,
    Host,
    tell,
)
from actors.turn import Send, Step
from protocol.agent import Heartbeat, HeartbeatHeard, HostReport
from protocol.command import Tick
from protocol.guest import GuestState, PowerState
from protocol.host import ConfirmClaim, GuestUnclaimed, HostFound, TellAgain
from protocol.ids import address

UNCLAIMED_MAX: Final = 100
"""Guests and tombstones without a claim that one report asks after."""


def fresh(host: Host, said: Heartbeat | HostReport) -> bool:
    """Not of an earlier run of the agent, and no report older than the last: a late copy says what was."""
    if said.session in host.sessions_before:
        return False
    return isinstance(said, Heartbeat) or said.session != host.session or said.sequence > host.report_sequence


def _in_session(host: Host, session: str) -> Host:
    if session == host.session:
        return host
    before = (*host.sessions_before, host.session)[-SESSIONS_MAX:]
    return host.but(session=session, sessions_before=before, report_sequence=0)


def hear(host: Host, beat: Heartbeat) -> Step[Host]:
    was = host.life
    host = _in_session(host, beat.session).but(
        heard_at=host.updated_at,
        alarm_at=host.updated_at + SUSPECT_S,
        clock_offset_s=beat.sent_at - host.updated_at,
    )
    if was == FENCED:  # no answer: it must not count on us
        return host.but(alarm_at=None), []
    answer = Send(address("agent", host.id), HeartbeatHeard(sent_at=beat.sent_at, heard_at=host.updated_at))
    return host, [answer] if was == UP else [answer, tell(host.but(life=UP))]


def take_report(host: Host, report: HostReport) -> Step[Host]:
    """Compare what the host has with what the ledger says and tell the instances that differ."""
    known = {(g.instance, g.generation): g for g in report.guests}
    claims: dict[str, HeldRoom] = {}
    sends: list[Send] = []
    for instance, room in host.claims.items():
        guest = known.get((instance, room.generation))
        again = _asked_again(room, report)
        seen, after = (guest.power_state, guest.after) if guest else (None, room.after)
        if again or (seen, after) != (room.seen, room.after):
            sends.append(_found(instance, room.generation, guest, report))
        if guest is None and room.seen is None and host.updated_at - room.since > CONFIRM_S:
            question = ConfirmClaim(host=host.id, instance=instance, generation=room.generation)
            sends.append(Send(address("instance", instance), question))
        claims[instance] = replace(room, seen=seen, after=after, again=None if again else room.again)
    sends += _unclaimed(host, report)
    host = _in_session(host, report.session).but(
        report_sequence=report.sequence,
        inventory=report.inventory,
        claims=claims,
        heard_at=host.updated_at,
        alarm_at=None if host.life == FENCED else host.updated_at + SUSPECT_S,
        clock_offset_s=report.clock_offset_s,
    )
    return host, [*sends, tell(host if host.life == FENCED else host.but(life=UP))]


def _unclaimed(host: Host, report: HostReport) -> list[Send]:
    """Ask the instances of guests and tombstones that no claim explains, so many a report."""
    there = [(guest.instance, guest.generation, True) for guest in report.guests]
    there += [(instance, generation, False) for instance, generation in report.tombstones]
    strays = [
        GuestUnclaimed(host=host.id, instance=instance, generation=generation, exists=exists)
        for instance, generation, exists in there
        if instance not in host.claims or host.claims[instance].generation != generation
    ]
    return [Send(address("instance", stray.instance), stray) for stray in strays[:UNCLAIMED_MAX]]


def _found(instance: str, generation: int, guest: GuestState | None, report: HostReport) -> Send:
    found = HostFound(
        instance=instance,
        generation=generation,
        power_state=guest.power_state if guest else PowerState.NOSTATE,
        exists=guest is not None,
        reason=guest.reason if guest else "",
        after=guest.after if guest else 0,
        session=report.session,
        sight=report.sequence,
        rescued=guest is not None and guest.rescued,
    )
    return Send(address("instance", instance), found)


def _asked_again(room: HeldRoom, report: HostReport) -> bool:
    """Whether the instance waits to be told again, and this report is not from before it asked."""
    if room.again is None:
        return False
    session, sight = room.again
    return report.session != session or report.sequence >= sight


def tell_again(host: Host, wish: TellAgain) -> Step[Host]:
    room = host.claims.get(wish.instance)
    if room is None or room.generation != wish.generation:
        return host, []
    again = (wish.session, wish.sight)
    if room.again is not None and room.again[0] == wish.session:
        again = max(room.again, again)
    return host.but(claims={**host.claims, wish.instance: replace(room, again=again)}), []


def ignore(host: Host, _: Heartbeat | HostReport) -> Step[Host]:
    """Its agent has not heard yet that it is removed, or will not."""
    return host, []


def suspect(host: Host, _: Tick) -> Step[Host]:
    host = host.but(alarm_at=host.heard_at + DOWN_S)
    return host, [tell(host.but(life=SUSPECT))]


def fall(host: Host, _: Tick) -> Step[Host]:
    return host, [tell(host.but(life=DOWN))]
