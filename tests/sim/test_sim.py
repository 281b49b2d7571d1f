"""A fixed budget of seeds holds, and a seed is the same story in every process."""

import os
import subprocess
import sys

import pytest

from tests.sim.run import run_seed

BUDGET = 40


FOUND = (343, 821)
"""Seeds that found something once: an answer heard before its journal had it; a refusal that was none."""


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_found_something_stays_sound(seed: int) -> None:
    assert not run_seed(seed).failure


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, BUDGET, 10))
def test_every_invariant_holds(first: int) -> None:
    for seed in range(first, first + 10):
        report = run_seed(seed)
        assert not report.failure, f"python -m tests.sim --start {seed} --seeds 1\n{report.failure}"
        assert report.commands >= 50
        assert report.faults.total() >= 5


def _traces(hash_seed: str) -> list[str]:
    """The seeds' digests, one line each; the summary after them tells the seconds, which differ."""
    command = [sys.executable, "-m", "tests.sim", "--seeds", "3", "--start", "100", "--jobs", "1", "--trace"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[:3]


@pytest.mark.timeout(300)
def test_one_seed_leaves_one_trace_in_two_processes() -> None:
    first = _traces("1")
    assert [line.split()[0] for line in first] == ["100", "101", "102"]
    assert _traces("2") == first
