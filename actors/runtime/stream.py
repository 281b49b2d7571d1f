"""Numbered streams at the receiving end: what is new, what is a repetition, what is missing.

Pure bookkeeping for one partition. Between taking and committing, ``seen`` runs ahead of the marks
that are in the database; ``marks()`` is what the next commit writes.
"""

from protocol.message import Envelope, Stretch
from store.turn import Segment


class Streams:
    """The streams that end in one partition, by source."""

    def __init__(self, marks: tuple[int, ...]) -> None:
        self._seen = list(marks)
        self.gap = False
        self.repeated = 0

    def accept(self, stretch: Stretch | Segment, envelopes: list[Envelope]) -> list[Envelope]:
        """The envelopes that are next in line.

        Lower numbers are dropped; a stretch that begins too high is dropped whole and ``gap`` is set:
        the missing ones, and these again, are in the database until the mark has passed them.
        """
        source, first = stretch.source, stretch.first
        if source < 0:
            return envelopes
        following = self._seen[source] + 1
        last = first + len(envelopes) - 1
        if first > following:
            self.gap = True
            return []
        if last < following:
            self.repeated += len(envelopes)
            return []
        self.repeated += following - first
        self._seen[source] = last
        return envelopes[following - first :]

    def marks(self) -> tuple[int, ...]:
        """Per source, the number up to which everything was taken."""
        return tuple(self._seen)
