"""The one function that makes things happen: (kind, state, heard, now) → decision. Pure.

An actor's behaviour is two sorts of rows, both made by ``on``:

- **life** rows: (life state, message) → step, next life state, all in one turn. A host going from
  ``up`` to ``suspect``, an image from ``saving`` to ``active``.
- **operation** tables: (task state, message) → step, next task state, over many turns. A command
  begins one, its last row (next task state ``None``) ends it. Each task state has a deadline and a
  ``StepFailed`` row, checked when the table is made, so no operation can hang.

A command may also be a word of the operation under way, such as a gateway's report on what it was asked
to do: then the operation's row for it is taken, and its sender is answered.

The order of checks for a command is the Compute API's: known, not late, visible, guarded (lock, host),
settled state, running task, then the step's own arguments. A refusal changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from actors.turn import (
    Decision,
    Event,
    Heard,
    OperationRecord,
    Refusal,
    S,
    Send,
    Step,
    StepNote,
    Task,
    words,
)
from protocol.agent import GuestFailed
from protocol.command import Accepted, Command, Tick
from protocol.errors import Refused, StepFailed
from protocol.message import Message

M = TypeVar("M", bound=Message)
ANY: Final = "*"
"""As ``while_``: in every state. As ``then``: stay."""

RESEND_FIRST_S: Final = 2.0
RESEND_MAX_S: Final = 15.0
RESEND_DOUBLINGS_MAX: Final = 8
"""More doublings than RESEND_MAX_S allows; a step that goes on for hours must not overflow."""
STEPS_MAX: Final = 50
"""Steps kept in an operation's record; later ones push out the ones after the first."""


class Row(Struct, Generic[S], frozen=True):
    """One row of a table; make it with ``on``."""

    while_: str | None
    hearing: type[Message]
    do: Callable[[S, Any], Step[S]]
    then: str | None
    when: Callable[[S, Any], bool] | None = None
    log: str = ""
    relay: bool = False


def on(
    while_: str | None,
    hearing: type[M],
    do: Callable[[S, M], Step[S]],
    then: str | None,
    *,
    when: Callable[[S, M], bool] | None = None,
    log: str = "",
    relay: bool = False,
) -> Row[S]:
    """A row: in this state, hearing this, do that, then be in this state.

    ``when`` makes it a branch; rows are tried in order. ``log`` names the action a life row's command
    is recorded under and remembered by: without it a repeated command is heard again. A life row with
    ``relay`` passes something on: it writes nothing and answers nothing by itself.
    """
    return Row(while_, hearing, do, then, when, log, relay)


class Operation(Struct, Generic[S], frozen=True, dict=True):
    """A lifecycle operation: its table, where it may begin and what it may push aside."""

    name: str
    command: type[Message]
    rows: tuple[Row[S], ...]
    deadlines: Mapping[str, float]
    accepts: frozenset[str]
    interrupts: frozenset[str]
    action: str = ""
    joins: frozenset[str] = frozenset()

    def row(self, while_: str | None, state: S, message: Message) -> Row[S] | None:
        """The first row that fits, or None."""
        for row in self._by_pair.get((while_, type(message)), ()):
            if row.when is None or row.when(state, message):
                return row
        return None

    @cached_property
    def _by_pair(self) -> dict[tuple[str | None, type[Message]], list[Row[S]]]:
        found: dict[tuple[str | None, type[Message]], list[Row[S]]] = {}
        for row in self.rows:
            found.setdefault((row.while_, row.hearing), []).append(row)
        return found


def operation(
    name: str,
    *rows: Row[S],
    accepts: AbstractSet[str],
    deadlines: Mapping[str, float],
    interrupts: AbstractSet[str] = frozenset(),
    action: str = "",
    joins: AbstractSet[str] = frozenset(),
) -> Operation[S]:
    """A checked operation table. Raises ValueError when a state could hang or has no way in.

    ``action`` is the name in the action log where it is not the table's own; ``joins`` names operations
    that, when one of them runs, do what the command wants: it is accepted and nothing begins.
    """
    begin = [row for row in rows if row.while_ is None]
    if len({row.hearing for row in begin}) != 1:
        raise ValueError(f"{name}: exactly one command must begin it")
    states = {row.while_ for row in rows if row.while_ is not None}
    entered = {row.then for row in rows if row.then is not None}
    for state in states | entered:
        if state not in deadlines:
            raise ValueError(f"{name}: {state} has no deadline")
        if not any(r.while_ == state and r.hearing is StepFailed and r.when is None for r in rows):
            raise ValueError(f"{name}: {state} has no unconditional StepFailed row")
    arrows = [(row.while_, row.then) for row in rows]
    alive = _reached(arrows) & _reached([(then, while_) for while_, then in arrows])
    if states - alive:
        raise ValueError(f"{name}: states that cannot be entered or left: {sorted(states - alive)}")
    return Operation(
        name,
        begin[0].hearing,
        tuple(rows),
        deadlines,
        frozenset(accepts),
        frozenset(interrupts),
        action or name,
        frozenset(joins),
    )


