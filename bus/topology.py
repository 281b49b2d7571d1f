"""Exchanges, queues and who may name them, as data: the one place that knows the bus's names.

Pure: no connection, no I/O. What must not go in: anything that talks to a broker, and any choice
about actors beyond "which queue".

========================  =================  =======================================================
queue                     read by            how a message gets there
========================  =================  =======================================================
``partition.<p>``         its owning worker  default exchange; from agents ``host.in`` key ``*.<p>``
``host.<uuid>``           one host agent     default exchange
``scheduler``             all schedulers     default exchange, competing
``mover``                 all gateways       default exchange, competing
``gateway.<id>``          one gateway        default exchange; transient
``schedulers.<id>``       one scheduler      fan-out exchange ``fanout.schedulers``; transient
========================  =================  =======================================================
"""

import re
from typing import Final, Literal

from msgspec import Struct

from bus.mailbox import Parcel, Queue
from protocol.ids import ACTOR_KINDS, partition_of

QueueType = Literal["classic", "quorum"]
ExchangeKind = Literal["topic", "fanout"]

HOST_IN: Final = "host.in"
"""The only exchange an agent may publish to, with keys ``<host uuid>.<partition>``."""

SCHEDULERS: Final = "fanout.schedulers"
"""What every scheduler hears: facts about hosts."""

DURABLE_BYTES_MAX: Final = 512 * 1024 * 1024
"""A durable queue this full refuses what is published to it; the sender sees BusUnavailable."""

TRANSIENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""A transient queue this full forgets its oldest messages: its reader is frozen."""

HOST_KEPT_MS: Final = 60_000
"""What an agent has not fetched for so long is forgotten: whoever said it says it again."""

_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_HOST: Final = re.compile(_UUID)
_PARTY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST_KEY: Final = re.compile(rf"({_UUID})\.[0-9]{{1,5}}")
_PARTITION: Final = "partition."
_AGENT: Final = "host."
_GATEWAY: Final = "gateway."
_LOGIN: Final = "host-"


class Exchange(Struct, frozen=True):
    """A durable exchange of ours."""

    name: str
    kind: ExchangeKind


class Binding(Struct, frozen=True):
    """What a queue hears besides what is sent to its name."""

    exchange: Exchange
    key: str


EXCHANGES: Final = (Exchange(HOST_IN, "topic"), Exchange(SCHEDULERS, "fanout"))
SCHEDULER: Final = Queue("scheduler")
MOVER: Final = Queue("mover")
"""Orders to bring image data somewhere, for whatever gateway has a hand free."""


def partition(number: int) -> Queue:
    """The queue of partition ``number``, counted from 0."""
    return Queue(f"{_PARTITION}{number}")


def host(uuid: str) -> Queue:
    """The queue of one host's agent. Raises ValueError unless given a lower-case UUID."""
    return Queue(f"host.{_matched(_HOST, uuid)}")


def gateway(ident: str) -> Queue:
    """Where one gateway process hears its answers; gone when it disconnects."""
    return Queue(f"{_GATEWAY}{_matched(_PARTY, ident)}", durable=False)


def scheduler_feed(ident: str) -> Queue:
    """Where one scheduler process hears what all schedulers are told; gone when it disconnects."""
    return Queue(f"schedulers.{_matched(_PARTY, ident)}", durable=False, fanout=SCHEDULERS)


def queue_of(address: str, partitions: int) -> Queue:
    """The queue that reaches an address. For ``schedulers/all`` only ``fanout`` is set.

    Raises ValueError for an address nobody answers to.
    """
    kind, _, ident = address.partition("/")
    if kind in ACTOR_KINDS:
        return partition(partition_of(address, partitions))
    if kind == "agent":
        return host(ident)
    if kind == "gateway":
        return gateway(ident)
    if address == "scheduler/any":
        return SCHEDULER
    if address == "mover/any":
        return MOVER
    if address == "schedulers/all":
        return Queue("", durable=False, fanout=SCHEDULERS)
    raise ValueError(f"no queue for address {address!r}")


