"""A partition while a worker holds it, and who should hold which.

Rendezvous hashing only *proposes*; the compare-and-set in the store decides. No I/O here.
"""

import zlib
from collections import deque
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.runtime.stream import Streams
from bus.mailbox import Delivery, Mailbox
from protocol.message import Stretch
from store.turn import PartitionRow, Taken

BACKLOG_PATIENCE_S: Final = 5.0
"""How long a quiet mailbox must be quiet before the backlog counted at takeover is given up as lost."""


class Part(Struct, frozen=True):
    """A stretch that waits for its turns.

    ``sender`` is the host the broker vouches for, or empty; ``resent``: it comes from a segment; with it,
    everything of the delivery ``closes`` has been given out.
    """

    stretch: Stretch
    sender: str = ""
    resent: bool = False
    closes: Delivery | None = None

    def cut(self, room: int) -> "tuple[Part, Part]":
        """The first ``room`` envelopes, and the rest."""
        source, destination, first = self.stretch.source, self.stretch.destination, self.stretch.first
        envelopes = self.stretch.envelopes
        head = Stretch(source, destination, first, envelopes[:room])
        tail = Stretch(source, destination, first + room if source >= 0 else first, envelopes[room:])
        return replace(self, stretch=head, closes=None), replace(self, stretch=tail)


class Held:
    """One partition in this worker's hands, with what waits for its actors.

    ``next`` gives that out in this order: what neighbours said, what was pulled from segments, what the
    mailbox brought.
    """

    def __init__(self, taken: Taken, mailbox: Mailbox, backlog: int, now: float) -> None:
        self.row: PartitionRow = taken.row
        self.next_numbers = list(taken.next_numbers)
        self.mailbox = mailbox
        self.streams = Streams(taken.row.marks)
        self.last: Delivery | None = None
        """The last delivery of which everything was given out: to be acknowledged once that is written."""
        self.near: deque[Part] = deque()
        """What actors of this worker said to actors here, on its way without the bus."""
        self.pulled: deque[Part] = deque()
        self.opened: deque[Part] = deque()
        self._backlog = backlog
        self._quiet_since = now
        self._heard = 0
        self._heard_until = now
        self._checkpoint = (now, 0)

    def open(self, delivery: Delivery, parts: list[Part], now: float) -> None:
        """Put a delivery's parts in line."""
        self._quiet_since = now
        last = parts.pop() if parts else Part(Stretch(-1, -1, 0, []))
        self.opened += [*parts, replace(last, closes=delivery)]

    def next(self, room: int) -> Part | None:
        """What is to be heard next, ``room`` envelopes of it at most; None when nothing waits."""
        queue = self.near or self.pulled or self.opened
        if not queue:
            return None
        part = queue.popleft()
        if len(part.stretch.envelopes) > room:
            part, rest = part.cut(room)
            queue.appendleft(rest)
        elif queue is self.near:
            self._heard += 1
        if part.closes is not None:
            self.last = part.closes
            self._heard += 1
            self._backlog -= 1
        return part

    def waiting(self) -> bool:
        """Whether there is something to hear."""
        return bool(self.near or self.pulled or self.opened) or self.mailbox.depth() > 0

    def look(self, now: float) -> None:
        """Note until when everything said has been heard: what waited at an earlier look is through."""
        at, count = self._checkpoint
        if self._heard >= count:
            self._heard_until = at
            ahead = len(self.near) + sum(part.closes is not None for part in self.opened)
            self._checkpoint = (now, self._heard + ahead + self.mailbox.depth())

    def waiting_s(self, now: float) -> float:
        """For how long, at most, something has been waiting."""
        return now - self._heard_until if self.waiting() else 0.0

    def behind(self, now: float) -> bool:
        """Whether some of what was waiting at takeover is still to come."""
        return self._backlog > 0 and now - self._quiet_since <= BACKLOG_PATIENCE_S

    def caught_up(self, until: float, now: float) -> bool:
        """Whether timers of this moment may fire: all that was said before has been heard.

        Otherwise a deadline could fire although its answer lies in the queue. What was waiting at takeover
        comes before any timer.
        """
        if self.behind(now):
            return False
        return until <= self._heard_until or not self.waiting()


def proposed(partition: int, workers: list[str]) -> str:
    """The live worker that should hold the partition (highest random weight); empty when none lives."""
    return max(workers, key=lambda worker: (zlib.crc32(f"{worker}:{partition}".encode()), worker), default="")
