"""The agent on a simulated hypervisor: what it answers, in which order, and what it refuses."""

import asyncio

import pytest

from hostagent.agent import AgentSettings
from hostagent.driver import DriverError
from hostagent.drivers.simulated import Hang
from hostagent.journal import JournalEntry
from protocol.agent import (
    DestroyGuest,
    ForgetGuest,
    GuestCommand,
    GuestConsole,
    GuestDestroyed,
    GuestFailed,
    GuestPaused,
    GuestProgress,
    GuestSeen,
    GuestStarted,
    GuestStopped,
    HostReport,
    PauseGuest,
    ReadGuestConsole,
    StartGuest,
    UnpauseGuest,
)
from protocol.codec import encode_message
from protocol.guest import PowerState
from protocol.ids import address
from protocol.message import Message
from tests.hostagent.drivers.specs import INSTANCE, spec
from tests.hostagent.harness import HOST, World, destroy, look, reboot, run, spawn, stop


def test_commands_of_a_life_are_done_and_answered() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        args = {"instance": INSTANCE, "generation": 1}
        steps: list[tuple[GuestCommand, type[Message], PowerState | None]] = [
            (spawn(1), GuestStarted, PowerState.RUNNING),
            (PauseGuest(**args, number=2), GuestPaused, PowerState.PAUSED),  # type: ignore[arg-type]
            (UnpauseGuest(**args, number=3), GuestStarted, PowerState.RUNNING),  # type: ignore[arg-type]
            (reboot(4, "soft"), GuestStarted, PowerState.RUNNING),
            (reboot(5, "hard"), GuestStarted, PowerState.RUNNING),
            (stop(6), GuestStopped, PowerState.SHUTDOWN),
            (StartGuest(**args, number=7, spec=spec()), GuestStarted, PowerState.RUNNING),  # type: ignore[arg-type]
            (destroy(8), GuestDestroyed, None),
        ]
        assert world.driver is not None
        for command, kind, state in steps:
            await world.send(command, operation=f"op-{command.number}")
            fact = await world.heard(kind, command.number)
            envelope = next(envelope for envelope, known in world.facts if known is fact)
            assert envelope.to == address("instance", INSTANCE)
            assert envelope.sender == address("agent", HOST)
            assert (envelope.operation, envelope.trace) == (f"op-{command.number}", "trace-1")
            guest = world.driver.host.find(INSTANCE)
            assert (guest and guest.power_state) == state
        assert world.said(GuestFailed) == []

    run(story)


@pytest.mark.parametrize(
    ("journal", "command", "answer"),
    [
        # journal (pair, answered, deleted)  command          the fact that comes, None: none
        (None, spawn(5), GuestStarted),
        (((1, 4), True, False), spawn(5), GuestStarted),
        (((1, 9), True, False), spawn(1, generation=2), GuestStarted),
        (((1, 5), True, False), spawn(5), GuestPaused),
        (((1, 6), True, False), spawn(5), GuestFailed),
        (((2, 1), True, False), spawn(5), GuestFailed),
        (((2, 1), True, False), destroy(9), GuestFailed),
        (((1, 6), True, True), spawn(5), GuestFailed),
        (((1, 4), True, True), destroy(5), GuestDestroyed),
        (((1, 5), True, True), destroy(5), GuestPaused),
        (((1, 5), True, False), look(5), GuestSeen),
        (((1, 5), True, False), look(6), GuestSeen),
        (((1, 5), True, False), look(4), GuestFailed),
        (((1, 5), True, True), look(6), GuestSeen),
        (None, look(1), GuestSeen),
        (None, ForgetGuest(instance=INSTANCE, generation=1, number=1), None),
    ],
)
def test_journal_and_command_decide_the_answer(
    journal: tuple[tuple[int, int], bool, bool] | None, command: GuestCommand, answer: type[Message] | None
) -> None:
    async def story(world: World) -> None:
        before = None
        if journal is not None:
            (generation, number), answered, deleted = journal
            # An answer no driver would give now shows that it came from the journal.
            kept = GuestPaused(instance=INSTANCE, generation=generation, number=number)
            before = JournalEntry(
                instance=INSTANCE,
                generation=generation,
                number=number,
                answer=encode_message(kept) if answered else b"",
                deleted=deleted,
            )
            world.content.entries[INSTANCE] = before
        agent = world.start_agent()
        await world.heard(HostReport)
        await world.send(command)
        await asyncio.sleep(30)
        facts = [fact for _, fact in [*world.facts, *world.hear()] if hasattr(fact, "instance")]
        facts = [fact for fact in facts if not isinstance(fact, GuestProgress)]
        assert [type(fact) for fact in facts] == ([] if answer is None else [answer])
        after = world.content.entries.get(INSTANCE)
        if answer is GuestFailed:
            assert isinstance(facts[0], GuestFailed)
            assert facts[0].code == "stale"
            assert (facts[0].generation, facts[0].number) == (command.generation, command.number)
        acted = answer in (GuestStarted, GuestDestroyed)
        assert (after != before) == acted
        assert agent.metrics().working == 0

    run(story)


