"""An instance's state, its words, and the small moves that several operations share.

``vm_state`` is settled, the task's state is under way, ``power_state`` is what the hypervisor said last;
they are never merged. Source: Compute API, server states.
"""

from enum import StrEnum
from typing import Final, TypedDict

from msgspec import Struct
from msgspec.structs import replace

from actors.turn import ActorState, Heard, Send, Step, Task
from protocol.agent import DestroyGuest, ForgetGuest, GuestCommand, GuestProgress
from protocol.guest import GuestSpec, PowerState
from protocol.ids import address
from protocol.instance import Amount, ReleaseHost, ServerRequest

PLACEMENTS_MAX: Final = 3
"""Hosts on which a build is tried before it fails; a refused claim is not a try."""
OPEN: Final = "open"
GONE: Final = "gone"


class V(StrEnum):
    """Settled states (``OS-EXT-STS:vm_state``)."""

    BUILDING = "building"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    RESCUED = "rescued"
    SOFT_DELETED = "soft-delete"
    DELETED = "deleted"
    ERROR = "error"


class T(StrEnum):
    """Task states. Those the API does not know are shown under the name in ``SHOWN``."""

    SCHEDULING = "scheduling"
    CLAIMING = "claiming"
    SPAWNING = "spawning"
    CLEARING = "clearing"
    DELETING = "deleting"
    DELETING_AGAIN = "deleting_again"
    RELEASING = "releasing"
    POWERING_ON = "powering-on"
    POWERING_OFF = "powering-off"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    SUSPENDING = "suspending"
    RESUMING = "resuming"
    RESCUING = "rescuing"
    RESCUE_UNDOING = "rescue_undoing"
    UNRESCUING = "unrescuing"
    SOFT_DELETING = "soft-deleting"
    RESTORING = "restoring"
    LOOKING = "looking"


DELETION: Final = frozenset({T.DELETING, T.DELETING_AGAIN, T.RELEASING})
"""Task states of a deletion: it never gives up, so nothing pushes it aside."""


class Placement(Struct, frozen=True):
    """A generation of the instance on a host, from before the claim until the host released it.

    ``spawned`` is set before the agent is first told of it: from then on a guest may exist there.
    """

    host: str
    generation: int
    hostname: str = ""
    spawned: bool = False
    zone: str = "nova"


class Fault(Struct, frozen=True):
    """Why the instance is not as it was asked to be, in words for the tenant."""

    code: int
    message: str
    at: float
    details: str = ""


class Instance(ActorState, frozen=True, kw_only=True):
    """One instance. ``placements`` holds every host that may still hold something of it, newest last.

    ``heard`` is the number of the last command whose outcome is in ``power_state``: what was seen before
    it was over says nothing any more. ``session`` and ``sight`` say the same of what was seen unasked since.
    ``keep_s`` is how long it is kept once soft deleted.
    """

    project: str
    user: str
    request: ServerRequest
    vm_state: V = V.BUILDING
    power_state: PowerState = PowerState.NOSTATE
    generation: int = 0
    heard: int = 0
    session: str = ""
    sight: int = 0
    placements: tuple[Placement, ...] = ()
    candidates: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    attempts: int = 0
    fault: Fault | None = None
    locked_by: str = ""
    locked_reason: str | None = None
    launched_at: float | None = None
    deleted_at: float | None = None
    keep_s: float = 0.0

    @property
    def here(self) -> Placement | None:
        """The placement in use, or None before one is chosen."""
        newest = self.placements[-1] if self.placements else None
        return newest if newest is not None and newest.generation == self.generation else None

    @property
    def amount(self) -> Amount:
        """What it takes from a host and from the quota."""
        flavor = self.request.flavor
        return Amount(flavor.vcpus, flavor.memory_mib, flavor.disk_gib + flavor.ephemeral_gib)


def agent_of(placement: Placement) -> str:
    """The address of the agent a placement is on."""
    return address("agent", placement.host)


def to_guest(vm: Instance, command: GuestCommand) -> Send:
    """A command to the agent of the placement in use. Raises LookupError when there is none."""
    if vm.here is None:
        raise LookupError(f"instance {vm.id} has no host")
    return Send(agent_of(vm.here), command)


class Pair(TypedDict):
    """What identifies a command to an agent: higher (generation, number) supersedes lower."""

    instance: str
    generation: int
    number: int


def pair(vm: Instance) -> Pair:
    """The identity of a command to the guest in use, said in this turn."""
    return {"instance": vm.id, "generation": vm.generation, "number": vm.version}


def guest_spec(vm: Instance) -> GuestSpec:
    """What an agent needs to make this guest, now and again."""
    request = vm.request
    return GuestSpec(
        instance=vm.id,
        generation=vm.generation,
        project=vm.project,
        name=request.name,
        hostname=request.hostname,
        vcpus=request.flavor.vcpus,
        memory_mib=request.flavor.memory_mib,
        disk_gib=request.flavor.disk_gib,
        image=request.image,
        nics=request.nics,
        user_data=request.user_data,
        public_keys=request.public_keys,
        metadata=request.metadata,
        launch_index=request.launch_index,
        availability_zone=vm.here.zone if vm.here else request.availability_zone or "nova",
    )


def destroy(vm: Instance, placement: Placement) -> Send:
    """The order to remove whatever this placement left on its host."""
    return Send(
        agent_of(placement), DestroyGuest(instance=vm.id, generation=placement.generation, number=vm.version)
    )


def forget(vm: Instance, placement: Placement) -> Send:
    """The word that the host's agent need not remember this placement's end any longer."""
    order = ForgetGuest(instance=vm.id, generation=placement.generation, number=vm.version)
    return Send(agent_of(placement), order)


def note_progress(vm: Instance, _: GuestProgress) -> Step[Instance]:
    """The step goes on: its deadline begins anew, which is all there is to do."""
    return vm, []


def release(vm: Instance, placement: Placement) -> Send:
    """The order to give this placement's room back."""
    return Send(address("host", placement.host), ReleaseHost(instance=vm.id, generation=placement.generation))


def placement_of(vm: Instance, heard: Heard) -> Placement | None:
    """The placement an agent's fact or a host's answer is about, or None for one that is over."""
    generation = getattr(heard.message, "generation", None)
    host = heard.sender.partition("/")[2]
    return next((p for p in vm.placements if (p.host, p.generation) == (host, generation)), None)


def mended(vm: Instance) -> Task | None:
    """The task without its failure: what went wrong on the way came right in the end."""
    return None if vm.task is None else replace(vm.task, failure="")


def without(vm: Instance, host: str, generation: int) -> tuple[Placement, ...]:
    """The placements less this one."""
    return tuple(p for p in vm.placements if (p.host, p.generation) != (host, generation))
