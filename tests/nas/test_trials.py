"""How far a winner was ahead, and by how much chance: of equal epochs, by hand and by bootstrap."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from scipy.stats import t as student_t

from micronas.errors import ConfigError
from micronas.nas.candidate import Candidate, ahead_of_other_origin
from micronas.nas.comparison import Comparison, lead_over, student
from micronas.nas.trials import at_once
from micronas.objectives.intervals import wilson
from micronas.train.recipe import Recipe


def tried(origin: str, *accuracies: tuple[int, float]) -> Candidate:
    nothing: Any = None
    comparisons = tuple(Comparison(*each, ("1",), ((0,),)) for each in accuracies)
    return Candidate(origin, (), nothing, nothing, "one", comparisons=comparisons)


def judged(groups: list[Any], *folds: "np.ndarray[Any, np.dtype[np.bool_]]") -> list[Comparison]:
    right = tuple("".join(map(str, fold.astype(int))) for fold in folds)
    of = tuple(tuple(each.tolist()) for each in groups)
    return [Comparison(8, float(np.mean([fold.mean() for fold in folds])), right, of)]


def half_width(groups: list[Any], *pairs: Any) -> float | None:
    lead = lead_over(
        judged(groups, *(pair[0] for pair in pairs)), [judged(groups, *(pair[1] for pair in pairs))]
    )
    return lead.half_width


def test_a_winner_is_compared_after_as_many_epochs_as_its_rivals_had() -> None:
    """The winner gained five points in epochs that no uniform network got."""
    winner = tried("search", (5, 0.80), (10, 0.86), (20, 0.912))
    rival = tried("search", (5, 0.81), (10, 0.85), (20, 0.90))
    first, second = tried("uniform", (5, 0.82), (10, 0.849)), tried("uniform", (5, 0.70))
    ahead = ahead_of_other_origin([winner, rival, first, second])
    assert ahead.epochs == 10
    assert round(ahead.score, 3) == 0.011
    assert ahead.half_width is None  # one example
    assert ahead_of_other_origin([winner, rival]) is None


def test_the_interval_of_a_lead_is_of_pairs() -> None:
    """Of ten examples 3 gained and 1 lost, which with the two added is m = 2 / 12: off it by
    4 - 4m + 10 m^2 = 3.6111 in squares, which 9 others leave at 10 / 9 of that; 1 + 2 m^2 = 1.0556
    are added; and Student's t is 2.262 at nine degrees of freedom."""
    groups = (tuple(range(10)),)
    one = Comparison(4, 0.8, ("1111111100",), groups)
    other = Comparison(4, 0.6, ("1111100010",), groups)
    ahead = lead_over([one], [[other]])
    assert ahead.score == pytest.approx(0.2)
    assert ahead.half_width == pytest.approx(
        2.262 * (3.6111 * 10 / 9 + 1.0556) ** 0.5 / 12, rel=1e-3
    )


def test_the_interval_of_a_lead_is_of_groups() -> None:
    """The same examples, of four speakers, who gain 3, 0, -1 and 0: their sums are off by 3 - 4m,
    -2m, -1 - 2m and -2m for m = 2 / 12. They weigh as much as 1 / 0.28 of one size, and at 2.571
    degrees of freedom Student's t is 3.505. The same speakers in another fold are no others."""
    groups = ((7, 7, 7, 7, 8, 8, 9, 9, 10, 10),)
    one = Comparison(4, 0.8, ("1111111010",), groups)
    other = Comparison(4, 0.6, ("1000111110",), groups)
    m = 2 / 12
    squares = (3 - 4 * m) ** 2 / 0.6 + ((2 * m) ** 2 * 2 + (1 + 2 * m) ** 2) / 0.8 + 1 + 2 * m * m
    ahead = lead_over([one], [[other]])
    assert ahead.half_width == pytest.approx(3.505 * squares**0.5 / 12, rel=0.02)

    twice = [each._replace(values=each.values * 2, groups=groups * 2) for each in (one, other)]
    again = lead_over(twice[:1], [twice[1:]])
    assert again.half_width == pytest.approx(ahead.half_width, rel=0.05)

    few = [each._replace(groups=((7,) * 8 + (8, 9),)) for each in (one, other)]
    nothing = lead_over(few[:1], [few[1:]])
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([1] * 20, (0.95, 0.9)),
        ([1] * 300, (0.9, 0.85)),
        ([12] * 65, (0.9, 0.85)),
        ([50] * 8, (0.9, 0.85)),
        ([60] * 3 + [8] * 18, (0.9, 0.85)),
        ([200, 80, 40, 20, 20, 20, 10, 10], (0.9, 0.85)),
    ],
)
def test_the_interval_of_a_lead_covers(sizes: list[int], shares: tuple[float, float]) -> None:
    source, times = np.random.default_rng(0), 800
    of = np.repeat(np.arange(len(sizes)), sizes)
    covered = 0
    for _ in range(times):
        differ = source.uniform(-0.05, 0.05, (2, len(sizes))) * (max(sizes) > 1)
        pair = source.random((2, len(of))) < np.array(shares)[:, None] + differ[:, of]
        half = half_width([of], pair)
        covered += abs(pair[0].mean() - pair[1].mean() - (shares[0] - shares[1])) <= half
    assert 0.935 <= covered / times <= 0.995  # of 20 examples few differ: wider than need be


@pytest.mark.parametrize("freedom", [2, 3, 4, 7, 30, 1000])
def test_half_widths_are_students(freedom: int) -> None:
    assert student(freedom) == pytest.approx(
        student_t.ppf(0.975, freedom), rel=0.01 if freedom > 2 else 0.031
    )


@given(st.integers(1, 3000), st.floats(0, 1))
def test_the_interval_is_wilsons(count: int, share: float) -> None:
    right = round(share * count)
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    low, high = wilson(right / count, count)
    assert abs(low - expected.low) < 1e-6
    assert abs(high - expected.high) < 1e-6


@pytest.mark.parametrize("workers", [0, "2"])
def test_workers_are_a_number_of_at_least_one(workers: Any) -> None:
    with pytest.raises(ConfigError, match=f"workers must be 1 or more, but got {workers!r}"):
        at_once(workers, Recipe(), torch.device("cpu"))
