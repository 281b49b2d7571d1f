"""Orders: a command about one guest with what its answer needs, judged, and done by the driver.

``judge`` is pure and says what a command is worth beside the journal's last word. ``perform`` is
the one table from commands to driver calls and facts. What must not go in: the journal's writing,
the turns of a guest (hostagent.desk), and what becomes of a driver's exceptions (hostagent.agent).
"""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final

from msgspec import Struct

from hostagent.driver import Driver, DriverError, Progress
from hostagent.journal import JournalEntry, Pair
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
from protocol.guest import GuestState, PowerState

UNASKED: Final = 0
"""The number of a look, and of its fact, that no command asked for."""


REASON_CHARS_MAX: Final = 1000
"""Longer explanations of failures are cut."""


class Order(Struct, frozen=True):
    """A command, its body as it came, and what its answer copies from the envelope."""

    command: GuestCommand
    body: bytes
    operation: str = ""
    trace: str = ""

    @property
    def pair(self) -> Pair:
        """(generation, number)."""
        return (self.command.generation, self.command.number)

    @property
    def interrupts(self) -> bool:
        """Whether it ends lower work under way instead of waiting for it."""
        command = self.command
        return isinstance(command, DestroyGuest) or (
            isinstance(command, RebootGuest) and command.kind == "hard"
        )

    @property
    def patient(self) -> bool:
        """Whether doing it is mostly waiting for the guest, or quick: it takes no place of a boot."""
        command = self.command
        if isinstance(command, RebootGuest):
            return command.kind == "soft"
        return not isinstance(command, SpawnGuest | StartGuest | ResumeGuest | RescueGuest | UnrescueGuest)


class Verdict(Enum):
    """What to do with a command."""

    ACT = "act"
    LOOK = "look"
    FORGET = "forget"
    STALE = "stale"
    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    IGNORE = "ignore"


def judge(entry: JournalEntry | None, order: Order) -> Verdict:
    """What the command is worth beside the journal's entry of its instance.

    UNANSWERED: it is recorded and either being worked on or was cut off by a crash.
    """
    if isinstance(order.command, ForgetGuest):
        return Verdict.FORGET if entry is not None and _may_forget(entry, order) else Verdict.IGNORE
    if entry is not None and order.pair < entry.pair:
        return Verdict.STALE
    if isinstance(order.command, LookAtGuest):
        return Verdict.LOOK
    if entry is None or order.pair > entry.pair:
        return Verdict.ACT
    return Verdict.ANSWERED if entry.answer else Verdict.UNANSWERED


def _may_forget(entry: JournalEntry, order: Order) -> bool:
    destroyed = entry.deleted and bool(entry.answer)
    return destroyed and entry.forgotten_at is None and order.pair >= entry.pair


class Deed(Struct, frozen=True):
    """How a command is done: the driver's call, and the fact that answers it, by the state it leaves."""

    do: Callable[[Driver, Any, Progress], Awaitable[GuestState]]
    facts: dict[PowerState, type[GuestFact]]


_STARTED: Final[dict[PowerState, type[GuestFact]]] = {PowerState.RUNNING: GuestStarted}
_STOPPED: Final[dict[PowerState, type[GuestFact]]] = {
    PowerState.SHUTDOWN: GuestStopped,
    PowerState.CRASHED: GuestStopped,
}
_PAUSED: Final[dict[PowerState, type[GuestFact]]] = {PowerState.PAUSED: GuestPaused}
_SUSPENDED: Final[dict[PowerState, type[GuestFact]]] = {PowerState.SUSPENDED: GuestSuspended}
_RESCUED: Final[dict[PowerState, type[GuestFact]]] = {PowerState.RUNNING: GuestRescued}

# fmt: off
DEEDS: Final[dict[type[GuestCommand], Deed]] = {
    SpawnGuest:    Deed(lambda host, it, told: host.spawn(it.spec, told), _STARTED),
    StartGuest:    Deed(lambda host, it, _: host.start(it.spec), _STARTED),
    RebootGuest:   Deed(lambda host, it, _: host.reboot(it.spec, it.kind, it.timeout_s), _STARTED),
    StopGuest:     Deed(lambda host, it, _: host.shut_down(it.instance, it.timeout_s, it.retry_s),
                        _STOPPED),
    PauseGuest:    Deed(lambda host, it, _: host.pause(it.instance), _PAUSED),
    UnpauseGuest:  Deed(lambda host, it, _: host.unpause(it.instance), _STARTED),
    SuspendGuest:  Deed(lambda host, it, told: host.suspend(it.instance, told), _SUSPENDED),
    ResumeGuest:   Deed(lambda host, it, _: host.resume(it.instance), _STARTED),
    RescueGuest:   Deed(lambda host, it, told: host.rescue(it.spec, it.image, told, own_first=it.own_first),
                        _RESCUED),
    UnrescueGuest: Deed(lambda host, it, _: host.unrescue(it.spec, stay_off=it.stay_off),
                        _STARTED | _STOPPED),
}
# fmt: on


async def perform(driver: Driver, command: GuestCommand, progress: Progress) -> GuestFact:
    """Let the driver do it. Raises DriverError, also when the guest is not as it should be after."""
    if isinstance(command, LookAtGuest):
        return seen(command, await driver.guest(command.instance))
    if isinstance(command, DestroyGuest):
        await driver.destroy(command.instance)
        return _fact(GuestDestroyed, command)
    deed = DEEDS.get(type(command))
    if deed is None:
        raise DriverError("unsupported", f"this host cannot do {type(command).__name__}")
    state = await deed.do(driver, command, progress)
    kind = deed.facts.get(state.power_state)
    if kind is None:
        said = f": {state.reason}" if state.reason else ""
        raise DriverError(
            "unexpected_state", f"the guest is {state.power_state.name.lower()} afterwards{said}"
        )
    return _fact(kind, command)


def _fact(kind: type[GuestFact], command: GuestCommand) -> GuestFact:
    return kind(instance=command.instance, generation=command.generation, number=command.number)


def seen(command: GuestCommand, state: GuestState | None, after: int = 0) -> GuestSeen:
    """What a look has found. ``after`` is the number of the last command that was over before it."""
    return GuestSeen(
        instance=command.instance,
        generation=command.generation,
        number=command.number,
        power_state=PowerState.NOSTATE if state is None else state.power_state,
        reason="" if state is None else state.reason,
        exists=state is not None,
        after=after,
        rescued=state is not None and state.rescued,
    )


def failed(
    command: GuestCommand, code: str, reason: str, power_state: PowerState | None = None
) -> GuestFailed:
    """The command was not done."""
    return GuestFailed(
        instance=command.instance,
        generation=command.generation,
        number=command.number,
        code=code,
        reason=reason[:REASON_CHARS_MAX],
        power_state=power_state,
    )
