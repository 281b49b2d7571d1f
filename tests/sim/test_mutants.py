"""Each mutant, a cloud with one check removed, is found within SEEDS_MAX seeds."""

import pytest

from tests.sim.mutant import MUTANTS, mutated
from tests.sim.run import run_seed

SEEDS_MAX = 200
RARE = frozenset(
    {
        "the cache outlives the partition",
        "the first refusal is believed",
        "late reports count",
        "lower numbers are obeyed",
        "no deadline fires",
        "a busy instance is not told again",
        "claims are granted without room",
        "answers of earlier steps count",
        "older sights count",
        "tombstones are purged at once",
    }
)
"""It takes some minutes to find all of these: they are for `make judges`."""


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 12


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_still_fits_the_code(name: str) -> None:
    with mutated(name):
        assert MUTANTS[name]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.judge if name in RARE else ()) for name in MUTANTS]
)
def test_a_mutant_is_found(name: str) -> None:
    with mutated(name):
        assert any(run_seed(seed).failure for seed in range(SEEDS_MAX)), (
            f"{name}: not found in {SEEDS_MAX} seeds"
        )
