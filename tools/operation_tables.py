"""Every actor's life and operations as Markdown, read from the tables that the program runs.

python -m tools.operation_tables > docs/operation-tables.md
"""

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.kinds import KINDS
from actors.machine import ANY, Kind, Operation, Row

HEAD: Final = """# Operation tables

Made from the tables in `actors/` by `python -m tools.operation_tables > docs/operation-tables.md`; a
test keeps it current. [architecture.md](architecture.md), "Actors", tells what a row means: *while* the
actor is in this state, *hearing* this message, *when* this holds (rows are tried in order), it does the
step (*do*) and is *then* in that state, for at most the *deadline*; a missed deadline is heard as
`StepFailed`.
"""
_BEGINS: Final = ("operation", "command", "from", "pushes aside", "in the action log")
_LIFE: Final = ("while", "hearing", "when", "do", "then", "logged as")
_STEPS: Final = ("while", "hearing", "when", "do", "then", "deadline")


def document() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for kind in KINDS.values() for line in _kind(kind))]) + "\n"


def _kind(kind: Kind[Any]) -> Iterator[str]:
    yield f"## {kind.name}\n"
    if kind.operations:
        yield from _table(
            ("operation", "command", "from", "pushes aside", "in the action log"), _begins(kind)
        )
        yield ""
    yield f"### {kind.name}: life\n"
    yield from _table(_LIFE, [_life_row(row) for row in kind.life])
    moves = [row for row in kind.life if row.then not in {ANY, row.while_}]
    if moves:
        yield ""
        yield from _diagram([(_life(row.while_), _label(row), _life(row.then)) for row in moves])
    for operation in kind.operations:
        yield ""
        yield from _operation(kind, operation)
    yield ""


def _begins(kind: Kind[Any]) -> list[tuple[str, ...]]:
    return [
        (
            operation.name,
            operation.command.__name__,
            ", ".join(sorted(operation.accepts)),
            _interrupted(operation),
            operation.action,
        )
        for operation in kind.operations
    ]


def _interrupted(operation: Operation[Any]) -> str:
    return "anything" if ANY in operation.interrupts else ", ".join(sorted(operation.interrupts))


def _operation(kind: Kind[Any], operation: Operation[Any]) -> Iterator[str]:
    yield f"### {kind.name}: {operation.name}\n"
    yield f"{_story(operation)}\n"
    yield from _table(_STEPS, [_step_row(operation, row) for row in operation.rows])
    yield ""
    yield from _diagram([(row.while_, _label(row), row.then) for row in operation.rows])


def _story(operation: Operation[Any]) -> str:
    """The module's own first sentence."""
    module = inspect.getmodule(operation.rows[0].do)
    told = inspect.getdoc(module) if module else None
    return " ".join((told or "").partition("\n\n")[0].split())


def _life_row(row: Row[Any]) -> tuple[str, ...]:
    then = "(passed on)" if row.relay else "(stays)" if row.then == ANY else str(row.then)
    return (_life(row.while_), row.hearing.__name__, _named(row.when), _named(row.do), then, row.log)


def _step_row(operation: Operation[Any], row: Row[Any]) -> tuple[str, ...]:
    limit = "" if row.then is None else f"{operation.deadlines[row.then]:g} s"
    return (
        row.while_ or "(begins)",
        row.hearing.__name__,
        _named(row.when),
        _named(row.do),
        row.then or "(ends)",
        limit,
    )


def _life(state: str | None) -> str:
    return "any" if state == ANY else str(state)


def _label(row: Row[Any]) -> str:
    return f"{row.hearing.__name__} [{_named(row.when)}]" if row.when else row.hearing.__name__


def _named(step: Any) -> str:
    return "" if step is None else str(step.__name__)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _diagram(arrows: Sequence[tuple[str | None, str, str | None]]) -> Iterator[str]:
    """A Mermaid state diagram; None is where it begins and ends."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    states = dict.fromkeys(state for start, _, end in arrows for state in (start, end) if state)
    for state in states:
        if _name(state) != state:
            yield f'    state "{state}" as {_name(state)}'
    merged: dict[tuple[str | None, str | None], list[str]] = {}
    for start, label, end in arrows:
        merged.setdefault((start, end), []).append(label)
    for (start, end), labels in merged.items():
        yield f"    {_name(start)} --> {_name(end)}: {', '.join(labels)}"
    yield "```"


def _name(state: str | None) -> str:
    """A state's name as Mermaid takes it."""
    return "[*]" if state is None else re.sub(r"\W", "_", state)


if __name__ == "__main__":
    sys.stdout.write(document())
