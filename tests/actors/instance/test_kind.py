"""What an instance refuses, what it hears when nothing runs, and whose word it takes."""

from typing import Any

import pytest
from msgspec.structs import replace

from actors.instance.kind import INSTANCE
from actors.instance.model import GONE, OPEN, Instance, V
from actors.instance.operations.soft_delete import BUSY_S
from actors.turn import Heard, due_at
from protocol.agent import (
    ConsoleRead,
    DestroyGuest,
    ForgetGuest,
    GuestConsole,
    GuestStarted,
    ReadGuestConsole,
)
from protocol.command import Accepted, Caller, Command, Tick
from protocol.errors import Refused
from protocol.guest import PowerState
from protocol.host import ConfirmClaim, GuestUnclaimed, HostFound, TellAgain
from protocol.instance import (
    ClaimStands,
    DeleteInstance,
    HardRebootInstance,
    LockInstance,
    PauseInstance,
    ReadConsole,
    RebootInstance,
    ReleaseHost,
    ResetInstance,
    RestoreInstance,
    StartInstance,
    StopInstance,
    UnlockInstance,
    UnpauseInstance,
    UpdateInstance,
)
from protocol.scheduling import PlacementProposed
from tests.actors.instance.guest import (
    active,
    aside,
    broken,
    claim_refused,
    created,
    frozen,
    homeless,
    noticed,
    off,
    proposed,
    settled,
    started,
    uncleared,
)
from tests.actors.life import LifeCase, every_life_row_is_taken
from tests.actors.stage import (
    ADMIN,
    CREATE_COMMAND,
    GATEWAY,
    HOSTS,
    NOW,
    OWNER,
    answer_of,
    event_names,
    heard,
    only,
    reach,
    said,
    sent,
    told,
    turn,
)

RUNNING, SHUTDOWN = PowerState.RUNNING, PowerState.SHUTDOWN
STOPPING = reach(INSTANCE, active(), heard(StopInstance(by=OWNER), operation="op-stop"))
LOCKED = reach(INSTANCE, active(), heard(LockInstance(by=OWNER, reason="mine")))
ASIDE = aside().but(alarm_at=NOW + 40)
UNCLAIMED = reach(
    INSTANCE, None, heard(CREATE_COMMAND), proposed(HOSTS[0]), heard(ResetInstance(by=ADMIN, state="error"))
)
RESTORING = reach(INSTANCE, ASIDE, heard(RestoreInstance(by=OWNER)))
RESTORING = RESTORING.but(task=RESTORING.task and replace(RESTORING.task, waiting=()))
CONSOLE = ReadConsole(by=OWNER, bytes_max=100, reply_to=GATEWAY, ticket="t-1")
MEMBER = Caller(user="user-2", project=OWNER.project, request="req-3")


def found(vm: Instance, power: PowerState = SHUTDOWN, **fields: Any) -> Heard:
    """The host's actor says what its report has."""
    placed = vm.placements[-1]
    fields = {"generation": placed.generation, "after": vm.version, **fields}
    return Heard(HostFound(instance=vm.id, power_state=power, **fields), f"host/{placed.host}")


def console_text(vm: Instance, **fields: Any) -> Heard:
    fields = {"reply_to": GATEWAY, "operation": "t-1", "text": "login:", **fields}
    message = GuestConsole(instance=vm.id, generation=vm.generation, **fields)
    return Heard(message, f"agent/{vm.placements[-1].host}")


def asked_after(vm: Instance, generation: int) -> ConfirmClaim:
    return ConfirmClaim(host=HOSTS[0], instance=vm.id, generation=generation)


def left(vm: Instance, *, host: int, exists: bool) -> GuestUnclaimed:
    return GuestUnclaimed(host=HOSTS[host], instance=vm.id, generation=1, exists=exists)


def test_what_is_left_of_the_deleted_goes_too() -> None:
    deleted = active().but(life=GONE, placements=())
    assert told(turn(INSTANCE, deleted, Heard(left(deleted, host=0, exists=True)))) == ["DestroyGuest"]
    assert told(turn(INSTANCE, deleted, Heard(left(deleted, host=0, exists=False)))) == ["ForgetGuest"]


