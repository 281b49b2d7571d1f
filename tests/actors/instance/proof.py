"""Proofs that hold for every operation of an instance, one line each in its test module.

``Run`` plays one operation against the world of ``guest.py`` and looks at every turn for what must never
be; ``run_each_step_twice`` and ``fail_each_step`` choose what the world does. ``Case`` is one row of a
table as its test reads it, ``every_row_is_taken`` says which rows no case takes.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct

from actors.instance.kind import INSTANCE
from actors.instance.model import GONE, Instance, T, V
from actors.machine import Operation, Row
from actors.turn import Decision, Heard, OperationRecord, Send, due_at
from protocol.agent import DestroyGuest, GuestCommand, GuestDestroyed, GuestFailed, SpawnGuest
from protocol.command import Accepted, Command, Tick
from protocol.host import ClaimRefused
from protocol.instance import ClaimHost, CreateInstance, ReleaseHost
from protocol.message import Message
from tests.actors.instance.guest import BROKEN, healthy_answer, settled
from tests.actors.stage import CREATE_COMMAND, NOW, OWNER, answer_of, command, heard, told, turn

TURNS_MAX: Final = 60
"""More turns than any operation needs; reaching it means that one goes round in circles."""
OPERATION: Final = "op-under-test"
_PATIENT: Final = {"delete"}
"""Operations that ask for ever when nobody answers."""


class Case(Struct, frozen=True):
    """One row as a reader sees it: in this state, hearing this, then this task state and these sends."""

    name: str
    given: Instance | None
    hearing: Message | Heard
    then: str | None
    sends: tuple[type[Message], ...] = ()
    leaves: dict[str, Any] = {}

    def __str__(self) -> str:
        return self.name

    def row(self, operation: Operation[Instance]) -> Row[Instance] | None:
        """The row of this table that the case takes."""
        message = self.hearing.message if isinstance(self.hearing, Heard) else self.hearing
        vm = self.given
        if vm is None:
            assert isinstance(message, CreateInstance)
            vm = INSTANCE.births[CreateInstance](message, "", NOW)
        here = vm.task.state if vm.task is not None and vm.task.name == operation.name else None
        return operation.row(here, vm, message)

    def check(self) -> Decision[Instance]:
        """Run the turn and compare."""
        hearing = self.hearing
        if isinstance(hearing, Command):
            hearing = heard(hearing, operation=OPERATION)
        decision = turn(INSTANCE, self.given, hearing, at=NOW + 100)
        vm = decision.state
        assert decision.changed, f"nothing happened: {answer_of(decision) if decision.sends else ''}"
        assert vm is not None
        assert (vm.task and vm.task.state) == self.then
        assert told(decision) == [kind.__name__ for kind in self.sends]
        assert {name: getattr(vm, name) for name in self.leaves} == self.leaves
        assert vm.version == (self.given.version if self.given is not None else 0) + 1
        return decision


def every_row_is_taken(operation: Operation[Instance], cases: Iterable[Case]) -> None:
    """Each row of the table is what some case is about, and each case takes a row."""
    taken = {id(case.row(operation)) for case in cases}
    missing = [
        f"on({row.while_}, {row.hearing.__name__}, {row.do.__name__}, {row.then})"
        for row in operation.rows
        if id(row) not in taken
    ]
    assert not missing, f"no case takes these rows of {operation.name}"


def command_of(operation: Operation[Instance]) -> Heard:
    """What begins it."""
    kind = operation.command
    said = CREATE_COMMAND if kind is CreateInstance else command(kind, OWNER)
    return heard(said, operation=OPERATION)


def beginnings(operation: Operation[Instance]) -> list[Instance | None]:
    """Each sort of instance with which the operation may begin."""
    if operation.command is CreateInstance:
        return [None]
    found = [vm for vm in settled() if turn(INSTANCE, vm, command_of(operation)).changed]
    assert {vm.vm_state for vm in found} >= operation.accepts - {V.BUILDING, V.DELETED}
    return list(found)


class Run:
    """One operation from its command to its end. ``waiting`` is what was said and not answered yet."""

    def __init__(self, operation: Operation[Instance], given: Instance | None) -> None:
        self.operation = operation
        self.now = NOW + 1000
        self.waiting: deque[Send] = deque()
        self.records: dict[str, OperationRecord] = {}
        self.claims: set[tuple[str, int]] = set()
        self.guests: set[tuple[str, int]] = set()
        self.lost: list[Send] = []
        if given is not None:
            self.claims = {(p.host, p.generation) for p in given.placements}
            self.guests = {(p.host, p.generation) for p in given.placements if p.spawned}
        self.state = given
        self.hear(command_of(operation))

    @property
    def vm(self) -> Instance:
        assert self.state is not None
        return self.state

    @property
    def over(self) -> bool:
        return self.vm.task is None

    def hear(self, said: Heard) -> Decision[Instance]:
        """One turn, looked at."""
        self.now += 1
        before = self.state
        self._believe(said)
        decision = turn(INSTANCE, before, said, at=self.now)
        if not decision.changed:
            assert not decision.events
            assert not decision.records
            return decision
        assert decision.state is not None
        self.state = decision.state
        assert self.vm.version == (before.version if before is not None else 0) + 1
        self.records |= {record.id: record for record in decision.records}
        for send in decision.sends:
            self._note(send)
        self._look()
        return decision

    def _believe(self, said: Heard) -> None:
        message = said.message
        place = (said.sender.partition("/")[2], getattr(message, "generation", 0))
        if isinstance(message, ClaimRefused):
            self.claims.discard(place)
        if isinstance(message, GuestDestroyed):
            self.guests.discard(place)

    def _note(self, send: Send) -> None:
        message, host = send.message, send.to.partition("/")[2]
        if isinstance(message, ClaimHost):
            self.claims.add((host, message.generation))
        if isinstance(message, SpawnGuest):
            self.guests.add((host, message.generation))
        if isinstance(message, ReleaseHost):
            self.claims.discard((host, message.generation))
            assert (host, message.generation) not in self.guests, "room was given back under a guest"
        if healthy_answer(send) is not None:
            self.waiting.append(send)

    def _look(self) -> None:
        vm = self.vm
        places = {(p.host, p.generation) for p in vm.placements}
        assert self.claims <= places, "a claim is forgotten"
        assert self.guests <= {(p.host, p.generation) for p in vm.placements if p.spawned}, "a lost guest"
        if vm.task is not None:
            assert vm.task.deadline > self.now
            assert (due_at(vm) or 0) > self.now
        if vm.life == GONE:
            assert not places
            assert due_at(vm) is None

    def answers(self) -> Iterator[Heard]:
        """Healthy answers to whatever waits, until the operation is over."""
        for _ in range(TURNS_MAX):
            if self.over:
                return
            task = self.vm.task
            if task is not None and task.state == T.DELETING_AGAIN:
                self.now = task.deadline
                yield Heard(Tick())
                continue
            assert self.waiting, f"{self.operation.name} waits for nobody in {self.vm.task}"
            answer = healthy_answer(self.waiting.popleft())
            assert answer is not None
            yield answer
        raise AssertionError(f"{self.operation.name} goes round in circles")

    def fail(self, *, by_agent: bool) -> None:
        """The present step fails: its agent says so, or nobody says anything until the deadline."""
        task = self.vm.task
        assert task is not None
        send = next((s for s in self.waiting if isinstance(s.message, GuestCommand)), None)
        self.lost += self.waiting
        self.waiting.clear()
        if by_agent and send is not None:
            order = send.message
            assert isinstance(order, GuestCommand)
            said = GuestFailed(
                instance=order.instance, generation=order.generation, number=order.number,
                code=BROKEN.code, reason=BROKEN.reason,
            )  # fmt: skip
            self.hear(Heard(said, send.to, send.operation))
        else:
            self.now = task.deadline
            self.hear(Heard(Tick()))

    def check_end(self, *, perfect: bool) -> None:
        """What the tenant and the ledgers are left with."""
        vm, record = self.vm, self.records[OPERATION]
        assert vm.task is None
        assert record.finished_at
        assert not record.deadline
        assert all(step.finished_at for step in record.steps)
        assert record.outcome in {"success", "error"}
        assert (record.outcome == "error") == bool(record.reason)
        if perfect:
            assert record.outcome == "success", record.reason
        if vm.vm_state is V.DELETED or (self.operation.name == "create" and vm.vm_state is V.ACTIVE):
            assert record.outcome == "success", "it is what was asked for"
        if vm.vm_state in {V.ACTIVE, V.PAUSED, V.STOPPED, V.SUSPENDED, V.RESCUED}:
            assert vm.here is not None
            assert vm.here.spawned
        if vm.vm_state is V.ERROR:
            assert vm.fault is not None
            assert vm.fault.message
        places = {(p.host, p.generation) for p in vm.placements}
        assert self.claims == places, "what is claimed is what is remembered"
        rest = [send for send in self.waiting if not isinstance(send.message, ReleaseHost)]
        assert not rest, "nobody is asked for what nobody waits for"


def run_each_step_twice(operation: Operation[Instance]) -> None:
    """Every command and every answer comes twice: the second has no effect at all."""
    for given in beginnings(operation):
        run = Run(operation, given)
        again = run.hear(Heard(command_of(operation).message, "", OPERATION, "gateway/g1", known=True))
        assert not again.changed
        assert isinstance(answer_of(again), Accepted)
        for answer in run.answers():
            run.hear(answer)
            assert not run.hear(answer).changed, f"{answer.message} counted twice"
            assert not told(run.hear(answer))
        run.check_end(perfect=True)


def fail_each_step(operation: Operation[Instance]) -> None:
    """Step 1 fails, step 2 fails, …, and from each step on all fail: each run ends well or explained."""
    for given in beginnings(operation):
        for by_agent in (False, True):
            for once in (True, False):
                if once or operation.name not in _PATIENT:
                    _fail_from(operation, given, by_agent=by_agent, once=once)


def _fail_from(operation: Operation[Instance], given: Instance | None, *, by_agent: bool, once: bool) -> None:
    for step in range(TURNS_MAX):
        run = Run(operation, given)
        failures = 0
        answers = run.answers()
        for count in range(TURNS_MAX):
            if run.over:
                break
            if count == step or (count > step and not once):
                run.fail(by_agent=by_agent)
                failures += 1
            else:
                run.hear(next(answers))
        assert run.over, f"{operation.name} does not end when step {step} fails"
        run.check_end(perfect=not failures)
        _answer_late(run)
        if not failures:
            return


def _answer_late(run: Run) -> None:
    """What was lost comes after all: too late to have any effect."""
    for send in run.lost:
        answer = healthy_answer(send)
        assert answer is not None
        assert not run.hear(answer).changed, f"{answer.message} counted after {run.operation.name} was over"
        assert not isinstance(send.message, DestroyGuest) or not run.guests
