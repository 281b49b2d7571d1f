"""A cloud in the hand: real actors, their mail as lists, agents of a few lines. No I/O, no chance.

What is numbered arrives once and in order, everything else may come late, twice or never, as who holds the
cloud decides. ``check`` says what must be so at every moment, ``heal`` lets everything come through.
"""

from collections import deque
from typing import Any, Final

import msgspec
from msgspec import Struct

from actors.group.kind import Group
from actors.host.model import Host, shortage, used
from actors.instance.model import GONE, Instance, V
from actors.instance.operations.look import SETTLED
from actors.kinds import KINDS
from actors.machine import decide
from actors.project.kind import Project
from actors.turn import ActorState, Decision, Heard, Send, due_at
from protocol.agent import (
    DestroyGuest,
    ForgetGuest,
    GuestCommand,
    GuestDestroyed,
    GuestFact,
    GuestFailed,
    GuestPaused,
    GuestProgress,
    GuestRescued,
    GuestSeen,
    GuestStarted,
    GuestStopped,
    GuestSuspended,
    HostReport,
    LookAtGuest,
    PauseGuest,
    RescueGuest,
    SpawnGuest,
    StopGuest,
    SuspendGuest,
    UnrescueGuest,
)
from protocol.command import Command, Tick
from protocol.group import ClaimSeat
from protocol.guest import GuestState, PowerState
from protocol.host import EnrolHost
from protocol.ids import address, ident_of, kind_of
from protocol.instance import (
    Amount,
    ClaimHost,
    CreateInstance,
    PlaceInstance,
    ReleaseHost,
    ResetInstance,
    ReturnQuota,
    ServerGroup,
)
from protocol.message import Message
from protocol.scheduling import PlacementProposed
from tests.actors.stage import ADMIN, GATEWAY, HOSTS, NOW, PROJECT_ID, inventory

LEDGER: Final = address("project", PROJECT_ID)
ROOM: Final = inventory(vcpus=1, memory_mib=2048, disk_gib=20)
"""Two small instances fit on a host."""
TOGETHER: Final = ServerGroup("00000000-0000-4000-8000-0000000000a0", "affinity")
APART: Final = ServerGroup("00000000-0000-4000-8000-0000000000b0", "anti-affinity")
HEAL_MAX: Final = 4000
SESSION: Final = "s"
_AFTER: Final = {
    StopGuest: PowerState.SHUTDOWN,
    PauseGuest: PowerState.PAUSED,
    SuspendGuest: PowerState.SUSPENDED,
}
_FACTS: Final = {
    StopGuest: GuestStopped,
    PauseGuest: GuestPaused,
    SuspendGuest: GuestSuspended,
    RescueGuest: GuestRescued,
}


class Guest(Struct, frozen=True):
    """What an agent has of an instance: of which generation, in which state, and whether it is rescued."""

    generation: int
    power: PowerState
    rescued: bool = False


class Letter(Struct, frozen=True):
    """Something on its way that nobody numbers."""

    to: str
    sender: str
    message: Any
    operation: str = ""
    reply_to: str = ""


