"""The names of the bus: pure functions from addresses to queues and back to senders."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import topology
from bus.mailbox import Parcel, Queue
from protocol.ids import partition_of

HOST = "0b1e1b0c-7f5d-4f0e-9d6e-3f6f1c2a4b5d"
OTHER = "0b1e1b0c-7f5d-4f0e-9d6e-3f6f1c2a4b5e"


@pytest.mark.parametrize("kind", ["instance", "host", "image", "project", "group"])
def test_actors_live_in_partitions(kind: str) -> None:
    address = f"{kind}/{HOST}"
    assert topology.queue_of(address, 16) == Queue(f"partition.{partition_of(address, 16)}")


@pytest.mark.parametrize(
    ("address", "queue"),
    [
        (f"agent/{HOST}", Queue(f"host.{HOST}")),
        ("scheduler/any", Queue("scheduler")),
        ("gateway/g-1", Queue("gateway.g-1", durable=False)),
        ("schedulers/all", Queue("", durable=False, fanout="fanout.schedulers")),
    ],
)
def test_parties_have_queues_of_their_own(address: str, queue: Queue) -> None:
    assert topology.queue_of(address, 16) == queue
    assert topology.parcel_to(address, b"x", 16) == Parcel(queue.name, b"x", queue.fanout)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "flavor/1",
        "agent/",
        "agent/*",
        "agent/../x",
        f"agent/{HOST}\n",
        f"agent/{HOST.upper()}",
        "gateway/",
        "gateway/a.b",
        "gateway/" + "x" * 65,
        "scheduler/one",
        "schedulers/one",
    ],
)
def test_no_queue_for_an_address_nobody_answers_to(address: str) -> None:
    with pytest.raises(ValueError, match="queue"):
        topology.queue_of(address, 16)


def test_partitions_hear_agents_and_need_the_fanout_too() -> None:
    binding = topology.binding_of(topology.partition(7))
    assert binding == topology.Binding(topology.Exchange("host.in", "topic"), "*.7")
    assert topology.exchanges_for(topology.partition(7)) == topology.EXCHANGES
    assert topology.binding_of(topology.host(HOST)) is None
    assert topology.exchanges_for(topology.host(HOST)) == ()
    feed = topology.scheduler_feed("s1")
    assert topology.exchanges_for(feed) == (topology.Exchange("fanout.schedulers", "fanout"),)


def test_queue_types_are_for_durable_queues() -> None:
    assert topology.arguments_of(topology.partition(0), "quorum")["x-queue-type"] == "quorum"
    assert topology.arguments_of(topology.gateway("g"), "quorum")["x-queue-type"] == "classic"


def test_only_a_hosts_mail_goes_stale() -> None:
    assert topology.arguments_of(topology.host(HOST), "classic")["x-message-ttl"] == topology.HOST_KEPT_MS
    for queue in (topology.partition(0), topology.SCHEDULER, topology.gateway("g")):
        assert "x-message-ttl" not in topology.arguments_of(queue, "classic")


def test_an_agent_has_keys_for_partitions_only() -> None:
    assert topology.host_key(HOST, Parcel("partition.3", b"")) == f"{HOST}.3"
    for parcel in (Parcel("scheduler", b""), Parcel(f"host.{OTHER}", b""), Parcel("partition.3", b"", "f")):
        with pytest.raises(ValueError, match="partitions only"):
            topology.host_key(HOST, parcel)


def test_a_sender_is_believed_when_key_and_user_agree() -> None:
    assert topology.sender_of(f"{HOST}.3", f"host-{HOST}") == HOST
    for key, user in (
        (f"{HOST}.3", ""),
        (f"{HOST}.3", f"host-{OTHER}"),
        (f"{OTHER}.3", f"host-{HOST}"),
        (f"{HOST}.", f"host-{HOST}"),
        (f"{HOST}.3.4", f"host-{HOST}"),
        (f"{HOST}.3\n", f"host-{HOST}"),
        ("partition.3", "guest"),
    ):
        assert topology.sender_of(key, user) == ""


@given(st.uuids(), st.integers(0, 4095))
def test_what_a_host_says_is_heard_as_that_host(host: uuid.UUID, number: int) -> None:
    key = topology.host_key(str(host), Parcel(topology.partition(number).name, b""))
    assert topology.sender_of(key, topology.login_of(str(host))) == str(host)


@given(st.text())
def test_hostile_names_never_become_queues(text: str) -> None:
    for kind in ("agent", "gateway"):
        try:
            queue = topology.queue_of(f"{kind}/{text}", 16)
        except ValueError:
            continue
        assert queue.name.isascii()
        assert queue.name.isprintable()