def test_a_guest_in_its_place_stays_whatever_its_hosts_ledger_says() -> None:
    assert told(turn(INSTANCE, active(), Heard(left(active(), host=0, exists=True)))) == []


CASES: tuple[LifeCase[Instance], ...] = (
    LifeCase("updated", active(), UpdateInstance(by=OWNER, name="db"), OPEN, event="update"),
    LifeCase("locked", active(), LockInstance(by=OWNER), OPEN, event="lock", leaves={"locked_by": "owner"}),
    LifeCase("unlocked", LOCKED, UnlockInstance(by=OWNER), OPEN, event="unlock", leaves={"locked_by": ""}),
    LifeCase("a console is asked for", active(), CONSOLE, OPEN, (ReadGuestConsole,)),
    LifeCase("a console comes", active(), console_text(active()), OPEN),
    LifeCase(
        "it went off by itself", active(), noticed(active(), SHUTDOWN), OPEN, (TellAgain,), "power_update",
        leaves={"vm_state": V.STOPPED, "power_state": SHUTDOWN},
    ),
    LifeCase(
        "a report says so", active(), found(active()), OPEN, event="power_update",
        leaves={"vm_state": V.STOPPED, "power_state": SHUTDOWN},
    ),
    LifeCase("seen while busy", STOPPING, noticed(STOPPING, SHUTDOWN), OPEN, (TellAgain,)),
    LifeCase("reported while busy", STOPPING, found(STOPPING), OPEN, (TellAgain,)),
    LifeCase("kept long enough", ASIDE, Heard(Tick()), OPEN, (DeleteInstance,), "reclaim"),
    LifeCase("being restored", RESTORING, Heard(Tick()), OPEN, leaves={"alarm_at": NOW + 50 + BUSY_S}),
    LifeCase("refused too late", UNCLAIMED, claim_refused(UNCLAIMED), OPEN, leaves={"placements": ()}),
    LifeCase("asked after a claim", active(), asked_after(active(), 1), OPEN, (ClaimStands,)),
    LifeCase("a guest is elsewhere", active(), left(active(), host=1, exists=True), OPEN, (DestroyGuest,)),
    LifeCase("a tombstone is left", active(), left(active(), host=1, exists=False), OPEN, (ForgetGuest,)),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: LifeCase[Instance]) -> None:
    case.check(INSTANCE, at=NOW + 50)


def test_every_row_is_taken() -> None:
    every_life_row_is_taken(INSTANCE, CASES)


# What is refused


def refusal(vm: Instance, command: Command) -> tuple[str, str, str]:
    decision = turn(INSTANCE, vm, heard(command, operation="op-2"))
    if told(decision) == ["ReadGuestConsole"]:
        return ("", "", "")
    answer = answer_of(decision)
    return (answer.code, answer.attribute, answer.value) if isinstance(answer, Refused) else ("", "", "")


ACTIONS = (
    StartInstance, StopInstance, RebootInstance, HardRebootInstance, PauseInstance, UnpauseInstance,
)  # fmt: skip


@pytest.mark.parametrize("command", [*ACTIONS, DeleteInstance])
def test_a_lock_comes_first(command: type[Command]) -> None:
    assert refusal(LOCKED, command(by=OWNER)) == ("conflict", "locked", "true")
    assert refusal(LOCKED, command(by=MEMBER)) == ("conflict", "locked", "true")
    assert refusal(LOCKED, command(by=ADMIN))[1] != "locked"
    assert refusal(homeless().but(locked_by="owner"), command(by=OWNER))[1] == "locked"


@pytest.mark.parametrize("command", [UpdateInstance(by=OWNER, name="x"), LockInstance(by=OWNER), CONSOLE])
def test_a_lock_keeps_nobody_from_what_changes_nothing_of_the_guest(command: Command) -> None:
    assert refusal(LOCKED, command) == ("", "", "")


