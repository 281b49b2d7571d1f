"""Everybody a worker talks to, played on one connection: gateways, schedulers and host agents.

They answer at once. The hosts speak as the real agents do, through ``host.in`` under their own names,
one bundle per host and partition and round; commands of tenants go as one bundle per partition.
"""

import asyncio
from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec
from aio_pika import DeliveryMode
from aiormq import spec
from aiormq.abc import AbstractChannel
from msgspec import Struct

from bus import topology
from bus.amqp import AmqpBus
from bus.mailbox import Delivery, Mailbox, Parcel, Queue
from process.clock import Clock
from protocol.agent import GuestDestroyed, GuestPaused, GuestStarted, HostReport
from protocol.codec import decode_bundle, encode_bundle, encode_message
from protocol.command import Caller, Command
from protocol.guest import HostInventory
from protocol.host import EnrolHost
from protocol.ids import address, ident_of, partition_of
from protocol.instance import (
    CreateInstance,
    Flavor,
    ServerRequest,
)
from protocol.message import Bundle, Envelope, Stretch
from protocol.project import QuotaLimits, ReserveQuota
from protocol.scheduling import PlacementProposed

TAKE_MAX: Final = 500
GATEWAY: Final = "gateway/bench"
UNLIMITED: Final = QuotaLimits(-1, -1, -1)
FLAVOR: Final = Flavor(id="1", name="m1.nano", vcpus=1, memory_mib=128, disk_gib=1)


class Said(Struct, frozen=True):
    """The few fields of a message that a player looks at."""

    type: str
    instance: str = ""
    generation: int = 0
    number: int = 0
    code: str = ""


_said = msgspec.json.Decoder(Said).decode


class Players:
    """``run`` plays until cancelled; ``on_answer`` and ``on_guest`` tell the load what became of it."""

    def __init__(self, amqp: str, clock: Clock, *, hosts: int, partitions: int, projects: int) -> None:
        self._bus = AmqpBus(amqp, name="bench players")
        self._clock, self._partitions = clock, partitions
        self.hosts = [clock.uuid() for _ in range(hosts)]
        self.projects = [clock.uuid().replace("-", "") for _ in range(projects)]
        self._wake = asyncio.Event()
        self._mailboxes: list[tuple[Mailbox, Callable[[Envelope], None]]] = []
        self._commands: dict[int, list[Envelope]] = {}
        self._facts: dict[tuple[str, int], list[Envelope]] = {}
        self._proposals: dict[int, list[Envelope]] = {}
        self._sending: asyncio.Task[None] | None = None
        self._channel: AbstractChannel
        self.on_answer: Callable[[str, str], None] = lambda _operation, _code: None
        self.on_guest: Callable[[str, str], None] = lambda _instance, _what: None

    async def open(self) -> None:
        """Read all queues and make the hosts known."""
        await self._read(topology.SCHEDULER, self._propose)
        await self._read(topology.gateway(ident_of(GATEWAY)), self._heard)
        for host in self.hosts:
            await self._bus.declare(topology.host(host))
            await self._read(topology.host(host), self._obey)
        wire = await self._bus._link.wire()
        self._channel = await wire.channel(publisher_confirms=True)

    async def _read(self, queue: Queue, hear: Callable[[Envelope], None]) -> None:
        self._mailboxes.append((await self._bus.open(queue, self._wake), hear))

    async def close(self) -> None:
        """Hang up."""
        await self._bus.close()

    async def run(self) -> None:
        """Answer everybody until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for mailbox, hear in self._mailboxes:
                while deliveries := mailbox.take(TAKE_MAX):
                    for delivery in deliveries:
                        self._open(delivery, hear)
                    mailbox.ack(deliveries[-1])
            if self._sending is None or self._sending.done():
                self._sending = asyncio.create_task(self._send())

    def _open(self, delivery: Delivery, hear: Callable[[Envelope], None]) -> None:
        for stretch in decode_bundle(delivery.body).stretches:
            for envelope in stretch.envelopes:
                hear(envelope)

    # What is said to whom

    def command(self, to: str, command: Command, operation: str) -> None:
        """Say a tenant's command; its answer comes to ``on_answer``."""
        envelope = Envelope(to, GATEWAY, encode_message(command), operation, GATEWAY, self._clock.now() + 30)
        self._commands.setdefault(partition_of(to, self._partitions), []).append(envelope)
        self._wake.set()

    def create(self, project: str, instance: str, operation: str) -> None:
        """POST /servers."""
        by = Caller("user", project, "req")
        request = ServerRequest(name="bench", flavor=FLAVOR, image=None, hostname="bench")
        wish = CreateInstance(by=by, instance=instance, request=request)
        self.command(address("project", project), ReserveQuota(by=by, limits=UNLIMITED, then=wish), operation)

    def act(self, kind: type[Command], project: str, instance: str, operation: str) -> None:
        """An action on a server."""
        self.command(address("instance", instance), kind(by=Caller("user", project, "req")), operation)

    async def enrol(self) -> None:
        """Make every host known and up, with room for everything."""
        by = Caller("operator", "", "req", admin=True)
        for number, host in enumerate(self.hosts):
            known = asyncio.Event()
            self.on_answer = _setter(known)
            name = f"host-{number}"
            self.command(address("host", host), EnrolHost(by=by, hostname=name), self._clock.uuid())
            await known.wait()
            self.report(host, name)

    def report(self, host: str, name: str) -> None:
        """What an agent says at its start."""
        self._fact(host, address("host", host), report_of(name), "")

    def _fact(self, host: str, to: str, fact: bytes, operation: str) -> None:
        envelope = Envelope(to, address("agent", host), fact, operation)
        self._facts.setdefault((host, partition_of(to, self._partitions)), []).append(envelope)
        self._wake.set()

    # What is heard by whom

    def _heard(self, envelope: Envelope) -> None:
        self.on_answer(envelope.operation, _said(envelope.body).code)

    def _propose(self, envelope: Envelope) -> None:
        answer, _ = answer_of(envelope, self.hosts)
        if answer is not None:
            self._proposals.setdefault(partition_of(answer.to, self._partitions), []).append(answer)

    def _obey(self, envelope: Envelope) -> None:
        answer, instance = answer_of(envelope, self.hosts)
        if answer is not None:
            self._fact(ident_of(envelope.to), answer.to, answer.body, answer.operation)
        if instance:
            self.on_guest(instance, _said(envelope.body).type)

    # Sending

    async def _send(self) -> None:
        """One round: everything said so far, and what is said while that is confirmed comes in the next."""
        while self._commands or self._facts or self._proposals:
            parcels = []
            for said in (self._commands, self._proposals):
                parcels += [
                    Parcel(topology.partition(p).name, _bundle(envelopes)) for p, envelopes in said.items()
                ]
                said.clear()
            facts = [
                self._channel.basic_publish(  # type: ignore[call-arg]  # the abstract class lacks wait
                    _bundle(envelopes),
                    exchange=topology.HOST_IN,
                    routing_key=f"{host}.{p}",
                    properties=spec.Basic.Properties(
                        content_type="application/msgpack",
                        delivery_mode=DeliveryMode.PERSISTENT,
                        user_id=topology.login_of(host),
                    ),
                    wait=False,
                )
                for (host, p), envelopes in self._facts.items()
            ]
            self._facts.clear()
            await asyncio.gather(self._bus.publish(parcels), *facts)


