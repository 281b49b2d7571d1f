"""Nothing illegal under any order: hosts, a quota and instances under drawn commands, answers and losses."""

import random
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

import actors.machine
from actors.instance.kind import INSTANCE
from actors.instance.model import Instance, V
from actors.turn import Heard
from protocol.agent import (
    GuestCommand,
    GuestDestroyed,
    GuestFact,
    GuestFailed,
    GuestStarted,
    GuestStopped,
    Heartbeat,
)
from protocol.command import Command
from protocol.guest import PowerState
from protocol.host import HostDuty, RemoveHost, SetHostService
from protocol.ids import address, derived, kind_of
from protocol.instance import (
    CreateInstance,
    DeleteInstance,
    HardRebootInstance,
    LockInstance,
    PauseInstance,
    RebootInstance,
    RescueInstance,
    ResetInstance,
    RestoreInstance,
    ResumeInstance,
    ServerGroup,
    SoftDeleteInstance,
    StartInstance,
    StopInstance,
    SuspendInstance,
    UnlockInstance,
    UnpauseInstance,
    UnrescueInstance,
    UpdateInstance,
)
from protocol.message import Message
from protocol.project import QuotaLimits, ReserveQuota
from tests.actors.cloud import APART, LEDGER, SESSION, TOGETHER, Cloud, Letter
from tests.actors.stage import ADMIN, INSTANCE_ID, OWNER, REQUEST, command

INSTANCES_MAX = 6
LIMITS = QuotaLimits(instances=5, cores=20, memory_mib=51200)
COMMANDS: list[type[Command]] = [
    StartInstance, StopInstance, RebootInstance, HardRebootInstance, PauseInstance, UnpauseInstance,
    SuspendInstance, ResumeInstance, RescueInstance, UnrescueInstance,
    SoftDeleteInstance, RestoreInstance, ResetInstance,
    LockInstance, UnlockInstance, UpdateInstance, DeleteInstance,
]  # fmt: skip
GROUPS: list[ServerGroup | None] = [None, TOGETHER, APART]
DUTIES: list[HostDuty | None] = [None, "service", "disabled", "draining", "maintenance"]
FORGED: list[type[GuestFact]] = [GuestStarted, GuestStopped, GuestDestroyed, GuestFailed]
POWERS = [PowerState.SHUTDOWN, PowerState.RUNNING, PowerState.CRASHED]
ANY = st.integers(0, 10_000)
"""Which of those there are: taken modulo their number, so that shrinking stays simple."""


