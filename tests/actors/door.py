"""A toy kind of actor for the tests of the machine: a door that opens over many turns and has a lock. Pure.

It speaks with the messages of instances so that no message exists for tests alone.
"""

from typing import Any, Final

from actors.machine import ANY, Kind, Operation, on, operation
from actors.turn import ActorState, Heard, Refusal, Send, Step
from protocol.agent import GuestConsole, GuestPaused, GuestProgress, GuestStarted, StartGuest, StopGuest
from protocol.command import Command, Tick
from protocol.errors import Refused, StepFailed
from protocol.guest import GuestSpec
from protocol.host import ConfirmClaim
from protocol.ids import address
from protocol.instance import (
    ClaimStands,
    CreateInstance,
    DeleteInstance,
    LockInstance,
    PauseInstance,
    ReadConsole,
    StartInstance,
    StopInstance,
    UnlockInstance,
    UpdateInstance,
)
from protocol.message import Message
from tests.actors.stage import HOSTS

SHUT, OPEN, AJAR, GONE = "shut", "open", "ajar", "gone"
OPENING, CLOSING = "opening", "closing"
OPENING_S, CLOSING_S = 50.0, 20.0
CLOSER: Final = address("agent", HOSTS[0])
NEIGHBOUR: Final = address("host", HOSTS[0])
SPEC: Final = GuestSpec(
    instance="d", generation=1, project="p", name="d", hostname="d",
    vcpus=1, memory_mib=1, disk_gib=1, image=None,
)  # fmt: skip


class Door(ActorState, frozen=True, kw_only=True):
    """``word`` is settled; ``stuck`` makes the steps of opening refuse or break."""

    word: str = SHUT
    locked: bool = False
    stuck: str = ""
    knocks: int = 0


def born(_: Message, ident: str, now: float) -> Door:
    return Door(id=ident, life="hung", created_at=now, updated_at=now)


def push(door: Door, _: Message) -> Step[Door]:
    if door.stuck == "refuses":
        raise Refusal("invalid", "the door is stuck", "stuck", "true")
    if door.stuck == "breaks":
        raise RuntimeError("a bug in a step")
    order = StartGuest(instance=door.id, generation=1, number=door.version, spec=SPEC)
    return door, [Send(CLOSER, order), Send(NEIGHBOUR, ClaimStands(instance=door.id, generation=1))]


def pull(door: Door, _: Message) -> Step[Door]:
    return door, [Send(CLOSER, StopGuest(instance=door.id, generation=1, number=door.version))]


def count(door: Door, _: Message) -> Step[Door]:
    return door.but(knocks=door.knocks + 1), []


def is_open(door: Door, _: Message) -> Step[Door]:
    return door.but(word=OPEN), []


def is_shut(door: Door, _: Message) -> Step[Door]:
    return door.but(word=SHUT), []


def jam(door: Door, _: Message) -> Step[Door]:
    return door.but(word=AJAR), []


def vanish(door: Door, _: Message) -> Step[Door]:
    return door.but(life=GONE, word=GONE), []


def shut_to(door: Door, _: Message) -> bool:
    return door.word != AJAR


# fmt: off
OPEN_IT: Final[Operation[Door]] = operation(
    "open",
    # while    hearing        do       then
    on(None,     StartInstance, push,    OPENING, when=shut_to),
    on(OPENING,  GuestStarted,  is_open, None),
    on(OPENING,  GuestProgress, count,   OPENING),
    on(OPENING,  GuestPaused,   pull,    CLOSING),
    on(OPENING,  StepFailed,    pull,    CLOSING),
    on(CLOSING,  StepFailed,    jam,     None),
    on(CLOSING,  GuestPaused,   is_shut, None),
    accepts={SHUT, AJAR},
    interrupts={CLOSING},
    deadlines={OPENING: OPENING_S, CLOSING: CLOSING_S},
    action="swing",
)
CLOSE_IT: Final[Operation[Door]] = operation(
    "close",
    on(None,     StopInstance,  pull,    CLOSING),
    on(CLOSING,  GuestPaused,   is_shut, None),
    on(CLOSING,  StepFailed,    pull,    CLOSING),
    accepts={OPEN, AJAR, SHUT},
    deadlines={CLOSING: CLOSING_S},
)
BURN: Final[Operation[Door]] = operation(
    "burn",
    on(None,     DeleteInstance, pull,   CLOSING),
    on(CLOSING,  GuestPaused,    vanish, None),
    on(CLOSING,  StepFailed,     pull,   CLOSING),
    accepts={SHUT, OPEN, AJAR},
    interrupts={ANY},
    joins={"burn"},
    deadlines={CLOSING: CLOSING_S},
)
# fmt: on


def fasten(door: Door, _: LockInstance) -> Step[Door]:
    return door.but(locked=True, alarm_at=door.updated_at + 5), []


def loosen(door: Door, _: UnlockInstance) -> Step[Door]:
    if not door.locked:
        raise Refusal("conflict", "it is not locked", "locked", "false")
    return door.but(locked=False), []


def ring(door: Door, _: Message) -> Step[Door]:
    return door.but(knocks=100), [Send(CLOSER, StopGuest(instance=door.id, generation=1, number=0))]


def hand_on(door: Door, wish: PauseInstance) -> Step[Door]:
    return door, [Send(address("instance", "other"), wish, reply_to="pass on")]


def peep(door: Door, wish: ReadConsole) -> Step[Door]:
    if door.locked:
        raise Refusal("conflict", "it is locked", "locked", "true")
    return door, [Send(CLOSER, StopGuest(instance=door.id, generation=1, number=wish.bytes_max))]


def echo(door: Door, said: ConfirmClaim) -> Step[Door]:
    return door, [Send(address("host", said.host), ClaimStands(instance=door.id, generation=said.generation))]


def far(door: Door, _: GuestConsole) -> bool:
    return door.knocks > 1


# fmt: off
LIFE = (
    # while  hearing         do       then
    on("hung", LockInstance,   fasten,  "barred", log="fasten"),
    on(ANY,    UnlockInstance, loosen,  "hung"),
    on(ANY,    UpdateInstance, count,   ANY),
    on(ANY,    PauseInstance,  hand_on, ANY, log="hand_on"),
    on(ANY,    ReadConsole,    peep,    ANY, relay=True),
    on(ANY,    ConfirmClaim,   echo,    ANY, relay=True),
    on("barred", Tick,         ring,    ANY, log="alarm"),
    on(ANY,    GuestConsole,   ring,    ANY, when=far),
    on(ANY,    GuestConsole,   count,   ANY),
)
# fmt: on


def guard(door: Door, command: Command, _: Heard) -> Refused | None:
    if door.locked and not command.by.admin and not isinstance(command, UnlockInstance | ReadConsole):
        return Refused(code="conflict", reason="locked", attribute="locked", value="true")
    return None


def relevant(_: Door, heard: Heard) -> bool:
    return heard.sender != "agent/stranger"


def columns(door: Door) -> tuple[Any, ...]:
    if door.stuck == "unshowable":
        raise ValueError("it cannot be shown")
    return (door.word,)


DOOR: Final[Kind[Door]] = Kind(
    name="door",
    state=Door,
    births={CreateInstance: born},
    operations=(OPEN_IT, CLOSE_IT, BURN),
    life=LIFE,
    settled=lambda door: door.word,
    guard=guard,
    relevant=relevant,
    project=lambda _: "p",
    summary=lambda door: door.word.encode(),
    gone=lambda door: door.life == GONE,
    columns=columns,
)
