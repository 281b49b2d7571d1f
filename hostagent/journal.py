"""The agent's memory: the last command and its answer for each instance, durable before it acts.

A crash may come anywhere; what is in here is all an agent knows afterwards. ``Journal`` is the
interface, ``GroupJournal`` the group commit both twins share (several records, one write), and
``MemoryJournal`` the twin for simulations; ``hostagent.journal_file`` keeps it on disk. What must
not go in: judging commands (hostagent.orders) or doing them.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Final, Protocol

from msgspec import Struct

GROUP_MAX: Final = 500
"""Changes written by one write at most."""

GROUP_BYTES_MAX: Final = 1024 * 1024
"""A group is closed when it has reached this size; a single change may be larger."""

Pair = tuple[int, int]
"""(generation, number): the order of commands for one instance, compared lexicographically."""


class JournalFull(Exception):  # noqa: N818  named for what is the matter with the disk
    """There is no space: nothing of this change was kept. Try again when there is."""


class JournalBroken(Exception):  # noqa: N818  named for what is the matter with it
    """The medium failed: what is durable is unknown until the journal is opened again. Stop."""


class JournalCorrupt(Exception):  # noqa: N818  named for what is the matter with it
    """The journal is missing, foreign or damaged before its tail. The host needs a new identity."""


class JournalLocked(Exception):  # noqa: N818  named for what is the matter with it
    """Another agent works on this journal."""


class JournalEntry(Struct, frozen=True, kw_only=True, array_like=True):
    """The journal's last word on one instance.

    ``command`` is the command's body while it has no answer; ``answer`` the body of the fact that
    answered it. ``deleted`` is the tombstone; ``forgotten_at`` (UTC epoch seconds) says since when
    the controller no longer needs it.
    """

    instance: str
    generation: int
    number: int
    command: bytes = b""
    operation: str = ""
    trace: str = ""
    answer: bytes = b""
    deleted: bool = False
    forgotten_at: float | None = None

    @property
    def pair(self) -> Pair:
        """(generation, number)."""
        return (self.generation, self.number)


class Change(Struct, frozen=True, array_like=True):
    """One record of the journal: the instance's new entry, or none when it was purged."""

    instance: str
    entry: JournalEntry | None

    def size_bytes(self) -> int:
        """Roughly what it takes to write."""
        entry = self.entry
        return 100 if entry is None else 200 + len(entry.command) + len(entry.answer)


class Journal(Protocol):
    """What an agent needs of its journal."""

    @property
    def syncs(self) -> int:
        """Writes made durable since it was opened."""
        ...

    async def open(self) -> None:
        """Load it and lock it. Raises JournalCorrupt, JournalLocked."""
        ...

    async def close(self) -> None:
        """Give up the lock. Idempotent."""
        ...

    def get(self, instance: str) -> JournalEntry | None:
        """The instance's entry, as last recorded (perhaps not durable yet)."""
        ...

    def entries(self) -> list[JournalEntry]:
        """All entries, in the order their instances were first recorded."""
        ...

    async def record(self, entry: JournalEntry) -> None:
        """Replace the instance's entry; durable on return. Raises JournalFull, JournalBroken.

        ``get`` shows the new entry at once, and the old one again after JournalFull.
        """
        ...

    async def purge(self, instance: str) -> None:
        """Remove the instance's entry. Raises as ``record`` does."""
        ...