class ActorsUnderAnyOrder(RuleBasedStateMachine):
    """Rules are what the world may do next."""

    wanted: frozenset[type[Message]] = frozenset()
    """Commands to be preferred where they fit."""

    @initialize(there=st.integers(0, 3))
    def begin(self, there: int) -> None:
        self.cloud = Cloud()
        self.said: list[tuple[str, Command, str]] = []
        self.count = 0
        for n in range(there):
            self.create(GROUPS[n % len(GROUPS)])
        self.cloud.heal()

    def _instance(self, pick: int) -> Instance:
        found = self.cloud.instances()
        return found[pick % len(found)]

    def _say(self, to: str, command: Command) -> None:
        self.count += 1
        self.said.append((to, command, f"op-{self.count}"))
        self.cloud.command(to, command, f"op-{self.count}")

    # Commands

    @precondition(lambda self: self.count < 60 and len(self.cloud.instances()) < INSTANCES_MAX)
    @rule(group=st.sampled_from(GROUPS))
    def create(self, group: ServerGroup | None) -> None:
        request = replace(REQUEST, group=group)
        then = CreateInstance(by=OWNER, instance=derived(INSTANCE_ID, f"{self.count}"), request=request)
        self._say(LEDGER, ReserveQuota(by=OWNER, limits=LIMITS, then=then))

    @precondition(lambda self: self.cloud.instances())
    @rule(kind=st.sampled_from(COMMANDS), pick=ANY, admin=st.booleans())
    def anything(self, kind: Any, pick: int, admin: bool) -> None:
        vm = self._instance(pick)
        wish = command(kind, ADMIN if admin else OWNER)
        if isinstance(wish, ResetInstance) and pick % 2:
            wish = replace(wish, state="error")
        self._say(address("instance", vm.id), wish)

    @precondition(lambda self: any(vm.task is None for vm in self.cloud.instances()))
    @rule(pick=ANY, kind=ANY)
    def command_that_fits(self, pick: int, kind: int) -> None:
        """One that is accepted, if any is: most drawn blindly are not."""
        idle = [vm for vm in self.cloud.instances() if vm.task is None]
        vm = idle[pick % len(idle)]
        fit = [table.command for table in INSTANCE.operations if vm.vm_state in table.accepts - {V.BUILDING}]
        fit = [command for command in fit if command is not DeleteInstance]
        fit = ([command for command in fit if command in self.wanted] if kind % 3 else []) or fit
        if fit:
            self._say(address("instance", vm.id), command(fit[kind % len(fit)], ADMIN))

    @precondition(lambda self: self.said)
    @rule(pick=ANY)
    def say_again(self, pick: int) -> None:
        self.cloud.command(*self.said[pick % len(self.said)])

    @rule(pick=ANY, duty=st.sampled_from(DUTIES), forced=st.sampled_from([None, False, True]))
    def set_service(self, pick: int, duty: HostDuty | None, forced: bool | None) -> None:
        host = list(self.cloud.agents)[pick % 3]
        wish = SetHostService(by=ADMIN, duty=duty, forced_down=forced)
        self._say(address("host", host), wish)

    @rule(pick=ANY)
    def remove_a_host(self, pick: int) -> None:
        self._say(address("host", list(self.cloud.agents)[pick % 3]), RemoveHost(by=ADMIN))

    # Arrivals

    @precondition(lambda self: self.cloud.streams)
    @rule(pick=ANY, many=st.integers(1, 4))
    def streams_flow(self, pick: int, many: int) -> None:
        for _ in range(many):
            streams = list(self.cloud.streams)
            if streams:
                self.cloud.flow(streams[pick % len(streams)])

    @precondition(lambda self: self.cloud.mail)
    @rule(pick=ANY, keep=st.booleans(), fails=st.sampled_from([False, False, False, True]))
    def mail_arrives(self, pick: int, keep: bool, fails: bool) -> None:
        letter = self._take(pick, keep=keep)
        self.cloud.arrive(letter, fails=fails)

    @precondition(lambda self: self.cloud.mail)
    @rule(pick=ANY, hosts=st.sets(st.integers(0, 2)))
    def a_scheduler_knows_only_some(self, pick: int, hosts: set[int]) -> None:
        known = tuple(host for n, host in enumerate(self.cloud.agents) if n in hosts)
        self.cloud.arrive(self._take(pick, keep=False), hosts=known)

    @precondition(lambda self: self.cloud.mail)
    @rule(pick=ANY)
    def mail_is_lost(self, pick: int) -> None:
        self._take(pick, keep=False)

    @precondition(lambda self: self.cloud.old)
    @rule(pick=ANY, fails=st.booleans())
    def old_mail_arrives_again(self, pick: int, fails: bool) -> None:
        self.cloud.arrive(self.cloud.old[pick % len(self.cloud.old)], fails=fails)

    def _take(self, pick: int, *, keep: bool) -> Letter:
        at = pick % len(self.cloud.mail)
        return self.cloud.mail[at] if keep else self.cloud.mail.pop(at)

    @rule(steps=st.integers(0, 12), then=st.sampled_from(["well", "fails", "is lost", "is late"]))
    def it_goes_on_until_something(self, steps: int, then: str) -> None:
        for _ in range(steps):
            self.cloud.go_on()
        orders = [at for at, letter in enumerate(self.cloud.mail) if isinstance(letter.message, GuestCommand)]
        if then == "is late":
            self._wake(0, busy=True)
        elif orders and then != "well":
            letter = self.cloud.mail.pop(orders[0])
            if then == "fails":
                self.cloud.arrive(letter, fails=True)

    # Strangers

    @precondition(lambda self: self.cloud.instances())
    @rule(
        kind=st.sampled_from(FORGED), pick=ANY, host=st.integers(0, 2),
        off=st.tuples(st.integers(-1, 1), st.integers(-2, 2)),
    )  # fmt: skip
    def somebody_speaks_of_something_else(
        self, kind: type[GuestFact], pick: int, host: int, off: tuple[int, int]
    ) -> None:
        """The wrong host, or the right one about another generation or another step: nothing happens."""
        vm, sender = self._instance(pick), list(self.cloud.agents)[host]
        step = vm.version if vm.task is None else vm.task.number
        generation, number = vm.generation + off[0], step + off[1]
        present = (sender, generation) in {(p.host, p.generation) for p in vm.placements}
        if present and vm.task is not None and number == step:
            return
        words = {"code": "forged", "reason": "forged"} if kind is GuestFailed else {}
        fact = kind(instance=vm.id, generation=generation, number=number, **words)
        operation = "" if vm.task is None else vm.task.operation
        self.cloud.hear(address("instance", vm.id), Heard(fact, address("agent", sender), operation))
        assert self.cloud.states[address("instance", vm.id)] == vm

    # Time and the hypervisor

    @rule(pick=ANY, busy=st.booleans())
    def time_passes(self, pick: int, busy: bool) -> None:
        self._wake(pick, busy=busy)

    def _wake(self, pick: int, *, busy: bool) -> None:
        """One that wants to be woken is: the first, of those that are busy when they are asked for."""
        waiting = [to for to in self.cloud.waiting() if not busy or kind_of(to) == "instance"]
        if waiting:
            self.cloud.tick(waiting[pick % len(waiting)])

    @rule(pick=ANY, cannot=st.booleans())
    def a_host_breaks_or_is_mended(self, pick: int, cannot: bool) -> None:
        list(self.cloud.agents.values())[pick % 3].cannot_spawn = cannot

    @rule(pick=ANY)
    def a_host_reports(self, pick: int) -> None:
        self.cloud.report(list(self.cloud.agents)[pick % 3])

    @rule(pick=ANY)
    def a_host_lives(self, pick: int) -> None:
        host = list(self.cloud.agents)[pick % 3]
        beat = Heartbeat(session=SESSION, sent_at=self.cloud.now)
        self.cloud.hear(address("host", host), Heard(beat, address("agent", host)))

    @precondition(lambda self: any(agent.guests for agent in self.cloud.agents.values()))
    @rule(pick=ANY, power=st.sampled_from(POWERS))
    def a_guest_moves_by_itself(self, pick: int, power: PowerState) -> None:
        running = [(agent, name) for agent in self.cloud.agents.values() for name in agent.guests]
        agent, name = running[pick % len(running)]
        agent.guests[name] = replace(agent.guests[name], power=power)
        seen = replace(agent.see(name, agent.guests[name].generation, 0), reason="itself")
        self.cloud.mail.append(Letter(address("instance", name), address("agent", agent.host), seen))

    # What must be so

    @invariant()
    def nothing_illegal(self) -> None:
        if hasattr(self, "cloud"):
            self.cloud.check()

    def teardown(self) -> None:
        if hasattr(self, "cloud"):
            self.cloud.heal()


