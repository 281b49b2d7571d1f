"""What tenants do in a run: a few dozen commands on a dozen instances, often at the same time.

A ``Call`` is one command as a client knows it: what was asked, and every answer it got. Clients know
nothing else; whether the answers were honest is for the watch and the invariants to say.
"""

import asyncio
import contextvars
from random import Random
from typing import Final

from msgspec import Struct

from gateway.commands import Unavailable
from protocol.command import Accepted, Caller, Command
from protocol.errors import Refused
from protocol.guest import GuestImage
from protocol.host import CacheImages, HostDuty, RemoveHost, SetHostService
from protocol.ids import address, derived
from protocol.instance import (
    CreateInstance,
    DeleteInstance,
    Flavor,
    HardRebootInstance,
    PauseInstance,
    RebootInstance,
    RescueInstance,
    ResetInstance,
    RestoreInstance,
    ResumeInstance,
    ServerGroup,
    ServerRequest,
    SoftDeleteInstance,
    StartInstance,
    StopInstance,
    SuspendInstance,
    UnpauseInstance,
    UnrescueInstance,
)
from protocol.project import QuotaLimits, ReserveQuota
from store.kinds import TABLES
from tests.sim.loop import PROCESS
from tests.sim.world import GatewayParty, World

COMMANDS_MIN: Final = 52
COMMANDS_MAX: Final = 70
INSTANCES_MAX: Final = 14
PROJECTS: Final = ("alpha", "beta")
LIMITS: Final = QuotaLimits(instances=8, cores=12, memory_mib=8192)
FLAVORS: Final = (
    Flavor(id="1", name="small", vcpus=1, memory_mib=256, disk_gib=1),
    Flavor(id="2", name="medium", vcpus=2, memory_mib=512, disk_gib=4),
    Flavor(id="3", name="large", vcpus=4, memory_mib=1536, disk_gib=8),
)
IMAGE: Final = GuestImage(
    image="5a3c1c1e-0000-4000-8000-000000000001",
    url="",
    sha512="0" * 128,
    size_bytes=32 << 20,
    disk_format="qcow2",
)
ACTIONS: Final[tuple[tuple[type[Command], float], ...]] = (
    (StartInstance, 3.0),
    (StopInstance, 3.0),
    (RebootInstance, 2.0),
    (HardRebootInstance, 2.0),
    (PauseInstance, 2.0),
    (UnpauseInstance, 2.0),
    (SuspendInstance, 1.5),
    (ResumeInstance, 1.5),
    (RescueInstance, 1.0),
    (UnrescueInstance, 1.0),
    (SoftDeleteInstance, 0.5),
    (RestoreInstance, 0.5),
    (ResetInstance, 0.3),
    (DeleteInstance, 0.8),
)
DUTIES: Final[tuple[HostDuty | None, ...]] = (
    None,
    "service",
    "service",
    "disabled",
    "draining",
    "maintenance",
)
GROUPS: Final = (
    ServerGroup("00000000-0000-4000-8000-0000000000a0", "affinity"),
    ServerGroup("00000000-0000-4000-8000-0000000000b0", "anti-affinity"),
    ServerGroup("00000000-0000-4000-8000-0000000000c0", "anti-affinity", 2),
    ServerGroup("00000000-0000-4000-8000-0000000000d0", "soft-affinity"),
)
FENCES: Final = (None, None, False, False, True)
FITTING: Final[dict[str, tuple[type[Command], ...]]] = {
    "active": (
        StopInstance,
        RebootInstance,
        HardRebootInstance,
        PauseInstance,
        SuspendInstance,
        RescueInstance,
    ),
    "soft-delete": (RestoreInstance,),
    "error": (ResetInstance, HardRebootInstance, DeleteInstance),
    "rescued": (UnrescueInstance,),
    "stopped": (StartInstance, HardRebootInstance),
    "suspended": (ResumeInstance, ResumeInstance, HardRebootInstance),
    "paused": (UnpauseInstance, UnpauseInstance, HardRebootInstance),
}
VM_STATE: Final = [name for name, _ in TABLES["instance"].columns].index("vm_state")


