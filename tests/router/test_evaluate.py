from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from micronas.errors import BudgetError, DataError
from micronas.router.baselines import BASELINES, Split, oracle, random_mix
from micronas.router.embedding import Embedding, embedded_cores, embedder_of
from micronas.router.evaluate import OURS, evaluate, paired_interval, random_parts
from micronas.router.fit import FitSettings
from micronas.router.scores import ScoreTable
from tests.router.world import EXPERTS, table

Floats = NDArray[np.float64]
ACTIVE = np.array([expert.active for expert in EXPERTS])
SETTINGS = FitSettings(embedding=Embedding(kind="ngrams", dimensions=32))


def split(count: int = 200) -> Split:
    known = table(count)
    vectors = embedder_of(SETTINGS.embedding)(known.prompts)
    half = count // 2
    return Split(
        vectors[:half], known.scores[:half], vectors[half:], known.scores[half:], ACTIVE, ACTIVE
    )


def by_hand(scores: list[list[float]], active: list[float]) -> Split:
    array = np.array(scores)
    vectors = np.zeros((len(scores), 2))
    return Split(vectors, array, vectors, array, np.array(active), np.array(active))


def test_the_mix_is_the_upper_hull() -> None:
    # means 0.2, 0.3, 0.8 at 1, 3 and 5: the middle one lies below the line of the others
    mean = by_hand([[0.2, 0.3, 0.8]], [1.0, 3.0, 5.0])
    shares = random_mix(mean, [1.0, 2.0, 4.0, 9.0])
    expected = [[1, 0, 0], [0.75, 0, 0.25], [0.25, 0, 0.75], [0, 0, 1]]
    assert np.vstack(shares) == pytest.approx(np.array(expected, np.float64))


def test_the_oracle_takes_the_cheapest_of_the_best_and_keeps_the_budget() -> None:
    known = by_hand([[1, 1], [0, 1], [0, 1], [0.9, 1]], [1.0, 5.0])
    free, tight = oracle(known, [9.0, 3.0])
    assert free[:, 1].tolist() == [0, 1, 1, 1]
    assert tight[:, 1].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "best single"])
def test_baselines_keep_budgets(name: str) -> None:
    known = split(120)
    budgets = [1e9, 3e9, 8e9, 30e9]
    shares = BASELINES[name](known, budgets)
    for budget, share in zip(budgets, shares, strict=True):
        assert share.sum(axis=1) == pytest.approx(np.ones(60))
        # on test prompts a budget is kept up to chance
        slack = 1e-6 if name in ("oracle", "random mix", "best single within") else 0.5
        assert (share @ ACTIVE).mean() <= budget * (1 + slack)


@pytest.mark.parametrize("name", ["kNN scores", "ridge scores", "two-model threshold"])
def test_predictors_learn_who_is_good_at_what(name: str) -> None:
    known = split(400)
    (share,) = BASELINES[name](known, [12e9])
    (mix,) = random_mix(known, [12e9])
    gain = ((share - mix) * known.test_scores).sum(axis=1).mean()
    assert gain > 0.05


def evaluated(known: ScoreTable, budgets: list[float], parts: Any) -> Any:
    cores = embedded_cores(embedder_of(SETTINGS.embedding), known.prompts)
    sizes = {"active": ACTIVE, "total": ACTIVE}
    return evaluate(known, cores, budgets=budgets, parts=parts, settings=SETTINGS, **sizes)


def test_evaluation_of_a_small_world() -> None:
    done = evaluated(table(100), [3e9, 12e9], random_parts(100, 2))
    rows = {(row["budget"], row["method"]): row for row in done.rows(rounds=200)}
    assert len(rows) == 2 * (1 + len(BASELINES))
    for budget in (3e9, 12e9):
        ours = rows[budget, OURS]
        assert ours["difference"] == ours["low"] == ours["high"] == 0
        for method in ("random mix", "best single within", "two-model threshold"):
            row = rows[budget, method]
            assert row["difference"] == pytest.approx(ours["score"] - row["score"])
            assert row["low"] <= row["difference"] <= row["high"]
        assert rows[budget, "oracle"]["difference"] < 0
    assert rows[12e9, OURS]["score"] > rows[12e9, "random mix"]["score"]
    assert np.isfinite(done.scores[OURS]).sum(axis=2).tolist() == [[40, 40], [40, 40]]


def test_a_prompt_in_both_parts_and_a_budget_below_all_experts_are_errors() -> None:
    known = table(60)
    with pytest.raises(BudgetError, match=r"500M is below 1B"):
        evaluated(known, [5e8], [])
    with pytest.raises(DataError, match="both fitted and tested on"):
        evaluated(known, [3e9], [(np.arange(40), np.arange(39, 60))])


@pytest.mark.filterwarnings("error")
def test_too_few_prompts_are_one_error_without_warnings_of_numpy() -> None:
    with pytest.raises(DataError, match="have 5 labelled prompts"):
        evaluated(table(60).rows(range(3)), [3e9], random_parts(3, 1))


def test_random_parts() -> None:
    for part, test in random_parts(50, 3):
        assert sorted([*part, *test]) == list(range(50))
        assert len(part) == 30
    first, second = (random_parts(50, 1, seed=seed)[0][0].tolist() for seed in (0, 1))
    assert first != second
    with pytest.raises(DataError, match="both parts"):
        random_parts(1, 1)


@pytest.mark.long
def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for number in range(200):
        # one prompt in two splits is no two prompts: both rows are the same draw
        row = np.where(rng.random(200) < 0.6, 0.1, -0.1)
        table_of = np.vstack([row, row])
        table_of[0, :60] = np.nan
        table_of[1, 140:] = np.nan
        _, low, high = paired_interval(table_of, rounds=200, seed=number)
        hits += low <= 0.02 <= high
    assert 0.9 < hits / 200 < 0.985


def test_a_paired_mean_by_hand() -> None:
    nan = np.nan
    mean, low, high = paired_interval(np.array([[1.0, nan, 3.0], [nan, 5.0, 3.0]]), rounds=50)
    assert mean == pytest.approx((2 + 4) / 2)
    assert low <= mean <= high