def test_repeated_command_under_way_is_ignored_and_answered_once() -> None:
    async def story(world: World) -> None:
        agent = world.start_agent()
        await world.send(spawn(1), spawn(1))
        await world.send(spawn(1))
        await asyncio.sleep(1)
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        await asyncio.sleep(60)
        assert len(world.said(GuestStarted)) == 1
        assert agent.metrics().commands == {("SpawnGuest", "ignored"): 3, ("SpawnGuest", "done"): 1}
        await world.send(spawn(1), operation="op-9")
        await asyncio.sleep(1)
        assert len(world.said(GuestStarted)) == 2
        assert world.facts[-1][0].operation == "op-9"

    run(story)


def test_nobody_hears_an_answer_before_the_journal_has_it() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        await world.send(spawn(1))
        await world.heard(GuestStarted, 1)
        while not world.said(GuestPaused):
            await world.send(PauseGuest(instance=INSTANCE, generation=1, number=2))
            await asyncio.sleep(0.0001)
            world.hear()
        entry = world.content.entries[INSTANCE]
        assert (entry.number, bool(entry.answer)) == (2, True)

    run(story)


@pytest.mark.parametrize("last", [destroy(2), reboot(2, "hard")])
def test_destroy_and_hard_reboot_end_lower_work(last: GuestCommand) -> None:
    async def story(world: World) -> None:
        world.start_agent()
        world.script.add("reboot", Hang(None))
        await world.send(spawn(0))
        await world.heard(GuestStarted)
        await world.send(reboot(1, "soft"))
        await asyncio.sleep(5)
        began = world.clock.time
        await world.send(last)
        answer = await world.heard(GuestDestroyed if isinstance(last, DestroyGuest) else GuestStarted, 2)
        assert answer.number == 2
        assert world.clock.time - began < 5
        assert [fact for _, fact in world.facts if getattr(fact, "number", None) == 1] == []

    run(story)


def test_other_commands_wait_their_turn_and_only_the_highest_of_them_is_done() -> None:
    async def story(world: World) -> None:
        agent = world.start_agent()
        await world.send(spawn(1))
        await asyncio.sleep(1)
        await world.send(stop(2), PauseGuest(instance=INSTANCE, generation=1, number=3))
        await world.send(stop(4))
        await world.heard(GuestStopped, 4)
        await asyncio.sleep(60)
        assert [fact.number for fact in world.said(GuestStarted)] == []
        counted = agent.metrics().commands
        assert counted[("StopGuest", "superseded")] == counted[("PauseGuest", "superseded")] == 1
        assert world.content.entries[INSTANCE].pair == (1, 4)

    run(story)


def test_a_waiting_destruction_is_never_skipped() -> None:
    async def story(world: World) -> None:
        agent = world.start_agent()
        world.script.add("destroy", Hang(20.0))
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        await world.send(destroy(2))
        await asyncio.sleep(1)
        await world.send(spawn(1, generation=2))
        await asyncio.sleep(60)
        assert agent.metrics().commands[("DestroyGuest", "done")] == 1
        assert [fact.generation for fact in world.said(GuestStarted)] == [1, 2]

    run(story)


def test_forgotten_tombstone_still_refuses_late_spawns_then_goes() -> None:
    async def story(world: World) -> None:
        world.settings = AgentSettings(tombstone_s=900.0)
        world.start_agent()
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        await world.send(destroy(2))
        await world.heard(GuestDestroyed)
        await world.send(ForgetGuest(instance=INSTANCE, generation=1, number=2))
        await asyncio.sleep(10)
        await world.send(spawn(1))
        assert (await world.heard(GuestFailed)).code == "stale"
        assert INSTANCE in world.content.entries
        await asyncio.sleep(1000)
        assert world.content.entries == {}

    run(story)


def test_driver_failure_is_told_with_what_the_guest_is_then() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        world.script.add("pause", DriverError("hypervisor", "It would not."))
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        await world.send(PauseGuest(instance=INSTANCE, generation=1, number=2))
        failure = await world.heard(GuestFailed)
        assert (failure.code, failure.reason) == ("hypervisor", "It would not.")
        assert failure.power_state is PowerState.RUNNING
        await world.send(PauseGuest(instance=INSTANCE, generation=1, number=2))
        await asyncio.sleep(1)
        assert world.said(GuestFailed) == [failure, failure]
        assert world.said(GuestPaused) == []

    run(story)


