"""The agent and its host: what it reports, whom it believes, and how it starts and stops."""

import asyncio
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from bus import topology
from bus.mailbox import Parcel
from bus.memory import MemoryBroker, MemoryBus
from hostagent.agent import Agent, AgentSettings
from hostagent.driver import Progress
from hostagent.drivers.simulated import Hang, SimulatedDriver, SimulatedHypervisor, SimulatedSettings
from hostagent.journal import JournalEntry
from hostagent.journal_file import FileJournal, create_journal
from process.clock import SystemClock
from protocol.agent import (
    GuestCommand,
    GuestDestroyed,
    GuestPaused,
    GuestSeen,
    GuestStarted,
    GuestStopped,
    Heartbeat,
    HeartbeatHeard,
    HostReport,
    PauseGuest,
    StartGuest,
)
from protocol.codec import decode_bundle, decode_message, encode_bundle, encode_message
from protocol.guest import GuestSpec, GuestState, PowerState
from protocol.ids import address
from protocol.message import Bundle, Envelope, Stretch
from tests.hostagent.drivers.specs import INSTANCE, spec
from tests.hostagent.harness import HOST, World, destroy, run, spawn, stop


def test_what_happens_unasked_is_told_at_once_and_after_work() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        world.driver.host.kill_guest(INSTANCE)
        seen = await world.heard(GuestSeen)
        assert (seen.generation, seen.number, seen.power_state) == (1, 0, PowerState.CRASHED)
        assert seen.reason == "The guest's process died."
        # While a command is at work an event may be its own doing: the guest is looked at afterwards.
        await world.send(StartGuest(instance=INSTANCE, generation=1, number=2, spec=spec()))
        await world.heard(GuestStarted, 2)
        world.script.add("pause", Hang(5.0, done=True))
        await world.send(PauseGuest(instance=INSTANCE, generation=1, number=3))
        await asyncio.sleep(2)
        world.driver.host.kill_guest(INSTANCE)
        await asyncio.sleep(10)
        assert [fact.power_state for fact in world.said(GuestSeen)] == [PowerState.CRASHED] * 2
        last = [type(fact) for _, fact in world.facts if isinstance(fact, GuestSeen | GuestPaused)]
        assert last == [GuestSeen, GuestPaused, GuestSeen]

    run(story)


def test_end_of_a_guest_being_destroyed_is_not_news() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        world.script.add("destroy", Hang(5.0))
        await world.send(destroy(2))
        await asyncio.sleep(1)
        world.driver.host.kill_guest(INSTANCE)
        await world.heard(GuestDestroyed)
        await asyncio.sleep(10)
        assert world.said(GuestSeen) == []

    run(story)


def test_heartbeats_extend_the_lease_from_the_time_they_were_sent() -> None:
    async def story(world: World) -> None:
        agent = world.start_agent()
        beat = await world.heard(Heartbeat)
        assert not agent.lease.valid()
        sent = world.clock.time
        await asyncio.sleep(5)
        await world.send(HeartbeatHeard(sent_at=beat.sent_at, heard_at=beat.sent_at + 102.5))
        await asyncio.sleep(0.01)
        assert agent.lease.remaining() == pytest.approx(sent + 60 - world.clock.time)
        assert agent.lease.clock_offset_s == pytest.approx(-100, abs=0.1)
        await world.send(HeartbeatHeard(sent_at=beat.sent_at + 1e6, heard_at=0.0))
        await asyncio.sleep(60)
        assert not agent.lease.valid()

    run(story)


def test_reports_come_at_start_periodically_and_after_reconnects() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None
        report = await world.heard(HostReport)
        assert report.inventory.hostname == "h1"
        await asyncio.sleep(130)
        assert len(world.said(HostReport)) == 3
        world.broker.restart(down_s=1.0)
        await asyncio.sleep(15)
        assert len(world.said(HostReport)) == 4

    run(story)


def test_driver_that_lost_its_connection_is_opened_again_and_commands_wait_for_it() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None
        await world.heard(HostReport)
        await world.driver.close()
        world.driver._events = type(world.driver._events)()
        spawn_connected = world.driver.spawn

        async def spawn_if_connected(wanted: GuestSpec, progress: Progress) -> GuestState:
            assert world.driver is not None
            assert world.driver.host._listener is not None, "asked without a connection"
            return await spawn_connected(wanted, progress)

        world.driver.spawn = spawn_if_connected  # type: ignore[method-assign, assignment]
        await asyncio.sleep(0.1)
        await world.send(spawn(1))
        await asyncio.sleep(0.1)
        assert INSTANCE in world.content.entries
        await world.heard(GuestStarted)
        assert len(world.said(HostReport)) == 2
        world.driver.host.kill_guest(INSTANCE)
        await world.heard(GuestSeen)

    run(story)


