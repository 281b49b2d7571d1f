"""The nouns of a turn: what an actor hears, keeps while it works, and lets go of at the end.

Everything here is a value. Nothing here may do I/O, ask the time or draw a random number.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from protocol.command import Caller
from protocol.errors import RefusalCode, Refused
from protocol.ids import ACTOR_KINDS, kind_of
from protocol.message import Message

if TYPE_CHECKING:
    AnyMessage = Message
else:
    from protocol.codec import AnyMessage


class Send(Struct, frozen=True):
    """A message to go out when the batch has committed.

    ``operation`` empty means the operation of the turn; ``reply_to`` passes the waiting gateway on.
    ``again`` marks a repetition of what a numbered stream carries already.
    """

    to: str
    message: AnyMessage
    operation: str = ""
    reply_to: str = ""
    again: bool = False

    @property
    def numbered(self) -> bool:
        """Whether a numbered stream carries it (to an actor), so that it can never be lost."""
        return not self.again and kind_of(self.to) in ACTOR_KINDS


class Heard(Struct, frozen=True):
    """One message as it reaches an actor. ``sender`` is an address the runtime has verified.

    ``known`` says that the operation of this command has begun already: the command is a repetition.
    """

    message: Message
    sender: str = ""
    operation: str = ""
    reply_to: str = ""
    answer_by: float = 0.0
    known: bool = False


class StepNote(Struct, frozen=True):
    """One step in the operation's record: what, when, how it ended (empty: still under way)."""

    name: str
    began_at: float
    finished_at: float = 0.0
    result: str = ""
    reason: str = ""


class Task(Struct, frozen=True, kw_only=True):
    """An operation under way. It is the actor's mutex, its timer and its record in one.

    ``number`` is the actor's version at which the present step began: answers must echo it.
    ``waiting`` are the commands of the present step to parties without a numbered stream, said again
    at ``resend_at`` until they are answered; ``deadline`` is when the step has failed by silence.
    """

    operation: str
    name: str
    state: str
    by: Caller
    began_at: float
    deadline: float
    number: int = 0
    waiting: tuple[Send, ...] = ()
    resend_at: float = 0.0
    resends: int = 0
    steps: tuple[StepNote, ...] = ()
    failure: str = ""


class Event(Struct, frozen=True, kw_only=True):
    """One line of the event stream. ``data`` is ready JSON."""

    type: str
    subject: str
    project: str
    time: float
    data: bytes


class OperationRecord(Struct, frozen=True, kw_only=True):
    """An operation as its row shows it; the instance action log is read from these."""

    id: str
    subject: str
    name: str
    by: Caller
    began_at: float
    updated_at: float
    deadline: float = 0.0
    finished_at: float = 0.0
    outcome: str = ""
    reason: str = ""
    steps: tuple[StepNote, ...] = ()


class ActorState(Struct, frozen=True, kw_only=True):
    """The fields every actor has. ``alarm_at`` is the next time its life wants a Tick (epoch seconds)."""

    id: str
    life: str
    version: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
    alarm_at: float | None = None
    task: Task | None = None

    def but(self, **changes: Any) -> Self:
        """A copy with these fields changed."""
        return replace(self, **changes)


WORDS_MAX: Final = 1000
"""Characters of a host's explanation that are kept."""


def words(text: str) -> str:
    """What a host says in words, fit for a row and for a tenant: printable and short."""
    return "".join(c if c.isprintable() else " " for c in text[:WORDS_MAX])


S = TypeVar("S", bound=ActorState)
Sends: TypeAlias = Sequence[Send]
Step: TypeAlias = tuple[S, Sends]


class Refusal(Exception):  # noqa: N818  it is an answer, not an error
    """Raised by a step that will not begin: the command is refused and nothing changes."""

    def __init__(self, code: RefusalCode, reason: str, attribute: str = "", value: str = "") -> None:
        super().__init__(reason)
        self.answer = Refused(code=code, reason=reason, attribute=attribute, value=value)


class Decision(Struct, Generic[S]):
    """What a turn came to. ``changed`` false: nothing is to be written but the sends may go out."""

    state: S | None
    sends: list[Send]
    events: list[Event]
    records: list[OperationRecord]
    changed: bool


def due_at(state: ActorState) -> float | None:
    """When the actor next wants a Tick: its task's resend or deadline, or its life's alarm."""
    times = [] if state.alarm_at is None else [state.alarm_at]
    if state.task is not None:
        times.append(state.task.deadline)
        if state.task.waiting:
            times.append(state.task.resend_at)
    return min(times) if times else None
