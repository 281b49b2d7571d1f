"""One turn: the order of a command's checks, facts, ticks, life rows, and what each move leaves behind."""

from typing import Any

import pytest
from msgspec.structs import replace

from actors.machine import (
    RESEND_DOUBLINGS_MAX,
    RESEND_FIRST_S,
    RESEND_MAX_S,
    STEPS_MAX,
    decide,
)
from actors.turn import Decision, Heard, due_at
from protocol.agent import (
    GuestConsole,
    GuestFailed,
    GuestPaused,
    GuestProgress,
    GuestStarted,
    StartGuest,
    StopGuest,
)
from protocol.command import Accepted, Command, Tick
from protocol.errors import Refused, StepFailed
from protocol.host import ConfirmClaim
from protocol.instance import (
    CreateInstance,
    DeleteInstance,
    LockInstance,
    PauseInstance,
    ReadConsole,
    RebootInstance,
    StartInstance,
    StopInstance,
    UnlockInstance,
    UpdateInstance,
)
from protocol.message import Message
from tests.actors.door import AJAR, CLOSER, CLOSING, CLOSING_S, DOOR, GONE, OPEN, OPENING, OPENING_S, Door
from tests.actors.stage import (
    ADMIN,
    CREATE_COMMAND,
    GATEWAY,
    NOW,
    OWNER,
    answer_of,
    event_names,
    heard,
    only,
    said,
    told,
)

FAILED = StepFailed(code="broken", reason="it broke")
HUNG = Door(id="d", life="hung", version=7)


def turn(state: Door | None, message: Message | Heard, *, at: float = NOW) -> Decision[Door]:
    return decide(DOOR, state, message if isinstance(message, Heard) else Heard(message), at, "d")


def after(state: Door | None, *messages: Message | Heard, at: float = NOW) -> Door:
    for message in messages:
        state = turn(state, message, at=at).state
    assert state is not None
    return state


def begin(command: type[Command] = StartInstance, *, operation: str = "op-1", **more: Any) -> Heard:
    return heard(command(by=OWNER), operation=operation, **more)


def fact(kind: type[Message] = GuestStarted, *, operation: str = "op-1", **fields: Any) -> Heard:
    return Heard(kind(instance="d", generation=1, number=8, **fields), "agent/a", operation)


PROGRESS = fact(GuestProgress, what="hinges", done=1, total=2)
BUSY = after(HUNG, begin())


# The order of a command's checks

WORST = BUSY.but(locked=True, word=OPEN, life=GONE)
"""Everything is wrong with it: gone, locked, in the wrong settled state, busy."""


@pytest.mark.parametrize(
    ("state", "how", "answer"),
    [
        (WORST, {"known": True, "answer_by": NOW - 1}, ("accepted", "")),
        (WORST, {"answer_by": NOW - 1}, ("late", "")),
        (None, {}, ("not_found", "")),
        (WORST, {}, ("not_found", "")),
        (WORST.but(life="hung"), {}, ("conflict", "locked")),
        (BUSY.but(word=OPEN, stuck="refuses"), {}, ("conflict", "vm_state")),
        (BUSY.but(stuck="refuses"), {}, ("conflict", "task_state")),
        (HUNG.but(stuck="refuses"), {}, ("invalid", "stuck")),
        (HUNG, {"answer_by": NOW}, ("accepted", "")),
    ],
)
def test_a_command_is_checked_in_the_order_of_the_api(
    state: Door | None, how: dict[str, Any], answer: tuple[str, str]
) -> None:
    decision = turn(state, begin(operation="op-2", **how))
    given = answer_of(decision)
    code = (given.code, given.attribute) if isinstance(given, Refused) else ("accepted", "")
    assert code == answer
    if isinstance(given, Refused):
        assert not decision.changed
        assert decision.state is state
        assert not decision.events
        assert not decision.records


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (BUSY.but(word=OPEN), "Cannot 'swing' door d while it is in vm_state open"),
        (BUSY, "Cannot 'swing' door d while it is in task_state opening"),
        (HUNG.but(word=AJAR), "Cannot 'swing' door d while it is in vm_state ajar"),
        (None, "door d could not be found."),
    ],
)
def test_a_refusal_names_what_stood_against_it(state: Door | None, text: str) -> None:
    refused = answer_of(turn(state, begin(operation="op-2")))
    assert isinstance(refused, Refused)
    assert refused.reason == text
    assert refused.value == "" or refused.value in text


def test_an_answer_goes_to_who_waits_under_the_commands_operation() -> None:
    (send,) = turn(BUSY, begin(operation="op-2")).sends
    assert (send.to, send.operation) == (GATEWAY, "op-2")
    assert turn(BUSY, Heard(StartInstance(by=OWNER), "", "op-2")).sends == []


