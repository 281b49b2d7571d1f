"""The journal: group commit, torn tails, damage, full disks, kills, compaction, identity, locks."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from hostagent import journal_file
from hostagent.journal import (
    GroupJournal,
    JournalBroken,
    JournalCorrupt,
    JournalEntry,
    JournalFull,
    JournalLocked,
    MemoryContent,
    MemoryJournal,
)
from hostagent.journal_file import FileJournal, JournalFile, create_journal
from process.clock import SystemClock
from protocol.ids import HostId

HOST = HostId("a0000000-0000-4000-8000-000000000001")
OTHER = HostId("a0000000-0000-4000-8000-000000000002")
ROOT: Final = Path(__file__).parents[2]


def entry(instance: str, number: int = 1, *, size: int = 10, generation: int = 1) -> JournalEntry:
    return JournalEntry(instance=instance, generation=generation, number=number, command=b"x" * size)


def modes_in(place: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    create_journal(tmp_path / "journal", HOST)
    return tmp_path / "journal"


@asynccontextmanager
async def opened(place: Path, host: HostId = HOST) -> AsyncIterator[FileJournal]:
    journal = FileJournal(place, host, SystemClock())
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


@asynccontextmanager
async def twin(kind: str, place: Path, content: MemoryContent) -> AsyncIterator[GroupJournal]:
    journal = FileJournal(place, HOST, SystemClock()) if kind == "file" else MemoryJournal(content)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow over this size: to a writer the same as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_twins_keep_the_last_word_and_forget_what_was_purged(kind: str, place: Path) -> None:
    content = MemoryContent()
    async with twin(kind, place, content) as journal:
        await journal.record(entry("a", 1))
        await asyncio.gather(
            journal.record(entry("a", 2)), journal.record(entry("b")), journal.record(entry("c"))
        )
        await journal.purge("b")
        await journal.purge("nobody")
        assert journal.get("a") == entry("a", 2)
    async with twin(kind, place, content) as journal:
        assert journal.entries() == [entry("a", 2), entry("c")]
        assert journal.get("b") is None


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_twins_show_a_record_at_once_and_write_several_together(kind: str, place: Path) -> None:
    async with twin(kind, place, MemoryContent()) as journal:
        records = [asyncio.ensure_future(journal.record(entry(f"i{n}"))) for n in range(300)]
        await asyncio.sleep(0)
        assert journal.get("i299") == entry("i299")
        await asyncio.gather(*records)
        assert journal.syncs <= 2


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_twins_are_exclusive(kind: str, place: Path) -> None:
    content = MemoryContent()
    async with twin(kind, place, content):
        with pytest.raises(JournalLocked):
            async with twin(kind, place, content):
                pass
    async with twin(kind, place, content):
        pass


async def test_full_memory_journal_keeps_nothing_and_shows_the_old_entries_again() -> None:
    content = MemoryContent()
    async with twin("memory", Path(), content) as journal:
        await journal.record(entry("a", 1))
        content.full = True
        failed = await asyncio.gather(
            journal.record(entry("a", 2)),
            journal.record(entry("a", 3)),
            journal.record(entry("b")),
            return_exceptions=True,
        )
        assert [type(error) for error in failed] == [JournalFull] * 3
        assert journal.entries() == [entry("a", 1)]
        content.full = False
        await journal.record(entry("a", 4))
    assert list(content.entries.values()) == [entry("a", 4)]


async def test_what_waits_behind_a_refused_write_is_refused_with_it() -> None:
    content = MemoryContent()
    async with twin("memory", Path(), content) as journal:
        await journal.record(entry("a", 1))
        content.full = True
        first = asyncio.ensure_future(journal.record(entry("a", 2)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = asyncio.ensure_future(journal.record(entry("a", 3)))
        with pytest.raises(JournalFull):
            await first
        content.full = False
        with pytest.raises(JournalFull):
            await second
        assert journal.get("a") == content.entries["a"] == entry("a", 1)


async def test_full_disk_keeps_nothing_and_the_journal_recovers(place: Path) -> None:
    async with opened(place) as journal:
        await journal.record(entry("a", 1))
        size = journal.size_bytes
        with file_size_limit(size + 500):
            with pytest.raises(JournalFull):
                await journal.record(entry("a", 2, size=2000))
            assert (place / "journal").stat().st_size == size
            assert journal.get("a") == entry("a", 1)
            await journal.record(entry("b", 1))
        await journal.record(entry("a", 3, size=2000))
    async with opened(place) as journal:
        assert journal.entries() == [entry("a", 3, size=2000), entry("b", 1)]


async def test_failing_medium_stops_the_journal(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    async with opened(place) as journal:
        await journal.record(entry("a", 1))
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(JournalBroken):
            await journal.record(entry("a", 2))
        monkeypatch.undo()
        with pytest.raises(JournalBroken):
            await journal.record(entry("a", 3))
    async with opened(place) as journal:
        assert journal.get("a") in (entry("a", 1), entry("a", 2))


async def test_torn_tail_is_cut_wherever_it_was_torn(place: Path) -> None:
    async with opened(place) as journal:
        await journal.record(entry("a", 1))
        kept = journal.size_bytes
        await asyncio.gather(journal.record(entry("a", 2)), journal.record(entry("b", 1)))
    whole = (place / "journal").read_bytes()
    for end in range(kept, len(whole)):
        for tail in (b"", b"\0" * 50, b"\xff\xfeSJ"):
            (place / "journal").write_bytes(whole[:end] + tail)
            file = JournalFile(place, HOST)
            assert file.open() == [entry("a", 1)]
            file.close()
            assert (place / "journal").stat().st_size == kept
    (place / "journal").write_bytes(whole)
    async with opened(place) as journal:
        assert journal.entries() == [entry("a", 2), entry("b", 1)]


async def test_damage_before_the_tail_is_refused(place: Path) -> None:
    async with opened(place) as journal:
        for number in range(5):
            await journal.record(entry("a", number))
        last = journal.size_bytes
        await journal.record(entry("b"))
    whole = bytearray((place / "journal").read_bytes())
    for offset in range(last):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x40
        (place / "journal").write_bytes(damaged)
        with pytest.raises(JournalCorrupt):
            JournalFile(place, HOST).open()


async def test_what_tenants_write_cannot_look_like_a_frame(place: Path) -> None:
    frame = journal_file._frame(b"\x90")
    body = frame.decode("utf-8", errors="replace").encode()
    async with opened(place) as journal:
        await journal.record(JournalEntry(instance="a", generation=1, number=1, command=body))
        kept = journal.size_bytes
        await journal.record(JournalEntry(instance="a", generation=1, number=2, command=body * 10))
    whole = (place / "journal").read_bytes()
    (place / "journal").write_bytes(whole[:-1])
    async with opened(place) as journal:
        assert journal.size_bytes == kept


def test_lost_or_foreign_journals_are_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalCorrupt, match="missing"):
        JournalFile(tmp_path / "nowhere", HOST).open()
    with pytest.raises(JournalCorrupt, match="belongs to host"):
        JournalFile(place, OTHER).open()
    with pytest.raises(JournalCorrupt, match="belongs to host"):
        create_journal(place, OTHER)
    create_journal(place, HOST)
    (place / "host.json").write_text("{}")
    with pytest.raises(JournalCorrupt, match="cannot be read"):
        JournalFile(place, HOST).open()
    (place / "host.json").unlink()
    with pytest.raises(JournalCorrupt, match="missing"):
        JournalFile(place, HOST).open()
    # An enrolment that was cut off between the two files goes on.
    create_journal(place, HOST)
    (place / "journal").unlink()
    with pytest.raises(JournalCorrupt, match="enrolled as a new host"):
        JournalFile(place, HOST).open()
    with pytest.raises(JournalCorrupt, match="enrolled as a new host"):
        create_journal(place, HOST)
    (place / "journal").touch()
    with pytest.raises(JournalCorrupt, match="no header"):
        JournalFile(place, HOST).open()


async def test_journal_with_entries_and_no_identity_is_not_taken_over(place: Path) -> None:
    async with opened(place) as journal:
        await journal.record(entry("a"))
    (place / "host.json").unlink()
    with pytest.raises(JournalCorrupt, match=r"no host\.json"):
        create_journal(place, HOST)


async def test_others_cannot_read_what_tenants_sent(place: Path) -> None:
    async with opened(place):
        modes = modes_in(place)
    assert modes == {"journal": 0o600, "host.json": 0o600, "journal.lock": 0o600}


async def test_file_is_rewritten_when_most_of_it_is_past(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "COMPACT_BYTES_MIN", 20_000)
    async with opened(place) as journal:
        for number in range(200):
            await journal.record(entry("a", number, size=1000))
            await journal.record(entry(f"b{number % 5}", number))
        assert journal.size_bytes == (place / "journal").stat().st_size < 25_000
        await journal.record(entry("c"))
        expected = journal.entries()
    assert sorted(modes_in(place)) == ["host.json", "journal", "journal.lock"]
    async with opened(place) as journal:
        assert journal.entries() == expected
        assert journal.get("a") == entry("a", 199, size=1000)


async def test_rewriting_without_space_leaves_the_old_file(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "COMPACT_BYTES_MIN", 3_000)
    real = journal_file._write_new
    tried = 0

    def no_space(path: Path, parts: list[bytes]) -> None:
        nonlocal tried
        tried += 1
        with file_size_limit(100):
            real(path, parts)

    monkeypatch.setattr(journal_file, "_write_new", no_space)
    async with opened(place) as journal:
        for number in range(20):
            await journal.record(entry("a", number, size=1000))
    assert tried in (2, 3)
    assert sorted(modes_in(place)) == ["host.json", "journal", "journal.lock"]
    async with opened(place) as journal:
        assert journal.entries() == [entry("a", 19, size=1000)]


async def test_large_entries_go_into_groups_of_bounded_size(place: Path) -> None:
    async with opened(place) as journal:
        await asyncio.gather(*(journal.record(entry(f"i{n}", size=400_000)) for n in range(20)))
        assert journal.syncs >= 6
    async with opened(place) as journal:
        assert len(journal.entries()) == 20


_WRITER: Final = """
import asyncio, sys
from pathlib import Path
from hostagent.journal import JournalEntry
from hostagent.journal_file import FileJournal
from process.clock import SystemClock

async def write(worker, journal):
    number = 0
    while True:
        number += 1
        entry = JournalEntry(instance=f"i{worker}", generation=1, number=number, command=b"x" * 5000)
        await journal.record(entry)
        print(worker, number, flush=True)

async def main():
    journal = FileJournal(Path(sys.argv[1]), sys.argv[2], SystemClock())
    await journal.open()
    await asyncio.gather(*(write(worker, journal) for worker in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 100, 1500])
def test_killed_writer_has_lost_nothing_it_was_told_is_durable(place: Path, lines: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(place), HOST], stdout=subprocess.PIPE, env=environment
    ) as writer:
        assert writer.stdout is not None
        durable: dict[str, int] = {}
        for _ in range(lines):
            worker, number = writer.stdout.readline().split()
            durable[f"i{worker.decode()}"] = int(number)
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            if line.endswith(b"\n"):
                worker, number = line.split()
                durable[f"i{worker.decode()}"] = int(number)
    file = JournalFile(place, HOST)
    found = {kept.instance: kept.number for kept in file.open()}
    file.close()
    assert all(found[instance] >= number for instance, number in durable.items())
