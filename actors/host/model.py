"""A host's state: what it has, who holds what of it, whether its agent lives, what it is for.

``life`` says whether the host answers, ``duty`` what operators use it for: a host in maintenance may be up or
down. The ledger is the only truth about room: a scheduler proposes, the host disposes. Invariant: the sum of
the claims never exceeds what the inventory and the ratios allow.
"""

from collections import Counter
from functools import cached_property
from typing import Final

import msgspec
from msgspec import Struct

from actors.turn import ActorState, Send
from protocol.guest import HostInventory, PowerState
from protocol.host import HostAggregate, HostChanged, HostDuty, HostView
from protocol.instance import Amount
from protocol.view import stamp

HEARTBEAT_S: Final = 10.0
SUSPECT_S: Final = 30.0
DOWN_S: Final = 60.0
CONFIRM_S: Final = 3600.0
"""A claim that no report has shown a guest for is asked after when it is this old."""
TOMBSTONES_MAX: Final = 256
"""Released generations remembered, against a claim that comes after its own release."""

SESSIONS_MAX: Final = 8
"""Runs of the agent before the present one whose late messages are known for what they are."""

ENROLLING: Final = "enrolling"
UP: Final = "up"
SUSPECT: Final = "suspect"
DOWN: Final = "down"
FENCED: Final = "fenced"
"""An operator has vouched that nothing runs there; what its agent says does not bring it up."""
REMOVED: Final = "removed"


class HeldRoom(Struct, frozen=True):
    """One granted claim.

    ``seen`` is the guest's power state in the host's last report, after command number ``after``. ``again``
    is the sight (a run of the agent, its number) from which on the busy instance wants to be told again.
    ``seated``: the ledger of ``group`` is to be told when it is given back.
    """

    generation: int
    amount: Amount
    since: float
    seen: PowerState | None = None
    after: int = 0
    again: tuple[str, int] | None = None
    group: str = ""
    seated: bool = False


class Host(ActorState, frozen=True, kw_only=True, dict=True):
    """One compute host."""

    hostname: str
    availability_zone: str = "nova"
    """The zone it was enrolled in, which holds unless an aggregate of it is a zone."""
    aggregates: tuple[HostAggregate, ...] = ()
    hypervisor: str = "libvirt"
    inventory: HostInventory | None = None
    session: str = ""
    sessions_before: tuple[str, ...] = ()
    report_sequence: int = 0
    heard_at: float = 0.0
    clock_offset_s: float = 0.0
    duty: HostDuty = "service"
    reason: str = ""
    claims: dict[str, HeldRoom] = {}
    released: dict[str, int] = {}
    cpu_ratio: float = 4.0
    memory_ratio: float = 1.0
    disk_ratio: float = 1.0

    @property
    def zone(self) -> str:
        """The availability zone it is in."""
        return zone_of(self.aggregates) or self.availability_zone

    @cached_property
    def taken(self) -> Amount:
        """The sum of the claims, worked out once for each state: a turn asks several times."""
        vcpus = memory = disk = 0
        for room in self.claims.values():
            amount = room.amount
            vcpus += amount.vcpus
            memory += amount.memory_mib
            disk += amount.disk_gib
        return Amount(vcpus, memory, disk)


def zone_of(aggregates: tuple[HostAggregate, ...]) -> str:
    """The zone these aggregates say; empty when none is a zone."""
    zones = (one.metadata.get("availability_zone", "") for one in aggregates)
    return next(filter(None, zones), "")


def used(host: Host) -> Amount:
    """What the claims add up to."""
    return host.taken


def shortage(host: Host, wanted: Amount) -> str:
    """Why the host has no room for this, in words; empty when it has."""
    have = host.inventory
    if have is None:
        return "the host has not reported what it has yet"
    taken = used(host)
    for name, total, held, more in (
        ("vCPUs", int(have.vcpus * host.cpu_ratio), taken.vcpus, wanted.vcpus),
        ("MiB of memory", int(have.memory_mib * host.memory_ratio), taken.memory_mib, wanted.memory_mib),
        ("GiB of disk", int(have.disk_gib * host.disk_ratio), taken.disk_gib, wanted.disk_gib),
    ):
        if held + more > total:
            return f"{more} {name} wanted, {total - held} of {total} free"
    return ""


def view(host: Host) -> HostView:
    """The host as schedulers and operators see it."""
    taken = used(host)
    nothing = HostInventory(
        hostname=host.hostname,
        hypervisor_type=host.hypervisor,
        hypervisor_version=0,
        vcpus=0,
        memory_mib=0,
        disk_gib=0,
    )
    return HostView(
        host=host.id,
        hostname=host.hostname,
        state=host.life,
        availability_zone=host.zone,
        inventory=host.inventory or nothing,
        vcpus_used=taken.vcpus,
        memory_mib_used=taken.memory_mib,
        disk_gib_used=taken.disk_gib,
        instances=len(host.claims),
        version=host.version,
        cpu_ratio=host.cpu_ratio,
        memory_ratio=host.memory_ratio,
        disk_ratio=host.disk_ratio,
        duty=host.duty,
        reason=host.reason,
        building=sum(room.seen is None for room in host.claims.values()),
        groups=dict(Counter(room.group for room in host.claims.values() if room.group)),
        aggregates=host.aggregates,
    )


def tell(host: Host) -> Send:
    """What every scheduler should know now."""
    return Send("schedulers/all", HostChanged(view=view(host)))


def summary(host: Host) -> bytes:
    """The data of an event about this host."""
    told = {
        "id": host.id,
        "hostname": host.hostname,
        "state": host.life,
        "duty": host.duty,
        "heard_at": stamp(host.heard_at),
    }
    return msgspec.json.encode(told)