TestActorsUnderAnyOrder = ActorsUnderAnyOrder.TestCase
TestActorsUnderAnyOrder.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


# The same moves, drawn evenly: deeper than what shrinks well

WALKS, WALKS_MAX, STEPS = 80, 800, 250
"""So many walks at least, and more until every row has been taken."""
UNREACHED = {("delete", "destroy_another"), ("delete", "note_freed")}
"""Rows for instances on two hosts at once: nothing migrates yet."""


Moves = list[tuple[int, Callable[[], bool], Callable[[], None]]]
"""How often, when it can be, and what."""


def moves_of(machine: "ActorsUnderAnyOrder", chance: random.Random) -> Moves:
    """What may happen on one walk, with frequencies that differ from walk to walk."""
    there = machine.cloud
    orders_fail, flows = chance.choice([0.1, 0.4, 0.9]), chance.choice([0, 4])
    for agent in there.agents.values():
        agent.cannot_spawn = chance.random() < 0.4
    delay = chance.choice([2, 8])

    def pick() -> int:
        return chance.randrange(10_000)

    def deliver() -> None:
        fails = chance.random() < orders_fail
        machine.mail_arrives(pick=pick(), keep=chance.random() < 0.25, fails=fails)

    def lie() -> None:
        off = (chance.randint(-1, 1), chance.randint(-2, 2))
        machine.somebody_speaks_of_something_else(
            kind=chance.choice(FORGED), pick=pick(), host=pick() % 3, off=off
        )

    def go_on() -> None:
        machine.it_goes_on_until_something(
            steps=chance.randrange(12), then=chance.choice(["well", "fails", "is lost", "is late"])
        )

    return [
        (
            1,
            lambda: len(there.instances()) < INSTANCES_MAX,
            lambda: machine.create(group=chance.choice(GROUPS)),
        ),
        (
            2,
            lambda: bool(there.instances()),
            lambda: machine.anything(kind=chance.choice(COMMANDS), pick=pick(), admin=chance.random() < 0.5),
        ),
        (
            4,
            lambda: any(vm.task is None for vm in there.instances()),
            lambda: machine.command_that_fits(pick=pick(), kind=pick()),
        ),
        (1, lambda: bool(machine.said), lambda: machine.say_again(pick=pick())),
        (6, lambda: bool(there.streams), lambda: machine.streams_flow(pick=pick(), many=2)),
        (6, lambda: bool(there.mail), deliver),
        (1, lambda: bool(there.mail), lambda: machine.mail_is_lost(pick=pick())),
        (1, lambda: bool(there.old), lambda: machine.old_mail_arrives_again(pick=pick(), fails=False)),
        (delay, lambda: True, lambda: machine.time_passes(pick=pick(), busy=chance.random() < 0.7)),
        (1, lambda: True, lambda: machine.a_host_reports(pick=pick())),
        (1, lambda: bool(there.instances()), lie),
        (3, lambda: True, lambda: machine.a_host_lives(pick=pick())),
        (flows, lambda: bool(there.mail), go_on),
        (
            1,
            lambda: any(agent.guests for agent in there.agents.values()),
            lambda: machine.a_guest_moves_by_itself(pick=pick(), power=chance.choice(POWERS)),
        ),
    ]


