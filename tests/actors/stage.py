"""What the tests of actors are told with: callers, requests, and one turn or several. Pure, no fixtures."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from actors.machine import Kind, decide
from actors.turn import ActorState, Decision, Event, Heard, OperationRecord, Send
from protocol.command import Caller, Command, Tick
from protocol.guest import GuestImage, HostInventory
from protocol.ids import Address, address, kind_of
from protocol.instance import (
    CreateInstance,
    Flavor,
    ResetInstance,
    ServerRequest,
    SoftDeleteInstance,
)
from protocol.message import Message

NOW: Final = 1_700_000_000.0
PROJECT_ID: Final = "b7f4a3c2d1e04f5f8a9b0c1d2e3f4a5b"
INSTANCE_ID: Final = "6f0c2f1e-8b1c-4a52-9a55-0d1f6d0a7c11"
IMAGE_ID: Final = "0a8cbe4b-1d7d-4d5a-8a57-4b8f1f0b6e01"
HOSTS: Final = tuple(f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 5))
GATEWAY: Final = address("gateway", "g1")
OWNER: Final = Caller(user="user-1", project=PROJECT_ID, request="req-1")
ADMIN: Final = Caller(user="admin-1", project="operators", request="req-2", admin=True)

SMALL: Final = Flavor(id="1", name="m1.small", vcpus=2, memory_mib=1024, disk_gib=10)
REQUEST: Final = ServerRequest(
    name="web",
    hostname="web",
    flavor=SMALL,
    image=GuestImage(image=IMAGE_ID, url="", sha512="00" * 64, size_bytes=1 << 20, disk_format="qcow2"),
)
CREATE_COMMAND: Final = CreateInstance(by=OWNER, instance=INSTANCE_ID, request=REQUEST)

_FIELDS: Final[dict[type[Command], dict[str, Any]]] = {
    SoftDeleteInstance: {"keep_s": 86_400.0},
    ResetInstance: {"state": "active"},
}


def command(kind: type[Message], by: Caller) -> Command:
    """One of this type as a gateway might say it."""
    assert issubclass(kind, Command)
    return kind(by=by, **_FIELDS.get(kind, {}))


S = TypeVar("S", bound=ActorState)
M = TypeVar("M", bound=Message)
Said: TypeAlias = Message | Heard | Callable[[S], Message | Heard]
"""Something to be heard: a message, one with its surroundings, or a function of the state at that time."""


def inventory(*, vcpus: int = 8, memory_mib: int = 16384, disk_gib: int = 200) -> HostInventory:
    """A host's totals."""
    return HostInventory(
        hostname="node", hypervisor_type="QEMU", hypervisor_version=8_000_000,
        vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib,
    )  # fmt: skip


def heard(message: Message, *, operation: str = "op-1", reply_to: str = GATEWAY, **more: Any) -> Heard:
    """A command as a gateway sends it."""
    return Heard(message, GATEWAY, operation, reply_to, **more)


def turn(
    kind: Kind[S], state: S | None, hearing: Said[Any], *, at: float = NOW, ident: str = INSTANCE_ID
) -> Decision[S]:
    """One turn; a bare message is heard without a sender and without an operation."""
    message = hearing if isinstance(hearing, Message | Heard) else hearing(state)
    return decide(kind, state, message if isinstance(message, Heard) else Heard(message), at, ident)


def walk(kind: Kind[S], state: S | None, *hearing: Said[Any], ident: str = INSTANCE_ID) -> Decision[S]:
    """Several turns, a second apart, each of which must change something; the last one's outcome."""
    assert hearing
    at = NOW if state is None or not state.updated_at else max(NOW, state.updated_at)
    for count, one in enumerate(hearing, 1):
        decision = turn(kind, state, one, at=at + count, ident=ident)
        assert decision.changed, f"{one} changed nothing while {state}"
        state = decision.state
    return decision


def reach(kind: Kind[S], state: S | None, *hearing: Said[Any], ident: str = INSTANCE_ID) -> S:
    """The state after several turns."""
    reached = walk(kind, state, *hearing, ident=ident).state
    assert reached is not None
    return reached


def deadline(state: ActorState) -> Heard:
    """What the runtime says when the step took too long; hear it at ``state.task.deadline``."""
    assert state.task is not None
    return Heard(Tick())


def told(decision: Decision[Any], *, to: str = "") -> list[str]:
    """The names of the messages that go out, in order; those to gateways only when asked for them."""
    return [
        type(send.message).__name__
        for send in decision.sends
        if (kind_of(send.to) == to if to else kind_of(send.to) != "gateway")
    ]


def answer_of(decision: Decision[Any]) -> Message:
    """The one answer to the gateway."""
    (found,) = [send.message for send in decision.sends if kind_of(send.to) == "gateway"]
    assert isinstance(found, Message)
    return found


def event_names(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def only(records: list[OperationRecord]) -> OperationRecord:
    (record,) = records
    return record


def to_agent(host: str) -> Address:
    return address("agent", host)


def sent(decision: Decision[Any], kind: type[Message]) -> Send:
    """The one send of a message of this type."""
    (found,) = [send for send in decision.sends if isinstance(send.message, kind)]
    return found


def said(decision: Decision[Any], kind: type[M]) -> M:
    """The one message of this type that goes out."""
    message = sent(decision, kind).message
    assert isinstance(message, kind)
    return message


def plain(state: Any) -> Any:
    """A state as its row would have it, for comparison."""
    return msgspec.to_builtins(state)
