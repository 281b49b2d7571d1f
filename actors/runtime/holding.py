"""A partition while a worker holds it, and who should hold which.

Rendezvous hashing only *proposes*; the compare-and-set in the store decides. No I/O here.
"""

import zlib
from collections import deque
from typing import Final

from actors.runtime.stream import Streams
from bus.mailbox import Delivery, Mailbox
from protocol.message import Stretch
from store.turn import PartitionRow, Taken

BACKLOG_PATIENCE_S: Final = 5.0
"""How long a quiet mailbox must be quiet before the backlog counted at takeover is given up as lost."""


class Held:
    """One partition in this worker's hands."""

    def __init__(self, taken: Taken, mailbox: Mailbox, backlog: int, now: float) -> None:
        self.row: PartitionRow = taken.row
        self.next_numbers = list(taken.next_numbers)
        self.mailbox = mailbox
        self.streams = Streams(taken.row.marks)
        self.last: Delivery | None = None
        self.near: deque[Stretch] = deque()
        """What actors of this worker said to actors here, on its way without the bus."""
        self._backlog = backlog
        self._quiet_since = now
        self._waiting_since: float | None = None

    def waiting_s(self, now: float) -> float:
        """For how long something has been waiting in the mailbox."""
        return 0.0 if self._waiting_since is None else now - self._waiting_since

    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self.near) or self.mailbox.depth() > 0

    def took(self, deliveries: int, now: float) -> None:
        """Count what was taken against the backlog found at takeover."""
        if not self.mailbox.depth():
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        if deliveries:
            self._backlog -= deliveries
            self._quiet_since = now

    def caught_up(self, now: float) -> bool:
        """Whether timers may fire: what was waiting at takeover has been heard, and nothing waits now.

        Otherwise a deadline could fire although its answer lies in the queue.
        """
        if self.waiting():
            return False
        return self._backlog <= 0 or now - self._quiet_since > BACKLOG_PATIENCE_S


def proposed(partition: int, workers: list[str]) -> str:
    """The live worker that should hold the partition (highest random weight); empty when none lives."""
    return max(workers, key=lambda worker: (zlib.crc32(f"{worker}:{partition}".encode()), worker), default="")