def _reached(arrows: list[tuple[str | None, str | None]]) -> set[str | None]:
    """Where the arrows lead from None, directly or not."""
    found: set[str | None] = {None}
    while more := {to for at, to in arrows if at in found} - found:
        found |= more
    return found


class Kind(Struct, Generic[S], frozen=True, kw_only=True, dict=True):
    """Everything the runtime must know of one kind of actor.

    ``births`` makes the first state from the messages that may create one; ``settled`` names the state
    that ``accepts`` speaks of; ``guard`` refuses a command before its operation is looked at;
    ``relevant`` says whether a fact is about the present (its host, generation and step); ``passes_on``
    gives, for commands that another actor answers, its address and what it is told.
    """

    name: str
    state: type[S]
    births: Mapping[type[Message], Callable[[Any, str, float], S]]
    operations: tuple[Operation[S], ...] = ()
    life: tuple[Row[S], ...] = ()
    settled: Callable[[S], str]
    guard: Callable[[S, Any, Heard], Refused | None]
    relevant: Callable[[S, Heard], bool]
    project: Callable[[S], str]
    summary: Callable[[S], bytes]
    gone: Callable[[S], bool]
    columns: Callable[[S], tuple[Any, ...]]
    passes_on: Mapping[type[Message], Callable[[Any], tuple[str, Message]]] = {}

    def beginning(self, message: Message) -> Operation[S] | None:
        """The operation this command begins."""
        return self._by_command.get(type(message))

    def under_way(self, task: Task) -> Operation[S]:
        """The table of the running task."""
        return self._by_name[task.name]

    def living(self, state: S, message: Message) -> Row[S] | None:
        """The first life row that fits, or None."""
        for row in self._by_hearing.get(type(message), ()):
            if row.while_ in {state.life, ANY} and (row.when is None or row.when(state, message)):
                return row
        return None

    @cached_property
    def _by_command(self) -> dict[type[Message], Operation[S]]:
        return {table.command: table for table in self.operations}

    @cached_property
    def _by_name(self) -> dict[str, Operation[S]]:
        return {table.name: table for table in self.operations}

    @cached_property
    def _by_hearing(self) -> dict[type[Message], list[Row[S]]]:
        found: dict[type[Message], list[Row[S]]] = {}
        for row in self.life:
            found.setdefault(row.hearing, []).append(row)
        return found


def decide(kind: Kind[S], state: S | None, heard: Heard, now: float, ident: str) -> Decision[S]:
    """One turn. Never raises for anything a party outside may say; a bug in a step may raise."""
    message = heard.message
    if isinstance(message, Tick):
        return _tick(kind, state, heard, now)
    if isinstance(message, Command):
        try:
            return _begin(kind, state, heard, now, ident)
        except Refusal as refusal:
            return _answer(state, heard, refusal.answer)
    if state is None and type(message) in kind.births:
        state = kind.births[type(message)](message, ident, now)
    return _hear(kind, state, heard, now)


def _answer(state: S | None, heard: Heard, answer: Message) -> Decision[S]:
    sends = [Send(heard.reply_to, answer, heard.operation)] if heard.reply_to else []
    return Decision(state, sends, [], [], changed=False)


def _begin(kind: Kind[S], state: S | None, heard: Heard, now: float, ident: str) -> Decision[S]:
    message = heard.message
    if heard.known:
        return _repeat(kind, state, heard)
    if heard.answer_by and now > heard.answer_by:
        return _answer(state, heard, Refused(code="late", reason="the command came too late; ask again"))
    if state is None:
        if type(message) not in kind.births:
            return _answer(
                state, heard, Refused(code="not_found", reason=f"{kind.name} {ident} could not be found.")
            )
        state = kind.births[type(message)](message, ident, now)
    elif kind.gone(state):
        return _answer(
            state, heard, Refused(code="not_found", reason=f"{kind.name} {ident} could not be found.")
        )
    refused = kind.guard(state, message, heard)
    if refused is not None:
        return _answer(state, heard, refused)
    table = kind.beginning(message)
    if table is not None:
        return _start(kind, table, state, heard, now)
    return _within(kind, state, heard, now) or _live(kind, state, heard, now)


def _within(kind: Kind[S], state: S, heard: Heard, now: float) -> Decision[S] | None:
    """A command that is a word of the operation under way, or None: it is not, or not of its present step."""
    task = state.task
    if task is None:
        return None
    table = kind.under_way(task)
    row = table.row(task.state, state, heard.message)
    if row is None or not kind.relevant(state, heard):
        return None
    decision = _move(kind, table, row, state, heard, now)
    if heard.reply_to:
        decision.sends.append(Send(heard.reply_to, Accepted(), heard.operation))
    return decision


