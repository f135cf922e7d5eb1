"""How far a winner was ahead: of equal epochs, by hand."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from micronas.evaluation.scores import wilson
from micronas.nas.trials import Candidate, ahead_of_other_origin


def tried(origin: str, *accuracies: tuple[int, float]) -> Candidate:
    nothing: Any = None
    return Candidate(origin, (), nothing, nothing, nothing, trial_accuracies=accuracies)


def test_a_winner_is_compared_after_as_many_epochs_as_its_rivals_had() -> None:
    """The winner gained five points in epochs that no uniform network got."""
    winner = tried("search", (5, 0.80), (10, 0.86), (20, 0.912))
    rival = tried("search", (5, 0.81), (10, 0.85), (20, 0.90))
    first, second = tried("uniform", (5, 0.82), (10, 0.849)), tried("uniform", (5, 0.70))
    ahead = ahead_of_other_origin([winner, rival, first, second])
    assert ahead is not None
    assert ahead[1] == 10
    assert round(ahead[0], 3) == 0.011
    assert ahead_of_other_origin([winner, rival]) is None


@given(st.integers(1, 3000), st.floats(0, 1))
def test_the_interval_is_wilsons(count: int, share: float) -> None:
    right = round(share * count)
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    low, high = wilson(right / count, count)
    assert abs(low - expected.low) < 1e-6
    assert abs(high - expected.high) < 1e-6
