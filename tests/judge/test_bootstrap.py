"""The bootstrap against refits of drawn prompts, and its coverage."""

from dataclasses import replace

import numpy as np
import pytest

from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.bootstrap import bootstrap, prompt_counts
from micronas.judge.control import control
from micronas.judge.rating import bradley_terry
from micronas.language.intervals import intervals, paired_intervals
from testing.coverage import coverage
from tests.cases import first


def robin(models: int, prompts: int, seed: int) -> Battles:
    """Every pair of models on every prompt."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 0.8, models)
    first, second = np.triu_indices(models, 1)
    left, right = np.tile(first, prompts), np.tile(second, prompts)
    return Battles.of_names(
        [f"m{model:02d}" for model in left],
        [f"m{model:02d}" for model in right],
        generator.random(len(left)) < 1 / (1 + np.exp(scores[right] - scores[left])),
        prompt=[f"p{row // len(first):02d}" for row in range(len(left))],
        weight=generator.choice([1.0, 3.0], len(left)),
    )


@pytest.mark.parametrize("prior", [0.0, 1.0])
@pytest.mark.parametrize(("models", "prompts"), [(5, 40), (12, 15)])
def test_a_round_is_a_fit_of_the_drawn_prompts(models: int, prompts: int, prior: float) -> None:
    battles = robin(models, prompts, 0)
    samples = bootstrap(battles, 6, prior=prior, seed=7)
    counts = prompt_counts(battles, 6, np.random.default_rng(7))
    assert counts.sum(axis=1).tolist() == [prompts] * 6
    for sample, count in zip(samples, counts, strict=True):
        drawn = replace(battles, weight=battles.weight * count[battles.prompt])
        expected = bradley_terry(drawn, prior=prior)
        np.testing.assert_allclose(sample, expected, atol=1e-8)


def test_prompts_without_battles_are_never_drawn() -> None:
    battles = robin(3, 20, 1)
    padded = replace(
        battles, prompts=(*battles.prompts, "x", "y"), category=("",) * (len(battles.prompts) + 2)
    )
    counts = prompt_counts(padded, 50, np.random.default_rng(0))
    assert counts.shape == (50, 22)
    assert counts[:, :20].sum(axis=1).tolist() == [20] * 50
    np.testing.assert_array_equal(bootstrap(padded, 5), bootstrap(battles, 5))


def test_resamples_in_which_a_model_wins_everything() -> None:
    outcome = np.array([0.0, *[1.0] * 11])
    battles = Battles.of_names(["m"] * 12, ["base"] * 12, outcome)
    with pytest.raises(DataError, match=r"some of 100 resamples .* 'm' lost no battle .*--prior 1"):
        bootstrap(battles, 100)
    assert np.isfinite(bootstrap(battles, 100, prior=1)).all()


@first("prompts", [10, 100], 1)
def test_a_model_whose_battles_all_end_alike_is_not_certain(prompts: int) -> None:
    """Clopper and Pearson's lower bound of wins alone is alpha / 2 to the power of 1 / prompts."""
    names = [name for name in ("all", "some", "some", "ties") for _ in range(prompts)]
    battles = Battles.of_names(
        names,
        ["base"] * 4 * prompts,
        [1.0] * prompts + [1.0, 0.0] * prompts + [0.5] * prompts,
        prompt=[str(row % prompts) for row in range(4 * prompts)],
        length_left=np.resize([4.0, 6, 9, 2, 5, 7, 1], 4 * prompts),
        length_right=[5.0] * 4 * prompts,
    )
    equal_length = control(battles, rounds=200, prior=1, baseline="base").samples
    for samples in (bootstrap(battles, 2000, prior=1, baseline="base"), equal_length):
        (won, base, some, tied), upper = intervals(1 / (1 + np.exp(-samples)))
        assert 0 < 0.025 ** (1 / prompts) - won < 1 / prompts + 0.05
        assert upper[0] > 0.995
        assert base == upper[1] == 0.5
        # ties vary less than wins and losses do
        assert 0.3 * (0.5 - some) < 0.5 - tied < 2 * (0.5 - some)


@pytest.mark.parametrize(
    ("outcome", "weight", "least", "most"),
    [
        ([1.0, 0.0] * 40, 1.0, 0.19, 0.23),
        ([1.0, 0.0] * 40, 3.0, 0.1, 0.14),
        ([1.0, 0.5], 1.0, 0.8, 1),
    ],
)
def test_one_share_on_every_prompt_is_not_certain(
    outcome: list[float], weight: float, least: float, most: float
) -> None:
    """A judge whose first place always wins, or a single prompt: all resamples agree."""
    rows = len(outcome)
    prompts = [str(row // 2) for row in range(rows)]
    weights = [weight] * rows
    battles = Battles.of_names(
        ["m"] * rows, ["base"] * rows, outcome, prompt=prompts, weight=weights
    )
    samples = bootstrap(battles, 2000, baseline="base")[:, battles.index("m")]
    low, high = intervals(1 / (1 + np.exp(-samples)))
    assert low < 0.5 < high
    assert least < high - low < most


def test_wrong_arguments() -> None:
    battles = robin(3, 30, 1)
    with pytest.raises(DataError, match="one round or more, but got 0"):
        bootstrap(battles, 0)
    with pytest.raises(DataError, match="level of an interval"):
        intervals(np.zeros((5, 2)), 95)


def test_intervals_are_percentiles() -> None:
    samples = np.stack([np.arange(101.0), 2 * np.arange(101.0)], axis=1)
    lower, upper = intervals(samples, 0.9)
    assert lower.tolist() == pytest.approx([5, 10])
    assert upper.tolist() == pytest.approx([95, 190])
    lower, upper = paired_intervals(samples, 0.9)
    assert lower.ravel().tolist() == pytest.approx([0, -95, 5, 0])
    assert upper.ravel().tolist() == pytest.approx([0, -5, 95, 0])


@pytest.mark.parametrize(
    ("strength", "simulations", "rounds", "low", "high"),
    [
        pytest.param(1.2, 100, 100, 0.89, 0.99, marks=pytest.mark.long),
        *(
            pytest.param(strength, 300, 400, 0.92, 0.97, marks=pytest.mark.slow)
            for strength in (0.0, 1.2, 2.4)
        ),
    ],
)
def test_intervals_cover_as_often_as_they_say(
    strength: float, simulations: int, rounds: int, low: float, high: float
) -> None:
    shares = coverage(strength, simulations=simulations, rounds=rounds)
    assert low <= shares["prompts"][0] <= high
    assert shares["battles"][0] < shares["prompts"][0]
    assert shares["repeated rows"][0] < 0.85