def test_report_under_way_does_not_contradict_what_was_done_meanwhile() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None
        await world.heard(HostReport)
        real = world.driver.guests

        async def slow() -> list[object]:
            guests = await real()
            await asyncio.sleep(20)
            return list(guests)

        world.driver.guests = slow  # type: ignore[method-assign, assignment]
        await asyncio.sleep(58)
        await world.send(spawn(1))
        await world.heard(GuestStarted)
        await asyncio.sleep(30)
        assert [guest.instance for guest in world.said(HostReport)[-1].guests] == [INSTANCE]

    run(story)


def test_only_tombstones_destroy_what_is_found_on_the_host() -> None:
    other = "11111111-2222-4333-8444-555555555555"

    async def story(world: World) -> None:
        world.start_agent()
        assert world.driver is not None
        await world.send(spawn(1), spawn(1, instance=other))
        await asyncio.sleep(60)
        await world.stop_agent()
        world.content.entries[INSTANCE] = JournalEntry(
            instance=INSTANCE, generation=1, number=2, answer=b"{}", deleted=True
        )
        del world.content.entries[other]
        world.start_agent()
        await asyncio.sleep(70)
        assert [state.instance for state in world.driver.host.states()] == [other]
        assert [guest.instance for guest in world.said(HostReport)[-1].guests] == [other]

    run(story)


def test_two_agents_never_run_on_one_journal() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        await world.heard(HostReport)
        first = world.task
        world.start_agent()
        second = world.task
        assert second is not None
        await asyncio.wait([second])
        assert "another agent" in str(second.exception())
        world.task = first

    run(story)


def test_drain_finishes_what_was_taken_and_leaves_the_rest() -> None:
    async def story(world: World) -> None:
        agent = world.start_agent()
        await world.heard(HostReport)
        await world.send(spawn(1))
        await asyncio.sleep(1)
        drain = asyncio.ensure_future(agent.drain(60.0))
        await asyncio.sleep(0)
        await world.send(stop(2))
        assert await drain
        assert len(world.said(GuestStarted)) == 1
        await world.stop_agent()
        assert await world.controller.waiting(f"host.{HOST}") == 1
        world.start_agent()
        await world.heard(GuestStopped)

    run(story)


async def test_agent_works_on_a_real_loop_with_its_journal_on_disk(tmp_path: Path) -> None:
    clock = SystemClock()
    broker = MemoryBroker()
    controller = MemoryBus(broker, name="controller")
    wake = asyncio.Event()
    await controller.declare(topology.host(HOST))
    answers = await controller.open(topology.partition(0), wake)
    create_journal(tmp_path / "journal", HOST)
    hypervisor = SimulatedHypervisor()
    names = [clock.uuid() for _ in range(200)]
    orders = [spawn(1, instance=name) for name in names]
    for expected_syncs_max in (100, 0):
        settings = SimulatedSettings(hostname="h1", latency_factor=0.0, memory_mib=10**6)
        agent = Agent(
            host=HOST,
            bus=MemoryBus(broker, name="agent", host=HOST),
            driver=SimulatedDriver(settings, clock, hypervisor=hypervisor),
            journal=FileJournal(tmp_path / "journal", HOST, clock),
            clock=clock,
            partitions=1,
            settings=AgentSettings(),
            log=structlog.wrap_logger(None, processors=[drop]),
        )
        running = asyncio.ensure_future(agent.run())
        bundle = Bundle([Stretch(-1, 0, 0, [to_agent(order) for order in orders])])
        await controller.publish([Parcel(topology.host(HOST).name, encode_bundle(bundle))])
        started: list[str] = []
        async with asyncio.timeout(30):
            while len(started) < len(names):
                await wake.wait()
                wake.clear()
                for delivery in answers.take(100):
                    answers.ack(delivery)
                    for stretch in decode_bundle(delivery.body).stretches:
                        facts = [decode_message(envelope.body) for envelope in stretch.envelopes]
                        started += [fact.instance for fact in facts if isinstance(fact, GuestStarted)]
        assert sorted(started) == sorted(names)
        # The second time everything is answered from the journal.
        assert agent.metrics().journal_syncs <= expected_syncs_max
        assert await agent.drain(5.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def to_agent(command: GuestCommand) -> Envelope:
    return Envelope(address("agent", HOST), "instance/x", encode_message(command))


def drop(_logger: object, _level: str, _event: EventDict) -> EventDict:
    raise structlog.DropEvent
