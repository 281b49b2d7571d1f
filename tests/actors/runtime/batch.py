"""A draft over a few states, and the envelopes it hears. No store, no bus."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from actors.machine import Kind
from actors.runtime.draft import STORY_LENGTH, Cached, Draft, Incoming, Seal
from actors.turn import ActorState
from protocol.codec import decode_message, encode_message
from protocol.ids import key_of, partition_of
from protocol.message import Envelope, Message
from store.turn import PartitionRow
from tests.actors.stage import GATEWAY, NOW

PARTITIONS: Final = 4
EVENT_N: Final = 10
EPOCH: Final = 3


def unsealed(_: str, message: Message, __: float) -> Message:
    """What ``seal`` is where no message holds anything to seal."""
    return message


class Desk:
    """One worker's memory: states by address, and the drafts made over them."""

    def __init__(self, kinds: Mapping[str, Kind[Any]], states: Mapping[str, ActorState | None]) -> None:
        self.kinds = kinds
        self.cache = {
            key_of(to): Cached(state, 0 if state is None else state.version, deque(maxlen=STORY_LENGTH))
            for to, state in states.items()
        }

    def draft(
        self,
        *,
        known: Iterable[str] = (),
        seal: Seal = unsealed,
        next_numbers: Mapping[int, int] | None = None,
    ) -> Draft:
        """A fresh draft; streams go on at these numbers by destination (else 1)."""
        following = [(next_numbers or {}).get(p, 1) for p in range(PARTITIONS)]
        return Draft(
            kinds=self.kinds,
            cache=self.cache,
            partitions=PARTITIONS,
            held={p: PartitionRow(p, EPOCH, (0,) * PARTITIONS, EVENT_N) for p in range(PARTITIONS)},
            next_numbers={p: list(following) for p in range(PARTITIONS)},
            now=NOW,
            seal=seal,
            known=set(known),
        )

    def state(self, to: str) -> ActorState | None:
        return self.cache[key_of(to)].state


def partition(to: str) -> int:
    return partition_of(to, PARTITIONS)


def arriving(envelope: Envelope, vouched: str = "", *, numbered: bool = False) -> Incoming:
    """An envelope in the partition of its address."""
    return Incoming(partition(envelope.to), envelope, vouched, numbered)


def command(to: str, message: Message, *, operation: str = "op-1", **more: Any) -> Incoming:
    """A command as a gateway sends it."""
    surroundings = {"reply_to": GATEWAY, "sender": GATEWAY, "operation": operation, **more}
    return arriving(Envelope(to=to, body=encode_message(message), **surroundings))


def numbered(to: str, message: Message, *, sender: str, operation: str = "", **more: Any) -> Incoming:
    """What another actor says, in its numbered stream."""
    envelope = Envelope(to=to, sender=sender, body=encode_message(message), operation=operation, **more)
    return arriving(envelope, numbered=True)


def from_host(to: str, message: Message, host: str, *, sender: str = "", operation: str = "") -> Incoming:
    """What a host's agent says; the broker vouches for ``host``."""
    envelope = Envelope(
        to=to, sender=sender or f"agent/{host}", body=encode_message(message), operation=operation
    )
    return arriving(envelope, host)


def names(envelopes: Iterable[Envelope]) -> list[str]:
    """The types of the messages in these envelopes."""
    return [type(decode_message(envelope.body)).__name__ for envelope in envelopes]
