"""What goes over an event stream: events as CloudEvents in server-sent events. Pure functions.

Source: CloudEvents 1.0.2, JSON format; HTML, "Server-sent events". An ``id`` without data moves the
client's position and is no event.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.own.cursor import Cursors, varint
from store.event import LoggedEvent

TYPE_PREFIX: Final = "starling."
SOURCE: Final = "/v1/events"
_encode = msgspec.json.Encoder().encode


class Audience(Struct, frozen=True):
    """What a subscriber wants; those who want the same get the same bytes.

    ``project`` None: every project's. ``types`` are exact or end in ``*``; empty: all of them.
    """

    project: str | None
    types: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    def wants(self, event: LoggedEvent) -> bool:
        """Whether the event is for this audience."""
        if self.project is not None and event.project != self.project:
            return False
        if self.subjects and event.subject not in self.subjects:
            return False
        return not self.types or any(_fits(event.type, pattern) for pattern in self.types)


def _fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


class Position:
    """A position that moves on, with its cursor at hand."""

    def __init__(self, numbers: Sequence[int], cursors: Cursors) -> None:
        self._cursors = cursors
        self.numbers: list[int] = []
        self._packed: list[bytes] = []
        self.jump(numbers)

    def jump(self, numbers: Sequence[int]) -> None:
        """Be somewhere else."""
        self.numbers = list(numbers)
        self._packed = [varint(number) for number in numbers]

    def move(self, partition: int, n: int) -> None:
        """The events of this partition up to n have been told."""
        self.numbers[partition] = n
        self._packed[partition] = varint(n)

    @property
    def cursor(self) -> bytes:
        """The cursor as it goes on the wire."""
        return self._cursors.sealed(self._packed)


def event_frame(event: LoggedEvent, ident: str, cursor: bytes) -> bytes:
    """One event. ``ident`` is what tells it from every other."""
    at = datetime.fromtimestamp(event.time, UTC).isoformat(timespec="milliseconds")
    head = _encode(
        {
            "specversion": "1.0",
            "id": ident,
            "source": SOURCE,
            "type": TYPE_PREFIX + event.type,
            "subject": event.subject,
            "time": at.replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "project": event.project,
        }
    )
    return b'id: %b\ndata: %b,"data":%b}\n\n' % (cursor, head[:-1], event.data.encode())


def notice(name: str, cursor: bytes, data: dict[str, Any]) -> bytes:
    """A word about the stream itself: ``position``, ``reset`` or ``end``."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor, name.encode(), _encode(data))


def heartbeat(cursor: bytes) -> bytes:
    """A sign of life that also moves the client's position past what it did not want."""
    return b":\nid: %b\n\n" % cursor


def in_order(found: Iterable[LoggedEvent]) -> list[LoggedEvent]:
    """Events of several partitions by time, each partition's own order kept even if its clock went back."""
    latest: dict[int, float] = {}
    keyed = []
    for event in found:
        at = max(event.time, latest.get(event.partition, event.time))
        latest[event.partition] = at
        keyed.append((at, event.partition, event.n, event))
    return [event for *_, event in sorted(keyed, key=lambda entry: entry[:3])]