@pytest.mark.parametrize("command", ACTIONS)
def test_then_the_host_then_whether_it_ever_ran(command: type[Command]) -> None:
    assert refusal(homeless(), command(by=OWNER)) == ("conflict", "host", "")
    assert refusal(uncleared(), command(by=OWNER)) == ("conflict", "launched_at", "None")
    assert refusal(created(), command(by=OWNER)) == ("conflict", "vm_state", "building")


def test_a_console_needs_a_guest() -> None:
    assert refusal(homeless(), CONSOLE) == ("conflict", "host", "")
    assert refusal(uncleared(), CONSOLE) == ("", "", "")


@pytest.mark.parametrize(
    ("vm", "allowed"),
    [
        (active(), {StopInstance, RebootInstance, HardRebootInstance, PauseInstance}),
        (off(), {StartInstance, HardRebootInstance}),
        (frozen(), {UnpauseInstance, HardRebootInstance}),
        (broken(), {StopInstance, HardRebootInstance}),
    ],
    ids=lambda value: value.vm_state if isinstance(value, Instance) else "",
)
def test_what_may_be_done_in_which_state(vm: Instance, allowed: set[type[Command]]) -> None:
    found = {command for command in ACTIONS if refusal(vm, command(by=OWNER)) == ("", "", "")}
    assert found == allowed
    for command in set(ACTIONS) - allowed:
        assert refusal(vm, command(by=OWNER)) == ("conflict", "vm_state", vm.vm_state)


@pytest.mark.parametrize("vm", settled(), ids=lambda vm: f"{vm.vm_state}-{len(vm.placements)}")
def test_anything_may_be_deleted(vm: Instance) -> None:
    assert refusal(vm, DeleteInstance(by=OWNER)) == ("", "", "")


def test_one_thing_at_a_time() -> None:
    for command in (StopInstance, RebootInstance, PauseInstance, HardRebootInstance):
        assert refusal(STOPPING, command(by=OWNER)) == ("conflict", "task_state", "powering-off")


def test_what_is_being_made_is_not_made_again() -> None:
    assert refusal(created(), CREATE_COMMAND) == ("conflict", "task_state", "spawning")
    assert refusal(active(), CREATE_COMMAND) == ("conflict", "vm_state", "active")


# Locks


@pytest.mark.parametrize(
    ("locked_by", "who", "leaves"),
    [
        ("", OWNER, ("owner", "new")),
        ("", MEMBER, ("owner", "new")),
        ("", ADMIN, ("admin", "new")),
        ("owner", OWNER, ("owner", "old")),
        ("owner", ADMIN, ("admin", "new")),
        ("admin", OWNER, ("admin", "old")),
        ("admin", ADMIN, ("admin", "new")),
    ],
)
def test_who_holds_a_lock(locked_by: str, who: Caller, leaves: tuple[str, str]) -> None:
    vm = active().but(locked_by=locked_by, locked_reason="old" if locked_by else None)
    locked = reach(INSTANCE, vm, heard(LockInstance(by=who, reason="new")))
    assert (locked.locked_by, locked.locked_reason) == leaves


@pytest.mark.parametrize(
    ("locked_by", "who", "refused"),
    [
        ("owner", OWNER, ""),
        ("owner", ADMIN, ""),
        ("admin", ADMIN, ""),
        ("admin", OWNER, "forbidden"),
        ("", OWNER, ""),
    ],
)
def test_who_may_take_a_lock_off(locked_by: str, who: Caller, refused: str) -> None:
    vm = active().but(locked_by=locked_by, locked_reason="old")
    assert refusal(vm, UnlockInstance(by=who))[0] == refused
    if not refused:
        free = reach(INSTANCE, vm, heard(UnlockInstance(by=who)))
        assert (free.locked_by, free.locked_reason) == ("", None)


# Updates


def test_an_update_changes_what_it_names() -> None:
    before = reach(INSTANCE, active(), heard(UpdateInstance(by=OWNER, description="old")))
    wish = UpdateInstance(by=OWNER, name="db", metadata={"a": "b"}, tags=("t",), access_ipv4="192.0.2.1")
    after = reach(INSTANCE, before, heard(wish)).request
    assert (after.name, after.metadata, after.tags) == ("db", {"a": "b"}, ("t",))
    assert (after.description, after.access_ipv4, after.hostname) == ("old", "192.0.2.1", "web")
    cleared = reach(INSTANCE, before, heard(UpdateInstance(by=OWNER, clear_description=True)))
    assert cleared.request.description is None


