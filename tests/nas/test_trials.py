"""How far a winner was ahead, and by how much chance: of equal epochs, by hand and by bootstrap."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from scipy.stats import t as student_t

from micronas.evaluation.scores import wilson
from micronas.nas.comparison import Comparison, lead_over, student
from micronas.nas.trials import Candidate, ahead_of_other_origin


def tried(origin: str, *accuracies: tuple[int, float]) -> Candidate:
    nothing: Any = None
    comparisons = tuple(Comparison(*each) for each in accuracies)
    return Candidate(origin, (), nothing, nothing, nothing, comparisons=comparisons)


def judged(groups: list[Any], *folds: "np.ndarray[Any, np.dtype[np.bool_]]") -> list[Comparison]:
    right = tuple("".join(map(str, fold.astype(int))) for fold in folds)
    of = tuple(tuple(each.tolist()) for each in groups)
    return [Comparison(8, float(np.mean([fold.mean() for fold in folds])), right, of)]


def half_width(groups: list[Any], *pairs: Any) -> float | None:
    lead = lead_over(
        judged(groups, *(pair[0] for pair in pairs)), [judged(groups, *(pair[1] for pair in pairs))]
    )
    assert lead is not None
    return lead.half_width


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
    """Of ten examples 3 gained and 1 lost: 10 / 9 * (3 + 1 + 1 - 2 * 2 / 12) / 12 ** 2 = 0.036008,
    and Student's t is 2.262 at nine degrees of freedom."""
    groups = (tuple(range(10)),)
    one = Comparison(4, 0.8, ("1111111100",), groups)
    other = Comparison(4, 0.6, ("1111100010",), groups)
    ahead = lead_over([one], [[other]])
    assert ahead is not None
    assert ahead.accuracy == pytest.approx(0.2)
    assert ahead.half_width == pytest.approx(2.262 * 0.036008**0.5, rel=1e-3)
    unknown = lead_over([one], [[Comparison(4, 0.6)]])
    assert unknown is not None
    assert unknown.half_width is None


def test_the_interval_of_a_lead_is_of_groups() -> None:
    """The same examples, of three speakers, who gain 3, 0 and -1: their sums are off by 3 - 4m,
    -3m and -1 - 3m for m = 2 / 12; and the same speaker again in another fold is no other."""
    groups = ((7, 7, 7, 7, 8, 8, 8, 9, 9, 9),)
    one = Comparison(4, 0.8, ("1111111100",), groups)
    other = Comparison(4, 0.5, ("1000111110",), groups)
    m = 2 / 12
    squares = (3 - 4 * m) ** 2 + (3 * m) ** 2 + (1 + 3 * m) ** 2 + 1 + 2 * m * m
    ahead = lead_over([one], [[other]])
    assert ahead is not None
    assert ahead.half_width == pytest.approx(4.303 * (3 / 2 * squares / 12**2) ** 0.5, rel=0.04)

    twice = [each._replace(right=each.right * 2, groups=groups * 2) for each in (one, other)]
    again = lead_over(twice[:1], [twice[1:]])
    assert again is not None
    assert again.half_width == pytest.approx(ahead.half_width, rel=0.05)

    alone = [each._replace(groups=((7,) * 10,)) for each in (one, other)]
    nothing = lead_over(alone[:1], [alone[1:]])
    assert nothing is not None
    assert nothing.half_width is None


def test_the_interval_of_a_lead_agrees_with_the_bootstrap() -> None:
    """With the bootstrap over groups, of 100 and 150."""
    source = np.random.default_rng(0)
    groups = [np.repeat(np.arange(count), 4) for count in (100, 150)]
    groups[1] += 100
    folds = [
        source.random((2, len(of))) < 0.75 + 0.2 * source.choice([-1, 1], (2, of.max() + 1))[:, of]
        for of in groups
    ]
    errors = [
        bootstrap(
            ((fold[0].astype(float) - fold[1]).reshape(-1, 4).mean(1),),
            np.mean,
            rng=source,
            n_resamples=2000,
        ).standard_error
        for fold in folds
    ]
    assert half_width(groups, *folds) == pytest.approx(1.96 * np.hypot(*errors) / 2, rel=0.06)


@pytest.mark.parametrize(
    ("groups", "size", "shares"),
    [(20, 1, (0.95, 0.9)), (300, 1, (0.9, 0.85)), (65, 12, (0.9, 0.85)), (8, 50, (0.9, 0.85))],
)
def test_the_interval_of_a_lead_covers(groups: int, size: int, shares: tuple[float, float]) -> None:
    source = np.random.default_rng(0)
    of = np.repeat(np.arange(groups), size)
    covered = 0
    for _ in range(2000):
        differ = source.uniform(-0.05, 0.05, (2, groups)) * (size > 1)
        pair = source.random((2, len(of))) < np.array(shares)[:, None] + differ[:, of]
        half = half_width([of], pair)
        assert half is not None
        covered += abs(pair[0].mean() - pair[1].mean() - (shares[0] - shares[1])) <= half
    assert 0.935 <= covered / 2000 <= 0.99  # of 20 examples few differ: wider than need be


@pytest.mark.parametrize("freedom", [3, 4, 7, 30, 1000])
def test_half_widths_are_students(freedom: int) -> None:
    assert student(freedom) == pytest.approx(student_t.ppf(0.975, freedom), rel=0.01)


@given(st.integers(1, 3000), st.floats(0, 1))
def test_the_interval_is_wilsons(count: int, share: float) -> None:
    right = round(share * count)
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    low, high = wilson(right / count, count)
    assert abs(low - expected.low) < 1e-6
    assert abs(high - expected.high) < 1e-6
