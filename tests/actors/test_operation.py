"""A table that could hang is refused when it is made."""

from typing import Any

import pytest

from actors.kinds import KINDS
from actors.machine import Operation, Row, on, operation
from actors.turn import ActorState, Step
from protocol.agent import GuestPaused, GuestStarted
from protocol.command import Command
from protocol.errors import StepFailed
from protocol.instance import StartInstance, StopInstance
from protocol.message import Message


def do(state: ActorState, _: Message) -> Step[ActorState]:
    return state, []


def sometimes(_: ActorState, __: Message) -> bool:
    return True


BEGIN = on(None, StartInstance, do, "a")
END = on("a", GuestStarted, do, None)
FAIL = on("a", StepFailed, do, None)


def make(*rows: Row[ActorState], deadlines: dict[str, float] | None = None) -> Operation[ActorState]:
    return operation("try", *rows, accepts={"x"}, deadlines={"a": 1.0} if deadlines is None else deadlines)


def test_a_whole_table_is_made() -> None:
    made = make(BEGIN, END, FAIL)
    assert made.command is StartInstance
    assert made.accepts == frozenset({"x"})
    assert made.interrupts == frozenset()
    assert made.action == "try"


@pytest.mark.parametrize(
    ("rows", "deadlines", "why"),
    [
        ((BEGIN, END, FAIL), {}, "a has no deadline"),
        ((BEGIN, END), None, "a has no unconditional StepFailed row"),
        ((BEGIN, END, on("a", StepFailed, do, None, when=sometimes)), None, "no unconditional StepFailed"),
        ((END, FAIL), None, "exactly one command"),
        ((BEGIN, END, FAIL, on(None, StopInstance, do, "a")), None, "exactly one command"),
        (
            (BEGIN, END, FAIL, on("b", GuestStarted, do, None), on("b", StepFailed, do, None)),
            {"a": 1.0, "b": 1.0},
            r"cannot be entered or left: \['b'\]",
        ),
        ((BEGIN, END, FAIL, on("a", GuestPaused, do, "b")), None, "b has no deadline"),
        (
            (BEGIN, END, FAIL, on("a", GuestPaused, do, "b"), on("b", GuestPaused, do, None)),
            {"a": 1.0, "b": 1.0},
            "b has no unconditional StepFailed row",
        ),
    ],
)
def test_a_table_that_could_hang_is_refused(
    rows: tuple[Row[ActorState], ...], deadlines: dict[str, float] | None, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        make(*rows, deadlines=deadlines)


def test_a_state_that_only_leads_to_itself_is_refused() -> None:
    rows = (BEGIN, END, FAIL, on("b", GuestPaused, do, "b"), on("b", StepFailed, do, "b"))
    with pytest.raises(ValueError, match="'b'"):
        make(*rows, deadlines={"a": 1.0, "b": 1.0})


def test_the_first_row_that_fits_is_taken() -> None:
    special = on("a", GuestStarted, do, None, when=lambda state, _: state.version == 1)
    made = make(BEGIN, special, END, FAIL)
    fact = GuestStarted(instance="i", generation=1, number=1)
    assert made.row("a", ActorState(id="i", life="x", version=1), fact) is special
    assert made.row("a", ActorState(id="i", life="x", version=2), fact) is END
    assert made.row("b", ActorState(id="i", life="x"), fact) is None


def tables() -> list[Any]:
    found = [(kind.name, table) for kind in KINDS.values() for table in kind.operations]
    return [pytest.param(table, id=f"{name}-{table.name}") for name, table in found]


@pytest.mark.parametrize("table", tables())
def test_every_table_begins_with_a_command_and_deadlines_are_used(table: Operation[Any]) -> None:
    assert issubclass(table.command, Command)
    assert set(table.deadlines) == {row.while_ for row in table.rows if row.while_ is not None}
    assert all(seconds > 0 for seconds in table.deadlines.values())


@pytest.mark.parametrize("table", tables())
def test_every_state_can_come_to_an_end(table: Operation[Any]) -> None:
    ends: set[str | None] = {None}
    for _ in table.deadlines:
        ends |= {row.while_ for row in table.rows if row.then in ends and row.while_ is not None}
    assert set(table.deadlines) <= ends
