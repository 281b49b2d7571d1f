"""The agent's small parts: desk, lease, outbox, identity."""

import asyncio
from pathlib import Path

import pytest
import structlog

from bus.fault import DELIVERED, REFUSED, Fate
from bus.mailbox import Parcel
from bus.memory import MemoryBus
from hostagent.desk import Desk
from hostagent.identity import HostIdentity, IdentityError, load_identity, save_identity
from hostagent.lease import SENT_MAX, Lease
from hostagent.orders import Order
from hostagent.outbox import BUNDLE_BYTES_MAX, FACT_BYTES_MAX, Outbox, bundle_up
from protocol.agent import DestroyGuest, GuestCommand, LookAtGuest, PauseGuest, StopGuest
from protocol.codec import decode_bundle
from protocol.ids import HostId, address, partition_of
from protocol.message import Envelope
from tests.hostagent.drivers.specs import ManualClock
from tests.hostagent.harness import HOST, PARTITIONS, World, run


def order(kind: type[GuestCommand], number: int) -> Order:
    return Order(kind(instance="i", generation=1, number=number), b"")


def test_desk_keeps_the_highest_and_every_destruction() -> None:
    desk = Desk("i")
    assert desk.put(order(StopGuest, 1)) == []
    assert desk.next() == order(StopGuest, 1)
    assert desk.put(order(PauseGuest, 2)) == []
    assert desk.put(order(DestroyGuest, 3)) == [order(PauseGuest, 2)]
    assert desk.put(order(StopGuest, 4)) == []
    assert desk.put(order(PauseGuest, 5)) == [order(StopGuest, 4)]
    assert desk.put(order(LookAtGuest, 5)) == []
    assert desk.put(order(LookAtGuest, 0)) == []
    assert desk.put(order(LookAtGuest, 6)) == []
    taken = []
    while (following := desk.next()) is not None:
        taken.append(following.command.number)
    assert taken == [3, 5, 6, 0]


def test_lease_counts_from_sending_and_forgets_old_heartbeats() -> None:
    clock = ManualClock()
    lease = Lease(clock, 60.0)
    assert (lease.valid(), lease.remaining(), lease.clock_offset_s) == (False, 0.0, 0.0)
    for beat in range(SENT_MAX + 1):
        lease.sent(float(beat))
        clock.time += 1
    assert not lease.heard(0.0, 0.0)
    assert lease.heard(float(SENT_MAX), 0.0)
    assert lease.remaining() == 59.0
    # An answer to an earlier heartbeat arrives late: it takes nothing away.
    assert lease.heard(float(SENT_MAX - 1), 0.0)
    assert lease.remaining() == 59.0
    assert not lease.heard(float(SENT_MAX), 0.0)


def test_lease_is_not_lengthened_by_a_wall_clock_that_went_back() -> None:
    clock = ManualClock()
    lease = Lease(clock, 60.0)
    lease.sent(5.0)
    clock.time += 30
    lease.sent(5.0)
    lease.heard(5.0, 5.0)
    assert lease.remaining() == 30.0


def test_clock_offset_is_that_of_the_quickest_answer() -> None:
    clock = ManualClock()
    lease = Lease(clock, 60.0)
    for wait, heard_at in ((10.0, 105.0), (0.2, 99.1), (30.0, 1.0)):
        lease.sent(100.0)
        clock.time += wait
        lease.heard(100.0, heard_at)
    assert lease.clock_offset_s == pytest.approx(1.0)


def test_bundles_are_grouped_by_partition_in_order_and_bounded() -> None:
    facts = [Envelope(f"instance/{n % 50}", "agent/h", b"x" * (n * 37 % 3000)) for n in range(900)]
    facts.append(Envelope("instance/big", "agent/h", b"x" * 500_000))
    parcels = bundle_up(facts, PARTITIONS)
    heard: dict[int, list[Envelope]] = {number: [] for number in range(PARTITIONS)}
    for parcel in parcels:
        (stretch,) = decode_bundle(parcel.body).stretches
        assert stretch.source == -1
        assert parcel.queue == f"partition.{stretch.destination}"
        assert len(parcel.body) <= BUNDLE_BYTES_MAX + 1000 or len(stretch.envelopes) == 1
        heard[stretch.destination] += stretch.envelopes
    for number, envelopes in heard.items():
        assert envelopes == [fact for fact in facts if partition_of(fact.to, PARTITIONS) == number]
    assert len(parcels) < 40


