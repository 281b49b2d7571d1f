"""What is said to an instance, and what it says to its project, its scheduler and its hosts.

Commands of tenants come from gateways; the instance is the only sender of claims and releases.
Amounts: vCPUs, memory in MiB, disk in GiB.
"""

from typing import Literal

from msgspec import Struct

from protocol.command import Command
from protocol.guest import GuestImage, GuestNic
from protocol.message import Message


class Amount(Struct, frozen=True):
    """What an instance takes from a host and from its project's quota."""

    vcpus: int
    memory_mib: int
    disk_gib: int


class Flavor(Struct, frozen=True, kw_only=True):
    """The flavor as it was at the time of the request; the API shows it embedded from 2.47 on."""

    id: str
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    ephemeral_gib: int = 0
    swap_mib: int = 0
    extra_specs: dict[str, str] = {}


GroupPolicy = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]


class ServerGroup(Struct, frozen=True):
    """The server group an instance was made in. ``per_host``: members on one host under anti-affinity."""

    id: str
    policy: GroupPolicy
    per_host: int = 1

    @property
    def is_binding(self) -> bool:
        """Whether a member is rather not made than against the policy."""
        return not self.policy.startswith("soft-")


class ServerRequest(Struct, frozen=True, kw_only=True):
    """A server as it was asked for, references already resolved by the gateway.

    ``same_hosts`` and ``different_hosts`` are where the servers of those hints were; None: there is no hint.
    """

    name: str
    flavor: Flavor
    image: GuestImage | None
    image_properties: dict[str, str] = {}
    hostname: str = ""
    description: str | None = None
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    key_name: str | None = None
    public_keys: dict[str, str] = {}
    user_data: str = ""
    config_drive: bool = False
    nics: tuple[GuestNic, ...] = ()
    network_names: dict[str, str] = {}
    security_groups: tuple[str, ...] = ("default",)
    availability_zone: str = ""
    hints: dict[str, str | list[str]] = {}
    forced_host: str = ""
    group: ServerGroup | None = None
    same_hosts: tuple[str, ...] | None = None
    different_hosts: tuple[str, ...] = ()
    trusted_certificates: tuple[str, ...] = ()
    disk_config: str = "MANUAL"
    access_ipv4: str = ""
    access_ipv6: str = ""
    reservation: str = ""
    launch_index: int = 0


class CreateInstance(Command, frozen=True, tag="gateway.create_instance"):
    """Begin an instance. Reaches it through its project, which has reserved the quota."""

    instance: str
    request: ServerRequest


class DeleteInstance(Command, frozen=True, tag="gateway.delete_instance"):
    """End an instance, whatever it is doing."""


class StartInstance(Command, frozen=True, tag="gateway.start_instance"):
    """Power on a stopped instance."""


class StopInstance(Command, frozen=True, tag="gateway.stop_instance"):
    """Power off: ACPI, asked again, then force."""


class RebootInstance(Command, frozen=True, tag="gateway.reboot_instance"):
    """Soft reboot: the guest's own restart, a hard one when it does not react."""


class HardRebootInstance(Command, frozen=True, tag="gateway.hard_reboot_instance"):
    """Cycle the power: the universal repair, from nearly every state."""


class PauseInstance(Command, frozen=True, tag="gateway.pause_instance"):
    """Freeze in host memory."""


class UnpauseInstance(Command, frozen=True, tag="gateway.unpause_instance"):
    """Go on after a pause."""


class SuspendInstance(Command, frozen=True, tag="gateway.suspend_instance"):
    """Save the memory to the host's disk and power off."""


class ResumeInstance(Command, frozen=True, tag="gateway.resume_instance"):
    """Go on after a suspension."""


class RescueInstance(Command, frozen=True, tag="gateway.rescue_instance"):
    """Boot from ``image``, the instance's own when None, with the instance's disk beside it."""

    image: GuestImage | None = None
    own_first: bool = False


class UnrescueInstance(Command, frozen=True, tag="gateway.unrescue_instance"):
    """Boot from the instance's own disk again."""


class SoftDeleteInstance(Command, frozen=True, tag="gateway.soft_delete_instance"):
    """Power off and put aside; after ``keep_s`` seconds it is deleted unless restored before."""

    keep_s: float


class RestoreInstance(Command, frozen=True, tag="gateway.restore_instance"):
    """Take back a soft deletion."""


class ResetInstance(Command, frozen=True, tag="gateway.reset_instance"):
    """Drop what runs. ``active``: be what the hypervisor has; ``error``: declare it broken."""

    state: Literal["active", "error"]


class UpdateInstance(Command, frozen=True, tag="gateway.update_instance"):
    """Change what has no effect on the guest. ``None``: leave as it is.

    ``metadata`` and ``tags`` replace the whole set; the gateway merges before when only some of it
    changes, and ``metadata_seen`` or ``tags_seen`` (the set it merged into) makes a lost race a conflict
    instead of a lost update.
    """

    name: str | None = None
    hostname: str | None = None
    description: str | None = None
    clear_description: bool = False
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    disk_config: str | None = None
    metadata: dict[str, str] | None = None
    metadata_seen: dict[str, str] | None = None
    tags: tuple[str, ...] | None = None
    tags_seen: tuple[str, ...] | None = None
    leave_group: str = ""


class LockInstance(Command, frozen=True, tag="gateway.lock_instance"):
    """Refuse changes by non-admins from now on."""

    reason: str | None = None


class UnlockInstance(Command, frozen=True, tag="gateway.unlock_instance"):
    """Allow changes again. The owner may undo the owner's lock; an admin's lock needs an admin."""


class ReadConsole(Command, frozen=True, tag="gateway.read_console"):
    """Ask for the end of the serial console's log; changes nothing.

    Answered by ``ConsoleRead`` to ``reply_to``, under ``ticket`` as its operation.
    """

    bytes_max: int
    reply_to: str
    ticket: str


class PlaceInstance(Message, frozen=True, tag="instance.place"):
    """Ask a scheduler for hosts, best first. ``refused`` lists those that just refused a claim.

    ``together``: where the group's ledger has just said that the instance must go.
    """

    instance: str
    project: str
    number: int
    amount: Amount
    availability_zone: str = ""
    forced_host: str = ""
    image_properties: dict[str, str] = {}
    extra_specs: dict[str, str] = {}
    hints: dict[str, str | list[str]] = {}
    refused: tuple[str, ...] = ()
    group: ServerGroup | None = None
    together: tuple[str, ...] = ()
    same_hosts: tuple[str, ...] | None = None
    different_hosts: tuple[str, ...] = ()


class ClaimHost(Message, frozen=True, tag="instance.claim_host"):
    """Ask a host for room. The instance has committed (host, generation) before it says this.

    ``seated``: the ledger of ``group`` passed it on, and is to hear when the room is free again.
    """

    instance: str
    generation: int
    amount: Amount
    group: str = ""
    seated: bool = False


class ReleaseHost(Message, frozen=True, tag="instance.release_host"):
    """Give the room of this generation back, whether or not the claim was ever granted."""

    instance: str
    generation: int


class ClaimStands(Message, frozen=True, tag="instance.claim_stands"):
    """Answer to ``ConfirmClaim``: this generation is the one in use."""

    instance: str
    generation: int


class ReturnQuota(Message, frozen=True, tag="instance.return_quota"):
    """Tell the project that the instance is gone for good and its reservation is free. Said once."""

    instance: str
    amount: Amount
