"""What a host may believe about time: its lease, and how far its clock is off.

The lease says until when the controller counts on this host. It runs from the moment a heartbeat
was *sent*, on the monotonic clock, once the controller has said that it heard it: so the host's
lease always ends before the controller believes it has. Pure bookkeeping: no I/O and no timers.
"""

from collections import deque
from typing import Final

from process.clock import Clock

SENT_MAX: Final = 64
"""Heartbeats remembered while no answer has come; the oldest are forgotten first."""

SAMPLES_MAX: Final = 8
"""Clock comparisons of which the one with the shortest round trip counts."""


class Lease:
    """The host's lease and clock offset, fed with heartbeats sent and heard."""

    def __init__(self, clock: Clock, lease_s: float) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._sent: dict[float, float] = {}
        self._until = clock.monotonic()
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES_MAX)

    def sent(self, sent_at: float) -> None:
        """A heartbeat that says ``sent_at`` (UTC epoch seconds) leaves now."""
        # After a step back of the wall clock the same time may be said twice: the earlier one counts.
        self._sent.setdefault(sent_at, self._clock.monotonic())
        while len(self._sent) > SENT_MAX:
            del self._sent[next(iter(self._sent))]

    def heard(self, sent_at: float, heard_at: float) -> bool:
        """The controller heard that heartbeat at ``heard_at``. False for one this run never sent."""
        began = self._sent.pop(sent_at, None)
        if began is None:
            return False
        self._until = max(self._until, began + self._lease_s)
        round_trip = self._clock.monotonic() - began
        self._samples.append((round_trip, sent_at + round_trip / 2 - heard_at))
        return True

    def remaining(self) -> float:
        """Seconds until the lease ends; 0 when it has ended or never began."""
        return max(0.0, self._until - self._clock.monotonic())

    def valid(self) -> bool:
        """Whether the controller counts on this host now."""
        return self.remaining() > 0

    @property
    def clock_offset_s(self) -> float:
        """By how much this host's clock is ahead of the controller's; 0 while unknown.

        Off by at most half the shortest recent round trip (network and queues).
        """
        return min(self._samples)[1] if self._samples else 0.0
