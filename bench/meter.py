"""What a process has used, read from /proc: CPU time and memory. Linux only."""

import os
import resource
from pathlib import Path
from statistics import median
from typing import Final

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds (user and system) of one process, all its threads, to the nanosecond the kernel keeps."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def used_s() -> float:
    """CPU seconds, user and system, of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found


def tree_cpu_s(pid: int) -> float:
    """CPU seconds of a process tree, with those of children that have ended and were waited for."""
    ticks = 0
    for one in tree(pid):
        fields = _stat(one)
        if fields:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_PER_S


def tree_pss_mib(pid: int, *, without: frozenset[str] = frozenset()) -> float:
    """Proportional memory of a process tree in MiB, less the programs named."""
    total = 0
    for one in tree(pid):
        try:
            if Path(f"/proc/{one}/comm").read_text().strip() in without:
                continue
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def load() -> float:
    """Processes that want a processor, averaged over the last minute."""
    return os.getloadavg()[0]


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` (0…1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


__all__ = ["cpu_s", "load", "median", "percentile", "tree", "tree_cpu_s", "tree_pss_mib", "used_s"]
