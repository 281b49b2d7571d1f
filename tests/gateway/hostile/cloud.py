"""A whole cloud in one process for hostile clients: every role, real rows, real actors, simulated hosts."""

import asyncio
import io
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import structlog

from bus import topology
from cli.bootstrap import prepare_database
from cli.enrol import enrol_actor
from cli.gateway import Gateway, make_gateway
from cli.parts import JOURNAL, agent_part, scheduler_part, worker_part
from cli.wiring import Wiring
from gateway.auth import Caller
from gateway.identity.password import Passwords
from hostagent.identity import HostIdentity
from hostagent.journal_file import create_journal
from process.health import serve
from process.log_file import LogFiles
from process.logs import set_up_logs
from process.run import Part
from process.settings import Settings
from protocol.ids import HostId
from tests.gateway.cloud import body_for
from tests.gateway.hostile.wire import Answer, Wire

ADMIN_PASSWORD = "admin-secret-of-this-test"
PASSWORD = "correct horse battery staple"
HOSTS = 2
PARTITIONS = 4
SETTLE_MAX_S = 30.0

# Rows that live of themselves: leases, heartbeats, messages on their way.
RESTLESS_TABLES = frozenset({"runtime.partition", "runtime.worker", "runtime.segment"})
RESTLESS_COLUMNS = {"compute.host": ("version", "state", "heard_at", "updated_at", "due_at", "view")}

Rows = dict[str, dict[str, int]]


class Kept(LogFiles):
    """Lines kept in memory; ``services`` are those that had any."""

    def __init__(self, text: io.StringIO) -> None:
        super().__init__("")
        self._text = text
        self.services: set[str] = set()

    def write(self, service: str, line: bytes) -> None:
        self.services.add(service)
        self._text.write(line.decode())