def test_a_command_without_a_table_or_a_row_is_refused() -> None:
    refused = answer_of(turn(HUNG, begin(RebootInstance)))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.attribute, refused.value) == ("conflict", "status", "hung")


def test_a_bug_in_a_step_is_no_answer() -> None:
    with pytest.raises(RuntimeError, match="a bug in a step"):
        turn(HUNG.but(stuck="breaks"), begin())


def test_an_admin_passes_the_guard() -> None:
    locked = HUNG.but(locked=True)
    assert turn(locked, heard(StartInstance(by=ADMIN))).changed


# Beginning and moving


def test_a_command_begins_its_operation() -> None:
    decision = turn(HUNG, begin())
    state = decision.state
    assert state is not None
    assert state.task is not None
    assert (state.version, state.updated_at) == (8, NOW)
    assert (state.task.state, state.task.name, state.task.operation) == (OPENING, "open", "op-1")
    assert (state.task.number, state.task.deadline, state.task.by) == (8, NOW + OPENING_S, OWNER)
    assert event_names(decision.events) == ["door.open.start"]
    record = only(decision.records)
    assert (record.id, record.name, record.subject) == ("op-1", "swing", "door/d")
    assert (record.outcome, record.finished_at, record.deadline) == ("", 0.0, NOW + OPENING_S)
    assert isinstance(answer_of(decision), Accepted)


def test_orders_carry_the_number_of_their_step() -> None:
    decision = turn(HUNG, begin())
    assert decision.state is not None
    assert decision.state.task is not None
    assert said(decision, StartGuest).number == decision.state.task.number == decision.state.version
    assert {send.operation for send in decision.sends} == {"op-1"}


def test_only_what_has_no_stream_of_its_own_is_said_again() -> None:
    assert BUSY.task is not None
    assert [type(send.message) for send in BUSY.task.waiting] == [StartGuest]


def test_the_last_row_ends_it() -> None:
    decision = turn(BUSY, fact(), at=NOW + 3)
    state = decision.state
    assert state is not None
    assert (state.task, state.word, state.version) == (None, OPEN, 9)
    assert event_names(decision.events) == ["door.open.end"]
    assert decision.events[0].data == OPEN.encode()
    record = only(decision.records)
    assert (record.outcome, record.reason, record.finished_at) == ("success", "", NOW + 3)
    assert (record.deadline, record.began_at, record.updated_at) == (0.0, NOW, NOW + 3)
    assert [(s.name, s.began_at, s.finished_at, s.result) for s in record.steps] == [
        (OPENING, NOW, NOW + 3, "Success")
    ]


def test_a_step_to_another_state_has_its_own_number_deadline_and_resends() -> None:
    resent = turn(BUSY, Tick(), at=NOW + RESEND_FIRST_S).state
    state = after(resent, fact(GuestPaused), at=NOW + 9)
    assert state.task is not None
    assert (state.task.state, state.task.number, state.task.resends) == (CLOSING, state.version, 0)
    assert (state.task.deadline, state.task.resend_at) == (NOW + 9 + CLOSING_S, NOW + 9 + RESEND_FIRST_S)
    assert [type(send.message) for send in state.task.waiting] == [StopGuest]
    assert [step.name for step in state.task.steps] == [OPENING, CLOSING]


def test_progress_keeps_number_and_orders_and_moves_the_deadline() -> None:
    state = after(BUSY, PROGRESS, at=NOW + 9)
    assert BUSY.task is not None
    assert state.task is not None
    assert state.task.deadline == NOW + 9 + OPENING_S
    assert (state.task.number, state.task.waiting) == (BUSY.task.number, BUSY.task.waiting)
    assert state.version == BUSY.version + 1
    assert len(state.task.steps) == 1


def test_a_failure_is_remembered_to_the_end() -> None:
    decision = turn(after(BUSY, FAILED), fact(GuestPaused))
    record = only(decision.records)
    assert (record.outcome, record.reason) == ("error", "broken: it broke")
    assert [(step.result, step.reason) for step in record.steps] == [("Error", "it broke"), ("Success", "")]
    assert event_names(decision.events) == ["door.open.error"]


def test_the_first_failure_is_the_reason() -> None:
    state = after(BUSY, FAILED)
    decision = turn(state, StepFailed(code="later", reason="it broke more"))
    assert only(decision.records).reason == "broken: it broke"
    assert decision.state is not None
    assert decision.state.word == AJAR


def test_asking_again_is_no_failure() -> None:
    closing = after(HUNG, begin(StopInstance), FAILED, FAILED)
    assert closing.task is not None
    assert closing.task.failure == ""
    assert only(turn(closing, fact(GuestPaused)).records).outcome == "success"