class Agent:
    """One host's agent: it acts on the highest (generation, number), answers an equal one alike."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.guests: dict[str, Guest] = {}
        self.last: dict[str, tuple[tuple[int, int], GuestFact]] = {}
        self.sight = 0
        self.cannot_spawn = False

    def act(self, order: GuestCommand, *, fails: bool) -> GuestFact | None:
        pair, last = (order.generation, order.number), self.last.get(order.instance)
        if isinstance(order, ForgetGuest) or (last is not None and pair < last[0]):
            return None
        if last is None or pair > last[0]:
            self.last[order.instance] = last = (pair, self._do(order, fails=fails))
        return last[1]

    def _do(self, order: GuestCommand, *, fails: bool) -> GuestFact:
        name, generation, number = order.instance, order.generation, order.number
        there = self.guests.get(name)
        if isinstance(order, LookAtGuest):
            return self.see(name, generation, number)
        fails = fails or (self.cannot_spawn and isinstance(order, SpawnGuest))
        if fails or (there is None and not isinstance(order, SpawnGuest | DestroyGuest)):
            return GuestFailed(instance=name, generation=generation, number=number, code="no", reason="no")
        if isinstance(order, DestroyGuest):
            self.guests.pop(name, None)
            return GuestDestroyed(instance=name, generation=generation, number=number)
        off = isinstance(order, UnrescueGuest) and order.stay_off
        power = PowerState.SHUTDOWN if off else _AFTER.get(type(order), PowerState.RUNNING)
        rescued = isinstance(order, RescueGuest) or (
            isinstance(order, StopGuest | PauseGuest) and there is not None and there.rescued
        )
        self.guests[name] = Guest(generation, power, rescued)
        kind = GuestStopped if off else _FACTS.get(type(order), GuestStarted)
        return kind(instance=name, generation=generation, number=number)

    def see(self, name: str, generation: int, number: int) -> GuestSeen:
        """What there is now."""
        guest = self.guests.get(name, Guest(0, PowerState.NOSTATE))
        after = number or self.last[name][0][1]
        self.sight += 1
        return GuestSeen(
            instance=name, generation=generation, number=number, power_state=guest.power,
            exists=name in self.guests, after=after, session=SESSION, sight=self.sight, rescued=guest.rescued,
        )  # fmt: skip

    def report(self) -> HostReport:
        self.sight += 1
        guests = tuple(
            GuestState(
                instance=name,
                generation=guest.generation,
                power_state=guest.power,
                after=self.last[name][0][1],
                rescued=guest.rescued,
            )
            for name, guest in self.guests.items()
        )
        return HostReport(session=SESSION, inventory=ROOM, guests=guests, sequence=self.sight)


class Cloud:
    """Actors, what is on its way between them, and the agents."""

    def __init__(self) -> None:
        self.now = NOW
        self.states: dict[str, ActorState] = {}
        self.streams: dict[tuple[str, str], deque[Letter]] = {}
        self.mail: list[Letter] = []
        self.old: list[Letter] = []
        self.known: set[str] = set()
        self.declared: set[str] = set()
        self.agents = {host: Agent(host) for host in HOSTS[:3]}
        for host, agent in self.agents.items():
            enrol = EnrolHost(by=ADMIN, hostname=f"node-{host[-1]}")
            self.hear(address("host", host), Heard(enrol, GATEWAY, f"op-enrol-{host}", GATEWAY))
            self.hear(address("host", host), Heard(agent.report(), address("agent", host)))

    def instances(self) -> list[Instance]:
        return [state for state in self.states.values() if isinstance(state, Instance)]

    def hosts(self) -> list[Host]:
        return [state for state in self.states.values() if isinstance(state, Host)]

    # Turns

    def hear(self, to: str, heard: Heard) -> Decision[Any]:
        """One turn, looked at; what it says goes on its way."""
        kind, before = KINDS[kind_of(to)], self.states.get(to)
        decision = decide(kind, before, heard, self.now, ident_of(to))
        if decision.changed:
            assert decision.state is not None
            self.states[to] = _stored(decision.state)
            self.known |= {record.id for record in decision.records}
        self._look(to, before, decision)
        for send in decision.sends:
            self._route(to, send)
        return decision

    def _look(self, to: str, before: ActorState | None, decision: Decision[Any]) -> None:
        after = decision.state
        if not decision.changed:
            assert not decision.events
            assert not decision.records
            return
        assert after is not None
        assert after.version == (before.version if before else 0) + 1
        kind = KINDS[kind_of(to)]
        kind.columns(after)
        if after.task is not None:
            limit = kind.under_way(after.task).deadlines[after.task.state]
            assert after.task.deadline <= self.now + limit, "a step without end"
        if isinstance(after, Instance):
            if isinstance(before, Instance):
                assert before.life != GONE, "what is gone has changed"
                claims = [
                    send.message for send in decision.sends if isinstance(send.message, ClaimHost | ClaimSeat)
                ]
                assert after.generation == before.generation + len(claims), "every claim is a new generation"
            spawns = [send.message for send in decision.sends if isinstance(send.message, SpawnGuest)]
            assert not spawns or after.life != GONE
            assert all(order.generation == after.generation for order in spawns)

    def _route(self, sender: str, send: Send) -> None:
        letter = Letter(send.to, sender, send.message, send.operation, send.reply_to)
        if send.numbered:
            self.streams.setdefault((sender, send.to), deque()).append(letter)
        elif kind_of(send.to) in {"agent", "scheduler"} or send.again:
            self.mail.append(letter)

    # Arrivals

    def command(self, to: str, command: Command, operation: str) -> Decision[Any]:
        """A gateway says this, perhaps not for the first time."""
        known = operation in self.known
        if isinstance(command, ResetInstance) and command.state == "error":
            self.declared.add(ident_of(to))
        return self.hear(to, Heard(command, GATEWAY, operation, GATEWAY, known=known))

    def flow(self, stream: tuple[str, str]) -> None:
        """The next letter of a stream arrives."""
        letter = self.streams[stream].popleft()
        if not self.streams[stream]:
            del self.streams[stream]
        self.hear(letter.to, Heard(letter.message, letter.sender, letter.operation, letter.reply_to))

    def arrive(self, letter: Letter, *, fails: bool = False, hosts: tuple[str, ...] | None = None) -> None:
        """A letter nobody numbers arrives; ``fails`` and ``hosts`` are what its reader makes of it."""
        self.old.append(letter)
        if isinstance(letter.message, GuestCommand):
            fact = self.agents[ident_of(letter.to)].act(letter.message, fails=fails)
            self.mail += [Letter(letter.sender, letter.to, said, letter.operation) for said in said_of(fact)]
        elif kind_of(letter.to) == "agent":
            return
        elif kind_of(letter.to) == "scheduler":
            self._place(letter, letter.message, tuple(self.agents) if hosts is None else hosts)
        else:
            known = letter.operation in self.known
            heard = Heard(letter.message, letter.sender, letter.operation, letter.reply_to, known=known)
            self.hear(letter.to, heard)

    def _place(self, letter: Letter, asked: PlaceInstance, hosts: tuple[str, ...]) -> None:
        fit = tuple(host for host in hosts if host not in asked.refused and host in (asked.together or hosts))
        answer = PlacementProposed(instance=asked.instance, number=asked.number, hosts=fit, considered=3)
        self.mail.append(Letter(letter.sender, "scheduler/s", answer, letter.operation))

    def tick(self, to: str) -> None:
        """The actor's due time has come, or is long past."""
        due = due_at(self.states[to])
        if due is not None:
            self.now = max(self.now, due)
            self.hear(to, Heard(Tick()))

    def waiting(self) -> list[str]:
        """The actors that want to be woken, the first one first."""
        due = [(due_at(state), to) for to, state in self.states.items()]
        return [to for at, to in sorted((at, to) for at, to in due if at is not None)]

    def report(self, host: str) -> None:
        """The agent says what it has."""
        report = self.agents[host].report()
        self.mail.append(Letter(address("host", host), address("agent", host), report))

    # What must be so

    def flying(self, kind: type[Message]) -> list[Letter]:
        letters = (letter for stream in self.streams.values() for letter in stream)
        return [letter for letter in letters if isinstance(letter.message, kind)]

    def check(self) -> None:
        """What is so at every moment, whatever has come late, twice or never."""
        for host in self.hosts():
            assert not shortage(host, Amount(0, 0, 0)), f"{used(host)} is more than there is"
            for name, room in host.claims.items():
                self._check_claim(host, name, room.generation)
        for vm in self.instances():
            _check_instance(vm)
            where = [agent.host for agent in self.agents.values() if vm.id in agent.guests]
            assert len(where) <= 1, f"{vm.id} is on {where}"
            for host_id in where:
                places = {(p.host, p.generation) for p in vm.placements if p.spawned}
                made = self.agents[host_id].guests[vm.id].generation
                assert (host_id, made) in places, "a guest nobody knows of"
        self._check_quota()
        self._check_groups()

    def _check_groups(self) -> None:
        """No two members are where their group's policy does not want them, not even for a moment."""
        for group in [state for state in self.states.values() if isinstance(state, Group)]:
            members = [vm for vm in self.instances() if vm.request.group and vm.request.group.id == group.id]
            places = [[p for p in vm.placements if p.spawned] for vm in members]
            if members[0].request.group == TOGETHER:
                assert len({there[-1].host for there in places if there}) <= 1, f"not together: {places}"
            else:
                where = [host for there in places for host in {p.host for p in there}]
                assert len(where) == len(set(where)), f"not apart: {places}"

    def _check_seats(self) -> None:
        """At rest the ledgers of groups hold the seats of their members, no more and no less."""
        seats = {(g.id, *msgspec.structs.astuple(s)) for g in self.states.values() if isinstance(g, Group)
                 for s in g.seats}  # fmt: skip
        held = {(room.group, name, room.generation, host.id)
                for host in self.hosts() for name, room in host.claims.items() if room.seated}  # fmt: skip
        assert seats == held, "the groups' ledgers and the hosts agree"

    def _check_claim(self, host: Host, name: str, generation: int) -> None:
        vm = self.states.get(address("instance", name))
        assert isinstance(vm, Instance)
        known = any((p.host, p.generation) == (host.id, generation) for p in vm.placements)
        freed = [
            letter.message.generation
            for letter in self.streams.get((address("instance", name), address("host", host.id)), ())
            if isinstance(letter.message, ReleaseHost)
        ]
        assert known or generation in freed, "a claim that nobody will give back"

    def _check_quota(self) -> None:
        ledger = self.states.get(LEDGER)
        held = ledger.instances if isinstance(ledger, Project) else 0
        live = sum(vm.life != GONE for vm in self.instances())
        flying = len(self.flying(CreateInstance)) + len(self.flying(ReturnQuota))
        assert held == live + flying, f"the quota has {held}, there are {live} and {flying} on their way"

    # Rest

    def go_on(self) -> bool:
        """The next thing comes through and does not fail; whether there was one."""
        if self.streams:
            self.flow(next(iter(self.streams)))
        elif self.mail:
            self.arrive(self.mail.pop(0))
        elif any(vm.task is not None for vm in self.instances()):
            self.tick(next(to for to in self.waiting() if kind_of(to) == "instance"))
        else:
            return False
        self.check()
        return True

    def heal(self) -> None:
        """Everything comes through and nothing fails, until nobody waits for anybody."""
        for agent in self.agents.values():
            agent.cannot_spawn = False
        self._settle()
        self._check_rest()
        for _ in range(2):  # who was told while busy is told again with the next report
            for host in self.agents:
                self.report(host)
            self._settle()
        self._check_truth()

    def _settle(self) -> None:
        for _ in range(HEAL_MAX):
            if not self.go_on():
                return
        raise AssertionError("it does not come to rest")

    def _check_rest(self) -> None:
        claims = {(h.id, name, room.generation) for h in self.hosts() for name, room in h.claims.items()}
        places = {(p.host, vm.id, p.generation) for vm in self.instances() for p in vm.placements}
        assert claims == places, "the ledgers and the instances agree"
        self._check_seats()
        for vm in self.instances():
            if vm.life == GONE:
                assert not any(vm.id in agent.guests for agent in self.agents.values())
            assert vm.vm_state is not V.BUILDING
            assert vm.vm_state is not V.ERROR or vm.fault is not None

    def _check_truth(self) -> None:
        """Instances are what their guests are; no guest vanishes here, so none is in error by itself."""
        for vm in self.instances():
            apart = vm.vm_state is V.SOFT_DELETED or (vm.vm_state is V.ERROR and vm.id in self.declared)
            if vm.life != GONE and vm.launched_at is not None and not apart:
                assert vm.here is not None
                guest = self.agents[vm.here.host].guests[vm.id]
                settled = V.RESCUED if guest.rescued else SETTLED[guest.power]
                assert (vm.vm_state, vm.power_state) == (settled, guest.power)