@dataclass
class Cloud:
    """The running cloud.

    ``tokens``, ``callers``, ``projects`` and ``users`` by name; ``things`` by the path segment before
    their id (``compute:servers``); ``victims`` are the same with things that may be spoiled.
    """

    gateway: Gateway
    host: str
    port: int
    rows: "asyncpg.Connection[Any]"
    log: io.StringIO
    access: io.StringIO
    streams: tuple[Kept, Kept]
    """Those of the service log and the access log."""
    parts: "list[asyncio.Task[None]]"
    tokens: dict[str, str] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    victims: dict[str, str] = field(default_factory=dict)
    projects: dict[str, str] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    admin_password: str = ADMIN_PASSWORD
    read: int = 0
    """How far the service log has been read for bugs."""

    def wire(self) -> Wire:
        """A connection of one's own."""
        return Wire(self.host, self.port)

    async def call(
        self, method: str, path: str, body: Any = None, *, who: str = "admin", **headers: str
    ) -> Answer:
        """One well-formed call."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if who:
            sent["X-Auth-Token"] = self.tokens[who]
        async with self.wire() as wire:
            return await wire.call(method, path, sent, body)

    async def must(
        self, method: str, path: str, body: Any = None, *, who: str = "admin", **headers: str
    ) -> Any:
        """The decoded body of a call that succeeds."""
        answer = await self.call(method, path, body, who=who, **headers)
        assert answer.status < 300, f"{method} {path}: {answer}"
        return answer.json if answer.body else None

    async def login(self, name: str, scope: Any, password: str = PASSWORD) -> str:
        """A fresh token."""
        body = body_for(name, password, scope)
        async with self.wire() as wire:
            answer = await wire.call("POST", "/identity/v3/auth/tokens", {}, body)
        assert answer.status == 201, answer
        return answer.headers["x-subject-token"]

    async def all_rows(self) -> Rows:
        """Every row of every table as text, counted; what lives of itself is left out."""
        tables = await self.rows.fetch(
            "SELECT table_schema || '.' || quote_ident(table_name) AS name FROM information_schema.tables"
            " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        found: Rows = {}
        for name in sorted(row["name"] for row in tables):
            if name in RESTLESS_TABLES:
                continue
            drop = "".join(f" - '{column}'" for column in RESTLESS_COLUMNS.get(name, ()))
            query = f"SELECT (to_jsonb(t){drop})::text AS text, count(*) AS n FROM {name} t GROUP BY 1"
            found[name] = {row["text"]: row["n"] for row in await self.rows.fetch(query)}
        return found

    async def quiet(self) -> None:
        """Wait until nothing is under way: no server at work, no port left of one that is gone."""

        async def is_quiet() -> bool:
            busy = await self.rows.fetchval(
                "SELECT count(*) FROM compute.instance i LEFT JOIN network.port p ON p.device_id = i.id"
                " WHERE i.task_state IS NOT NULL OR (i.gone AND p.id IS NOT NULL)"
            )
            return bool(busy == 0)

        await until(is_quiet, "nothing is under way")

    async def parked(self) -> list[str]:
        """What actors could not handle."""
        found = await self.rows.fetch("SELECT address || ': ' || error AS text FROM runtime.parked")
        return [row["text"] for row in found]

    def ended(self) -> list[str]:
        """Parts that should run and do not, with the reason."""
        return [f"{part.get_name()}: {part.exception()!r}" for part in self.parts if part.done()]

    def new_bugs(self) -> list[str]:
        """Lines of the service log that tell of a bug, since the last time."""
        self.log.seek(self.read)
        lines = self.log.readlines()
        self.read = self.log.tell()
        words = ('"level": "error"', '"level": "critical"', "Traceback", '"event": "bug"')
        return [line[-1500:] for line in lines if any(word in line for word in words)]


@contextmanager
def captured_logs() -> Iterator[tuple[Kept, io.StringIO, Any]]:
    """The service log as a process writes it, and the log itself. Loggers are set up anew each time."""
    service = io.StringIO()
    handler = logging.StreamHandler(service)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    kept = Kept(service)
    log = set_up_logs(style="json", level="debug", files=kept)
    _forget_loggers()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.INFO)
    try:
        yield kept, service, log
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
        _forget_loggers()


def _forget_loggers() -> None:
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").partition(".")[0] in {"gateway", "hostagent", "process"}:
            for value in list(vars(module).values()):
                if type(value).__name__ == "BoundLoggerLazyProxy":
                    vars(value).pop("bind", None)


@asynccontextmanager
async def running(parts: list[Part], tasks: list["asyncio.Task[None]"]) -> AsyncIterator[None]:
    """Run parts for the length of a block, as tasks that join ``tasks``."""
    tasks += [asyncio.create_task(_run(part), name=part.name) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            if part.drain is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(part.drain(), 10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(part: Part) -> None:
    await part.run()


@asynccontextmanager
async def open_cloud(database: str, folder: Path) -> AsyncIterator[Cloud]:
    """All roles on the in-process bus, with two simulated hosts and two projects."""
    with captured_logs() as (kept, service, log), patch("gateway.network.upkeep.PERIOD_S", 0.5):
        access = io.StringIO()
        accesses = Kept(access)
        settings = Settings(
            state=str(folder),
            database_url=database,
            hypervisor="simulated",
            partitions=PARTITIONS,
            simulated_latency=0.0,
            admin_password=ADMIN_PASSWORD,
            demo_password=PASSWORD,
            log_format="json",
        )
        wiring = Wiring(settings, log, accesses)
        rows = await asyncpg.connect(database)
        try:
            await prepare_database(wiring, database)
            with patch("cli.gateway.Passwords", lambda: Passwords(memory_kib=8, passes=1)):
                gateway = await make_gateway(wiring)
            runner = await serve(gateway.application(), "127.0.0.1", 0)
            host, port = runner.addresses[0][:2]
            parts = [part for part in gateway.parts() if part.name != gateway.name]
            parts += [await worker_part(wiring, f"http://{host}:{port}"), await scheduler_part(wiring)]
            tasks: list[asyncio.Task[None]] = []
            async with running(parts, tasks), _hosts(wiring, gateway, folder, tasks):
                yield Cloud(gateway, host, port, rows, service, access, (kept, accesses), tasks)
            await runner.cleanup()
        finally:
            await rows.close()
            await wiring.close()


@asynccontextmanager
async def _hosts(
    wiring: Wiring, gateway: Gateway, folder: Path, tasks: list["asyncio.Task[None]"]
) -> AsyncIterator[None]:
    agents: list[Part] = []
    for n in range(1, HOSTS + 1):
        identity = HostIdentity(
            host=HostId(wiring.clock.uuid()),
            hostname=f"sim-{n}",
            amqp_url="",
            partitions=wiring.settings.partitions,
            driver="simulated",
            driver_settings={"latency_factor": 0.0},
        )
        place = folder / f"host-{n}"
        create_journal(place / JOURNAL, identity.host)
        await wiring.bus("enrolment").declare(topology.host(identity.host))
        await enrol_actor(wiring.clock, gateway.commands, identity, "nova")
        agents.append(agent_part(wiring, identity, place))
    async with running(agents, tasks):
        yield


async def until(check: Any, what: str) -> Any:
    """What ``check`` returns once it is true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_MAX_S
    while not (found := await check()):
        assert loop.time() < deadline, f"never came: {what}"
        await asyncio.sleep(0.05)
    return found