@pytest.mark.parametrize(
    ("wish", "value"),
    [
        ({"metadata": {}, "metadata_seen": {"other": "set"}}, ("metadata", "changed")),
        ({"tags": (), "tags_seen": ("other",)}, ("tags", "changed")),
        ({"metadata": {}, "metadata_seen": {}}, ("", "")),
        ({"tags": ("x",), "tags_seen": ()}, ("", "")),
    ],
)
def test_a_lost_race_is_a_conflict_and_no_lost_update(wish: dict[str, Any], value: tuple[str, str]) -> None:
    assert refusal(active(), UpdateInstance(by=OWNER, **wish))[1:] == value


@pytest.mark.parametrize("wish", [{"metadata": {}}, {"tags": ()}])
def test_metadata_and_tags_are_fixed_until_it_is_made_and_after_it_broke(wish: dict[str, Any]) -> None:
    assert refusal(created(), UpdateInstance(by=OWNER, **wish)) == ("conflict", "vm_state", "building")
    assert refusal(broken(), UpdateInstance(by=OWNER, **wish)) == ("conflict", "vm_state", "error")
    assert refusal(created(), UpdateInstance(by=OWNER, name="early")) == ("", "", "")


# The console


def test_a_console_is_asked_for_where_the_guest_is_and_writes_nothing() -> None:
    decision = turn(INSTANCE, active(), heard(CONSOLE))
    question = said(decision, ReadGuestConsole)
    assert sent(decision, ReadGuestConsole).to == f"agent/{HOSTS[0]}"
    assert (question.generation, question.bytes_max) == (1, 100)
    assert (question.reply_to, question.operation) == (GATEWAY, "t-1")
    assert not decision.changed


def test_a_console_comes_back_to_the_gateway_that_asked() -> None:
    decision = turn(INSTANCE, active(), console_text(active(), error="no log"))
    (send,) = decision.sends
    assert (send.to, send.operation) == (GATEWAY, "t-1")
    assert send.message == ConsoleRead(text="login:", error="no log")


@pytest.mark.parametrize("reply_to", ["", "instance/other", "agent/other", "schedulers/all"])
def test_a_host_sends_consoles_to_gateways_only(reply_to: str) -> None:
    assert turn(INSTANCE, active(), console_text(active(), reply_to=reply_to)).sends == []


def test_another_hosts_console_is_dropped() -> None:
    stranger = replace(console_text(active()), sender=f"agent/{HOSTS[3]}")
    assert turn(INSTANCE, active(), stranger).sends == []


# What is seen


@pytest.mark.parametrize(
    "said",
    [
        noticed(active(), RUNNING),
        noticed(active(), SHUTDOWN, after=active().heard - 1),
        replace(noticed(active(), SHUTDOWN), sender=f"agent/{HOSTS[1]}"),
        found(active(), RUNNING),
        found(active(), after=0),
        found(active(), generation=9),
        replace(found(active()), sender=f"host/{HOSTS[1]}"),
    ],
)
def test_no_news_and_old_news_and_strangers_change_nothing(said: Heard) -> None:
    decision = turn(INSTANCE, active(), said)
    assert (decision.changed, decision.sends) == (False, [])


@pytest.mark.parametrize("vm", [broken(), homeless(), uncleared()], ids=["broken", "homeless", "uncleared"])
def test_what_is_in_error_stays_there_until_somebody_acts(vm: Instance) -> None:
    for hearing in (noticed, found) if vm.placements else ():
        assert not turn(INSTANCE, vm, hearing(vm, RUNNING)).changed


def test_a_guest_that_ran_into_its_end_is_explained() -> None:
    vm = reach(INSTANCE, active(), noticed(active(), PowerState.CRASHED, reason="panic\0\n"))
    assert vm.vm_state is V.STOPPED
    assert vm.fault is not None
    assert vm.fault.message == "The guest stopped unexpectedly (panic  )."


