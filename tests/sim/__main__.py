"""``python -m tests.sim``: plays seeds on all cores and says what they did.

Nothing is printed for a seed that holds. A seed that breaks an invariant prints one command that plays it
again, what was broken and the actor's last messages. At the end: commands, faults by kind, which rows of
which tables were taken under which faults, and the rows that never were. Exit status 1 when a seed failed.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from typing import Final

from actors.kinds import KINDS
from tests.sim.mutant import MUTANTS, mutated
from tests.sim.run import Report, run_seed

COMMANDS_MIN: Final = 50
FAULTS_MIN: Final = 5


def play(order: tuple[int, str]) -> Report:
    """One seed, with a mutant or none."""
    seed, mutant = order
    with mutated(mutant):
        return run_seed(seed)


class Tally:
    """What all seeds did together."""

    def __init__(self) -> None:
        self.seeds = self.commands = self.turns = self.commits = 0
        self.faults: Counter[str] = Counter()
        self.rows: Counter[tuple[str, int, str]] = Counter()
        self.failed: list[int] = []
        self.idle: list[int] = []

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.commands += report.commands
        self.turns += report.turns
        self.commits += report.commits
        self.faults += report.faults
        self.rows += report.rows
        if report.failure:
            self.failed.append(report.seed)
        if report.commands < COMMANDS_MIN or report.faults.total() < FAULTS_MIN:
            self.idle.append(report.seed)

    def lines(self, seconds: float) -> list[str]:
        """The summary."""
        found = [
            f"{self.seeds} seeds in {seconds:.0f} s, {len(self.failed)} failed",
            f"{self.commands} commands and {self.faults.total()} faults",
            f"{self.turns} turns in {self.commits} commits",
            "faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items())),
        ]
        kinds = sorted({kind for _, _, kind in self.rows})
        for table, rows in _tables().items():
            for index, text in enumerate(rows):
                counts = {kind: self.rows[table, index, kind] for kind in kinds}
                total = sum(counts.values())
                under = sum(1 for count in counts.values() if count)
                found.append(
                    f"{table:12} {text:58} {total:8} times, under {under:2} of {len(kinds)} kinds of fault"
                )
                if not total:
                    found[-1] += "  NEVER TAKEN"
        if self.idle:
            found.append(f"seeds with fewer than {COMMANDS_MIN} commands or {FAULTS_MIN} faults: {self.idle}")
        return found


def _tables() -> dict[str, list[str]]:
    """Each operation's rows in words."""
    return {
        table.name: [
            f"{row.while_ or '-'} {row.hearing.__name__} {row.do.__name__} → {row.then or 'end'}"
            for row in table.rows
        ]
        for kind in KINDS.values()
        for table in kind.operations
    }


def _tell(report: Report, mutant: str) -> None:
    option = f" --mutant '{mutant}'" if mutant else ""
    print(f"\npython -m tests.sim --start {report.seed} --seeds 1{option}\n{report.failure}", flush=True)
    print("\n".join(report.story[-30:]), flush=True)


def main() -> int:
    """Play; the exit status."""
    parser = argparse.ArgumentParser("python -m tests.sim", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=200, help="how many (default: 200)")
    parser.add_argument("--start", type=int, default=0, help="the first (default: 0)")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes at once")
    parser.add_argument(
        "--mutant", default="", choices=["", *MUTANTS], metavar="NAME", help="break one check on purpose"
    )
    parser.add_argument("--trace", action="store_true", help="print each seed's digest")
    given = parser.parse_args()
    tally, began = Tally(), time.monotonic()
    orders = [(seed, given.mutant) for seed in range(given.start, given.start + given.seeds)]
    with multiprocessing.get_context("fork").Pool(min(given.jobs, len(orders)), maxtasksperchild=100) as pool:
        for report in pool.imap(play, orders, chunksize=1):
            tally.add(report)
            if given.trace:
                print(report.seed, report.trace, flush=True)
            if report.failure:
                _tell(report, given.mutant)
    if not given.trace:
        print("\n".join(tally.lines(time.monotonic() - began)))
    return 1 if tally.failed or tally.idle else 0


if __name__ == "__main__":
    sys.exit(main())
