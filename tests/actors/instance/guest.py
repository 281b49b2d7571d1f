"""An instance's surroundings as its tests play them: what schedulers, hosts and agents answer. Pure."""

from functools import cache
from typing import Any, Final

from actors.instance.kind import INSTANCE
from actors.instance.model import Instance, agent_of
from actors.turn import Heard, Send
from protocol.agent import (
    DestroyGuest,
    ForgetGuest,
    GuestCommand,
    GuestDestroyed,
    GuestFact,
    GuestFailed,
    GuestPaused,
    GuestRescued,
    GuestSeen,
    GuestStarted,
    GuestStopped,
    GuestSuspended,
    LookAtGuest,
    PauseGuest,
    RebootGuest,
    RescueGuest,
    ResumeGuest,
    SpawnGuest,
    StartGuest,
    StopGuest,
    SuspendGuest,
    UnpauseGuest,
    UnrescueGuest,
)
from protocol.errors import StepFailed
from protocol.guest import PowerState
from protocol.host import ClaimRefused, HostClaimed, HostReleased
from protocol.ids import address, kind_of
from protocol.instance import (
    ClaimHost,
    PauseInstance,
    PlaceInstance,
    ReleaseHost,
    RescueInstance,
    SoftDeleteInstance,
    StopInstance,
    SuspendInstance,
)
from protocol.message import Message
from protocol.scheduling import PlacementProposed
from tests.actors.stage import CREATE_COMMAND, HOSTS, OWNER, heard, reach

BROKEN: Final = StepFailed(code="hypervisor", reason="the hypervisor said no")
_ANSWERS: Final[dict[type[Message], type[GuestFact]]] = {
    SpawnGuest: GuestStarted,
    StartGuest: GuestStarted,
    RebootGuest: GuestStarted,
    UnpauseGuest: GuestStarted,
    StopGuest: GuestStopped,
    PauseGuest: GuestPaused,
    RescueGuest: GuestRescued,
    UnrescueGuest: GuestStarted,
    SuspendGuest: GuestSuspended,
    ResumeGuest: GuestStarted,
    DestroyGuest: GuestDestroyed,
}
_UNANSWERED: Final = {"gateway", "project"}


def operation_of(vm: Instance) -> str:
    return vm.task.operation if vm.task is not None else ""


def fact(kind: type[GuestFact], vm: Instance, **fields: Any) -> Heard:
    """The answer of the guest's agent to the present step."""
    assert vm.task is not None
    placed = vm.placements[-1]
    said = kind(instance=vm.id, generation=placed.generation, number=vm.task.number, **fields)
    return Heard(said, agent_of(placed), vm.task.operation)


def started(vm: Instance) -> Heard:
    return fact(GuestStarted, vm)


def stopped(vm: Instance) -> Heard:
    return fact(GuestStopped, vm)


def paused(vm: Instance) -> Heard:
    return fact(GuestPaused, vm)


def suspended(vm: Instance) -> Heard:
    return fact(GuestSuspended, vm)


def rescued(vm: Instance) -> Heard:
    return fact(GuestRescued, vm)


def destroyed(vm: Instance) -> Heard:
    return fact(GuestDestroyed, vm)


def failed(vm: Instance) -> Heard:
    """The agent could not do it."""
    return fact(GuestFailed, vm, code=BROKEN.code, reason=BROKEN.reason)


def seen(vm: Instance, power: PowerState = PowerState.RUNNING, *, exists: bool = True) -> Heard:
    """The agent's answer to LookAtGuest."""
    assert vm.task is not None
    return fact(GuestSeen, vm, power_state=power, exists=exists, after=vm.task.number)


def noticed(vm: Instance, power: PowerState, **fields: Any) -> Heard:
    """What the agent says unasked."""
    placed = vm.placements[-1]
    fields = {"after": vm.version, **fields}
    said = GuestSeen(instance=vm.id, generation=placed.generation, number=0, power_state=power, **fields)
    return Heard(said, agent_of(placed))


def proposed(*hosts: str) -> Any:
    """A scheduler's answer."""

    def said(vm: Instance) -> Heard:
        assert vm.task is not None
        answer = PlacementProposed(instance=vm.id, number=vm.task.number, hosts=hosts, considered=len(HOSTS))
        return Heard(answer, "scheduler/s1", vm.task.operation)

    return said


