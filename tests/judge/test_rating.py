"""Bradley-Terry against scipy's optimiser, its own conditions, and published ratings."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.rating import bradley_terry, expected_win_rates


def test_the_largest_odds_a_star_can_have() -> None:
    battles = Battles.of_names(["a", "a"], ["b", "b"], [1, 0], weight=[999_999, 1])
    assert bradley_terry(battles, baseline="b")[0] == pytest.approx(np.log(999_999))


def random_battles(models: int, rows: int, seed: int) -> Battles:
    """Connected battles of models that do not differ much."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 0.7, models)
    left = generator.integers(0, models, rows)
    right = (left + generator.integers(1, models, rows)) % models
    # everybody wins and loses once in a circle, so that ratings exist
    left[:models], right[:models] = np.arange(models), np.roll(np.arange(models), 1)
    outcome = (generator.random(rows) < 1 / (1 + np.exp(scores[right] - scores[left]))) * 1.0
    outcome[generator.random(rows) < 0.2] = 0.5
    outcome[:models] = 1
    weight = generator.choice([1.0, 3.0], rows)
    return Battles.of_names(
        [f"m{m}" for m in left], [f"m{m}" for m in right], outcome, weight=weight
    )


def test_a_prior_is_a_drawn_battle_against_the_average() -> None:
    battles, prior = random_battles(5, 40, 3), 1.5

    def loss(scores: Floats) -> float:
        difference = scores[battles.left] - scores[battles.right]
        won = battles.weight * battles.outcome
        lost = battles.weight - won
        data = won @ np.logaddexp(0, -difference) + lost @ np.logaddexp(0, difference)
        drawn = np.logaddexp(0, -scores) + np.logaddexp(0, scores)
        return float(data + prior / 2 * drawn.sum())

    found = optimize.minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
    scores = bradley_terry(battles, prior=prior)
    np.testing.assert_allclose(scores, found - found.mean(), atol=1e-6)


@settings(max_examples=60)
@given(st.integers(2, 7), st.integers(1, 25), st.integers(0, 10_000))
def test_any_battles_are_rated_or_refused(models: int, rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    left = generator.integers(0, models, rows)
    right = (left + generator.integers(1, models, rows)) % models
    outcome = generator.choice([0, 0.5, 1], rows)
    names = tuple(f"m{model}" for model in range(models))
    battles = Battles(
        names, ("p",), left, right, np.zeros(rows, np.intp), outcome, np.ones(rows), ("",)
    )
    try:
        scores = bradley_terry(battles)
    except DataError:
        # Ford's condition by brute force: some group never loses to the others
        beats = np.zeros((models, models), bool)
        beats[left[outcome > 0], right[outcome > 0]] = True
        beats[right[outcome < 1], left[outcome < 1]] = True
        groups = [
            np.array([group >> model & 1 for model in range(models)], bool)
            for group in range(1, 2**models - 1)
        ]
        assert any(not beats[np.ix_(~group, group)].any() for group in groups)
        assert np.isfinite(bradley_terry(battles, prior=0.1)).all()
        return
    chance = 1 / (1 + np.exp(scores[right] - scores[left]))
    gradient = np.bincount(left, outcome - chance, models)
    gradient -= np.bincount(right, outcome - chance, models)
    assert np.abs(gradient).max() < 1e-8


def won(left: str, right: str, **more: Any) -> Battles:
    return Battles.of_names([*left], [*right], [1] * len(left), **more)


@pytest.mark.parametrize(
    ("battles", "prior", "said"),
    [
        (won("abcd", "badc"), 0, "nothing connects 'a' and 'c'; add a draw of each with --prior 1"),
        (won("bbac", "acca"), 0, "but 'b' lost no battle to the other models; add a"),
        (won("a", "b", weight=[0]), 1, "weight above zero"),
        *((won("ab", "ba"), prior, "a prior must be") for prior in (-1.0, np.nan, np.inf)),
    ],
)
def test_battles_without_ratings_are_refused(battles: Battles, prior: float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        bradley_terry(battles, prior=prior)


def test_scales_by_hand() -> None:
    scores = np.log(np.array([1.0, 3.0, 9.0]))
    assert expected_win_rates(scores, 0).tolist() == pytest.approx([0.5, 0.75, 0.9])
    expected = [(1 / 4 + 1 / 10) / 2, (3 / 4 + 3 / 12) / 2, (9 / 10 + 9 / 12) / 2]
    assert expected_win_rates(scores).tolist() == pytest.approx(expected)


@pytest.mark.data
def test_the_golden_values_of_llmfao() -> None:
    folder = Path(os.environ["MICRONAS_DATA"]) / "judge"
    outcomes = {"left": 1.0, "tie": 0.5, "right": 0.0}
    with (folder / "llmfao.csv").open(encoding="utf-8", newline="") as file:
        votes = list(csv.DictReader(file))
    with (folder / "llmfao-golden.csv").open(encoding="utf-8", newline="") as file:
        golden = {
            (row["algorithm"], row["item"]): float(row["score"]) for row in csv.DictReader(file)
        }
    battles = Battles.of_names(
        [vote["left"] for vote in votes],
        [vote["right"] for vote in votes],
        [outcomes[vote["winner"]] for vote in votes],
    )
    assert (len(battles), len(battles.models)) == (8931, 59)
    odds = np.exp(bradley_terry(battles))
    for name, odd in zip(battles.models, odds / odds.sum(), strict=True):
        assert odd == pytest.approx(golden["bradley_terry", name], rel=1e-6)
