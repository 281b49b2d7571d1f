"""A project's quota ledger: reserve on the way to a new instance, return when it is gone.

The ledger is three counters, exact because the streams that change them are numbered: a reservation is
made once per operation, a return is said once per instance. Invariant: the counters equal the sum over
the project's instances that are not gone.
"""

from typing import Any

import msgspec

from actors.machine import ANY, Kind, on
from actors.turn import ActorState, Heard, Refusal, Send, Step
from protocol.command import Command
from protocol.errors import Refused
from protocol.ids import address
from protocol.instance import CreateInstance, ReturnQuota
from protocol.project import ReserveQuota


class Project(ActorState, frozen=True, kw_only=True):
    """What a project's instances take: number, vCPUs, memory in MiB."""

    instances: int = 0
    cores: int = 0
    memory_mib: int = 0


def born(_: ReserveQuota, ident: str, now: float) -> Project:
    return Project(id=ident, life="open", created_at=now, updated_at=now)


def reserve(project: Project, wish: ReserveQuota) -> Step[Project]:
    flavor = wish.then.request.flavor
    limits = wish.limits
    for name, limit, used, more in (
        ("instances", limits.instances, project.instances, 1),
        ("cores", limits.cores, project.cores, flavor.vcpus),
        ("ram", limits.memory_mib, project.memory_mib, flavor.memory_mib),
    ):
        if 0 <= limit < used + more:
            reason = f"Quota exceeded for {name}: Requested {more}, but already used {used} of {limit} {name}"
            raise Refusal("quota", reason, name, str(limit))
    project = project.but(
        instances=project.instances + 1,
        cores=project.cores + flavor.vcpus,
        memory_mib=project.memory_mib + flavor.memory_mib,
    )
    to, then = onward(wish)
    return project, [Send(to, then, reply_to="pass on")]


def onward(wish: ReserveQuota) -> tuple[str, CreateInstance]:
    """Who begins what the quota was reserved for."""
    return address("instance", wish.then.instance), wish.then


def take_back(project: Project, gone: ReturnQuota) -> Step[Project]:
    return (
        project.but(
            instances=project.instances - 1,
            cores=project.cores - gone.amount.vcpus,
            memory_mib=project.memory_mib - gone.amount.memory_mib,
        ),
        [],
    )


def guard(_: Project, __: Command, ___: Heard) -> Refused | None:
    return None


def columns(project: Project) -> tuple[Any, ...]:
    """The typed columns of ``compute.project``, in the order of store.kinds."""
    return (project.instances, project.cores, project.memory_mib)


def summary(project: Project) -> bytes:
    """The data of an event about this ledger."""
    return msgspec.json.encode({"id": project.id, "instances": project.instances, "cores": project.cores})


# fmt: off
LIFE = (
    # while  hearing       do         then
    on(ANY,    ReserveQuota, reserve,   ANY, log="create"),
    on(ANY,    ReturnQuota,  take_back, ANY),
)
# fmt: on

PROJECT: Kind[Project] = Kind(
    name="project",
    state=Project,
    births={ReserveQuota: born},
    life=LIFE,
    settled=lambda project: project.life,
    guard=guard,
    relevant=lambda _, __: True,
    project=lambda project: project.id,
    summary=summary,
    gone=lambda _: False,
    columns=columns,
    passes_on={ReserveQuota: onward},
)
