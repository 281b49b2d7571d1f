"""What a worker lets in: nothing misdirected, nothing numbered by hosts, no impossible name."""

import random
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from actors.kinds import KINDS
from actors.runtime.holding import Held
from actors.runtime.worker import Worker, WorkerSettings
from bus.mailbox import Delivery
from bus.memory import MemoryBroker, MemoryBus
from process.clock import SystemClock
from protocol.codec import encode_bundle
from protocol.message import Bundle, Envelope, Stretch
from store.memory import MemoryDatabase, MemoryTurnStore
from store.turn import PartitionRow, Taken
from tests.actors.runtime.batch import PARTITIONS, partition, unsealed
from tests.actors.stage import HOSTS, INSTANCE_ID

HERE = f"instance/{INSTANCE_ID}"
P = partition(HERE)
AGENT = f"agent/{HOSTS[0]}"


def worker() -> tuple[Worker, Held]:
    clock = SystemClock()
    made = Worker(
        name="w", bus=MemoryBus(MemoryBroker(), name="w"), clock=clock,
        store=MemoryTurnStore(MemoryDatabase(PARTITIONS, clock)),
        kinds=KINDS, seal=unsealed, settings=WorkerSettings(partitions=PARTITIONS),
        log=structlog.get_logger(),
    )  # fmt: skip
    taken = Taken(PartitionRow(P, 1, (0,) * PARTITIONS, 0), (1,) * PARTITIONS)
    mailbox: Any = None
    return made, Held(taken, mailbox, 0, 0.0)


def opened(body: bytes, sender: str = "") -> tuple[list[str], list[str]]:
    """The addresses let in, and what was logged."""
    made, held = worker()
    with capture_logs() as logs:
        parts = made._open(P, Delivery(body, 1, sender))
        found = [one for part in parts for one in made._accept(P, held, part)]
    return [one.envelope.to for one in found], [line["event"] for line in logs]


def bundle(source: int, *envelopes: Envelope, destination: int = P) -> bytes:
    return encode_bundle(Bundle([Stretch(source, destination, 1, list(envelopes))]))


def test_what_is_for_here_is_let_in() -> None:
    assert opened(bundle(-1, Envelope(HERE, AGENT, b"{}")), HOSTS[0]) == ([HERE], [])
    assert opened(bundle(0, Envelope(HERE, "host/h", b"{}"))) == ([HERE], [])


@pytest.mark.parametrize(
    ("body", "sender", "logged"),
    [
        (b"\xff", HOSTS[0], "bundle.unreadable"),
        (b"", "", "bundle.unreadable"),
        (bundle(0, Envelope(HERE, AGENT, b"{}")), HOSTS[0], "bundle.misdirected"),
        (bundle(0, Envelope(HERE, AGENT, b"{}"), destination=(P + 1) % PARTITIONS), "", "bundle.misdirected"),
        (bundle(PARTITIONS, Envelope(HERE, AGENT, b"{}")), "", "bundle.misdirected"),
        (bundle(-1, Envelope(HERE, f"{AGENT}\0", b"{}")), HOSTS[0], "envelopes.refused"),
        (bundle(-1, Envelope(HERE, AGENT, b"{}", "op\0")), HOSTS[0], "envelopes.refused"),
        (bundle(-1, Envelope(HERE, AGENT, b"{}", trace="x" * 300)), HOSTS[0], "envelopes.refused"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_told(body: bytes, sender: str, logged: str) -> None:
    assert opened(body, sender) == ([], [logged])


def test_one_bad_envelope_does_not_keep_out_the_others() -> None:
    names = [f"instance/{random.Random(n).getrandbits(64)}\0" for n in range(50)]
    bad = next(name for name in names if partition(name) == P)
    body = bundle(-1, Envelope(bad, AGENT, b"{}"), Envelope(HERE, AGENT, b"{}"))
    assert opened(body, HOSTS[0]) == ([HERE], ["envelopes.refused"])