def claimed(vm: Instance) -> Heard:
    placed = vm.placements[-1]
    granted = HostClaimed(instance=vm.id, generation=placed.generation, hostname="node-1")
    return Heard(granted, address("host", placed.host), operation_of(vm))


def claim_refused(vm: Instance) -> Heard:
    placed = vm.placements[-1]
    said = ClaimRefused(instance=vm.id, generation=placed.generation, reason="the host is disabled")
    return Heard(said, address("host", placed.host), operation_of(vm))


def released(vm: Instance) -> Heard:
    placed = vm.placements[0]
    said = HostReleased(instance=vm.id, generation=placed.generation)
    return Heard(said, address("host", placed.host), operation_of(vm))


def healthy_answer(send: Send) -> Heard | None:
    """What a party that works says to this; None for what nobody answers. Raises LookupError if unknown."""
    said = send.message
    answer: Message
    match said:
        case PlaceInstance():
            hosts = tuple(host for host in HOSTS if host not in said.refused)
            answer = PlacementProposed(instance=said.instance, number=said.number, hosts=hosts, considered=4)
        case ClaimHost():
            answer = HostClaimed(instance=said.instance, generation=said.generation, hostname="node")
        case ReleaseHost():
            answer = HostReleased(instance=said.instance, generation=said.generation)
        case LookAtGuest():
            answer = GuestSeen(
                instance=said.instance, generation=said.generation, number=said.number,
                power_state=PowerState.RUNNING, after=said.number,
            )  # fmt: skip
        case UnrescueGuest() if said.stay_off:
            answer = GuestStopped(instance=said.instance, generation=said.generation, number=said.number)
        case ForgetGuest():
            return None
        case _ if type(said) in _ANSWERS:
            assert isinstance(said, GuestCommand)
            answer = _ANSWERS[type(said)](
                instance=said.instance, generation=said.generation, number=said.number
            )
        case _ if kind_of(send.to) in _UNANSWERED:
            return None
        case _:
            raise LookupError(f"tell the tests what answers {type(said).__name__}")
    sender = "scheduler/s1" if kind_of(send.to) == "scheduler" else send.to
    return Heard(answer, sender, send.operation)


@cache
def created() -> Instance:
    """One whose host has just been asked to make the guest."""
    return reach(INSTANCE, None, heard(CREATE_COMMAND), proposed(*HOSTS[:2]), claimed)


@cache
def active() -> Instance:
    return reach(INSTANCE, created(), started)


@cache
def off() -> Instance:
    return reach(INSTANCE, active(), heard(StopInstance(by=OWNER), operation="op-stop"), stopped)


@cache
def frozen() -> Instance:
    return reach(INSTANCE, active(), heard(PauseInstance(by=OWNER), operation="op-pause"), paused)


@cache
def saved() -> Instance:
    return reach(INSTANCE, active(), heard(SuspendInstance(by=OWNER), operation="op-suspend"), suspended)


@cache
def in_rescue() -> Instance:
    return reach(INSTANCE, active(), heard(RescueInstance(by=OWNER), operation="op-rescue"), rescued)


@cache
def aside() -> Instance:
    wish = SoftDeleteInstance(by=OWNER, keep_s=86_400.0)
    return reach(INSTANCE, active(), heard(wish, operation="op-soft-delete"), stopped)


@cache
def broken() -> Instance:
    """Launched once, its guest lost."""
    return reach(INSTANCE, active(), noticed(active(), PowerState.NOSTATE, exists=False))


@cache
def homeless() -> Instance:
    """Never placed: no host was found."""
    return reach(INSTANCE, None, heard(CREATE_COMMAND), proposed())


@cache
def uncleared() -> Instance:
    """Never launched, and the host that may hold its guest was silent."""
    return reach(INSTANCE, created(), BROKEN, BROKEN)


def settled() -> tuple[Instance, ...]:
    """One of each sort of instance on which nothing runs."""
    return (active(), off(), frozen(), saved(), in_rescue(), aside(), broken(), homeless(), uncleared())