def _bundle(envelopes: list[Envelope]) -> bytes:
    return encode_bundle(Bundle([Stretch(-1, -1, 0, envelopes)]))


def report_of(name: str) -> bytes:
    """What the agent of a host with room for everything says at its start."""
    inventory = HostInventory(
        hostname=name,
        hypervisor_type="bench",
        hypervisor_version=1,
        vcpus=100_000,
        memory_mib=1 << 30,
        disk_gib=1 << 30,
    )
    return encode_message(HostReport(session="1", inventory=inventory, guests=()))


def answer_of(envelope: Envelope, hosts: list[str]) -> tuple[Envelope | None, str]:
    """What a scheduler or an agent says to this, and the instance whose guest has changed by it."""
    said = _said(envelope.body)
    if said.type == "instance.place":
        chosen = hosts[crc32(said.instance.encode()) % len(hosts)]
        proposed = PlacementProposed(
            instance=said.instance, number=said.number, hosts=(chosen,), considered=len(hosts)
        )
        body = encode_message(proposed)
        return Envelope(envelope.sender, "scheduler/bench", body, envelope.operation), ""
    fact = _FACTS.get(said.type)
    if fact is None:
        return None, ""
    body = encode_message(fact(instance=said.instance, generation=said.generation, number=said.number))
    return Envelope(envelope.sender, envelope.to, body, envelope.operation), said.instance


_FACTS: Final[dict[str, type[GuestStarted | GuestPaused | GuestDestroyed]]] = {
    "instance.spawn_guest": GuestStarted,
    "instance.unpause_guest": GuestStarted,
    "instance.pause_guest": GuestPaused,
    "instance.destroy_guest": GuestDestroyed,
}


def _setter(event: asyncio.Event) -> Callable[[str, str], None]:
    def answered(_operation: str, _code: str) -> None:
        event.set()

    return answered
