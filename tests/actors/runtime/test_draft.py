"""A batch in the making: folding, numbering, parking, who may say what, and which commands are known."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actors.kinds import KINDS
from actors.runtime.draft import (
    ERROR_CHARS_MAX,
    NAME_CHARS_MAX,
    REFUSALS_MAX,
    STORY_LENGTH,
    Incoming,
    well_formed,
)
from actors.turn import ActorState
from protocol.agent import GuestConsole, GuestPaused, GuestStarted, Heartbeat
from protocol.codec import decode_envelopes, decode_message, encode_message
from protocol.command import Accepted, Tick
from protocol.errors import Refused
from protocol.instance import (
    LockInstance,
    PauseInstance,
    ReadConsole,
    StartInstance,
    StopInstance,
    UnlockInstance,
    UpdateInstance,
)
from protocol.message import Envelope, Message
from protocol.project import QuotaLimits, ReserveQuota
from tests.actors.door import CLOSER, CLOSING, DOOR, NEIGHBOUR, OPEN, OPENING, OPENING_S, Door
from tests.actors.instance.guest import active, created, started
from tests.actors.runtime.batch import (
    EPOCH,
    EVENT_N,
    Desk,
    arriving,
    command,
    from_host,
    names,
    numbered,
    partition,
    unsealed,
)
from tests.actors.stage import CREATE_COMMAND, GATEWAY, HOSTS, NOW, OWNER, PROJECT_ID

D, E = "instance/d", "instance/e"
MARKS: dict[int, tuple[int, ...]] = dict.fromkeys(range(4), (0, 0, 0, 0))
START, STOP, UPDATE = StartInstance(by=OWNER), StopInstance(by=OWNER), UpdateInstance(by=OWNER)
STARTED = GuestStarted(instance="d", generation=1, number=8)


def door(**more: Any) -> Door:
    return Door(id="d", life="hung", version=7, **more)


def desk(**more: Any) -> Desk:
    return Desk({"instance": DOOR}, {D: door(**more), E: Door(id="e", life="hung", version=3)})


def fact(message: Message, *, operation: str = "op-1") -> Incoming:
    return from_host(D, message, HOSTS[0], operation=operation)


# What is written


def test_several_messages_of_one_actor_are_one_row() -> None:
    here = desk()
    draft = here.draft()
    assert [
        draft.hear(one) for one in (command(D, START), command(D, UPDATE, operation="op-2"), fact(STARTED))
    ] == ["moved"] * 3
    outcome = draft.finish(MARKS)
    (row,) = outcome.batch.actors
    assert (row.expected, row.version, row.id, row.kind) == (7, 10, "d", "instance")
    assert (row.partition, row.gone, row.columns) == (partition(D), False, (OPEN,))
    assert msgspec.json.decode(row.state, type=Door) == here.state(D)
    assert (outcome.turns, row.due_at) == (3, None)
    assert outcome.due == {("instance", "d"): None}


def test_a_record_is_written_once_as_it_is_at_the_end() -> None:
    draft = desk().draft()
    draft.hear(command(D, START))
    draft.hear(fact(STARTED))
    outcome = draft.finish(MARKS)
    (operation,) = outcome.batch.operations
    assert (operation.id, operation.name, operation.outcome) == ("op-1", "swing", "success")
    assert (operation.project, operation.user, operation.request) == (
        OWNER.project,
        OWNER.user,
        OWNER.request,
    )
    assert [step["name"] for step in msgspec.json.decode(operation.steps)] == [OPENING]
    assert outcome.outcomes == [("swing", "success", 0.0)]


def test_events_are_numbered_on_from_the_partitions_count() -> None:
    draft = desk().draft()
    draft.hear(command(D, START))
    draft.hear(fact(STARTED))
    batch = draft.finish(MARKS).batch
    assert [(event.n, event.type) for event in batch.events] == [
        (EVENT_N + 1, "door.open.start"),
        (EVENT_N + 2, "door.open.end"),
    ]
    (row,) = batch.partitions
    assert (row.partition, row.epoch, row.event_n) == (partition(D), EPOCH, EVENT_N + 2)


def test_the_row_says_when_the_actor_wants_to_be_woken() -> None:
    draft = desk().draft()
    draft.hear(command(D, START))
    outcome = draft.finish(MARKS)
    (row,) = outcome.batch.actors
    assert row.due_at == NOW + 2
    assert outcome.due == {("instance", "d"): NOW + 2}


def test_marks_alone_are_written_too() -> None:
    draft = desk().draft()
    assert draft.hear(fact(STARTED)) == "dropped"
    assert draft.finish(MARKS).batch.partitions == []
    moved = {**MARKS, 2: (0, 5, 0, 0)}
    (row,) = desk().draft().finish(moved).batch.partitions
    assert (row.partition, row.marks, row.event_n) == (2, (0, 5, 0, 0), EVENT_N)


def test_a_refusal_writes_nothing_and_answers() -> None:
    draft = desk().draft()
    assert draft.hear(command(D, UnlockInstance(by=OWNER))) == "answered"
    outcome = draft.finish(MARKS)
    assert outcome.batch.partitions == []
    assert names(outcome.direct[GATEWAY]) == ["Refused"]


# What is sent


def test_streams_are_numbered_from_where_they_are() -> None:
    draft = desk().draft(next_numbers={partition(NEIGHBOUR): 42})
    draft.hear(command(D, START))
    draft.hear(command(E, START, operation="op-2"))
    outcome = draft.finish(MARKS)
    segments = {(s.source, s.destination): s for s in outcome.batch.segments}
    assert set(segments) == {(partition(D), partition(NEIGHBOUR)), (partition(E), partition(NEIGHBOUR))}
    for segment in segments.values():
        envelopes = decode_envelopes(segment.body)
        assert (segment.first, segment.last) == (42, 42 + len(envelopes) - 1)
        assert {envelope.to for envelope in envelopes} == {NEIGHBOUR}
    assert {row.partition for row in outcome.batch.partitions} >= {partition(D), partition(E)}


def test_one_stream_keeps_the_order_of_the_turns() -> None:
    here = desk()
    draft = here.draft()
    for n in range(5):
        draft.hear(command(D, PauseInstance(by=OWNER), operation=f"op-{n}"))
    (segment,) = draft.finish(MARKS).batch.segments
    assert (segment.first, segment.last) == (1, 5)
    assert [e.operation for e in decode_envelopes(segment.body)] == [f"op-{n}" for n in range(5)]
    assert {e.reply_to for e in decode_envelopes(segment.body)} == {GATEWAY}


def test_what_has_no_stream_goes_out_by_itself_and_sealed() -> None:
    sealed: list[str] = []

    def seal(to: str, message: Message, now: float) -> Message:
        assert now == NOW
        sealed.append(f"{to} {type(message).__name__}")
        return message

    draft = desk().draft(seal=seal)
    draft.hear(command(D, START, trace="00-trace"))
    outcome = draft.finish(MARKS)
    assert names(outcome.direct[CLOSER]) == ["StartGuest"]
    (order,) = outcome.direct[CLOSER]
    assert (order.sender, order.operation, order.reply_to, order.trace) == (D, "op-1", "", "00-trace")
    assert names(outcome.direct[GATEWAY]) == ["Accepted"]
    assert sorted(sealed) == sorted([f"{CLOSER} StartGuest", f"{GATEWAY} Accepted"])


def test_what_is_stored_is_never_sealed() -> None:
    def seal(to: str, message: Message, _: float) -> Message:
        assert not to.startswith("host/")
        return message

    here = desk()
    draft = here.draft(seal=seal)
    assert draft.hear(command(D, START)) == "moved"
    state = here.state(D)
    assert isinstance(state, Door)
    assert state.task is not None
    assert [type(send.message).__name__ for send in state.task.waiting] == ["StartGuest"]


# Parking


def parked(incoming: Incoming, here: Desk | None = None, **more: Any) -> tuple[str, str, list[str]]:
    """What is written about a message that no turn could be made of: address, error, answers."""
    draft = (here or desk()).draft(**more)
    assert draft.hear(incoming) == "parked"
    outcome = draft.finish(MARKS)
    (row,) = outcome.batch.parked
    assert row.body == incoming.envelope.body
    assert (row.partition, row.at) == (incoming.partition, NOW)
    assert [p.partition for p in outcome.batch.partitions] == [incoming.partition]
    return row.address, row.error, names(outcome.direct.get(GATEWAY, []))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\0",
        b"[]",
        b'{"type":"no.such"}',
        b'{"type":"gateway.start_instance"}',
        b'{"type":"actor.accepted","detail":"\xff"}',
        b'{"type":"actor.accepted","later":' + b"[" * 100_000,
    ],
    ids=len,
)
def test_what_cannot_be_read_is_parked(body: bytes) -> None:
    envelope = Envelope(D, GATEWAY, body, "op-1", GATEWAY)
    address, error, answers = parked(arriving(envelope))
    assert address == D
    assert "Error" in error
    assert answers == ["Refused"]


def test_a_message_to_nobody_is_parked() -> None:
    for to in ("door/x", "agent/x", "instance/unknown", "x"):
        _, error, _ = parked(arriving(Envelope(to, GATEWAY, encode_message(START))))
        assert "no actor can have the address" in error


def test_a_turn_that_raises_is_taken_out_and_the_rest_goes_on() -> None:
    here = desk(stuck="breaks")
    draft = here.draft()
    assert draft.hear(command(D, UPDATE, operation="op-0")) == "moved"
    assert draft.hear(command(D, START)) == "parked"
    assert draft.hear(command(E, START, operation="op-2")) == "moved"
    assert draft.hear(command(D, UPDATE, operation="op-3")) == "moved"
    batch = draft.finish(MARKS).batch
    assert {row.id: row.version for row in batch.actors} == {"d": 9, "e": 4}
    (row,) = batch.parked
    assert "a bug in a step" in row.error
    assert [line.split()[1:] for line in row.story.splitlines()] == [
        ["UpdateInstance", "op-0"],
        ["StartInstance", "op-1"],
    ]
    assert {segment.source for segment in batch.segments} == {partition(E)}


def test_an_answer_says_so_and_nothing_of_the_bug() -> None:
    draft = desk(stuck="breaks").draft()
    draft.hear(command(D, START))
    (answer,) = draft.finish(MARKS).direct[GATEWAY]
    refused = decode_message(answer.body)
    assert isinstance(refused, Refused)
    assert (refused.code, answer.operation) == ("internal", "op-1")
    assert "bug" not in refused.reason


def raising(to: str, message: Message, _: float) -> Message:
    raise ValueError(f"no seal for {type(message).__name__} to {to}")


def test_a_turn_whose_orders_cannot_be_made_is_parked_whole() -> None:
    here = desk()
    draft = here.draft(
        seal=lambda to, message, now: (raising if to == CLOSER else unsealed)(to, message, now)
    )
    assert draft.hear(command(D, START)) == "parked"
    assert here.state(D) == door()
    batch = draft.finish(MARKS).batch
    assert (batch.actors, batch.segments, batch.events, batch.operations) == ([], [], [], [])


def test_a_turn_whose_view_cannot_be_drawn_is_parked_whole() -> None:
    here = desk(stuck="unshowable")
    draft = here.draft()
    assert draft.hear(command(D, UPDATE)) == "parked"
    assert here.state(D) == door(stuck="unshowable")
    assert draft.finish(MARKS).batch.actors == []


def test_a_parked_step_fails_its_operation() -> None:
    here = desk()
    here.draft().hear(command(D, START))
    broken = here.state(D)
    assert isinstance(broken, Door)
    draft = here.draft(seal=lambda *_: (_ for _ in ()).throw(ValueError("once")))
    assert draft.hear(fact(GuestPaused(instance="d", generation=1, number=8))) == "parked"
    assert here.state(D) == broken, "the failure could not be told either: the deadline will"
    assert len(draft.finish(MARKS).batch.parked) == 2


def test_the_operation_of_a_parked_step_goes_on_with_its_failure() -> None:
    here = desk()
    here.draft().hear(command(D, START))
    calls = iter([True, False])

    def seal(to: str, message: Message, now: float) -> Message:
        return raising(to, message, now) if next(calls) else message

    draft = here.draft(seal=seal)
    assert draft.hear(fact(GuestPaused(instance="d", generation=1, number=8))) == "parked"
    state = here.state(D)
    assert isinstance(state, Door)
    assert state.task is not None
    assert state.task.state == CLOSING
    assert state.task.failure == "internal: an internal error; the operators have been told"


def test_a_parked_stranger_fails_nobody() -> None:
    here = desk()
    here.draft().hear(command(D, START))
    calls = iter([True, False, False])

    def seal(to: str, message: Message, now: float) -> Message:
        return raising(to, message, now) if next(calls) else message

    peep = ReadConsole(by=OWNER, bytes_max=1, reply_to=GATEWAY, ticket="t")
    assert here.draft(seal=seal).hear(command(D, peep, operation="op-2")) == "parked"
    state = here.state(D)
    assert isinstance(state, Door)
    assert state.task is not None
    assert (state.task.state, state.task.failure) == (OPENING, "")


def test_an_answer_to_nobody_is_no_further_trouble() -> None:
    for reply_to in ("gateway/no body", "gateway/", "schedulers/all"):
        draft = desk(stuck="breaks").draft()
        assert draft.hear(command(D, START, reply_to=reply_to)) == "parked"
        assert draft.finish(MARKS).direct == {}


def test_what_is_kept_of_an_error_fits_into_the_database() -> None:
    body = b'{"type":"' + b"\\u0000" * 3 + b'"}'
    _, error, _ = parked(arriving(Envelope(D, GATEWAY, body, "op-1", GATEWAY)))
    assert "\0" not in error
    long = Envelope("instance/" + "x" * 20_000, GATEWAY, encode_message(START))
    assert len(parked(arriving(long))[1]) <= ERROR_CHARS_MAX


def test_the_story_of_an_actor_is_bounded() -> None:
    here = desk()
    draft = here.draft()
    for n in range(STORY_LENGTH + 5):
        draft.hear(command(D, UPDATE, operation=f"op-{n}"))
    assert len(here.cache["instance", "d"].story) == STORY_LENGTH


# Ticks


def test_a_tick_is_a_turn_of_its_own() -> None:
    here = desk()
    here.draft().hear(command(D, START))
    draft = here.draft()
    assert draft.tick(partition(D), "instance", "d") == "dropped"
    state = here.state(D)
    assert isinstance(state, Door)
    assert state.task is not None
    here.cache["instance", "d"].state = state.but(
        task=msgspec.structs.replace(state.task, deadline=NOW - OPENING_S)
    )
    assert draft.tick(partition(D), "instance", "d") == "moved"
    assert draft.tick(partition(D), "instance", "nobody") == "dropped"


# Who may say what


@pytest.mark.parametrize(
    ("incoming", "why"),
    [
        (fact(STARTED), ""),
        (from_host("host/" + HOSTS[0], Heartbeat(session="s", sent_at=1.0), HOSTS[0]), ""),
        (from_host(D, STARTED, HOSTS[0], sender=f"agent/{HOSTS[1]}"), "a host speaks as another"),
        (from_host(D, STARTED, HOSTS[0], sender=f"host/{HOSTS[0]}"), "a host speaks as an actor"),
        (from_host(D, START, HOSTS[0]), "a host commands"),
        (from_host(D, START, HOSTS[0], sender=GATEWAY), "a host commands as a gateway"),
        (from_host(D, Tick(), HOSTS[0]), "a host ticks"),
        (numbered(D, STARTED, sender=f"agent/{HOSTS[0]}"), "somebody speaks as a host"),
        (command(D, STARTED), "a gateway speaks as a host"),
    ],
)
def test_only_a_host_speaks_for_itself(incoming: Incoming, why: str) -> None:
    here = Desk({"instance": DOOR, "host": KINDS["host"]}, {D: door(), "host/" + HOSTS[0]: None})
    draft = here.draft()
    assert (draft.hear(incoming) in {"parked", "turned away"}) == bool(why)
    for row in draft.finish(MARKS).batch.parked:
        assert "PermissionError" in row.error


def test_a_host_does_not_choose_who_is_answered() -> None:
    envelope = Envelope(D, f"agent/{HOSTS[0]}", b"?", "op-1", reply_to=GATEWAY)
    draft = desk().draft()
    assert draft.hear(arriving(envelope, HOSTS[0])) == "turned away"
    assert draft.finish(MARKS).direct == {}


@pytest.mark.parametrize("reply_to", ["gateway/", "gateway/no body", "gateway/" + "x" * 80])
def test_a_console_for_nobody_is_parked(reply_to: str) -> None:
    vm = active()
    to = f"instance/{vm.id}"
    here = Desk(KINDS, {to: vm})
    draft = here.draft()
    said = GuestConsole(
        instance=vm.id, generation=vm.generation, reply_to=reply_to, operation="t", text="login:"
    )
    assert draft.hear(from_host(to, said, HOSTS[0])) == "parked"
    assert not draft.finish(MARKS).direct


def test_a_fact_from_another_host_is_dropped() -> None:
    vm = created()
    to = f"instance/{vm.id}"
    here = Desk(KINDS, {to: vm})
    said = started(vm).message
    assert here.draft().hear(from_host(to, said, HOSTS[3], operation="op-1")) == "dropped"
    assert here.draft().hear(from_host(to, said, HOSTS[0], operation="op-1")) == "moved"


@pytest.mark.parametrize(
    ("change", "well"),
    [
        (lambda e: e, True),
        (lambda e: msgspec.structs.replace(e, to=e.to + "\0"), False),
        (lambda e: msgspec.structs.replace(e, sender="agent/\n"), False),
        (lambda e: msgspec.structs.replace(e, operation="o\0p"), False),
        (lambda e: msgspec.structs.replace(e, reply_to="\x1b[0m"), False),
        (lambda e: msgspec.structs.replace(e, trace="x" * (NAME_CHARS_MAX + 1)), False),
    ],
)
def test_names_that_cannot_be_are_known(change: Callable[[Envelope], Envelope], well: bool) -> None:
    assert well_formed(change(command(D, START).envelope)) is well


# What is known


def test_a_known_command_is_answered_and_not_heard_again() -> None:
    here = desk()
    draft = here.draft(known={"op-1"})
    assert draft.hear(command(D, STOP)) == "answered"
    outcome = draft.finish(MARKS)
    assert names(outcome.direct[GATEWAY]) == ["Accepted"]
    assert outcome.batch.partitions == []


def test_a_command_that_came_twice_into_one_batch_is_heard_once() -> None:
    here = desk()
    draft = here.draft()
    assert [draft.hear(command(D, START)), draft.hear(command(D, START))] == ["moved", "answered"]
    outcome = draft.finish(MARKS)
    assert names(outcome.direct[GATEWAY]) == ["Accepted", "Accepted"]
    assert names(outcome.direct[CLOSER]) == ["StartGuest"]


def test_what_comes_in_a_stream_is_never_a_repetition() -> None:
    here = desk()
    draft = here.draft(known={"op-1"})
    assert draft.hear(numbered(D, START, sender="project/p", operation="op-1", reply_to=GATEWAY)) == "moved"


def test_all_copies_of_a_refused_command_are_refused_alike() -> None:
    here = desk(locked=True)
    draft = here.draft()
    copy = command(D, START, answer_by=NOW + 5)
    assert draft.hear(copy) == "answered"
    draft.hear(command(D, UnlockInstance(by=OWNER), operation="op-2"))
    assert draft.hear(copy) == "answered"
    assert draft.hear(command(D, START, answer_by=NOW + 6)) == "moved"
    answers = [decode_message(e.body) for e in draft.finish(MARKS).direct[GATEWAY]]
    assert [type(a) for a in answers] == [Refused, Accepted, Refused, Accepted]
    assert answers[0] == answers[2]


def test_refusals_are_remembered_for_a_while_only() -> None:
    here = desk()
    draft = here.draft()
    for n in range(REFUSALS_MAX + 3):
        draft.hear(command(D, UnlockInstance(by=OWNER), operation=f"op-{n}", answer_by=NOW + 5))
    assert len(here.cache["instance", "d"].refusals) == REFUSALS_MAX


def test_a_repeated_create_is_passed_on_beside_the_stream() -> None:
    to = f"project/{PROJECT_ID}"
    here = Desk(KINDS, {to: None})
    wish = command(to, ReserveQuota(by=OWNER, limits=QuotaLimits(), then=CREATE_COMMAND))
    draft = here.draft()
    assert [draft.hear(wish), draft.hear(wish)] == ["moved", "answered"]
    outcome = draft.finish(MARKS)
    ((_, envelopes),) = outcome.numbered.values()
    assert names(envelopes) == ["CreateInstance"]
    (again,) = outcome.direct[f"instance/{CREATE_COMMAND.instance}"]
    assert (again.operation, again.reply_to) == ("op-1", GATEWAY)
    assert names([again]) == ["CreateInstance"]


def test_a_lock_in_one_batch_holds_for_the_next_message() -> None:
    here = desk()
    draft = here.draft()
    draft.hear(command(D, LockInstance(by=OWNER), operation="op-1"))
    assert draft.hear(command(D, START, operation="op-2")) == "answered"
    state: ActorState | None = here.state(D)
    assert isinstance(state, Door)
    assert state.task is None