def wander(seed: int, wanted: frozenset[type[Message]] = frozenset()) -> None:
    """One long walk, and home."""
    chance = random.Random(seed)
    machine = ActorsUnderAnyOrder()
    machine.wanted = wanted
    machine.begin(there=chance.randrange(4))
    moves, there = moves_of(machine, chance), machine.cloud
    for _ in range(STEPS):
        open_now = [(weight, move) for weight, possible, move in moves if possible()]
        (move,) = chance.choices([move for _, move in open_now], [weight for weight, _ in open_now])
        move()
        there.check()
    there.heal()


def test_long_walks_are_legal_and_take_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[tuple[str, str]] = set()
    move = actors.machine._move

    def noted(kind: Any, table: Any, row: Any, *rest: Any) -> Any:
        taken.add((table.name, f"{row.while_} {row.hearing.__name__} {row.do.__name__}"))
        return move(kind, table, row, *rest)

    monkeypatch.setattr(actors.machine, "_move", noted)
    rows = {
        (table.name, f"{row.while_} {row.hearing.__name__} {row.do.__name__}")
        for table in INSTANCE.operations
        for row in table.rows
        if (table.name, row.do.__name__) not in UNREACHED
    }
    for seed in range(WALKS_MAX):
        left = {name for name, _ in rows - taken} if seed >= WALKS else set()
        try:
            wander(seed, frozenset(table.command for table in INSTANCE.operations if table.name in left))
        except Exception as error:
            raise AssertionError(f"walk {seed}") from error
        if seed >= WALKS and rows <= taken:
            break
    assert rows <= taken, f"no walk takes {sorted(rows - taken)}"


def test_a_lost_word_is_mended_by_the_next_report() -> None:
    """The host's reports looked the same, the instance had heard otherwise in between and stayed with it."""
    machine = ActorsUnderAnyOrder()
    machine.begin(there=1)
    cloud = machine.cloud
    for power in (PowerState.SHUTDOWN, PowerState.RUNNING, PowerState.SHUTDOWN):
        machine.a_guest_moves_by_itself(pick=0, power=power)
        if power is PowerState.SHUTDOWN:
            cloud.mail.clear()
            for host in cloud.agents:
                cloud.report(host)
        while cloud.go_on():
            pass
    (vm,) = cloud.instances()
    assert vm.power_state is PowerState.SHUTDOWN