def test_what_an_agent_says_of_a_failure_is_the_steps_failure() -> None:
    state = after(BUSY, fact(GuestFailed, code="e\0", reason="no\nhinges\0" + "x" * 5000))
    assert state.task is not None
    assert state.task.state == CLOSING
    assert state.task.failure.startswith("e : no hinges xxx")
    assert len(state.task.failure) < 1100


def test_the_record_of_steps_is_bounded_and_keeps_the_first() -> None:
    state = HUNG
    state = after(state, begin())
    for _ in range(STEPS_MAX):
        state = after(state, fact(GuestPaused), begin(operation="op-1"))
    assert state.task is not None
    assert len(state.task.steps) <= STEPS_MAX
    assert state.task.steps[0].name == OPENING


# Interruption


def test_an_interrupted_operation_ends_as_an_error() -> None:
    closing = after(BUSY, fact(GuestPaused))
    decision = turn(closing, begin(operation="op-2"), at=NOW + 5)
    first, second = decision.records
    assert (first.id, first.outcome, first.reason) == ("op-1", "error", "interrupted by open")
    assert first.finished_at == NOW + 5
    assert all(step.finished_at for step in first.steps)
    assert (second.id, second.outcome) == ("op-2", "")
    assert event_names(decision.events) == ["door.open.error", "door.open.start"]
    assert decision.state is not None
    assert decision.state.task is not None
    assert decision.state.task.operation == "op-2"


def test_what_runs_already_is_joined() -> None:
    burning = after(BUSY, begin(DeleteInstance, operation="op-2"))
    decision = turn(burning, begin(DeleteInstance, operation="op-3"))
    assert isinstance(answer_of(decision), Accepted)
    assert not decision.changed
    assert not decision.records


def test_facts_of_another_operation_are_not_for_this_one() -> None:
    assert not turn(BUSY, fact(operation="op-0")).changed
    assert turn(BUSY, fact(operation="")).changed


def test_irrelevant_and_unexpected_facts_change_nothing() -> None:
    for state in (None, HUNG, BUSY):
        stranger = Heard(fact().message, "agent/stranger", "op-1")
        decision = turn(state, stranger)
        assert (decision.state, decision.changed, decision.sends) == (state, False, [])
    assert not turn(HUNG, fact()).changed


# Ticks


def test_a_missed_deadline_is_a_failed_step() -> None:
    decision = turn(BUSY, Tick(), at=NOW + OPENING_S)
    assert decision.state is not None
    assert decision.state.task is not None
    assert decision.state.task.state == CLOSING
    assert decision.state.task.failure == "deadline: opening took longer than 50 s"


def test_an_unanswered_order_is_said_again_with_growing_patience() -> None:
    state, at, waits = BUSY, NOW + RESEND_FIRST_S, []
    while at < NOW + OPENING_S:
        assert state.task is not None
        assert due_at(state) == at
        decision = turn(state, Tick(), at=at)
        assert [(send.to, send.operation) for send in decision.sends] == [(CLOSER, "op-1")]
        assert said(decision, StartGuest).number == state.task.number
        assert decision.changed
        assert not decision.events
        assert not decision.records
        assert decision.state is not None
        assert decision.state.version == state.version + 1
        state = decision.state
        assert state.task is not None
        waits.append(state.task.resend_at - at)
        at = state.task.resend_at
    assert waits == [4.0, 8.0] + [RESEND_MAX_S] * 3


def test_hours_of_progress_do_not_overflow_the_patience() -> None:
    assert BUSY.task is not None
    patient = BUSY.but(task=replace(BUSY.task, resends=5000))
    state = turn(patient, Tick(), at=NOW + RESEND_FIRST_S).state
    assert state is not None
    assert state.task is not None
    assert state.task.resend_at == NOW + RESEND_FIRST_S + RESEND_MAX_S
    assert RESEND_FIRST_S * 2**RESEND_DOUBLINGS_MAX >= RESEND_MAX_S


def test_a_tick_before_its_time_changes_nothing() -> None:
    for state in (None, HUNG, BUSY):
        decision = turn(state, Tick(), at=NOW + 1)
        assert (decision.changed, decision.sends) == (False, [])


def test_an_alarm_is_heard_once_by_its_life_row() -> None:
    barred = after(HUNG, begin(LockInstance))
    assert due_at(barred) == NOW + 5
    decision = turn(barred, Tick(), at=NOW + 5)
    assert decision.state is not None
    assert (decision.state.knocks, decision.state.life, due_at(decision.state)) == (100, "barred", None)
    assert event_names(decision.events) == ["door.alarm"]
    assert told(decision) == ["StopGuest"]


