"""What operators do with a host: use it for something else, vouch that it is down, remove it.

What is only passed on to the agent changes nothing here.
"""

from actors.host.model import DOWN_S, FENCED, REMOVED, SUSPECT, Host, tell, zone_of
from actors.turn import Refusal, Send, Step
from protocol.agent import CacheImage
from protocol.host import CacheImages, RemoveHost, SetHostAggregates, SetHostService
from protocol.ids import address


def set_service(host: Host, wish: SetHostService) -> Step[Host]:
    duty = wish.duty or host.duty
    if duty == "maintenance" and host.claims:
        raise _occupied(host)
    if duty == "draining" and not host.claims:
        duty = "maintenance"
    reason = host.reason if wish.reason is None else wish.reason
    host = host.but(duty=duty, reason="" if duty == "service" else reason)
    return host, [tell(host)]


def set_aggregates(host: Host, wish: SetHostAggregates) -> Step[Host]:
    zone = zone_of(wish.aggregates) or host.availability_zone
    if zone != host.zone and host.claims:
        # A server keeps the zone it was made in.
        reason = f"Host {host.hostname} has instances in availability zone {host.zone}"
        raise Refusal("conflict", reason, "availability_zone", host.zone)
    host = host.but(aggregates=wish.aggregates)
    return host, [tell(host)]


def fence(host: Host, wish: SetHostService) -> Step[Host]:
    host, _ = set_service(host.but(alarm_at=None), wish)
    return host, [tell(host.but(life=FENCED))]


def unfence(host: Host, wish: SetHostService) -> Step[Host]:
    """It is what its agent makes of it: up when it is heard, down when it stays silent."""
    host, _ = set_service(host, wish)
    host = host.but(alarm_at=max(host.heard_at + DOWN_S, host.updated_at))
    return host, [tell(host.but(life=SUSPECT))]


def cache_images(host: Host, wish: CacheImages) -> Step[Host]:
    agent = address("agent", host.id)
    return host, [Send(agent, CacheImage(image=image)) for image in wish.images]


def vouched_down(_: Host, wish: SetHostService) -> bool:
    return wish.forced_down is True


def taken_back(_: Host, wish: SetHostService) -> bool:
    return wish.forced_down is False


def remove(host: Host, _: RemoveHost) -> Step[Host]:
    if host.claims:
        raise _occupied(host)
    host = host.but(alarm_at=None)
    return host, [tell(host.but(life=REMOVED))]


def _occupied(host: Host) -> Refusal:
    count = len(host.claims)
    return Refusal("conflict", f"Host {host.hostname} still has {count} instances", "claims", str(count))