def _repeat(kind: Kind[S], state: S | None, heard: Heard) -> Decision[S]:
    """A copy of a command that has begun. Where it was passed on, the one it went to says so.

    That one may not have heard of it yet: then it is silent, and answers when it begins.
    """
    onward = kind.passes_on.get(type(heard.message))
    if onward is not None:
        to, then = onward(heard.message)
        again = Send(to, then, heard.operation, heard.reply_to, again=True)
        return Decision(state, [again], [], [], changed=False)
    if state is None:
        return Decision(state, [], [], [], changed=False)
    return _answer(state, heard, Accepted())


def _unfit(kind: Kind[S], table: Operation[S], state: S, attribute: str, value: str) -> Refusal:
    reason = f"Cannot '{table.action}' {kind.name} {state.id} while it is in {attribute} {value}"
    return Refusal("conflict", reason, attribute, value)


def _start(kind: Kind[S], table: Operation[S], state: S, heard: Heard, now: float) -> Decision[S]:
    settled = kind.settled(state)
    if settled not in table.accepts:
        raise _unfit(kind, table, state, "vm_state", settled)
    running = state.task
    if running is not None and running.name in table.joins:
        return _answer(state, heard, Accepted())
    if running is not None and ANY not in table.interrupts and running.state not in table.interrupts:
        raise _unfit(kind, table, state, "task_state", running.state)
    command = heard.message
    if not isinstance(command, Command):
        raise TypeError(f"{table.name} begins with {type(command).__name__}, which is no Command")
    row = table.row(None, state, command)
    if row is None:
        raise _unfit(kind, table, state, "vm_state", settled)
    fresh = Task(
        operation=heard.operation, name=table.name, state="", by=command.by, began_at=now, deadline=now
    )
    decision = _move(kind, table, row, state.but(task=fresh), heard, now)
    if running is not None:
        why = StepFailed(code="interrupted", reason=f"interrupted by {table.name}")
        cut = _note(replace(running, failure=why.reason), None, why.reason, now)
        decision.records.insert(0, _record(kind, state, cut, now, ended=True))
        decision.events.insert(0, _event(kind, state, f"{kind.name}.{running.name}.error", now))
    if heard.reply_to:
        decision.sends.append(Send(heard.reply_to, Accepted(), heard.operation))
    return decision


def _hear(kind: Kind[S], state: S | None, heard: Heard, now: float) -> Decision[S]:
    if state is None or not kind.relevant(state, heard):
        return Decision(state, [], [], [], changed=False)
    task = state.task
    if task is not None and (heard.operation in {"", task.operation}):
        message = heard.message
        if isinstance(message, GuestFailed):
            message = StepFailed(code=words(message.code), reason=words(message.reason))
        table = kind.under_way(task)
        row = table.row(task.state, state, message)
        if row is not None:
            return _move(kind, table, row, state, replace(heard, message=message), now)
    return _live(kind, state, heard, now)


def _tick(kind: Kind[S], state: S | None, heard: Heard, now: float) -> Decision[S]:
    if state is None:
        return Decision(state, [], [], [], changed=False)
    task = state.task
    if task is not None and now >= task.deadline:
        table = kind.under_way(task)
        failed = StepFailed(
            code="deadline", reason=f"{task.state} took longer than {table.deadlines[task.state]:g} s"
        )
        row = table.row(task.state, state, failed)
        if row is None:
            raise LookupError(f"{table.name}: {task.state} has no StepFailed row")
        return _move(kind, table, row, state, Heard(failed, operation=task.operation), now)
    if task is not None and task.waiting and now >= task.resend_at:
        wait = min(RESEND_FIRST_S * 2 ** min(task.resends + 1, RESEND_DOUBLINGS_MAX), RESEND_MAX_S)
        again = replace(task, resends=task.resends + 1, resend_at=now + wait)
        sends = [replace(send, operation=task.operation) for send in task.waiting]
        return Decision(state.but(task=again, version=state.version + 1), sends, [], [], changed=True)
    if state.alarm_at is not None and now >= state.alarm_at:
        return _live(kind, state.but(alarm_at=None), heard, now)
    return Decision(state, [], [], [], changed=False)