class Down:
    """A bus that refuses everything until it is up."""

    def __init__(self) -> None:
        self.up = False
        self.publishes = 0

    def fate(self, parcel: Parcel, publisher: str) -> Fate:
        self.publishes += 1
        return DELIVERED if self.up else REFUSED


def test_outbox_replaces_drops_the_oldest_and_retries_with_pauses() -> None:
    bus = Down()

    async def story(world: World) -> None:
        outbox = Outbox(
            sender=address("agent", HOST),
            bus=world.controller,
            clock=world.clock,
            partitions=PARTITIONS,
            facts_max=3,
            log=structlog.wrap_logger(None, processors=[world._keep]),
        )
        confirmed: list[int] = []
        task = asyncio.ensure_future(outbox.run(lambda: confirmed.append(len(outbox))))
        to = address("instance", "i")
        outbox.put(("a",), to, b"1")
        await asyncio.sleep(60)
        assert 10 < outbox.retries < 25
        outbox.put(("a",), to, b"2")
        for key in "bcd":
            outbox.put((key,), to, key.encode())
        outbox.put(("big",), to, b"x" * (FACT_BYTES_MAX + 1))
        outbox.drop(("c",))
        assert (len(outbox), outbox.dropped) == (2, 2)
        bus.up = True
        async with asyncio.timeout(10):
            await outbox.wait_until_empty()
        assert confirmed == [0]
        task.cancel()
        bodies = [
            envelope.body
            for mailbox in world._mailboxes
            for delivery in mailbox.take(10)
            for stretch in decode_bundle(delivery.body).stretches
            for envelope in stretch.envelopes
        ]
        assert bodies == [b"b", b"d"]

    run(story, faults=bus)


class Slow(MemoryBus):
    """A bus that takes a second to confirm."""

    async def publish(self, parcels: list[Parcel]) -> None:
        await asyncio.sleep(1)
        await super().publish(parcels)


def test_fact_replaced_while_the_earlier_one_is_being_sent_is_sent_too() -> None:
    async def story(world: World) -> None:
        outbox = Outbox(
            sender=address("agent", HOST),
            bus=Slow(world.broker, name="slow", host=HOST),
            clock=world.clock,
            partitions=PARTITIONS,
            facts_max=3,
            log=structlog.wrap_logger(None, processors=[world._keep]),
        )
        task = asyncio.ensure_future(outbox.run(lambda: None))
        outbox.put(("a",), address("instance", "i"), b"1")
        await asyncio.sleep(0.5)
        outbox.put(("a",), address("instance", "i"), b"2")
        await asyncio.sleep(5)
        task.cancel()
        assert (len(outbox), outbox.confirmed) == (0, 2)

    run(story)


def identity() -> HostIdentity:
    return HostIdentity(
        host=HostId("a0000000-0000-4000-8000-000000000001"),
        hostname='weird "name"\\ \t\x7f\x01 ü',
        amqp_url="amqp://host-a0:geheim@broker:5672/v",
        partitions=16,
        driver="libvirt",
        driver_settings={"uri": "qemu:///system", "boots max": 4, "kvm": False, "factor": 0.5},
    )


def test_identity_is_kept_for_the_owner_alone(tmp_path: Path) -> None:
    save_identity(tmp_path / "state", identity())
    save_identity(tmp_path / "state", identity())
    assert load_identity(tmp_path / "state") == identity()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["host.toml"]
    path = tmp_path / "state" / "host.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(IdentityError, match="readable by others"):
        load_identity(tmp_path / "state")


def test_identity_never_shows_the_password() -> None:
    assert "geheim" not in f"{identity()} {identity()!r} {[identity()]}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("partitions = 16", "partitions = 0"), "partitions at least 1"),
        (("a0000000-", "A0000000-"), "lower-case UUID"),
        (("driver = ", "extra = 1\ndriver = "), "extra"),
        (("driver = ", "driver "), "cannot be read"),
    ],
)
def test_identity_that_makes_no_sense_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    save_identity(tmp_path, identity())
    path = tmp_path / "host.toml"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(IdentityError, match=said):
        load_identity(tmp_path)


def test_host_without_identity_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="not enrolled"):
        load_identity(tmp_path)
