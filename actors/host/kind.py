"""The host's life as one table: enrolment, heartbeats and silence, claims and releases, reports."""

from typing import Any

import msgspec

from actors.host.ledger import free, free_last, grant, has_room, keep, refuse, was_drained
from actors.host.model import DOWN, ENROLLING, FENCED, REMOVED, SUSPECT, UP, Host, summary, tell, view
from actors.host.report import fall, fresh, hear, ignore, suspect, take_report, tell_again
from actors.host.service import (
    cache_images,
    fence,
    remove,
    set_aggregates,
    set_service,
    taken_back,
    unfence,
    vouched_down,
)
from actors.machine import ANY, Kind, on
from actors.turn import Heard, Step
from protocol.agent import Heartbeat, HostReport
from protocol.command import Command, Tick
from protocol.errors import Refused
from protocol.host import (
    CacheImages,
    EnrolHost,
    RemoveHost,
    SetHostAggregates,
    SetHostService,
    TellAgain,
)
from protocol.ids import ident_of, kind_of
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


def enrol(host: Host, wish: EnrolHost) -> Step[Host]:
    host = host.but(
        hostname=wish.hostname, availability_zone=wish.availability_zone, hypervisor=wish.hypervisor
    )
    return host, [tell(host)]


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
        host.duty != "service",
        host.life == FENCED,
        host.zone,
        host.heard_at,
        host.created_at,
        host.updated_at,
        msgspec.json.encode(view(host)).decode(),
    )


# fmt: off
LIFE = (
    # while    hearing         do           then
    on(REMOVED,  Heartbeat,      ignore,      ANY,     relay=True),
    on(REMOVED,  HostReport,     ignore,      ANY,     relay=True),
    on(ANY,      EnrolHost,      enrol,       ANY,     log="enrol"),
    on(UP,       Heartbeat,      hear,        UP,      when=fresh),
    on(FENCED,   Heartbeat,      hear,        FENCED,  when=fresh),
    on(ANY,      Heartbeat,      hear,        UP,      when=fresh, log="up"),
    on(UP,       HostReport,     take_report, UP,      when=fresh),
    on(FENCED,   HostReport,     take_report, FENCED,  when=fresh),
    on(ANY,      HostReport,     take_report, UP,      when=fresh, log="up"),
    on(ANY,      TellAgain,      tell_again,  ANY),
    on(UP,       Tick,           suspect,     SUSPECT, log="suspect"),
    on(SUSPECT,  Tick,           fall,        DOWN,    log="down"),
    on(ANY,      ClaimHost,      grant,       ANY,     when=has_room),
    on(ANY,      ClaimHost,      refuse,      ANY),
    on(ANY,      ReleaseHost,    free_last,   ANY,     when=was_drained, log="drained"),
    on(ANY,      ReleaseHost,    free,        ANY),
    on(ANY,      ClaimStands,    keep,        ANY),
    on(ANY,      SetHostService, fence,       FENCED,  when=vouched_down, log="service"),
    on(FENCED,   SetHostService, unfence,     SUSPECT, when=taken_back, log="service"),
    on(ANY,      SetHostService, set_service, ANY,     log="service"),
    on(ANY,      SetHostAggregates, set_aggregates, ANY, log="aggregates"),
    on(UP,       CacheImages,    cache_images, UP,     log="cache_images"),
    on(ANY,      RemoveHost,     remove,      REMOVED, log="remove"),
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
    gone=lambda host: host.life == REMOVED,
    columns=columns,
)
