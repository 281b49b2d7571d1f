"""Each mutant, a cloud with one check removed, is found within SEEDS_MAX seeds."""

import pytest

from tests.sim.mutant import MUTANTS, mutated
from tests.sim.run import run_seed

SEEDS_MAX = 200


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 12


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_still_fits_the_code(name: str) -> None:
    with mutated(name):
        assert MUTANTS[name]


@pytest.mark.judge
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str) -> None:
    with mutated(name):
        assert any(run_seed(seed).failure for seed in range(SEEDS_MAX)), (
            f"{name}: not found in {SEEDS_MAX} seeds"
        )