def test_a_bug_in_the_driver_fails_its_command_and_not_the_agent() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None

        async def broken(_: str) -> None:
            raise ZeroDivisionError

        world.driver.pause = broken  # type: ignore[method-assign, assignment]
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        await world.send(PauseGuest(instance=INSTANCE, generation=1, number=2))
        failure = await world.heard(GuestFailed)
        assert failure.code == "internal"
        assert world.events("command.broke")[0]["exc_info"]
        await world.send(stop(3))
        await world.heard(GuestStopped)

    run(story)


def test_guest_that_is_not_as_it_should_be_afterwards_is_a_failure() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        real = world.driver.unpause
        world.driver.unpause = world.driver.pause  # type: ignore[method-assign]
        await world.send(UnpauseGuest(instance=INSTANCE, generation=1, number=2))
        failure = await world.heard(GuestFailed)
        assert (failure.code, failure.power_state) == ("unexpected_state", PowerState.PAUSED)
        world.driver.unpause = real  # type: ignore[method-assign]

    run(story)


def test_console_is_read_bounded_and_never_fails_the_agent() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        args = {"instance": INSTANCE, "bytes_max": 10**9, "reply_to": "gateway/g", "operation": "op-c"}
        await world.send(spawn(1, generation=2))
        await world.heard(GuestStarted)
        await asyncio.sleep(100_000)
        await world.send(ReadGuestConsole(generation=2, **args))  # type: ignore[arg-type]
        console = await world.heard(GuestConsole)
        assert "HEARTBEAT" in console.text
        assert len(console.text) <= 102_400
        assert (console.reply_to, console.operation, console.error) == ("gateway/g", "op-c", "")
        world.facts.clear()
        await world.send(ReadGuestConsole(generation=1, **args))  # type: ignore[arg-type]
        assert (await world.heard(GuestConsole)).error == "stale"
        world.facts.clear()
        world.script.add("console_log", DriverError("not_found", "There is no such guest."))
        await world.send(ReadGuestConsole(generation=2, **args))  # type: ignore[arg-type]
        assert (await world.heard(GuestConsole)).error == "There is no such guest."

    run(story)


def test_full_journal_refuses_the_command_and_recovers() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None
        world.content.full = True
        await world.send(spawn(1))
        failure = await world.heard(GuestFailed)
        assert failure.code == "journal_full"
        assert world.driver.host.states() == []
        world.content.full = False
        await world.send(spawn(1))
        await world.heard(GuestStarted)

    run(story)


def test_full_journal_leaves_a_destruction_to_be_asked_again() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        world.content.full = True
        await world.send(destroy(2))
        await asyncio.sleep(60)
        assert world.said(GuestFailed) == []
        world.content.full = False
        await world.send(destroy(2))
        await world.heard(GuestDestroyed)

    run(story)


def test_answer_that_finds_no_room_in_the_journal_is_sent_and_the_work_may_be_repeated() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        await world.send(spawn(1))
        await asyncio.sleep(1)
        world.content.full = True
        await world.heard(GuestStarted)
        assert world.content.entries[INSTANCE].answer == b""
        world.content.full = False
        await world.send(spawn(1))
        await asyncio.sleep(60)
        assert len(world.said(GuestStarted)) == 2
        assert world.content.entries[INSTANCE].answer

    run(story)


def test_operations_at_once_are_bounded_and_destroying_does_not_wait_for_boots() -> None:
    async def story(world: World) -> None:
        world.settings = AgentSettings(operations_max=2)
        world.start_agent()
        assert world.driver is not None
        world.script.add("spawn", Hang(100.0), Hang(100.0))
        names = [f"00000000-0000-4000-8000-{number:012d}" for number in range(4)]
        await world.send(*(spawn(1, instance=name) for name in names))
        await world.send(DestroyGuest(instance=names[3], generation=1, number=2))
        await world.heard(GuestDestroyed)
        await asyncio.sleep(50)
        assert world.said(GuestStarted) == []
        await asyncio.sleep(200)
        assert sorted(fact.instance for fact in world.said(GuestStarted)) == names[:3]

    run(story)


def test_garbage_and_forgeries_are_dropped_and_counted() -> None:
    async def story(world: World) -> None:
        agent = world.start_agent()
        await world.heard(HostReport)
        world.broker.stock(f"host.{HOST}").put(b"\xc1garbage", "")  # type: ignore[union-attr]
        world.broker.stock(f"host.{HOST}").put(b"\x90", "another-host")  # type: ignore[union-attr]
        await world.send(GuestStopped(instance=INSTANCE, generation=1, number=1))
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        assert agent.metrics().unreadable == 3
        assert len(world.events("message.forged")) == 1

    run(story)
