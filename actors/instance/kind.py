"""The instance as the runtime knows it: how it is born, what it refuses, what it hears when idle."""

from typing import Any, Final

from msgspec.structs import replace

from actors.instance.model import GONE, OPEN, Instance, Placement, V, destroy, forget, placement_of
from actors.instance.operations.create import CREATE
from actors.instance.operations.delete import DELETE
from actors.instance.operations.look import as_seen
from actors.instance.operations.pause import PAUSE, UNPAUSE
from actors.instance.operations.reboot import REBOOT, REBOOT_HARD
from actors.instance.operations.rescue import RESCUE, UNRESCUE
from actors.instance.operations.reset import RESET
from actors.instance.operations.soft_delete import (
    RESTORE,
    SOFT_DELETE,
    is_aside,
    is_busy_aside,
    reclaim,
    wait,
)
from actors.instance.operations.start import START
from actors.instance.operations.stop import STOP
from actors.instance.operations.suspend import RESUME, SUSPEND
from actors.instance.view import columns, summary
from actors.machine import ANY, Kind, on
from actors.turn import Heard, Refusal, Send, Step
from protocol.agent import ConsoleRead, GuestConsole, GuestFact, GuestSeen, ReadGuestConsole
from protocol.command import Command, Tick
from protocol.errors import Refused
from protocol.group import SeatRefused
from protocol.host import (
    ClaimRefused,
    ConfirmClaim,
    GuestUnclaimed,
    HostClaimed,
    HostFound,
    HostReleased,
    TellAgain,
)
from protocol.ids import address, kind_of
from protocol.instance import (
    ClaimStands,
    CreateInstance,
    DeleteInstance,
    LockInstance,
    ReadConsole,
    ReleaseHost,
    ResetInstance,
    SoftDeleteInstance,
    UnlockInstance,
    UpdateInstance,
)
from protocol.message import Message
from protocol.scheduling import PlacementProposed

_SETTLED: Final = frozenset({V.ACTIVE, V.PAUSED, V.STOPPED, V.SUSPENDED})
"""Where metadata and tags may be changed."""
_AS_SEEN: Final = _SETTLED | {V.RESCUED}
"""Where an idle instance is what the hypervisor says of its guest."""
_UNLOCKED = (CreateInstance, LockInstance, UnlockInstance, ReadConsole, UpdateInstance, ResetInstance)
"""Commands that pass the lock."""
_NO_GUEST = (
    *(CreateInstance, LockInstance, UnlockInstance, UpdateInstance),
    *(DeleteInstance, SoftDeleteInstance, ResetInstance),
)
"""Commands to an instance that need not be on a host."""
_NEVER_RAN = (*_NO_GUEST[:5], ResetInstance, ReadConsole)
"""Commands to an instance that need not ever have been launched."""


def born(message: CreateInstance, ident: str, now: float) -> Instance:
    by = message.by
    return Instance(
        id=ident,
        life=OPEN,
        created_at=now,
        updated_at=now,
        project=by.project,
        user=by.user,
        request=message.request,
    )


def guard(vm: Instance, command: Command, _: Heard) -> Refused | None:
    """The lock, then the host, in the API's order. An admin passes the lock."""
    kind = type(command)
    if vm.locked_by and not command.by.admin and kind not in _UNLOCKED:
        return Refused(
            code="conflict", reason=f"Instance {vm.id} is locked", attribute="locked", value="true"
        )
    if kind not in _NO_GUEST and not (vm.here and vm.here.spawned):
        return Refused(code="conflict", reason=f"Instance {vm.id} has no host", attribute="host", value="")
    started = vm.launched_at is not None or kind in _NEVER_RAN
    if not started and vm.task is None and vm.vm_state is V.ERROR:
        reason = f"Instance {vm.id} was never launched"
        return Refused(code="conflict", reason=reason, attribute="launched_at", value="None")
    return None


def relevant(vm: Instance, heard: Heard) -> bool:
    """Whether a fact is about a placement we still have and about the present step."""
    message = heard.message
    if isinstance(message, PlacementProposed):
        return vm.task is not None and message.number == vm.task.number
    if isinstance(message, ConfirmClaim):
        return True
    if isinstance(message, SeatRefused):
        return message.generation == vm.generation
    if isinstance(message, GuestFact | GuestConsole | HostClaimed | ClaimRefused | HostReleased | HostFound):
        return placement_of(vm, heard) is not None and _present(vm, message)
    return True