def _live(kind: Kind[S], state: S, heard: Heard, now: float) -> Decision[S]:
    message = heard.message
    row = kind.living(state, message)
    if row is None:
        if isinstance(message, Command):
            raise Refusal("conflict", f"Cannot do this while it is {state.life}", "status", state.life)
        quiet = isinstance(message, Tick)
        return Decision(state.but(version=state.version + quiet), [], [], [], changed=quiet)
    if row.relay:
        return Decision(state, _outgoing(row.do(state, message)[1], heard.operation), [], [], changed=False)
    state = state.but(version=state.version + 1, updated_at=now)
    state, sends = row.do(state, message)
    if row.then != ANY and row.then is not None:
        state = state.but(life=row.then)
    outgoing = _outgoing(sends, heard.operation)
    if not isinstance(message, Command):
        events = [_event(kind, state, f"{kind.name}.{row.log}", now)] if row.log else []
        return Decision(state, outgoing, events, [], changed=True)
    passed_on = any(send.reply_to for send in outgoing)
    if passed_on:
        outgoing = [replace(send, reply_to=heard.reply_to) if send.reply_to else send for send in outgoing]
    elif heard.reply_to:
        outgoing.append(Send(heard.reply_to, Accepted(), heard.operation))
    if not row.log:
        return Decision(state, outgoing, [], [], changed=True)
    record = OperationRecord(
        id=heard.operation,
        subject=f"{kind.name}/{state.id}",
        name=row.log,
        by=message.by,
        began_at=now,
        updated_at=now,
        finished_at=0.0 if passed_on else now,
        outcome="" if passed_on else "success",
    )
    events = [_event(kind, state, f"{kind.name}.{row.log}", now)]
    return Decision(state, outgoing, events, [record], changed=True)


def _move(kind: Kind[S], table: Operation[S], row: Row[S], state: S, heard: Heard, now: float) -> Decision[S]:
    before = state.task
    if before is None:
        raise LookupError(f"{table.name}: no task to move")
    state = state.but(version=state.version + 1, updated_at=now)
    state, sends = row.do(state, heard.message)
    outgoing = _outgoing(sends, before.operation)
    task = state.task or before
    if isinstance(heard.message, StepFailed) and row.then != before.state and not task.failure:
        # A row that stays asks again: nothing has failed for good.
        task = replace(task, failure=f"{heard.message.code}: {heard.message.reason}")
    task = _note(task, row.then, _what_failed(before, task, heard.message), now)
    name = f"{kind.name}.{table.name}"
    if row.then is None:
        state = state.but(task=None)
        events = [_event(kind, state, f"{name}.{'error' if task.failure else 'end'}", now)]
        return Decision(state, outgoing, events, [_record(kind, state, task, now, ended=True)], changed=True)
    if row.then == before.state and not outgoing:
        task = replace(task, deadline=now + table.deadlines[row.then])
    else:
        waiting = tuple(send for send in outgoing if not send.numbered and not send.to.startswith("gateway/"))
        task = replace(
            task,
            state=row.then,
            number=state.version,
            waiting=waiting,
            resends=0,
            resend_at=now + RESEND_FIRST_S,
            deadline=now + table.deadlines[row.then],
        )
    state = state.but(task=task)
    phase = "start" if row.while_ is None else "update"
    events = [_event(kind, state, f"{name}.{phase}", now)]
    return Decision(state, outgoing, events, [_record(kind, state, task, now, ended=False)], changed=True)


def _outgoing(sends: Sequence[Send], operation: str) -> list[Send]:
    return [send if send.operation else replace(send, operation=operation) for send in sends]


def _what_failed(before: Task, after: Task, message: Message) -> str:
    """Why the step did not succeed; empty: it did."""
    if isinstance(message, StepFailed):
        return message.reason
    return after.failure if after.failure != before.failure else ""


def _note(task: Task, then: str | None, failed: str, now: float) -> Task:
    steps = list(task.steps)
    if steps and (then != task.state or then is None) and not steps[-1].finished_at:
        steps[-1] = replace(
            steps[-1], finished_at=now, result="Error" if failed else "Success", reason=failed
        )
    if then is not None and then != task.state:
        steps.append(StepNote(then, now))
    if len(steps) > STEPS_MAX:
        del steps[1]
    return replace(task, steps=tuple(steps))


def _record(kind: Kind[S], state: S, task: Task, now: float, *, ended: bool) -> OperationRecord:
    outcome = ("error" if task.failure else "success") if ended else ""
    return OperationRecord(
        id=task.operation,
        subject=f"{kind.name}/{state.id}",
        name=kind.under_way(task).action,
        by=task.by,
        began_at=task.began_at,
        updated_at=now,
        deadline=0.0 if ended else task.deadline,
        finished_at=now if ended else 0.0,
        outcome=outcome,
        reason=task.failure,
        steps=task.steps,
    )


def _event(kind: Kind[S], state: S, name: str, now: float) -> Event:
    return Event(
        type=name,
        subject=f"{kind.name}/{state.id}",
        project=kind.project(state),
        time=now,
        data=kind.summary(state),
    )
