"""What must be so once the faults have stopped and the cloud has come to rest.

``unrest`` says what still moves; ``check`` compares everything that should agree: what clients were
told, what the records say, what the ledgers hold, what really runs.
"""

from collections.abc import Iterator
from typing import Final

from actors.group.kind import Group
from actors.host.model import Host
from actors.instance.model import GONE, Instance, V
from actors.project.kind import Project
from protocol.codec import decode_bundle
from protocol.ids import address
from protocol.instance import DeleteInstance
from tests.sim.watch import STATES
from tests.sim.workload import PROJECTS, Tenants
from tests.sim.world import World

LATE_S: Final = 10.0
"""A timer this late, with nothing wrong, was forgotten."""

Finding = tuple[str, str, str]
"""The invariant, what is the case instead, whom it is about."""


class Rest:
    """The cloud's records, read once."""

    def __init__(self, world: World, tenants: Tenants) -> None:
        self.world = world
        self.tenants = tenants
        states = [
            (kind, ident, STATES[kind].decode(row.state))
            for (kind, ident), row in world.database.actors.items()
            if kind in STATES
        ]
        self.instances: dict[str, Instance] = {i: s for kind, i, s in states if kind == "instance"}
        self.hosts: dict[str, Host] = {i: s for kind, i, s in states if kind == "host"}
        self.groups: dict[str, Group] = {i: s for kind, i, s in states if kind == "group"}
        self.projects: dict[str, Project] = {i: s for kind, i, s in states if kind == "project"}


def unrest(world: World) -> list[Finding]:
    """Who still works on something."""
    database = world.database
    found: list[Finding] = []
    for (kind, ident), row in database.actors.items():
        if kind == "instance" and not row.gone and b'"task":null' not in row.state:
            found.append(("everything settles", "a task is under way", f"instance/{ident}"))
    found += [
        ("every operation ends", f"{row.name} {row.id} has not", row.subject)
        for row in database.operations.values()
        if not row.finished_at
    ]
    for segment, _ in database.segments.values():
        if segment.last > database.partitions[segment.destination].marks[segment.source]:
            stream = f"{segment.source}→{segment.destination}"
            found.append(
                ("every numbered message is handled", f"{stream} {segment.first}…{segment.last}", "world")
            )
    return found


def check(world: World, tenants: Tenants) -> list[Finding]:
    """Everything that is not as it should be."""
    rest = Rest(world, tenants)
    found = unrest(world)
    for rule in (_answers, _placements, _guests, _ledgers, _seats, _quotas, _timers, _journals):
        found += rule(rest)
    return found


def _answers(rest: Rest) -> Iterator[Finding]:
    """Clients were told the truth."""
    operations = rest.world.database.operations
    for call in rest.tenants.calls:
        ident = call.subject.partition("/")[2]
        state = rest.instances.get(ident)
        row = operations.get(call.operation)
        if call.accepted and row is None and not isinstance(call.command, DeleteInstance):
            yield "an accepted command leaves a row", f"{call.kind} {call.operation}", call.subject
        if (
            call.accepted
            and isinstance(call.command, DeleteInstance)
            and (state is None or state.life != GONE)
        ):
            yield "an accepted delete deletes", f"{state.vm_state if state else None}", call.subject
        if call.refused and call.copies == 1 and row is not None and not _doubled(rest.world, call.operation):
            yield "a refusal changes nothing", f"{call.kind} {call.operation} ran: {row}", call.subject


def _doubled(world: World, operation: str) -> bool:
    """Whether the bus itself doubled a message of this operation: a gateway cannot count such copies."""
    return any(
        envelope.operation == operation
        for body in world.bus_faults.doubled
        for stretch in decode_bundle(body).stretches
        for envelope in stretch.envelopes
    )


SETTLED: Final = frozenset({V.ACTIVE, V.PAUSED, V.STOPPED, V.SUSPENDED, V.RESCUED})


def _placements(rest: Rest) -> Iterator[Finding]:
    """A settled instance has one place, a deleted one none, and none is still being built."""
    for ident, vm in rest.instances.items():
        subject = f"instance/{ident}"
        if vm.vm_state in SETTLED:
            if vm.here is None or len(vm.placements) != 1:
                yield "a settled instance is on one host", f"{vm.vm_state}: {vm.placements}", subject
        elif vm.vm_state is V.DELETED and vm.placements:
            yield "a deleted instance is on no host", f"{vm.placements}", subject
        elif vm.vm_state is V.BUILDING:
            yield "a build ends", f"{vm}", subject