def _present(vm: Instance, message: Message) -> bool:
    if isinstance(message, GuestFact) and not (isinstance(message, GuestSeen) and message.number == 0):
        return vm.task is not None and message.number == vm.task.number
    if isinstance(message, GuestSeen | HostFound) and _outdated(vm, message):
        return False
    if isinstance(message, GuestSeen | HostFound | HostClaimed | ClaimRefused):
        return message.generation == vm.generation
    return True


def _outdated(vm: Instance, seen: GuestSeen | HostFound) -> bool:
    """Something newer is known: a command that was over later, or a later sight of the same agent."""
    if seen.session == vm.session and seen.sight < vm.sight and seen.after <= vm.heard:
        return True
    return seen.exists and seen.after < vm.heard


def _now_seen(vm: Instance, seen: GuestSeen | HostFound) -> Instance:
    vm = vm.but(heard=max(vm.heard, seen.after), session=seen.session, sight=seen.sight)
    return as_seen(vm, seen)


def notice(vm: Instance, seen: GuestSeen) -> Step[Instance]:
    """The hypervisor's word, unasked: it is the authority on what runs.

    The host does not know of it; its next report tells what is so then, should a later word be lost.
    """
    return _now_seen(vm, seen), [_tell_again(vm, seen)]


def notice_report(vm: Instance, found: HostFound) -> Step[Instance]:
    return _now_seen(vm, found), []


def idle(vm: Instance, seen: GuestSeen | HostFound) -> bool:
    """Nothing runs, the guest is ours to speak of, and what is seen differs."""
    settled = vm.task is None and vm.vm_state in _AS_SEEN
    differs = seen.power_state is not vm.power_state or seen.rescued is not (vm.vm_state is V.RESCUED)
    return settled and (differs or not seen.exists)


def busy(vm: Instance, _: GuestSeen | HostFound) -> bool:
    """A task is under way whose end will say what the guest is, or not."""
    return vm.task is not None and vm.task.name != DELETE.name


def ask_again(vm: Instance, seen: GuestSeen | HostFound) -> Step[Instance]:
    """What is seen now may be news when the task is over: hear it again then, or what is newer."""
    return vm, [_tell_again(vm, seen)]


def _tell_again(vm: Instance, seen: GuestSeen | HostFound) -> Send:
    wish = TellAgain(instance=vm.id, generation=seen.generation, session=seen.session, sight=seen.sight)
    return Send(address("host", _here(vm).host), wish)


def stands(vm: Instance, asked: ConfirmClaim) -> Step[Instance]:
    """Answer a host that asks after a claim: it stands, or it may go."""
    held = any(p.generation == asked.generation for p in vm.placements)
    answer: Message = (ClaimStands if held else ReleaseHost)(instance=vm.id, generation=asked.generation)
    return vm, [Send(address("host", asked.host), answer)]


def disown(vm: Instance, left: GuestUnclaimed) -> Step[Instance]:
    """What is left on a host where we have no place: the guest is to go, then its tombstone."""
    there = Placement(left.host, left.generation, "")
    return vm, [destroy(vm, there) if left.exists else forget(vm, there)]


def elsewhere(vm: Instance, left: GuestUnclaimed) -> bool:
    """Nothing of ours is meant to be there."""
    return all((p.host, p.generation) != (left.host, left.generation) for p in vm.placements)


def not_claimed(vm: Instance, refused: ClaimRefused) -> Step[Instance]:
    """A claim that nothing waits for any more was not granted: the host holds nothing."""
    kept = tuple(p for p in vm.placements if p.generation != refused.generation)
    return vm.but(placements=kept), []


def not_deleting(vm: Instance, _: Message) -> bool:
    """A deletion waits for each of its releases itself."""
    return vm.task is None or vm.task.name != DELETE.name


_PLAIN: Final = ("name", "hostname", "access_ipv4", "access_ipv6", "disk_config", "metadata", "tags")


