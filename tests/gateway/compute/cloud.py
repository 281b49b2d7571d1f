"""A compute cloud without workers: the API on a real database, and actors that answer in one turn.

The actors are the real tables, decided by the real machine; only scheduling, agents and the bus are missing:
a server stays in its first task state until a test settles it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import ClientSession

from actors.host.kind import HOST
from actors.host.model import Host
from actors.image.kind import IMAGE
from actors.image.model import Image
from actors.instance.kind import INSTANCE
from actors.instance.model import Instance, Placement, V
from actors.machine import Kind, decide
from actors.project.kind import PROJECT
from actors.turn import ActorState, Heard, OperationRecord, Send
from gateway.compute.bootstrap import bootstrap
from gateway.compute.routes import API
from gateway.services import GatewaySettings
from process.clock import SystemClock
from protocol.agent import ConsoleRead, ReadGuestConsole
from protocol.guest import HostInventory, PowerState
from protocol.ids import ident_of, kind_of
from protocol.image import ImageRecord
from protocol.message import Message
from store import network
from store.kinds import TABLES
from store.pool import Pool, open_pool
from tests.gateway.fakes import KnownTokens, caller, services, serving

KINDS: dict[str, Kind[Any]] = {"instance": INSTANCE, "project": PROJECT, "host": HOST, "image": IMAGE}
ME = "gateway/test"
IMAGE_ID = "0a0b0c0d-0000-4000-8000-000000000001"
HOST_ID = "0a0b0c0d-0000-4000-8000-0000000000aa"
CONSOLE = "".join(f"line {n}\n" for n in range(1, 21))


class Actors:
    """A command client in front of actors that live in this process and are stored as rows."""

    address = ME

    def __init__(self, pool: Pool, clock: Any) -> None:
        self.pool, self.clock = pool, clock
        self.states: dict[str, Any] = {}
        self.sent: list[tuple[str, Message, str]] = []

    async def send(
        self, to: str, message: Message, *, operation: str, timeout_s: float, trace: str = ""
    ) -> Message:
        self.sent.append((to, message, operation))
        return await self._deliver(to, Heard(message, "gateway/test", operation, ME))

    async def _deliver(self, to: str, heard: Heard) -> Message:
        kind = KINDS[kind_of(to)]
        made = decide(kind, self.states.get(to), heard, self.clock.now(), ident_of(to))
        answer = next((send for send in made.sends if send.to == ME), None)
        if answer is not None and not made.changed:
            return answer.message
        if made.changed and made.state is not None:
            await self.store(to, made.state, made.records)
        passed_on = next((send for send in made.sends if send.reply_to), None)
        if passed_on is not None:
            return await self._deliver(passed_on.to, Heard(passed_on.message, to, heard.operation, ME))
        question = next((send for send in made.sends if isinstance(send.message, ReadGuestConsole)), None)
        if question is not None:
            return ConsoleRead(text=CONSOLE, error="")
        assert isinstance(answer, Send)
        return answer.message

    async def store(self, to: str, state: ActorState, records: list[OperationRecord] | None = None) -> None:
        """Keep the state and write its row, and the operations' rows."""
        self.states[to] = state
        kind, table = KINDS[kind_of(to)], TABLES[kind_of(to)]
        names = ["id", "partition", "version", "state", "gone", *(name for name, _ in table.columns)]
        values = [state.id, 0, state.version, "{}", kind.gone(state), *kind.columns(state)]
        marks = ", ".join(f"${n}" for n in range(1, len(names) + 1))
        sets = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
        await self.pool.execute(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"
            f" ON CONFLICT (id) DO UPDATE SET {sets}",
            *values,
        )
        for record in records or []:
            await self._record(record)

    async def _record(self, record: OperationRecord) -> None:
        await self.pool.execute(
            "INSERT INTO runtime.operation VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
            " ON CONFLICT (id) DO UPDATE SET subject = $2, name = $3, updated_at = $8, finished_at = $10,"
            " outcome = $11, steps = $13",
            *(record.id, record.subject, record.name, record.by.project, record.by.user, record.by.request),
            *(record.began_at, record.updated_at, record.deadline, record.finished_at, record.outcome),
            record.reason,
            msgspec.json.encode(record.steps).decode(),
        )

    async def settle(self, server: str, **changes: Any) -> None:
        """End what the instance is doing: by default it is active on the host."""
        vm: Instance = self.states[f"instance/{server}"]
        fields: dict[str, Any] = {
            "task": None,
            "vm_state": V.ACTIVE,
            "power_state": PowerState.RUNNING,
            "generation": 1,
            "placements": (Placement(HOST_ID, 1, "host-1", spawned=True),),
            "launched_at": vm.created_at,
            "version": vm.version + 1,
            **changes,
        }
        await self.store(f"instance/{server}", vm.but(**fields))