class Call(Struct):
    """One command, its copies' answers, and when it was asked."""

    operation: str
    kind: str
    subject: str
    command: Command
    asked_at: float
    copies: int = 1
    answers: list[Accepted | Refused | str] = []

    @property
    def accepted(self) -> bool:
        """Whether any copy was."""
        return any(isinstance(answer, Accepted) for answer in self.answers)

    @property
    def refused(self) -> bool:
        """Whether every copy was answered, with a no."""
        return bool(self.answers) and all(isinstance(answer, Refused) for answer in self.answers)


class Tenants:
    """The clients of a run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[Call] = []
        self.instances: list[str] = []
        self._chance = world.stream("tenants")
        self._warming = world.stream("warming")
        self._running: set[asyncio.Task[None]] = set()

    async def work(self, over_s: float) -> None:
        """Issue the seed's commands within ``over_s`` seconds and wait for the last answer."""
        chance = self._chance
        count = chance.randint(COMMANDS_MIN, COMMANDS_MAX)
        times = sorted(chance.uniform(0, over_s) for _ in range(count))
        began = self.world.loop.now
        for at in times:
            await asyncio.sleep(max(0.0, began + at - self.world.loop.now))
            self._ask_something()
        await self.wait()

    async def wait(self) -> None:
        """Return when every call has been answered or given up."""
        while self._running:
            await asyncio.wait(self._running)
            await asyncio.sleep(0)

    def _ask_something(self) -> None:
        chance = self._chance
        if chance.random() < 0.06:
            self._operate()
            return
        alive = self._alive()
        if len(self.instances) < INSTANCES_MAX and (len(alive) < 3 or chance.random() < 0.2):
            self._create()
            if chance.random() < 0.25:
                self._later(chance.uniform(0, 3), self.instances[-1], DeleteInstance)
            return
        instance = chance.choice(alive if alive and chance.random() < 0.93 else self.instances)
        self._do(instance, self._kind_for(instance))
        if chance.random() < 0.15:
            self._do(instance, self._kind_for(instance))

    def _operate(self) -> None:
        """An operator drains a host or puts it back, fences it, warms its cache; rarely removes one."""
        chance, agents = self._chance, self.world.agents
        host = chance.choice(agents).host
        by = Caller(user="operator", project="operators", request="req-2", admin=True)
        wish: Command = SetHostService(by=by, duty=chance.choice(DUTIES), forced_down=chance.choice(FENCES))
        if chance.random() < 0.1 and host == agents[-1].host:
            wish = RemoveHost(by=by)
        elif self._warming.random() < 0.2:
            wish = CacheImages(by=by, images=(IMAGE,))
        self._ask(address("host", host), wish, self._operation(), address("host", host))

    def _kind_for(self, instance: str) -> type[Command]:
        """Mostly what the server's state allows, as a client who looked before."""
        chance = self._chance
        columns = self.world.database.columns("instance", instance)
        fitting = FITTING.get(columns[VM_STATE] if columns else "", ())
        if fitting and chance.random() < 0.75:
            return chance.choice(fitting)
        kinds = [kind for kind, _ in ACTIONS]
        return chance.choices(kinds, [weight for _, weight in ACTIONS])[0]

    def _alive(self) -> list[str]:
        """The instances that a client believes to exist."""
        made = {
            call.subject for call in self.calls if call.accepted and isinstance(call.command, ReserveQuota)
        }
        ended = {
            call.subject for call in self.calls if call.accepted and isinstance(call.command, DeleteInstance)
        }
        return [instance for instance in self.instances if f"instance/{instance}" in made - ended]

    def _later(self, seconds: float, instance: str, kind: type[Command]) -> None:
        self.world.loop.call_later(seconds, self._do, instance, kind, context=self.world.outside)

    def _create(self) -> None:
        chance = self._chance
        operation = self._operation()
        instance = derived(operation, "server")
        self.instances.append(instance)
        by = _caller(chance)
        request = ServerRequest(
            name=f"vm{len(self.instances)}",
            hostname=f"vm{len(self.instances)}",
            flavor=chance.choices(FLAVORS, (5, 2, 1))[0],
            image=IMAGE if chance.random() < 0.7 else None,
            group=chance.choice(GROUPS) if chance.random() < 0.4 else None,
        )
        then = CreateInstance(by=by, instance=instance, request=request)
        self._ask(
            address("project", by.project),
            ReserveQuota(by=by, limits=LIMITS, then=then),
            operation,
            address("instance", instance),
        )

    def _do(self, instance: str, kind: type[Command]) -> None:
        to = address("instance", instance)
        self._ask(to, self._command(kind), self._operation(), to)

    def _command(self, kind: type[Command]) -> Command:
        chance, by = self._chance, _caller(self._chance)
        if kind is SoftDeleteInstance:
            return SoftDeleteInstance(by=by, keep_s=chance.choice((1.0, 20.0, 90.0, 86_400.0)))
        if kind is ResetInstance:
            return ResetInstance(by=by, state=chance.choice(("active", "active", "error")))
        return kind(by=by)

    def delete_all(self) -> None:
        """Ask for the end of everything."""
        for instance in self.instances:
            self._do(instance, DeleteInstance)

    def _operation(self) -> str:
        return self.world.clock.uuid()

    def _ask(self, to: str, command: Command, operation: str, subject: str) -> None:
        chance = self._chance
        call = Call(
            operation,
            type(command).__name__,
            subject,
            command,
            self.world.loop.now,
            answers=[],
        )
        self.calls.append(call)
        gateways = self.world.gateways
        first = chance.randrange(len(gateways))
        timeout_s = chance.choice((3.0, 8.0, 15.0))
        self._send(gateways[first], call, to, timeout_s, 0.0)
        if chance.random() < 0.12:
            call.copies = 2
            delay = chance.choice((0.0, 0.5, 4.0))
            self._send(gateways[(first + 1) % len(gateways)], call, to, timeout_s, delay)

    def _send(self, gateway: GatewayParty, call: Call, to: str, timeout_s: float, delay_s: float) -> None:
        context = contextvars.copy_context()
        context.run(PROCESS.set, gateway)
        story = context.run(self._send_later, gateway, call, to, timeout_s, delay_s)
        task = self.world.loop.create_task(story, context=context)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _send_later(
        self, gateway: GatewayParty, call: Call, to: str, timeout_s: float, delay_s: float
    ) -> None:
        await asyncio.sleep(delay_s)
        commands = gateway.commands
        if commands is None:
            call.answers.append("no gateway")
            return
        try:
            answer = await commands.send(to, call.command, operation=call.operation, timeout_s=timeout_s)
        except Unavailable:
            answer = None
        if gateway.commands is not commands:
            call.answers.append("the gateway died")
        elif isinstance(answer, Accepted | Refused):
            call.answers.append(answer)
        else:
            call.answers.append("no answer")
        told = call.answers[-1]
        self.world.watch.note(
            call.subject, "told", call.kind, call.operation[:8],
            told if isinstance(told, str) else f"{type(told).__name__} {getattr(told, 'reason', '')}",
        )  # fmt: skip
        if isinstance(told, Accepted):
            self._check_told(call)
        elif isinstance(told, Refused):
            self._check_refusal(call, told)

    def _check_refusal(self, call: Call, told: Refused) -> None:
        """Between question and answer the server must have been what the refusal says it is."""
        lives = self.world.watch.lives.get(call.subject, [])
        was = [life for life, after in zip(lives, [*lives[1:], None], strict=False)
               if after is None or after.since >= call.asked_at]  # fmt: skip
        if not call.subject.startswith("instance/"):
            return
        if told.code == "not_found":
            true = len(was) == 0 or was[0].since >= call.asked_at or any(life.gone for life in was)
        elif told.attribute == "vm_state":
            true = any(life.vm_state == told.value for life in was)
        elif told.attribute == "task_state":
            true = any(life.task_state == told.value for life in was)
        else:
            return
        if not true and not any(life.folded for life in was):
            self.world.watch.fail(
                "refusals are true", f"{call.kind}: {told.reason}; it was {was}", call.subject
            )

    def _check_told(self, call: Call) -> None:
        """Whoever was told "accepted" must find the operation, and a new server, at once."""
        database = self.world.database
        if isinstance(call.command, ReserveQuota):
            made = ("instance", call.subject.partition("/")[2]) in database.actors
        else:
            joined = isinstance(call.command, DeleteInstance)  # a deletion that runs already
            made = joined or call.operation in database.operations
        if made:
            return
        self.world.watch.fail(
            "read your own write", f"{call.kind} {call.operation} accepted without a row", call.subject
        )


def _caller(chance: Random) -> Caller:
    return Caller(user="tenant", project=chance.choice(PROJECTS), request="req-1")
