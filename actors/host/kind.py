"""The host's life as one table: enrolment, heartbeats and silence, claims and releases, reports."""

from typing import Any

import msgspec
from msgspec.structs import replace

from actors.host.model import (
    CONFIRM_S,
    DOWN,
    DOWN_S,
    ENROLLING,
    SESSIONS_MAX,
    SUSPECT,
    SUSPECT_S,
    TOMBSTONES_MAX,
    UP,
    HeldRoom,
    Host,
    shortage,
    summary,
    view,
)
from actors.machine import ANY, Kind, on
from actors.turn import Heard, Send, Step
from protocol.agent import Heartbeat, HeartbeatHeard, HostReport
from protocol.command import Command, Tick
from protocol.errors import Refused
from protocol.guest import GuestState, PowerState
from protocol.host import (
    ClaimRefused,
    ConfirmClaim,
    EnrolHost,
    HostChanged,
    HostClaimed,
    HostFound,
    HostReleased,
    SetHostService,
    TellAgain,
)
from protocol.ids import address, ident_of, kind_of
from protocol.instance import ClaimHost, ClaimStands, ReleaseHost


def born(message: EnrolHost, ident: str, now: float) -> Host:
    return Host(
        id=ident,
        life=ENROLLING,
        created_at=now,
        updated_at=now,
        hostname=message.hostname,
        availability_zone=message.availability_zone,
        hypervisor=message.hypervisor,
    )


def tell(host: Host) -> Send:
    """What every scheduler should know now."""
    return Send("schedulers/all", HostChanged(view=view(host)))


def enrol(host: Host, wish: EnrolHost) -> Step[Host]:
    host = host.but(
        hostname=wish.hostname, availability_zone=wish.availability_zone, hypervisor=wish.hypervisor
    )
    return host, [tell(host)]


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
    host = _in_session(host, report.session).but(
        report_sequence=report.sequence,
        inventory=report.inventory,
        claims=claims,
        heard_at=host.updated_at,
        alarm_at=host.updated_at + SUSPECT_S,
        clock_offset_s=report.clock_offset_s,
    )
    return host, [*sends, tell(host.but(life=UP))]


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


def suspect(host: Host, _: Tick) -> Step[Host]:
    host = host.but(alarm_at=host.heard_at + DOWN_S)
    return host, [tell(host.but(life=SUSPECT))]


def fall(host: Host, _: Tick) -> Step[Host]:
    return host, [tell(host.but(life=DOWN))]


def grant(host: Host, claim: ClaimHost) -> Step[Host]:
    older = host.claims.get(claim.instance)
    room = HeldRoom(claim.generation, claim.amount, host.updated_at, older.seen if older else None)
    host = host.but(claims={**_less(host, claim.instance), claim.instance: room})
    granted = HostClaimed(
        instance=claim.instance,
        generation=claim.generation,
        hostname=host.hostname,
        availability_zone=host.availability_zone,
    )
    return host, [Send(address("instance", claim.instance), granted), tell(host)]


def refuse(host: Host, claim: ClaimHost) -> Step[Host]:
    refused = ClaimRefused(
        instance=claim.instance, generation=claim.generation, reason=_objection(host, claim)
    )
    return host, [Send(address("instance", claim.instance), refused), tell(host)]


def free(host: Host, wish: ReleaseHost) -> Step[Host]:
    room = host.claims.get(wish.instance)
    if room is not None and room.generation <= wish.generation:
        host = host.but(claims=_less(host, wish.instance))
    released = {**host.released, wish.instance: max(wish.generation, host.released.get(wish.instance, 0))}
    while len(released) > TOMBSTONES_MAX:
        del released[next(iter(released))]
    host = host.but(released=released)
    answer = HostReleased(instance=wish.instance, generation=wish.generation)
    return host, [Send(address("instance", wish.instance), answer), tell(host)]


def keep(host: Host, stands: ClaimStands) -> Step[Host]:
    room = host.claims.get(stands.instance)
    if room is None or room.generation != stands.generation:
        return host, []
    return host.but(claims={**host.claims, stands.instance: replace(room, since=host.updated_at)}), []


def set_service(host: Host, wish: SetHostService) -> Step[Host]:
    host = host.but(
        disabled=host.disabled if wish.disabled is None else wish.disabled,
        disabled_reason=host.disabled_reason if wish.reason is None else wish.reason,
        forced_down=host.forced_down if wish.forced_down is None else wish.forced_down,
    )
    if wish.disabled is False:
        host = host.but(disabled_reason="")
    return host, [tell(host)]


def has_room(host: Host, claim: ClaimHost) -> bool:
    return not _objection(host, claim)


def _objection(host: Host, claim: ClaimHost) -> str:
    if claim.generation <= host.released.get(claim.instance, 0):
        return "this claim was released before it was made"
    if host.life != UP or host.forced_down:
        return f"the host is {'forced down' if host.forced_down else host.life}"
    if host.disabled:
        return "the host is disabled"
    if claim.instance in host.claims:
        host = host.but(claims=_less(host, claim.instance))
    return shortage(host, claim.amount)


def _less(host: Host, instance: str) -> dict[str, HeldRoom]:
    """The claims without this instance's; the very same when it has none."""
    if instance not in host.claims:
        return host.claims
    return {name: room for name, room in host.claims.items() if name != instance}


def guard(_: Host, __: Command, ___: Heard) -> Refused | None:
    return None


def relevant(host: Host, heard: Heard) -> bool:
    """An agent may only speak for its own host."""
    if kind_of(heard.sender) == "agent":
        return ident_of(heard.sender) == host.id
    return True


def columns(host: Host) -> tuple[Any, ...]:
    """The typed columns of ``compute.host``, in the order of store.kinds."""
    return (
        host.hostname,
        host.life,
        host.disabled,
        host.forced_down,
        host.availability_zone,
        host.heard_at,
        host.created_at,
        host.updated_at,
        msgspec.json.encode(view(host)).decode(),
    )


# fmt: off
LIFE = (
    # while    hearing         do           then
    on(ANY,      EnrolHost,      enrol,       ANY,     log="enrol"),
    on(UP,       Heartbeat,      hear,        UP,      when=fresh),
    on(ANY,      Heartbeat,      hear,        UP,      when=fresh, log="up"),
    on(UP,       HostReport,     take_report, UP,      when=fresh),
    on(ANY,      HostReport,     take_report, UP,      when=fresh, log="up"),
    on(ANY,      TellAgain,      tell_again,  ANY),
    on(UP,       Tick,           suspect,     SUSPECT, log="suspect"),
    on(SUSPECT,  Tick,           fall,        DOWN,    log="down"),
    on(ANY,      ClaimHost,      grant,       ANY,     when=has_room),
    on(ANY,      ClaimHost,      refuse,      ANY),
    on(ANY,      ReleaseHost,    free,        ANY),
    on(ANY,      ClaimStands,    keep,        ANY),
    on(ANY,      SetHostService, set_service, ANY,     log="service"),
)
# fmt: on

HOST: Kind[Host] = Kind(
    name="host",
    state=Host,
    births={EnrolHost: born},
    life=LIFE,
    settled=lambda host: host.life,
    guard=guard,
    relevant=relevant,
    project=lambda _: "",
    summary=summary,
    gone=lambda _: False,
    columns=columns,
)