def update(vm: Instance, wish: UpdateInstance) -> Step[Instance]:
    request = vm.request
    if wish.metadata is not None:
        _may_set(vm, "metadata", changed=wish.metadata_seen not in (None, request.metadata))
    if wish.tags is not None:
        _may_set(vm, "tags", changed=wish.tags_seen not in (None, request.tags))
    changes: dict[str, Any] = {
        name: getattr(wish, name) for name in _PLAIN if getattr(wish, name) is not None
    }
    if wish.clear_description or wish.description is not None:
        changes["description"] = None if wish.clear_description else wish.description
    if wish.leave_group and request.group is not None and request.group.id == wish.leave_group:
        changes["group"] = None
    return vm.but(request=replace(request, **changes)), []


def _may_set(vm: Instance, name: str, *, changed: bool) -> None:
    """Refuse to replace metadata or tags that changed meanwhile, or in a state where they are fixed."""
    if changed:
        raise Refusal("conflict", f"The {name} changed meanwhile; read it and ask again", name, "changed")
    if vm.vm_state not in _SETTLED:
        reason = f"Cannot 'update {name}' instance {vm.id} while it is in vm_state {vm.vm_state}"
        raise Refusal("conflict", reason, "vm_state", vm.vm_state)


def lock(vm: Instance, wish: LockInstance) -> Step[Instance]:
    # An owner's second lock is a silent success; an admin's stands above an owner's.
    owner = wish.by.project == vm.project
    if vm.locked_by and owner:
        return vm, []
    return vm.but(locked_by="owner" if owner else "admin", locked_reason=wish.reason), []


def unlock(vm: Instance, wish: UnlockInstance) -> Step[Instance]:
    if vm.locked_by == "admin" and not wish.by.admin:
        raise Refusal(
            "forbidden", "An administrator locked this server; only one may unlock it", "locked", "admin"
        )
    return vm.but(locked_by="", locked_reason=None), []


def read_console(vm: Instance, wish: ReadConsole) -> Step[Instance]:
    here = _here(vm)
    question = ReadGuestConsole(
        instance=vm.id,
        generation=here.generation,
        bytes_max=wish.bytes_max,
        reply_to=wish.reply_to,
        operation=wish.ticket,
    )
    return vm, [Send(address("agent", here.host), question)]


def pass_console(vm: Instance, read: GuestConsole) -> Step[Instance]:
    if kind_of(read.reply_to) != "gateway":
        return vm, []
    return vm, [Send(read.reply_to, ConsoleRead(text=read.text, error=read.error), read.operation)]


def _here(vm: Instance) -> Placement:
    if vm.here is None:
        raise Refusal("conflict", f"Instance {vm.id} has no host", "host", "")
    return vm.here


# fmt: off
LIFE = (
    # while  hearing          do             then
    on(OPEN,   UpdateInstance,  update,        ANY, log="update"),
    on(OPEN,   LockInstance,    lock,          ANY, log="lock"),
    on(OPEN,   UnlockInstance,  unlock,        ANY, log="unlock"),
    on(OPEN,   ReadConsole,     read_console,  ANY, relay=True),
    on(OPEN,   GuestConsole,    pass_console,  ANY, relay=True),
    on(OPEN,   GuestSeen,       notice,        ANY, when=idle, log="power_update"),
    on(OPEN,   HostFound,       notice_report, ANY, when=idle, log="power_update"),
    on(OPEN,   GuestSeen,       ask_again,     ANY, when=busy, relay=True),
    on(OPEN,   HostFound,       ask_again,     ANY, when=busy, relay=True),
    on(OPEN,   Tick,            reclaim,       ANY, when=is_aside, log="reclaim"),
    on(OPEN,   Tick,            wait,          ANY, when=is_busy_aside),
    on(OPEN,   ClaimRefused,    not_claimed,   ANY, when=not_deleting),
    on(ANY,    ConfirmClaim,    stands,        ANY, relay=True),
    on(ANY,    GuestUnclaimed,  disown,        ANY, when=elsewhere, relay=True),
)
# fmt: on

INSTANCE: Kind[Instance] = Kind(
    name="instance",
    state=Instance,
    births={CreateInstance: born},
    operations=(
        *(CREATE, DELETE, SOFT_DELETE, RESTORE, RESET),
        *(START, STOP, REBOOT, REBOOT_HARD, PAUSE, UNPAUSE, SUSPEND, RESUME, RESCUE, UNRESCUE),
    ),
    life=LIFE,
    settled=lambda vm: vm.vm_state.value,
    guard=guard,
    relevant=relevant,
    project=lambda vm: vm.project,
    summary=summary,
    gone=lambda vm: vm.life == GONE,
    columns=columns,
)