def test_a_guest_that_came_back_by_itself_is_active() -> None:
    assert reach(INSTANCE, off(), noticed(off(), RUNNING)).vm_state is V.ACTIVE


def test_while_it_is_being_deleted_nothing_is_asked_again() -> None:
    deleting = reach(INSTANCE, active(), heard(DeleteInstance(by=OWNER), operation="op-d"))
    assert turn(INSTANCE, deleting, noticed(deleting, SHUTDOWN)).sends == []


# Claims that are asked after


def test_a_claim_stands_or_may_go() -> None:
    stands = turn(INSTANCE, active(), asked_after(active(), 1))
    assert (told(stands), sent(stands, ClaimStands).to) == (["ClaimStands"], f"host/{HOSTS[0]}")
    for vm, generation in ((active(), 2), (homeless(), 1), (active().but(life=GONE, placements=()), 1)):
        free = turn(INSTANCE, vm, asked_after(vm, generation))
        assert said(free, ReleaseHost).generation == generation
        assert not free.changed


# Facts


@pytest.mark.parametrize(
    "wrong",
    [
        {"generation": 2},
        {"generation": 0},
        {"number": 0},
        {"number": 10_000},
    ],
)
def test_a_fact_about_another_step_is_dropped(wrong: dict[str, int]) -> None:
    right = started(created())
    assert turn(INSTANCE, created(), right).changed
    assert isinstance(right.message, GuestStarted)
    assert not turn(INSTANCE, created(), replace(right, message=replace(right.message, **wrong))).changed
    assert not turn(INSTANCE, created(), replace(right, sender=f"agent/{HOSTS[2]}")).changed


def test_a_proposal_for_an_earlier_question_is_dropped() -> None:
    scheduling = reach(INSTANCE, None, heard(CREATE_COMMAND))
    answer = proposed(HOSTS[0])(scheduling).message
    assert isinstance(answer, PlacementProposed)
    assert not turn(INSTANCE, scheduling, replace(answer, number=answer.number - 1)).changed
    assert not turn(INSTANCE, active(), answer).changed


# Birth


def test_a_create_is_the_birth() -> None:
    decision = turn(INSTANCE, None, heard(CREATE_COMMAND))
    vm = decision.state
    assert vm is not None
    assert (vm.id, vm.life, vm.vm_state) == (CREATE_COMMAND.instance, OPEN, V.BUILDING)
    assert (vm.project, vm.user, vm.created_at) == (OWNER.project, OWNER.user, NOW)
    assert event_names(decision.events) == ["instance.create.start"]
    assert decision.events[0].project == OWNER.project
    assert only(decision.records).subject == f"instance/{vm.id}"
    assert isinstance(answer_of(decision), Accepted)
    assert due_at(vm) is not None


@pytest.mark.parametrize("command", [*ACTIONS, DeleteInstance, LockInstance])
def test_what_never_was_is_not_found(command: type[Command]) -> None:
    answer = answer_of(turn(INSTANCE, None, heard(command(by=OWNER))))
    assert isinstance(answer, Refused)
    assert answer.code == "not_found"


# What is seen while something else is under way


def test_who_is_busy_says_from_which_sight_on_to_tell_again() -> None:
    decision = turn(INSTANCE, STOPPING, noticed(STOPPING, SHUTDOWN, session="s", sight=13))
    assert sent(decision, TellAgain).to == f"host/{HOSTS[0]}"
    assert said(decision, TellAgain) == TellAgain(instance=STOPPING.id, generation=1, session="s", sight=13)


def test_of_two_sights_the_later_counts() -> None:
    vm = reach(INSTANCE, active(), noticed(active(), SHUTDOWN, session="s", sight=5))
    assert not turn(INSTANCE, vm, noticed(vm, RUNNING, after=active().heard, session="s", sight=4)).changed
    assert reach(INSTANCE, vm, noticed(vm, RUNNING, session="s", sight=6)).vm_state is V.ACTIVE
    assert reach(INSTANCE, vm, noticed(vm, RUNNING, session="t", sight=1)).vm_state is V.ACTIVE