class GroupJournal(ABC):
    """Group commit: changes made while a write is under way go into the next one, in order."""

    def __init__(self) -> None:
        self._live: dict[str, JournalEntry] = {}
        self._durable: dict[str, JournalEntry] = {}
        self._queue: list[tuple[Change, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._broken = ""
        self._syncs = 0

    @property
    def syncs(self) -> int:
        """See Journal."""
        return self._syncs

    async def open(self) -> None:
        """See Journal."""
        loaded = await self._load()
        self._durable = {entry.instance: entry for entry in loaded}
        self._live = dict(self._durable)
        self._broken = ""

    async def close(self) -> None:
        """See Journal. Changes under way are finished first."""
        try:
            if self._flusher is not None:
                await asyncio.gather(self._flusher, return_exceptions=True)
        finally:
            await self._release()

    def get(self, instance: str) -> JournalEntry | None:
        """See Journal."""
        return self._live.get(instance)

    def entries(self) -> list[JournalEntry]:
        """See Journal."""
        return list(self._live.values())

    async def record(self, entry: JournalEntry) -> None:
        """See Journal."""
        await self._change(Change(entry.instance, entry))

    async def purge(self, instance: str) -> None:
        """See Journal."""
        await self._change(Change(instance, None))

    @abstractmethod
    async def _load(self) -> list[JournalEntry]:
        """Lock the medium and read what it holds."""

    @abstractmethod
    async def _write(self, changes: list[Change]) -> None:
        """Make the changes durable, all or (raising JournalFull) none."""

    @abstractmethod
    async def _release(self) -> None:
        """Unlock the medium. Idempotent."""

    async def _change(self, change: Change) -> None:
        if self._broken:
            raise JournalBroken(self._broken)
        _apply(self._live, change)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((change, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="journal")
        await done

    async def _flush(self) -> None:
        while self._queue:
            group = self._next_group()
            changes = [change for change, _ in group]
            try:
                await self._write(changes)
            except (JournalFull, JournalBroken) as error:
                self._refuse(group, error)
            except Exception as error:  # noqa: BLE001  whatever it was, nobody knows what is durable now
                self._refuse(group, JournalBroken(f"the journal's write failed: {error!r}"))
            else:
                self._settle(group)

    def _next_group(self) -> list[tuple[Change, asyncio.Future[None]]]:
        size = count = 0
        for change, _ in self._queue[:GROUP_MAX]:
            count += 1
            size += change.size_bytes()
            if size >= GROUP_BYTES_MAX:
                break
        group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _settle(self, group: list[tuple[Change, asyncio.Future[None]]]) -> None:
        self._syncs += 1
        for change, done in group:
            _apply(self._durable, change)
            if not done.done():
                done.set_result(None)

    def _refuse(
        self, group: list[tuple[Change, asyncio.Future[None]]], error: JournalFull | JournalBroken
    ) -> None:
        # Everything queued goes too: a later change of the same instance must not survive an earlier one.
        group, self._queue = [*group, *self._queue], []
        if isinstance(error, JournalBroken):
            self._broken = str(error)
        for change, done in group:
            _apply(self._live, Change(change.instance, self._durable.get(change.instance)))
            if not done.done():
                done.set_exception(error)


def _apply(entries: dict[str, JournalEntry], change: Change) -> None:
    if change.entry is None:
        entries.pop(change.instance, None)
    else:
        entries[change.instance] = change.entry


class MemoryContent:
    """What would be on the disk: it survives the agent. ``full`` refuses every change while set."""

    def __init__(self) -> None:
        self.entries: dict[str, JournalEntry] = {}
        self.full = False
        self.locked = False


class MemoryJournal(GroupJournal):
    """The twin for simulations: same order of awaits, and a write that may be cut before or after."""

    def __init__(self, content: MemoryContent, latency_s: float = 0.001) -> None:
        super().__init__()
        self._content = content
        self._latency_s = latency_s
        self._held = False

    async def close(self) -> None:
        """As a crash would: what is under way stays undone unless the content has it already."""
        if self._flusher is not None:
            self._flusher.cancel()
        await super().close()

    async def _load(self) -> list[JournalEntry]:
        await asyncio.sleep(self._latency_s)
        if self._content.locked:
            raise JournalLocked("another agent works on this journal")
        self._content.locked = self._held = True
        return list(self._content.entries.values())

    async def _write(self, changes: list[Change]) -> None:
        await asyncio.sleep(self._latency_s / 2)
        if self._content.full:
            raise JournalFull("no space left")
        for change in changes:
            _apply(self._content.entries, change)
        await asyncio.sleep(self._latency_s / 2)

    async def _release(self) -> None:
        if self._held:
            self._content.locked = self._held = False
