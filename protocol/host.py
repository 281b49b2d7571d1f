"""What is said to a host's actor, and what it answers: enrolment, claims, service state, views."""

from msgspec import Struct

from protocol.command import Command
from protocol.guest import HostInventory, PowerState
from protocol.message import Message


class EnrolHost(Command, frozen=True, tag="operator.enrol_host"):
    """Make the host known under its identity. Repeating it changes nothing."""

    hostname: str
    availability_zone: str = "nova"
    hypervisor: str = "libvirt"


class SetHostService(Command, frozen=True, tag="gateway.set_host_service"):
    """Enable, disable (with a reason) or force the host's compute service down. None: leave as is."""

    disabled: bool | None = None
    reason: str | None = None
    forced_down: bool | None = None


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
    """What a scheduler knows of a host. Usage in the same units as the inventory."""

    host: str
    hostname: str
    state: str
    disabled: bool
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
    forced_down: bool = False
    disabled_reason: str = ""


class HostChanged(Message, frozen=True, tag="hostactor.changed"):
    """To all schedulers: the host as it is now."""

    view: HostView
