"""``python -m tests.sim``: play seeds, print what they covered, and how to repeat the one that failed."""

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

from actors.kinds import KINDS
from actors.machine import Operation
from tests.sim.fault import FAULTS
from tests.sim.mutant import MUTANTS, mutated
from tests.sim.run import Report, run_seed

CHUNK = 8
"""Seeds that a process takes at once."""


def main() -> int:
    """Play the seeds asked for. 0: every invariant held."""
    asked = _arguments()
    began = time.monotonic()
    total = Total()
    failed: list[Report] = []
    seeds = range(asked.start, asked.start + asked.seeds)
    for report in _play(seeds, asked.jobs, asked.mutant):
        total.add(report)
        if asked.trace:
            print(f"{report.seed} {report.trace}", flush=True)
        if report.failure:
            failed.append(report)
            _print_failure(report, asked.mutant)
            if not asked.keep_going:
                break
    total.print(time.monotonic() - began)
    if failed:
        print(f"FAILED: {len(failed)} of {total.runs} seeds")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to play")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="remove this check first")
    parser.add_argument("--trace", action="store_true", help="print the digest of each seed's history")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    return parser.parse_args()


def _play(seeds: range, jobs: int, mutant: str) -> Iterator[Report]:
    if jobs < 2:
        for seed in seeds:
            yield _play_one((seed, mutant))
        return
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs) as pool:
        yield from pool.imap(_play_one, [(seed, mutant) for seed in seeds], CHUNK)


def _play_one(job: tuple[int, str]) -> Report:
    seed, mutant = job
    with mutated(mutant):
        try:
            return run_seed(seed)
        except Exception:  # noqa: BLE001  the seed fails, the others are played
            return Report(seed, 0, Counter(), Counter(), 0, 0, 0.0, "", traceback.format_exc(), [])


def _print_failure(report: Report, mutant: str) -> None:
    print(f"seed {report.seed}: {report.failure}")
    for line in report.story[-25:]:
        print("   ", line)
    option = f" --mutant {mutant!r}" if mutant else ""
    print(f"again: python -m tests.sim --seeds 1 --jobs 1 --start {report.seed}{option}", flush=True)


class Total:
    """What all seeds did together."""

    def __init__(self) -> None:
        self.runs = self.commands = self.turns = self.commits = 0
        self.commands_min = self.faults_min = 1 << 30
        self.hours = 0.0
        self.faults: Counter[str] = Counter()
        self.rows: Counter[tuple[str, int, str]] = Counter()

    def add(self, report: Report) -> None:
        self.runs += 1
        self.commands += report.commands
        self.turns += report.turns
        self.commits += report.commits
        self.hours += report.virtual_s / 3600
        self.faults += report.faults
        self.rows += report.rows
        if not report.failure:
            self.commands_min = min(self.commands_min, report.commands)
            self.faults_min = min(self.faults_min, report.faults.total())

    def print(self, seconds: float) -> None:
        """The summary on standard output."""
        print(
            f"{self.runs} seeds in {seconds:.0f} s:"
            f" {self.commands} commands (at least {self.commands_min} a seed),"
            f" {self.faults.total()} faults (at least {self.faults_min}), {self.turns} turns,"
            f" {self.commits} commits, {self.hours:.1f} hours of the cloud's time"
        )
        print("faults:", ", ".join(f"{name} {self.faults[name]}" for name in FAULTS))
        tables: list[Operation[Any]] = [table for kind in KINDS.values() for table in kind.operations]
        print(f"rows taken, of {len(FAULTS) + 1} kinds of weather (calm, or a fault active) in how many:")
        never, pairs, possible = [], 0, 0
        for table in tables:
            cells = []
            for index, row in enumerate(table.rows):
                weathers = [fault for fault in ("none", *FAULTS) if self.rows[table.name, index, fault]]
                taken = sum(self.rows[table.name, index, fault] for fault in weathers)
                pairs, possible = pairs + len(weathers), possible + len(FAULTS) + 1
                name = f"{row.while_ or '·'}/{row.hearing.__name__}→{row.then or '·'}"
                cells.append(f"    {name:55s} {taken:9d} × in {len(weathers)}")
                if not taken:
                    never.append(f"{table.name} {name} ({row.do.__name__})")
            print(f"  {table.name}", *cells, sep="\n")
        print(f"rows × weather: {pairs} of {possible}")
        print("rows never taken:", "; ".join(never) or "none")


if __name__ == "__main__":
    sys.exit(main())
