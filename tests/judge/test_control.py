"""Style control against planted coefficients, scipy's optimiser and plain Bradley-Terry."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.categories import category_table
from micronas.judge.control import control, length_feature, relative_difference
from micronas.judge.rating import bradley_terry
from tests.judge.runs import swapped

SCORES = np.array([-1.0, 0.0, 0.2, 0.8])


def styled(rows: int, effects: dict[str, float], seed: int) -> tuple[Battles, dict[str, Floats]]:
    """Battles in which style counts as told, a standard deviation of each feature."""
    generator = np.random.default_rng(seed)
    left = generator.integers(0, 4, rows)
    right = (left + generator.integers(1, 4, rows)) % 4
    # better models write more, or control would have nothing to do
    features = {
        name: generator.normal(0, 1, rows) + 0.8 * (SCORES[left] - SCORES[right])
        for name in effects
    }
    logit = SCORES[left] - SCORES[right]
    for name, effect in effects.items():
        logit = logit + effect * features[name] / np.sqrt(np.mean(features[name] ** 2))
    battles = Battles(
        models=("a", "b", "c", "d"),
        prompts=tuple(f"p{prompt}" for prompt in range(200)),
        left=left,
        right=right,
        prompt=generator.integers(0, 200, rows),
        outcome=(generator.random(rows) < 1 / (1 + np.exp(-logit))) * 1.0,
        weight=np.ones(rows),
        category=("",) * 200,
    )
    return battles, features


def test_planted_effects_are_found_within_their_errors() -> None:
    effects = {"length": 0.6, "lists": 0.3, "bold": 0.0}
    battles, features = styled(8000, effects, 0)
    result = control(battles, features)
    assert result.features == ("length", "lists", "bold")
    z = (result.coefficients - np.array(list(effects.values()))) / result.errors
    assert np.abs(z).max() < 2
    assert np.abs(result.ratings.scores - SCORES).max() < 0.12
    assert np.abs(bradley_terry(battles).scores - SCORES).max() > 0.2


def test_errors_are_those_of_repeated_simulations() -> None:
    fits = [control(*styled(1500, {"length": 0.5}, seed)) for seed in range(60)]
    found = np.array([fit.coefficients[0] for fit in fits])
    told = np.array([fit.errors[0] for fit in fits])
    assert told.mean() == pytest.approx(found.std(), rel=0.25)


# a known script keeps other columns than those it was asked for
@pytest.mark.parametrize("names", [["length"], ["lists"], ["length", "lists"], ["bold", "length"]])
def test_equals_scipys_optimiser(names: list[str]) -> None:
    battles, features = styled(300, {"length": 0.4, "lists": 0.2, "bold": -0.3}, 1)
    features = {name: features[name] for name in names}
    battles = replace(battles, weight=np.random.default_rng(0).choice([1.0, 3.0], 300))
    columns = np.stack(
        [each / np.sqrt(np.average(each**2, weights=battles.weight)) for each in features.values()]
    )

    def loss(point: Floats) -> float:
        scores = np.append(point[:3], 0)
        logit = scores[battles.left] - scores[battles.right] + point[3:] @ columns
        each = np.logaddexp(0, logit) - battles.outcome * logit
        return float(each @ battles.weight)

    found = optimize.minimize(
        loss, np.zeros(3 + len(names)), method="BFGS", options={"gtol": 1e-8}
    ).x
    result = control(battles, features, baseline="d")
    np.testing.assert_allclose(result.ratings.scores, np.append(found[:3], 0), atol=1e-5)
    np.testing.assert_allclose(result.coefficients, found[3:], atol=1e-5)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_the_gradient_vanishes(prior: float) -> None:
    battles, features = styled(2000, {"length": 0.4}, 1)
    result = control(battles, features, prior=prior)
    length = features["length"] / np.sqrt(np.mean(features["length"] ** 2))
    scores = result.ratings.scores
    if prior:
        # the mean was subtracted; the fit has it where the prior pulls as much as it pushes
        shift = optimize.brentq(lambda x: (1 / (1 + np.exp(-scores - x)) - 0.5).sum(), -3, 3)
        scores = scores + shift
    logit = scores[battles.left] - scores[battles.right] + result.coefficients[0] * length
    residual = battles.outcome - 1 / (1 + np.exp(-logit))
    gradient = np.bincount(battles.left, residual) - np.bincount(battles.right, residual)
    gradient += prior * (0.5 - 1 / (1 + np.exp(-scores)))
    assert np.abs(gradient).max() < 1e-8
    assert abs(residual @ length) < 1e-8


def test_without_features_it_is_bradley_terry() -> None:
    battles, _ = styled(500, {}, 2)
    for prior in (0.0, 2.0):
        scores = control(battles, {}, prior=prior).ratings.scores
        np.testing.assert_allclose(scores, bradley_terry(battles, prior=prior).scores, atol=1e-9)


def test_neither_side_nor_the_order_of_features_matters() -> None:
    battles, features = styled(1000, {"length": 0.6, "lists": -0.4}, 3)
    one = control(battles, features)
    other = control(swapped(battles), {name: -features[name] for name in ("lists", "length")})
    np.testing.assert_allclose(one.ratings.scores, other.ratings.scores, atol=1e-9)
    np.testing.assert_allclose(one.coefficients, other.coefficients[::-1], atol=1e-9)


def test_the_scale_of_a_feature_does_not_matter() -> None:
    battles, features = styled(1000, {"length": 0.6}, 3)
    one = control(battles, features)
    other = control(battles, {"length": 1000 * features["length"]})
    np.testing.assert_allclose(one.coefficients, other.coefficients, atol=1e-9)


def test_length_is_the_default_feature() -> None:
    battles, _ = styled(1000, {}, 4)
    with pytest.raises(DataError, match="needs the lengths"):
        control(battles)
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 500, (2, 1000)).astype(np.float64)
    battles = replace(battles, length_left=lengths[0], length_right=lengths[1])
    expected = (lengths[0] - lengths[1]) / (lengths[0] + lengths[1])
    np.testing.assert_allclose(length_feature(battles), expected)
    one, other = control(battles), control(battles, {"length": expected})
    np.testing.assert_array_equal(one.ratings.scores, other.ratings.scores)


def test_relative_differences_by_hand() -> None:
    assert relative_difference([3, 0, 0], [1, 0, 5]).tolist() == [0.5, 0, -1]
    assert relative_difference([3, 0], [1, 0], 1).tolist() == [0.4, 0]


def test_samples_spread_as_the_sandwich_says() -> None:
    battles, features = styled(2000, {"length": 0.4}, 5)
    result = control(battles, features, baseline="a", rounds=100)
    assert result.samples is not None
    assert result.samples.shape == (100, 4)
    assert np.abs(result.samples[:, 0]).max() == 0
    plain = control(battles, {}, baseline="a", rounds=100)
    assert plain.samples is not None
    np.testing.assert_allclose(
        result.samples[:, 1:].std(axis=0), plain.samples[:, 1:].std(axis=0), rtol=0.25
    )
    np.testing.assert_allclose(result.samples.mean(axis=0), result.ratings.scores, atol=0.05)


def test_features_that_say_nothing_or_everything() -> None:
    battles, features = styled(400, {"length": 0.4}, 6)
    with pytest.raises(DataError, match="'none' is zero in every battle"):
        control(battles, {"none": np.zeros(400)})
    with pytest.raises(DataError, match="must be one finite number a battle"):
        control(battles, {"short": np.zeros(3)})
    model = SCORES[battles.left] - SCORES[battles.right]
    for bad in (
        {"model": model},
        {"one": features["length"], "two": 2 * features["length"]},
        {"winner": battles.outcome - 0.5},
    ):
        with pytest.raises(DataError, match="leave it out"):
            control(battles, bad)


def test_disconnected_models_are_refused_as_without_style() -> None:
    battles = Battles.of_names(["a", "c"] * 2, ["b", "d"] * 2, [1, 1, 0, 0])
    with pytest.raises(DataError, match="nothing connects 'a' and 'c'"):
        control(battles, {"length": np.array([1.0, 2.0, 3.0, -1.0])})


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
    table = category_table(battles, rounds=200, prior=0, baseline="base")
    assert table.categories == ("x", "y", "z")
    assert table.prompts.tolist() == [50, 50, 50]
    assert table.battles.tolist() == [100, 100, 100]
    part = bradley_terry(battles.of_category("y"), baseline="base").scores
    np.testing.assert_allclose(table.scores[1], part)
    value, lower, upper = table.win_rates()
    assert value[:, 2].tolist() == lower[:, 2].tolist() == upper[:, 2].tolist() == [0.5] * 3
    assert (lower[:, :2] < value[:, :2]).all()
    assert (value[:, :2] < upper[:, :2]).all()


def test_six_intervals_hold_together() -> None:
    # independent cells: the width is near the normal quantile of 0.95 ** (1 / 6)
    table = category_table(in_categories(600, 1), rounds=3000, baseline="base")
    assert table.width == pytest.approx(2.63, abs=0.12)
    truth = 0.7
    held = []
    for seed in range(60):
        table = category_table(in_categories(240, seed), rounds=150, baseline="base", seed=seed)
        inside = (table.lower[:, :2] <= truth) & (truth <= table.upper[:, :2])
        held.append(inside.all())
    assert np.mean(held) >= 0.88


def test_categories_of_ones_own_may_overlap() -> None:
    battles = in_categories(60, 2)
    own = {"first": battles.prompts[:40], "second": battles.prompts[20:]}
    table = category_table(battles, own, rounds=50)
    assert table.categories == ("first", "second")
    assert table.prompts.tolist() == [40, 40]


def test_a_model_that_is_missing_in_a_category() -> None:
    battles = Battles.of_names(
        ["a", "a", "a", "a", "b", "b"],
        ["c"] * 6,
        [1, 0, 1, 0, 1, 0],
        prompt=["p1", "p2", "q1", "q2", "q1", "q2"],
        category={"p1": "p", "p2": "p", "q1": "q", "q2": "q"},
    )
    table = category_table(battles, rounds=50)
    assert np.isnan(table.scores).tolist() == [[False, True, False], [False] * 3]
    assert np.isnan(table.lower).tolist() == [[False, True, False], [False] * 3]


def test_categories_that_are_too_small() -> None:
    with pytest.raises(DataError, match="none has one"):
        category_table(Battles.of_names(["a"], ["b"], [1]))
    with pytest.raises(DataError, match="'tiny' has 1"):
        category_table(in_categories(30, 0), {"tiny": ["p001"]})