def said_of(fact: GuestFact | None) -> list[GuestFact]:
    """What an agent says with its answer: of what may take long it tells how it goes on."""
    if not isinstance(fact, GuestStarted | GuestSuspended | GuestRescued):
        return [] if fact is None else [fact]
    name, generation, number = fact.instance, fact.generation, fact.number
    progress = GuestProgress(
        instance=name, generation=generation, number=number, what="image", done=1, total=2
    )
    return [progress, fact]


def _check_instance(vm: Instance) -> None:
    generations = [p.generation for p in vm.placements]
    assert generations == sorted(set(generations))
    assert all(generation <= vm.generation for generation in generations)
    if vm.task is not None:
        assert vm.life != GONE
        assert vm.task.state
        assert vm.task.deadline >= vm.task.began_at
        assert vm.task.number <= vm.version
    if vm.life == GONE:
        assert not vm.placements
        assert vm.vm_state is V.DELETED
    deleting = vm.task is not None and vm.task.name == "delete"
    if vm.vm_state in {V.ACTIVE, V.PAUSED, V.STOPPED, V.SUSPENDED, V.RESCUED} and not deleting:
        assert vm.here is not None
        assert vm.here.spawned


def _stored(state: ActorState) -> ActorState:
    """The state as it comes back from its row."""
    kept = msgspec.json.decode(msgspec.json.encode(state), type=type(state))
    assert kept == state
    return kept
