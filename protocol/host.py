"""What is said to a host's actor, and what it answers: enrolment, claims, service state, views."""

from typing import Literal

from msgspec import Struct

from protocol.command import Command
from protocol.guest import GuestImage, HostInventory, PowerState
from protocol.message import Message


class EnrolHost(Command, frozen=True, tag="operator.enrol_host"):
    """Make the host known under its identity. Repeating it changes nothing."""

    hostname: str
    availability_zone: str = "nova"
    hypervisor: str = "libvirt"


HostDuty = Literal["service", "disabled", "draining", "maintenance"]
"""What a host is for: new instances; none; none, and then maintenance; nothing at all until it is over."""


class SetHostService(Command, frozen=True, tag="gateway.set_host_service"):
    """Change what the host is for, with a reason, or whether it is fenced. None: leave as is.

    ``forced_down`` true is an operator's word that nothing runs there any more.
    """

    duty: HostDuty | None = None
    reason: str | None = None
    forced_down: bool | None = None


class HostAggregate(Struct, frozen=True):
    """An aggregate as its hosts know it. Metadata ``availability_zone`` is the zone of them all."""

    id: int
    name: str
    metadata: dict[str, str] = {}


class SetHostAggregates(Command, frozen=True, tag="gateway.set_host_aggregates"):
    """These are all the aggregates the host is in. Refused when that moved an instance to another zone."""

    aggregates: tuple[HostAggregate, ...]


class CacheImages(Command, frozen=True, tag="gateway.cache_images"):
    """Have the host download these images before a server needs them. Their URLs are empty here.

    Accepted: the agent is asked once. It is a hint; an image that is not there comes with the first server.
    """

    images: tuple[GuestImage, ...]


class RemoveHost(Command, frozen=True, tag="operator.remove_host"):
    """Forget the host for good. Refused while an instance has room on it."""


class HostClaimed(Message, frozen=True, tag="hostactor.claimed"):
    """The room is the instance's, under this generation, on this host of this availability zone."""

    instance: str
    generation: int
    hostname: str
    availability_zone: str = "nova"


class ClaimRefused(Message, frozen=True, tag="hostactor.claim_refused"):
    """No room (or not now). Nothing is held for this generation."""

    instance: str
    generation: int
    reason: str


class HostReleased(Message, frozen=True, tag="hostactor.released"):
    """The ledger holds nothing for this generation and never will again."""

    instance: str
    generation: int


class ConfirmClaim(Message, frozen=True, tag="hostactor.confirm_claim"):
    """Ask an instance whether a claim it has not spoken of for long still stands."""

    host: str
    instance: str
    generation: int


class GuestUnclaimed(Message, frozen=True, tag="hostactor.guest_unclaimed"):
    """A host has something of an instance that holds no claim on it: a guest, or only its tombstone."""

    host: str
    instance: str
    generation: int
    exists: bool


class HostFound(Message, frozen=True, tag="hostactor.guest_found"):
    """The host's report says this about the instance's guest; ``exists`` false: no trace of it.

    ``after`` is the number of the last command to the guest that was over then; ``session`` and ``sight``
    are the report's.
    """

    instance: str
    generation: int
    power_state: PowerState
    exists: bool = True
    reason: str = ""
    after: int = 0
    session: str = ""
    sight: int = 0
    rescued: bool = False


class TellAgain(Message, frozen=True, tag="instance.tell_again"):
    """The instance was busy when it was told of its guest: say it again with the next report.

    ``session`` and ``sight`` are those of what it was told: an older report is no answer to this.
    """

    instance: str
    generation: int
    session: str = ""
    sight: int = 0


class HostView(Struct, frozen=True, kw_only=True):
    """What a scheduler knows of a host. Usage in the same units as the inventory.

    ``building`` counts the instances whose guest no report has shown yet, ``groups`` those of a server
    group by its id.
    """

    host: str
    hostname: str
    state: str
    availability_zone: str
    inventory: HostInventory
    vcpus_used: int
    memory_mib_used: int
    disk_gib_used: int
    instances: int
    version: int
    cpu_ratio: float = 4.0
    memory_ratio: float = 1.0
    disk_ratio: float = 1.0
    duty: HostDuty = "service"
    reason: str = ""
    building: int = 0
    groups: dict[str, int] = {}
    aggregates: tuple[HostAggregate, ...] = ()

    @property
    def forced_down(self) -> bool:
        """Whether an operator has vouched that it is down."""
        return self.state == "fenced"


class HostChanged(Message, frozen=True, tag="hostactor.changed"):
    """To all schedulers: the host as it is now."""

    view: HostView