def test_an_alarm_nobody_hears_is_put_away() -> None:
    decision = turn(HUNG.but(alarm_at=NOW), Tick())
    assert decision.changed
    assert decision.state is not None
    assert (decision.state.alarm_at, decision.state.version) == (None, HUNG.version + 1)


def test_the_earliest_time_is_the_actors_clock() -> None:
    assert due_at(HUNG) is None
    assert due_at(BUSY) == NOW + RESEND_FIRST_S
    assert due_at(BUSY.but(alarm_at=NOW + 1)) == NOW + 1


# Life rows


def test_a_logged_command_leaves_a_record_and_an_event() -> None:
    decision = turn(HUNG, begin(LockInstance))
    record = only(decision.records)
    assert (record.id, record.name, record.outcome) == ("op-1", "fasten", "success")
    assert (record.finished_at, record.by) == (NOW, OWNER)
    assert event_names(decision.events) == ["door.fasten"]
    assert decision.state is not None
    assert (decision.state.life, decision.state.locked, decision.state.version) == ("barred", True, 8)
    assert isinstance(answer_of(decision), Accepted)


def test_an_unlogged_command_leaves_neither() -> None:
    decision = turn(HUNG, begin(UpdateInstance))
    assert decision.changed
    assert not decision.events
    assert not decision.records
    assert isinstance(answer_of(decision), Accepted)
    assert decision.state is not None
    assert decision.state.life == "hung"


def test_a_step_of_life_may_refuse() -> None:
    refused = answer_of(turn(HUNG, begin(UnlockInstance)))
    assert isinstance(refused, Refused)
    assert (refused.attribute, refused.value) == ("locked", "false")


def test_life_goes_on_while_an_operation_runs() -> None:
    decision = turn(BUSY, begin(UpdateInstance, operation="op-2"))
    assert decision.state is not None
    assert decision.state.knocks == 1
    assert decision.state.task == BUSY.task


def test_what_is_passed_on_is_answered_by_another_and_not_finished_yet() -> None:
    decision = turn(HUNG, begin(PauseInstance))
    (send,) = decision.sends
    assert (send.to, send.reply_to, send.operation) == ("instance/other", GATEWAY, "op-1")
    record = only(decision.records)
    assert (record.outcome, record.finished_at) == ("", 0.0)


def test_a_relay_writes_nothing() -> None:
    asked = heard(ReadConsole(by=OWNER, bytes_max=9, reply_to=GATEWAY, ticket="t"))
    decision = turn(HUNG, asked)
    assert not decision.changed
    assert decision.state == HUNG
    assert [(send.to.partition("/")[0], send.operation) for send in decision.sends] == [("agent", "op-1")]
    assert isinstance(answer_of(turn(HUNG.but(locked=True), asked)), Refused)
    echoed = turn(HUNG, ConfirmClaim(host="h", instance="d", generation=3))
    assert (told(echoed), echoed.changed) == (["ClaimStands"], False)


def test_life_rows_are_tried_in_order() -> None:
    fact = GuestConsole(instance="d", generation=1, reply_to="", operation="", text="")
    assert after(HUNG, fact, fact, fact).knocks == 100


# Birth and end


def test_a_command_may_give_birth() -> None:
    born = turn(None, heard(CREATE_COMMAND))
    refused = answer_of(born)
    assert isinstance(refused, Refused), "this door's life has no row for its birth"
    assert born.state is None
    assert not born.changed


def test_nothing_but_a_birth_makes_an_actor() -> None:
    for message in (FAILED, fact().message, Tick()):
        decision = turn(None, message)
        assert (decision.state, decision.changed) == (None, False)


def test_what_is_gone_answers_so_and_hears_nothing() -> None:
    gone = after(HUNG, begin(DeleteInstance), fact(GuestPaused))
    assert gone.life == GONE
    for command in (StartInstance, DeleteInstance, UpdateInstance):
        refused = answer_of(turn(gone, begin(command, operation="op-9")))
        assert isinstance(refused, Refused)
        assert refused.code == "not_found"
    assert isinstance(answer_of(turn(gone, heard(CREATE_COMMAND, operation="op-9"))), Refused)
    assert due_at(gone) is None


def test_a_repetition_is_accepted_whatever_has_become_of_it() -> None:
    for state in (HUNG, BUSY, after(HUNG, begin(DeleteInstance), fact(GuestPaused))):
        decision = turn(state, begin(known=True))
        assert isinstance(answer_of(decision), Accepted)
        assert (decision.changed, decision.state) == (False, state)


def test_a_repetition_of_what_has_not_arrived_yet_is_left_to_its_arrival() -> None:
    assert turn(None, heard(CREATE_COMMAND, known=True)).sends == []
    assert CreateInstance in DOOR.births
