"""How far a winner was ahead, and by how much chance: of equal epochs, by hand and by bootstrap."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from micronas.evaluation.scores import wilson
from micronas.nas.comparison import Comparison, lead_over
from micronas.nas.trials import Candidate, ahead_of_other_origin


def tried(origin: str, *accuracies: tuple[int, float]) -> Candidate:
    nothing: Any = None
    comparisons = tuple(Comparison(*each) for each in accuracies)
    return Candidate(origin, (), nothing, nothing, nothing, comparisons=comparisons)


def judged(*folds: "np.ndarray[Any, np.dtype[np.bool_]]") -> list[Comparison]:
    right = tuple("".join(map(str, fold.astype(int))) for fold in folds)
    return [Comparison(8, float(np.mean([fold.mean() for fold in folds])), right)]


def test_a_winner_is_compared_after_as_many_epochs_as_its_rivals_had() -> None:
    """The winner gained five points in epochs that no uniform network got."""
    winner = tried("search", (5, 0.80), (10, 0.86), (20, 0.912))
    rival = tried("search", (5, 0.81), (10, 0.85), (20, 0.90))
    first, second = tried("uniform", (5, 0.82), (10, 0.849)), tried("uniform", (5, 0.70))
    ahead = ahead_of_other_origin([winner, rival, first, second])
    assert ahead is not None
    assert ahead.epochs == 10
    assert round(ahead.accuracy, 3) == 0.011
    assert ahead.half_width is None  # a search that began before examples were kept
    assert ahead_of_other_origin([winner, rival]) is None


def test_the_interval_of_a_lead_is_of_pairs() -> None:
    """Of ten examples 3 gained and 1 lost: sqrt((3 + 1 + 1 - 2 * 2 / 12) / 12 ** 2) = 0.18002."""
    one, other = Comparison(4, 0.8, ("1111111100",)), Comparison(4, 0.6, ("1111100010",))
    ahead = lead_over([one], [[other]])
    assert ahead is not None
    assert ahead.accuracy == pytest.approx(0.2)
    assert ahead.half_width == pytest.approx(1.96 * 0.18002, rel=1e-4)
    unknown = lead_over([one], [[Comparison(4, 0.6)]])
    assert unknown is not None
    assert unknown.half_width is None


def test_the_interval_of_a_lead_agrees_with_the_bootstrap() -> None:
    source = np.random.default_rng(0)
    folds = [
        source.random((2, count)) < np.array([[0.85], [0.8]]) + 0.1 * source.choice([-1, 1], count)
        for count in (400, 600)
    ]
    ahead = lead_over(judged(*(fold[0] for fold in folds)), [judged(*(fold[1] for fold in folds))])
    assert ahead is not None
    errors = [
        bootstrap(
            (fold[0].astype(float) - fold[1],), np.mean, rng=source, n_resamples=2000
        ).standard_error
        for fold in folds
    ]
    assert ahead.half_width == pytest.approx(1.96 * np.hypot(*errors) / 2, rel=0.06)


@pytest.mark.parametrize(("count", "shares"), [(20, (0.95, 0.9)), (300, (0.9, 0.85))])
def test_the_interval_of_a_lead_covers(count: int, shares: tuple[float, float]) -> None:
    source = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        one, other = source.random((2, count)) < np.array(shares)[:, None]
        ahead = lead_over(judged(one), [judged(other)])
        assert ahead is not None
        assert ahead.half_width is not None
        covered += abs(ahead.accuracy - (shares[0] - shares[1])) <= ahead.half_width
    assert 0.935 <= covered / 2000 <= 0.975


@given(st.integers(1, 3000), st.floats(0, 1))
def test_the_interval_is_wilsons(count: int, share: float) -> None:
    right = round(share * count)
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    low, high = wilson(right / count, count)
    assert abs(low - expected.low) < 1e-6
    assert abs(high - expected.high) < 1e-6