@dataclass
class Compute:
    """A running Compute API with two projects' members, a reader and an admin."""

    session: ClientSession
    pool: Pool
    actors: Actors
    version: str = "2.100"
    headers: dict[str, str] = field(default_factory=dict)

    async def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        who: str = "member",
        version: str = "",
        **headers: str,
    ) -> tuple[int, Any]:
        """Status and decoded body of one call."""
        sent = {
            "X-Auth-Token": who,
            "OpenStack-API-Version": f"compute {version or self.version}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        async with self.session.request(method, f"/compute/v2.1{path}", json=json, headers=sent) as response:
            self.headers = dict(response.headers)
            text = await response.read()
            return response.status, msgspec.json.decode(text) if text else None

    async def boot(self, who: str = "member", *, settled: bool = True, **changed: Any) -> str:
        """A new server's id."""
        body = {"name": "web", "flavorRef": "1", "imageRef": IMAGE_ID, "networks": "auto", **changed}
        status, answer = await self.call("POST", "/servers", {"server": body}, who=who)
        assert status == 202, answer
        server: str = answer["server"]["id"]
        if settled:
            await self.actors.settle(server)
        return server

    async def boot_in(self, group: str | None, who: str = "member", **hints: Any) -> tuple[int, Any]:
        """POST /servers with scheduler hints: status and body."""
        body = {"name": "web", "flavorRef": "1", "imageRef": IMAGE_ID, "networks": "auto"}
        hinted = {**({"group": group} if group else {}), **hints}
        return await self.call("POST", "/servers", {"server": body, "os:scheduler_hints": hinted}, who=who)


async def seed(actors: Actors) -> None:
    """Default flavors, the shared network, one active image and one host that is up."""
    async with actors.pool.acquire() as connection:
        await bootstrap(connection, actors.clock)
        await network.bootstrap(connection, admin_project="admin", clock=actors.clock)
    now = actors.clock.now()
    record = ImageRecord(
        name="cirros",
        visibility="public",
        disk_format="qcow2",
        container_format="bare",
        properties={"os_distro": "cirros"},
    )
    image = Image(
        id=IMAGE_ID, life="active", created_at=now, updated_at=now, owner="admin", record=record,
        size_bytes=1 << 20, md5="m", sha512="a" * 128, locations=("file:x",),
    )  # fmt: skip
    await actors.store(f"image/{IMAGE_ID}", image)
    inventory = HostInventory(
        hostname="host-1", hypervisor_type="QEMU", hypervisor_version=7002000, vcpus=8, memory_mib=16384,
        disk_gib=100,
    )  # fmt: skip
    host = Host(
        id=HOST_ID, life="up", created_at=now, updated_at=now, hostname="host-1", inventory=inventory,
        heard_at=now,
    )  # fmt: skip
    await actors.store(f"host/{HOST_ID}", host)


@asynccontextmanager
async def open_compute(database: str, **settings: Any) -> AsyncIterator[Compute]:
    """Seed and serve; the API has a gateway's rights in the database, the actors have all."""
    root = await open_pool(database, connections_max=2)
    pool = await open_pool(database, connections_max=4, settings={"role": "starling_gateway"})
    try:
        actors = Actors(root, SystemClock())
        await seed(actors)
        tokens = KnownTokens(
            member=caller(),
            reader=caller("reader"),
            other=caller(project_id="p2", user_id="u2"),
            admin=caller("admin", project_id="admin", user_id="root"),
        )
        given = services([API], tokens, pool, commands=actors, settings=GatewaySettings(**settings))
        async with serving(given, [API]) as (session, _):
            yield Compute(session, root, actors)
    finally:
        await pool.close()
        await root.close()
