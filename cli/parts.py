"""The roles as parts of a process: each function makes one, wired and ready to be run."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from actors.kinds import KINDS
from actors.runtime.draft import Seal
from actors.runtime.worker import Worker, WorkerSettings
from actors.scheduler.service import Scheduler
from cli.wiring import Wiring
from hostagent.agent import Agent, AgentSettings
from hostagent.driver import Driver
from hostagent.drivers.load import DriverContext, load_driver
from hostagent.identity import HostIdentity
from hostagent.journal import JournalCorrupt, JournalLocked
from hostagent.journal_file import FileJournal
from process.metrics import Reading
from process.run import Part
from process.settings import SettingsError
from process.signed_url import signed_query
from protocol.agent import CacheImage, RebootGuest, RescueGuest, SpawnGuest, StartGuest
from protocol.guest import GuestImage
from protocol.host import HostView
from protocol.ids import ident_of
from protocol.message import Message
from store.host import read_hosts
from store.turns import PostgresTurnStore

URL_LIFE_S = 3600.0
"""How long a signed image URL is good: longer than any build step may take."""
AGENT_DRAIN_S = 10.0
JOURNAL = "journal"
"""The journal's folder within a host's."""


def seal_with(key: str, base_url: str) -> Seal:
    """Signs image URLs in guest commands as they leave; nothing signed is ever stored."""
    secret = bytes.fromhex(key)

    def seal(to: str, message: Message, now: float) -> Message:
        if isinstance(message, RescueGuest | CacheImage):
            return replace(message, image=signed(message.image, to, message.generation, now))
        if not isinstance(message, SpawnGuest | StartGuest | RebootGuest) or message.spec.image is None:
            return message
        image = signed(message.spec.image, to, message.generation, now)
        return replace(message, spec=replace(message.spec, image=image))

    def signed(image: GuestImage, to: str, generation: int, now: float) -> GuestImage:
        expires = int(now + URL_LIFE_S)
        query = signed_query(
            secret, image=image.image, host=ident_of(to), generation=generation, expires=expires
        )
        return replace(image, url=f"{base_url}/image/v2/images/{image.image}/file?{query}")

    return seal


async def worker_part(wiring: Wiring, base_url: str, *, name: str = "") -> Part:
    """A worker. Its name is fresh at each start: a worker that died never comes back as itself."""
    settings = wiring.settings
    name = name or f"worker-{wiring.clock.uuid()[:13]}"
    store = PostgresTurnStore(await wiring.pool("worker", connections_max=6))
    try:
        await store.prepare(settings.partitions)
    except ValueError as error:
        raise SettingsError(f"partitions: {error}") from error
    worker = Worker(
        name=name,
        bus=wiring.bus(name),
        store=store,
        clock=wiring.clock,
        kinds=KINDS,
        seal=seal_with(wiring.secrets(make=False).url_key, base_url),
        settings=WorkerSettings(
            partitions=settings.partitions, lease_s=settings.lease_s, heartbeat_s=settings.lease_s / 4
        ),
        log=wiring.log_of("worker"),
        observer=wiring.metrics,
    )
    wiring.metrics.watch(lambda: _worker_readings(worker))
    running = asyncio.Event()

    async def run() -> None:
        running.clear()
        try:
            await worker.run()
        finally:
            running.set()

    async def drain() -> None:
        worker.stop()
        await running.wait()

    return Part(name, run, drain)


def _worker_readings(worker: Worker) -> Iterable[Reading]:
    label = {"worker": worker.name}
    for p, depth in worker.depth().items():
        yield "starling_mailbox_depth", "Bus messages not yet taken", {**label, "partition": str(p)}, depth
    for p, age in worker.ages().items():
        yield (
            "starling_mailbox_age_seconds",
            "Age of the oldest message not yet taken",
            {**label, "partition": str(p)},
            age,
        )
    stats = worker.stats
    for name, value, text in (
        ("starling_partitions_held", len(worker.held), "Partitions in hand"),
        ("starling_resent_total", stats.resent, "Messages read from segments instead of the bus"),
        ("starling_repeated_total", stats.repeated, "Messages dropped as repetitions"),
        ("starling_turned_away_total", stats.turned_away, "Messages of hosts that no actor hears"),
        ("starling_parked_total", stats.parked, "Messages parked"),
        ("starling_recoveries_total", stats.recoveries, "Times everything was read anew"),
        ("starling_publish_failures_total", stats.publish_failures, "Bus messages the broker did not take"),
        ("starling_takeovers_total", stats.takeovers, "Partitions taken"),
    ):
        yield name, text, label, value


async def scheduler_part(wiring: Wiring) -> Part:
    """A scheduler."""
    name = f"scheduler-{wiring.clock.uuid()[:13]}"
    pool = await wiring.pool("scheduler", connections_max=2)

    async def hosts() -> list[HostView]:
        return await read_hosts(pool)

    scheduler = Scheduler(
        name=name,
        bus=wiring.bus(name),
        hosts=hosts,
        clock=wiring.clock,
        partitions=wiring.settings.partitions,
        log=wiring.log_of("scheduler"),
    )

    def readings() -> Iterable[Reading]:
        label = {"scheduler": name}
        yield (
            "starling_placements_total",
            "Placement questions answered with hosts",
            label,
            scheduler.stats.placed,
        )
        yield (
            "starling_no_host_total",
            "Placement questions answered with none",
            label,
            scheduler.stats.refused,
        )

    wiring.metrics.watch(readings)
    return Part(name, scheduler.run)


def agent_part(wiring: Wiring, identity: HostIdentity, folder: Path, *, driver: Driver | None = None) -> Part:
    """One host's agent, with its journal in ``folder``."""
    context = DriverContext(
        hostname=identity.hostname,
        state_folder=folder,
        clock=wiring.clock,
        options=dict(identity.driver_settings),
    )
    current: list[Agent] = []

    async def run() -> None:
        agent = Agent(
            host=identity.host,
            bus=wiring.bus(f"agent-{identity.hostname}", host=identity.host, url=identity.amqp_url),
            driver=driver or load_driver(identity.driver, context),
            journal=FileJournal(folder / JOURNAL, identity.host, wiring.clock),
            clock=wiring.clock,
            partitions=identity.partitions,
            settings=AgentSettings(),
            log=wiring.log_of("agent"),
        )
        current[:] = [agent]
        try:
            await agent.run()
        finally:
            current.clear()

    async def drain() -> None:
        for agent in current:
            await agent.drain(AGENT_DRAIN_S)

    def readings() -> Iterable[Reading]:
        for agent in current:
            yield from _agent_readings(identity.hostname, msgspec.structs.asdict(agent.metrics()))

    wiring.metrics.watch(readings)
    return Part(f"agent-{identity.hostname}", run, drain, fatal=(JournalCorrupt, JournalLocked))


def _agent_readings(hostname: str, figures: dict[str, Any]) -> Iterable[Reading]:
    for name, value in figures.items():
        if isinstance(value, int | float):
            yield f"starling_agent_{name}", f"Agent: {name.replace('_', ' ')}", {"host": hostname}, value
    for name, value in figures["driver"].items():
        yield f"starling_agent_{name}", f"Driver: {name.replace('_', ' ')}", {"host": hostname}, value
    for (kind, outcome), count in figures["commands"].items():
        labels = {"host": hostname, "command": kind, "outcome": outcome}
        yield "starling_agent_commands_total", "Commands carried out", labels, count