def _guests(rest: Rest) -> Iterator[Finding]:
    """What the records say runs, runs there; nothing else does."""
    expected = {
        (placement.host, ident): (placement.generation, vm)
        for ident, vm in rest.instances.items()
        for placement in vm.placements
    }
    there = set()
    for agent in rest.world.agents:
        for guest in agent.hardware.states():
            there.add((agent.host, guest.instance))
            subject = f"instance/{guest.instance}"
            if (agent.host, guest.instance) not in expected:
                yield "no guest without a record", f"{guest} on {agent.settings.hostname}", subject
                continue
            generation, vm = expected[agent.host, guest.instance]
            if generation != guest.generation:
                yield (
                    "guests are of the recorded generation",
                    f"{guest.generation}, not {generation}",
                    subject,
                )
            rescued = vm.vm_state is V.RESCUED
            if vm.vm_state in SETTLED and (guest.power_state, guest.rescued) != (vm.power_state, rescued):
                yield "records say what runs", f"{vm.vm_state} {vm.power_state.name}: {guest}", subject
    for (host, ident), (_, vm) in expected.items():
        if vm.vm_state in SETTLED and (host, ident) not in there:
            yield "a settled instance has its guest", f"{vm.vm_state} on {host}", f"instance/{ident}"


def _ledgers(rest: Rest) -> Iterator[Finding]:
    """The hosts' ledgers hold what the instances' records say, no more and no less."""
    recorded = {
        (p.host, ident, p.generation): vm.amount
        for ident, vm in rest.instances.items()
        for p in vm.placements
    }
    held = {
        (host, ident, room.generation): room.amount
        for host, state in rest.hosts.items()
        for ident, room in state.claims.items()
    }
    for key in sorted(set(recorded) | set(held)):
        if recorded.get(key) != held.get(key):
            detail = f"record {recorded.get(key)}, ledger {held.get(key)} for {key}"
            yield "ledger equals records", detail, address("host", key[0])


def _seats(rest: Rest) -> Iterator[Finding]:
    """The groups' ledgers hold the seats their members have on hosts, no more and no less."""
    seats = {(g, s.instance, s.generation, s.host) for g, group in rest.groups.items() for s in group.seats}
    held = {
        (room.group, ident, room.generation, host)
        for host, state in rest.hosts.items()
        for ident, room in state.claims.items()
        if room.seated
    }
    for key in sorted(seats ^ held):
        which = "seat without a claim" if key in seats else "claim without a seat"
        yield "seats equal claims", f"{which}: {key}", address("group", key[0])


def _quotas(rest: Rest) -> Iterator[Finding]:
    """The projects' counters are the sums over their instances."""
    for name in PROJECTS:
        own = [vm for vm in rest.instances.values() if vm.project == name and vm.life != GONE]
        sums = (
            len(own),
            sum(vm.request.flavor.vcpus for vm in own),
            sum(vm.request.flavor.memory_mib for vm in own),
        )
        project = rest.projects.get(name)
        counted = (project.instances, project.cores, project.memory_mib) if project else (0, 0, 0)
        if counted != sums:
            yield "quota equals records", f"counted {counted}, are {sums}", address("project", name)


def _timers(rest: Rest) -> Iterator[Finding]:
    """No timer was forgotten."""
    now = rest.world.clock.now()
    for (kind, ident), row in rest.world.database.actors.items():
        if row.due_at is not None and not row.gone and row.due_at < now - LATE_S:
            yield "timers fire", f"due {now - row.due_at:.1f} s ago", f"{kind}/{ident}"


def _journals(rest: Rest) -> Iterator[Finding]:
    """Journals hold nothing but tombstones of what is deleted."""
    for agent in rest.world.agents:
        for entry in agent.content.entries.values():
            vm = rest.instances.get(entry.instance)
            on = vm is not None and any(p.host == agent.host for p in vm.placements)
            if not on and entry.deleted and entry.forgotten_at is None:
                detail = f"{entry.generation}.{entry.number} on {agent.settings.hostname}"
                yield "tombstones are let go", detail, f"instance/{entry.instance}"
            if not on and not entry.deleted:
                detail = f"{entry.generation}.{entry.number} on {agent.settings.hostname}"
                yield "journals hold only tombstones of the gone", detail, f"instance/{entry.instance}"
