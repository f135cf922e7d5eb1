"""Length control by its conditions, and against plain Bradley-Terry."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.categories import by_categories
from micronas.judge.control import control
from micronas.judge.leaderboard import Statistics, leaderboard
from micronas.judge.rating import bradley_terry, expected_win_rates

SCORES = np.array([-1.0, 0.0, 0.2, 0.8])


def styled(rows: int, effect: float, seed: int) -> tuple[Battles, Floats]:
    """Battles in which length counts as told, and its relative difference in deviations."""
    generator = np.random.default_rng(seed)
    left = generator.integers(0, 4, rows)
    right = (left + generator.integers(1, 4, rows)) % 4
    # better models write more, or control would have nothing to do
    lean = 0.8 * (SCORES[left] - SCORES[right])
    difference = np.tanh(0.3 * (generator.normal(0, 1, rows) + lean))
    feature = difference / np.sqrt(np.mean(difference**2))
    logit = SCORES[left] - SCORES[right] + effect * feature
    battles = Battles.of_names(
        ["abcd"[each] for each in left],
        ["abcd"[each] for each in right],
        generator.random(rows) < 1 / (1 + np.exp(-logit)),
        prompt=[f"p{each}" for each in generator.integers(0, 200, rows)],
        length_left=100 * (1 + difference),
        length_right=100 * (1 - difference),
    )
    return battles, feature


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_the_gradient_vanishes(prior: float) -> None:
    battles, feature = styled(2000, 0.4, 1)
    battles = replace(battles, weight=np.random.default_rng(0).choice([1.0, 3.0], 2000))
    length = feature / np.sqrt(np.average(feature**2, weights=battles.weight))
    result = control(battles, prior=prior)
    scores = result.scores
    against = control(battles, prior=prior, baseline="d").scores
    np.testing.assert_allclose(against, scores - scores[3], atol=1e-8)
    if prior:
        # the mean was subtracted; the fit has it where the prior pulls as much as it pushes
        shift = optimize.brentq(lambda x: (1 / (1 + np.exp(-scores - x)) - 0.5).sum(), -3, 3)
        scores = scores + shift
    logit = scores[battles.left] - scores[battles.right] + result.effect * length
    residual = battles.weight * (battles.outcome - 1 / (1 + np.exp(-logit)))
    gradient = np.bincount(battles.left, residual) - np.bincount(battles.right, residual)
    gradient += prior * (0.5 - 1 / (1 + np.exp(-scores)))
    assert np.abs(gradient).max() < 1e-8
    pull = prior * (0.5 - 1 / (1 + np.exp(-result.effect)))
    assert abs(residual @ length + pull) < 1e-8


@pytest.mark.long
def test_samples_spread_as_those_of_plain_ratings() -> None:
    battles, _ = styled(2000, 0.4, 5)
    result = control(battles, baseline="a", rounds=100)
    assert result.samples.shape == (100, 4)
    assert np.abs(result.samples[:, 0]).max() == 0
    plain = np.array(
        [control(styled(2000, 0.4, seed)[0], baseline="a").scores for seed in range(40)]
    )
    spread = result.samples[:, 1:].std(axis=0)
    np.testing.assert_allclose(spread, plain[:, 1:].std(axis=0), rtol=0.4)
    np.testing.assert_allclose(result.samples.mean(axis=0), result.scores, atol=0.05)


def test_lengths_that_say_nothing_or_everything() -> None:
    battles, _ = styled(400, 0.4, 6)
    with pytest.raises(DataError, match="needs the lengths"):
        control(replace(battles, length_left=None, length_right=None))
    same = np.full(400, 7.0)
    with pytest.raises(DataError, match="all are the same"):
        control(replace(battles, length_left=same, length_right=same))
    for bad in (0.1 * (SCORES[battles.left] - SCORES[battles.right]), battles.outcome - 0.5):
        with pytest.raises(DataError, match="rate without it"):
            control(replace(battles, length_left=1 + bad, length_right=1 - bad))


def test_a_prior_rates_where_length_decides_some_resamples() -> None:
    # of 20 prompts two have answers of unlike lengths: most resamples have none, or one outcome
    lengths = {"length_left": [9.0, 9.0] + [7.0] * 18, "length_right": [7.0] * 20}
    outcome = [1.0, 0.0] * 10
    battles = Battles.of_names(["a"] * 20, ["b"] * 20, outcome, **lengths)
    with pytest.raises(DataError, match="give --prior 1"):
        control(battles, rounds=50)
    found = control(battles, prior=1, baseline="b", rounds=50)
    assert np.ptp(found.samples[:, 0]) > 0
    assert np.abs(found.samples).max() < 3


def test_a_resample_without_scores_names_the_model() -> None:
    # of 20 prompts a loses one, which every third resample lacks
    lengths = {"length_left": range(1, 21), "length_right": [7.0] * 20}
    battles = Battles.of_names(["a"] * 20, ["b"] * 20, [0.0] + [1.0] * 19, **lengths)
    with pytest.raises(DataError, match=r"in some of 50 resamples .* 'a' lost no battle"):
        control(battles, rounds=50)


def in_categories(prompts: int, seed: int) -> Battles:
    """Models a and b against a baseline, on prompts of three categories, by turns."""
    generator = np.random.default_rng(seed)
    outcome = (generator.random(2 * prompts) < 1 / (1 + np.exp(-0.7))) * 1.0
    ids = [f"p{row // 2:03d}" for row in range(2 * prompts)]
    names = {each: "xyz"[int(each[1:]) % 3] for each in ids}
    return Battles.of_names(
        ["a", "b"] * prompts, ["base"] * 2 * prompts, outcome, prompt=ids, category=names
    )


def test_a_table_rates_each_category_on_its_own() -> None:
    battles = in_categories(150, 0)
    rows = by_categories(battles, Statistics(rounds=200))
    assert [(row["category"], row["model"], row["prompts"]) for row in rows] == [
        (name, model, 50) for name in "xyz" for model in ("a", "b", "base")
    ]
    part = battles.of_prompts(np.array(battles.category) == "y")
    rates = expected_win_rates(bradley_terry(part, prior=1, baseline="base"), 2)
    assert [row["rate"] for row in rows[3:6]] == pytest.approx(rates.tolist())
    for row in rows:
        bounds = (row["low"], row["rate"], row["high"])
        assert bounds == (0.5,) * 3 if row["model"] == "base" else bounds == tuple(sorted(bounds))


def test_a_category_of_a_tournament_is_rated_as_the_leaderboard_of_its_models() -> None:
    generator = np.random.default_rng(0)
    pairs = [(left, right) for left, right in ("ab", "bc", "ac") for _ in range(40)]
    ids = [f"p{row % 40:02d}" for row in range(120)]
    outcome = (generator.random(120) < 0.85) * 1.0
    battles = Battles.of_names(
        [*(left for left, _ in pairs), "d", "d"],
        [*(right for _, right in pairs), "a", "b"],
        [*outcome, 1.0, 0.0],
        prompt=[*ids, "q0", "q1"],
        category={**dict.fromkeys(ids, "x"), "q0": "y", "q1": "y"},
    )
    of_x = [row for row in by_categories(battles, Statistics(rounds=50)) if row["category"] == "x"]
    alone = Battles.of_names(*zip(*pairs, strict=True), outcome, prompt=ids)
    board = leaderboard(alone, Statistics(rounds=50, prior=1.0))
    assert [row["model"] for row in of_x] == list(board.models) == ["a", "b", "c"]
    assert [row["rate"] for row in of_x] == pytest.approx(board.rates.tolist())
    assert all(row["low"] < row["rate"] < row["high"] for row in of_x)


@pytest.mark.long
def test_six_intervals_hold_together() -> None:
    truth = 1 / (1 + np.exp(-0.7))
    held = []
    for seed in range(60):
        rows = by_categories(in_categories(240, seed), Statistics(rounds=150, seed=seed))
        held.append(
            all(row["low"] <= truth <= row["high"] or row["model"] == "base" for row in rows)
        )
    assert np.mean(held) >= 0.88


def test_a_model_that_is_missing_in_a_category() -> None:
    battles = Battles.of_names(
        ["a", "a", "a", "a", "b", "b"],
        ["c"] * 6,
        [1, 0, 1, 0, 1, 0],
        prompt=["p1", "p2", "q1", "q2", "q1", "q2"],
        category={"p1": "p", "p2": "p", "q1": "q", "q2": "q"},
    )
    rows = by_categories(battles, Statistics(rounds=50))
    assert [row["category"] + row["model"] for row in rows] == ["pa", "pc", "qa", "qb", "qc"]
