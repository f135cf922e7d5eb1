"""Benchmark quality by hand, against the definitions pair by pair, and Arena-Hard's figures."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from micronas.errors import DataError
from micronas.judge.quality import (
    Estimates,
    Share,
    agreement,
    pair_losses,
    quality,
    separability,
    strict_agreement,
)
from testing.arena_hard import load_arena, load_bootstrap, shared


def sampled(models: tuple[str, ...], samples: np.ndarray) -> Estimates:
    mean = samples.mean(axis=0)
    lower, upper = np.percentile(samples, [2.5, 97.5], axis=0)
    return Estimates(models, mean, lower, upper, samples, mean, samples.var(axis=0))


def estimates(*bounds: tuple[float, float]) -> Estimates:
    lower, upper = (np.array(side, np.float64) for side in zip(*bounds, strict=True))
    names = tuple(f"m{place}" for place in range(len(bounds)))
    return Estimates(names, (lower + upper) / 2, lower, upper)


def test_models_that_are_level_are_not_told_apart_without_an_interval() -> None:
    level = np.array([0.5, 0.5, 0.7])
    assert separability(level, level) == Share(2, 3)


def test_a_tie_agrees_with_nothing() -> None:
    share = strict_agreement(np.array([3.0, 2.0, 2.0, 1.0]), np.array([4.0, 2.0, 1.0, 3.0]))
    # 01 02 03 agree, 12 is a tie, 13 and 23 are the other way round
    assert share == Share(3, 6)


def test_agreement_by_hand() -> None:
    benchmark = estimates((0, 1), (2, 3), (2.5, 4), (0, 0.5))
    reference = estimates((0, 1), (2, 3), (4, 5), (2.5, 3.5))
    # kept: 01 same, 02 same, 03 unsure, 12 unsure, 23 same; dropped: 13
    assert agreement(benchmark, reference) == Share(4, 5)
    assert agreement(benchmark, reference, "signed") == Share(3, 5)
    worse = estimates((5, 6), (2, 3), (2.5, 4), (0, 0.5))
    # 01 and 02 and 03: other, other, other; 12 unsure; 23 same
    assert agreement(worse, reference) == Share(1.5, 5)
    assert agreement(worse, reference, "signed") == Share(-2, 5)


spans = st.tuples(st.integers(0, 12), st.integers(0, 6))


@given(st.lists(st.tuples(spans, spans), min_size=2, max_size=7))
def test_arena_hards_definitions_pair_by_pair(
    bounds: list[tuple[tuple[int, int], tuple[int, int]]],
) -> None:
    first, second = (
        estimates(*((low, low + width) for low, width in side))
        for side in zip(*bounds, strict=True)
    )
    one, two = (list(zip(each.lower, each.upper, strict=True)) for each in (first, second))

    def overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return max(0, min(a[1], b[1]) - max(a[0], b[0])) > 0

    points, kept, crossed = 0.0, 0, 0
    for a, b in itertools.combinations(range(len(bounds)), 2):
        low, high = sorted([one[a], one[b]])
        crossed += high[0] < low[1]
        if overlap(two[a], two[b]):
            continue
        kept += 1
        if overlap(one[a], one[b]):
            points += 0.5
        elif (one[a] < one[b]) == (two[a] < two[b]):
            points += 1
    assert agreement(first, second, "arena-hard") == Share(points, kept)
    pairs = math.comb(len(bounds), 2)
    if (first.lower < first.upper).all():
        assert separability(first.lower, first.upper) == Share(pairs - crossed, pairs)


def test_losses_without_variance() -> None:
    zero = np.zeros(3)
    # right, a tie, wrong
    brier, log_loss = pair_losses(np.array([1.0, 2.0, 2.0]), zero, np.array([3.0, 4.0, 1.0]))
    assert brier == pytest.approx((0 + 1 + 0.25) / 3)
    assert log_loss == pytest.approx((0 - math.log(np.finfo(float).eps) + math.log(2)) / 3)


def test_a_tie_in_the_reference_is_no_order_to_predict() -> None:
    mean, reference = np.array([3.0, 2.0, 1.0]), np.array([5.0, 5.0, 1.0])
    brier, log_loss = pair_losses(mean, np.array([4.0, 11.0, 5.0]), reference)
    likely = stats.norm.cdf([2 / 9**0.5, 1 / 16**0.5])
    assert brier == pytest.approx(np.mean((1 - likely) ** 2))
    assert log_loss == pytest.approx(-np.log(likely).mean())
    level = estimates((1, 3), (1, 3))
    with pytest.raises(DataError, match="must rank models, but gives all 2 the score 2"):
        quality(level, level)
    assert quality(level, estimates((0, 1), (1, 2))).spearman is None


def test_quality_on_shared_models_and_on_the_top() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(np.array([0, 1, 2, 3, 9]), 0.1, (500, 5))
    benchmark = sampled(("a", "b", "c", "d", "x"), samples)
    reference = sampled(("d", "c", "b", "a"), samples[:, [2, 3, 1, 0]])
    every = quality(benchmark, reference)
    assert every.models == 4
    assert every.separability == Share(6, 6)
    assert every.separability_paired == Share(6, 6)
    assert every.strict_agreement == Share(5, 6)
    assert every.agreement == Share(5, 6)
    assert every.spearman == pytest.approx(1 - 6 * 2 / 60)
    assert every.kendall == pytest.approx(4 / 6)
    assert every.shown()["kendall"] == "0.6667"
    assert every.brier == pytest.approx(1 / 6)
    top = quality(benchmark, reference, top=2)
    assert (top.models, top.strict_agreement) == (2, Share(0, 1))
    with pytest.raises(DataError, match="but got 0"):
        quality(benchmark, top=-1)
    alone = quality(benchmark)
    assert (alone.models, alone.separability, alone.spearman) == (5, Share(10, 10), None)


def test_pairing_separates_what_shares_its_noise() -> None:
    generator = np.random.default_rng(0)
    common = generator.normal(0, 1, (500, 1))
    samples = common + np.array([0.0, 0.3]) + generator.normal(0, 0.05, (500, 2))
    result = quality(sampled(("a", "b"), samples))
    assert result.separability == Share(0, 1)
    assert result.separability_paired == Share(1, 1)


def test_a_share_shows_its_pairs() -> None:
    assert str(Share(38, 45)) == "84.44 % (38 of 45 pairs)"
    assert str(Share(0, 0)) == "undefined (no pairs)"


def test_models_that_do_not_match() -> None:
    with pytest.raises(DataError, match="two models or more, but got 0; do model names match"):
        quality(Estimates(("x", "y"), *np.zeros((3, 2))), estimates((0, 1), (1, 2)))
    with pytest.raises(DataError, match="did you mean 'm1'"):
        estimates((0, 1), (1, 2)).of_models(["m11"])
    with pytest.raises(DataError, match="must not end before they begin"):
        estimates((2, 1))


# what Arena-Hard's notebook prints on twenty models, and on all: overlapping pairs at 95 and 80 %,
# strict agreement, agreement with confidence (177 pairs), Spearman, Brier, log-loss
PUBLISHED = {
    "arena_hard": (30, 17, 0.915789, 0.903955, 0.932331, 0.070479, 0.395046),
    "alpaca_LC": (23, 13, 0.852632, 0.872881, 0.878195, 0.134726, 1.965293),
    "alpaca": (55, 33, 0.810526, 0.790960, 0.757895, 0.164211, 1.840866),
    "mt_bench": (121, 85, 0.868421, 0.694915, 0.893233, 0.100829, 0.331054),
}
ALL_MODELS = {
    "arena_hard": (76, 378),
    "mt_bench": (197, 300),
    "arena_hard_distribution_elo": (927, 3003),
}


@pytest.fixture
def arena_hard() -> Path:
    return Path(os.environ["MICRONAS_DATA"]) / "judge" / "arena_hard_2024_04"


@pytest.mark.data
@pytest.mark.parametrize("name", PUBLISHED)
def test_arena_hards_table(arena_hard: Path, name: str) -> None:
    crossed, at_80, strict, agreed, spearman, brier, log_loss = PUBLISHED[name]
    arena = load_arena(arena_hard)
    result = quality(shared(arena_hard, name), arena, convention="arena-hard")
    assert result.separability == Share(190 - crossed, 190)
    assert quality(shared(arena_hard, name, 0.8)).separability == Share(190 - at_80, 190)
    assert result.strict_agreement.value == pytest.approx(strict, abs=1e-6)
    assert result.agreement.pairs == 177
    assert result.agreement.value == pytest.approx(agreed, abs=1e-6)
    assert result.spearman == pytest.approx(spearman, abs=1e-6)
    assert result.brier == pytest.approx(brier, abs=1e-6)
    assert result.log_loss == pytest.approx(log_loss, abs=1e-6)


@pytest.mark.data
def test_arena_hards_other_figures(arena_hard: Path) -> None:
    arena = load_arena(arena_hard)
    assert quality(shared(arena_hard, "20k_votes")).separability == Share(131, 190)
    votes = quality(shared(arena_hard, "20k_votes_elo"), arena, convention="arena-hard")
    assert votes.strict_agreement.value == pytest.approx(0.957895, abs=1e-6)
    assert votes.agreement.value == pytest.approx(0.898305, abs=1e-6)
    assert votes.spearman == pytest.approx(0.981955, abs=1e-6)
    assert quality(shared(arena_hard, "20k_votes_elo", 0.8)).separability == Share(156, 190)
    twenty = arena.of_models(shared(arena_hard, "arena_hard").models)
    assert quality(twenty).separability == Share(174, 190)
    assert quality(arena).separability == Share(2850 - 258, 2850)
    for name, (crossed, pairs) in ALL_MODELS.items():
        every = quality(load_bootstrap(arena_hard, name))
        assert every.separability == Share(pairs - crossed, pairs)