def parcel_to(address: str, body: bytes, partitions: int) -> Parcel:
    """One bus message for one address. Raises ValueError as ``queue_of`` does."""
    queue = queue_of(address, partitions)
    return Parcel(queue.name, body, queue.fanout)


def binding_of(queue: Queue) -> Binding | None:
    """The exchange a queue listens to, if any."""
    if queue.fanout:
        return Binding(Exchange(queue.fanout, "fanout"), "")
    if is_partition(queue.name):
        return Binding(Exchange(HOST_IN, "topic"), f"*.{queue.name.removeprefix(_PARTITION)}")
    return None


def exchanges_for(queue: Queue) -> tuple[Exchange, ...]:
    """The exchanges that must exist before this queue is of use. A partition's reader also speaks to all."""
    if is_partition(queue.name):
        return EXCHANGES
    binding = binding_of(queue)
    return () if binding is None else (binding.exchange,)


def arguments_of(queue: Queue, queue_type: QueueType) -> dict[str, str | int]:
    """The ``x-`` arguments a queue is declared with. Transient queues are always classic.

    Source: RabbitMQ documentation, "Queue Length Limit", "Time-To-Live" and "Quorum Queues".
    """
    if queue.durable:
        limits: dict[str, str | int] = {
            "x-max-length-bytes": DURABLE_BYTES_MAX,
            "x-overflow": "reject-publish",
        }
        if is_host(queue.name):
            limits["x-message-ttl"] = HOST_KEPT_MS
        return {"x-queue-type": queue_type, **limits}
    return {
        "x-queue-type": "classic",
        "x-max-length-bytes": TRANSIENT_BYTES_MAX,
        "x-overflow": "drop-head",
    }


def is_partition(queue: str) -> bool:
    """Whether a queue name is a partition's."""
    return queue.startswith(_PARTITION)


def is_host(queue: str) -> bool:
    """Whether a queue name is that of a host's agent."""
    return queue.startswith(_AGENT)


def is_durable(parcel: Parcel) -> bool:
    """Whether a parcel is for a queue that survives a restart, so that its message must as well."""
    return not parcel.fanout and not parcel.queue.startswith(_GATEWAY)


def must_route(queue: str) -> bool:
    """Whether a message to a missing or full queue is an outage (BusUnavailable), not a stranger's loss.

    Partitions and the schedulers' queue belong to the cloud itself. A gateway or a host may be gone
    for good, and whoever speaks to it has its own deadline; waiting for it would stop everyone else.
    Orders for movers are said again until one is taken.
    """
    return is_partition(queue) or queue == SCHEDULER.name


def login_of(host_uuid: str) -> str:
    """The broker user of a host's agent. Raises ValueError unless given a lower-case UUID."""
    return _LOGIN + _matched(_HOST, host_uuid)


def host_key(host_uuid: str, parcel: Parcel) -> str:
    """The key an agent publishes a parcel with. Raises ValueError: agents speak to partitions only."""
    if parcel.fanout or not is_partition(parcel.queue):
        raise ValueError(f"an agent may publish to partitions only, not to {parcel.queue or parcel.fanout}")
    return f"{host_uuid}.{parcel.queue.removeprefix(_PARTITION)}"


def check_reads(host_uuid: str, queue: str) -> None:
    """Raise ValueError when an agent wants another queue than its own."""
    if queue != host(host_uuid).name:
        raise ValueError(f"the agent of {host_uuid} may not read {queue}")


def sender_of(key: str, user: str) -> str:
    """The host that sent a message through ``host.in``, or empty when the two proofs disagree.

    The broker vouches for both: the key by the user's topic permission, ``user`` (the ``user-id``
    property) by comparing it with the login. Empty means forged: such a message must be dropped,
    because an empty sender elsewhere means "from the cloud itself".
    """
    match = _HOST_KEY.fullmatch(key)
    if match is None or user != _LOGIN + match[1]:
        return ""
    return match[1]


def _matched(pattern: re.Pattern[str], text: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(f"not a name for a queue: {text[:80]!r}")
    return text
