from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from micronas.errors import DataError
from micronas.judge.adaptive import NOT_CHOSEN, AdaptiveSettings, Known, stages
from micronas.judge.leaderboard import Statistics, board_of, leaderboard
from micronas.judge.response import pool_rates
from micronas.judge.rows import VerdictRow
from micronas.judge.run import estimate, run
from micronas.judge.store import battles_of, dropped_of, verdicts_of, writing
from tests.judge.judge_server import Judge, serve
from tests.judge.runs import answers_for, prompts_for
from tests.judge.test_choose import simulated
from tests.judge.test_run import run_once, settings_for


def replay(
    settings: AdaptiveSettings, won: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """Play the stages on known outcomes [prompts, models]; return what was judged."""
    known, sizes = np.full(won.shape, np.nan), []
    for cells in stages(settings, lambda: known, others):
        assert all(np.isnan(known[cell]) for cell in cells)
        for cell in cells:
            known[cell] = won[cell]
        sizes.append(len(cells))
    return known, sizes


def test_stages_have_the_sizes_that_the_settings_say() -> None:
    won = simulated(200, 8, 0, every=6)
    settings = AdaptiveSettings(prompts=20, pilot=5, candidates=4, looks=2)
    known, sizes = replay(settings, won, np.empty((200, 0)))
    # pilot; a look at 25 of 80 candidates, then at the others, then at 40; then what all models on
    # 20 prompts take, half of it alike
    assert sizes == [5 * 8, 25, 55, 40, 60, 20, 20, 20]
    assert (np.sum(~np.isnan(known), axis=1) > 2).sum() <= 5 + 25


def test_where_all_prompts_tell_as_much_none_is_chosen() -> None:
    won = simulated(300, 20, 0, every=1)
    known, sizes = replay(AdaptiveSettings(prompts=30, pilot=5), won, won[:, :0])
    # the pilot has a quarter as many prompts at least, and the first looks end the choice
    assert sizes == [7 * 20, 38, 285, 95, 95, 95]
    first = np.random.default_rng(0).permutation(300)[:20]
    assert (~np.isnan(known[first])).all()


def test_models_with_near_neighbours_are_judged_more() -> None:
    rng = np.random.default_rng(0)
    odds = np.array([-4.0, 4.0, -0.1, 0.0, 0.1, 0.2])
    won = (rng.random((400, 6)) < 1 / (1 + np.exp(-odds))).astype(float)
    known, _ = replay(AdaptiveSettings(prompts=40, looks=1), won, won[:, :0])
    judged = (~np.isnan(known)).sum(axis=0)
    assert judged[:2].max() < judged[2:].min()


def test_a_single_model_is_judged_on_all_that_is_asked_for() -> None:
    won = simulated(60, 1, 0)
    _, sizes = replay(AdaptiveSettings(prompts=8, pilot=2), won, won[:, :0])
    assert sum(sizes) >= 8


def test_other_models_spare_the_looks() -> None:
    won = simulated(300, 12, 1)
    settings = AdaptiveSettings(prompts=40)
    known, sizes = replay(settings, won[:, ::2], won[:, 1::2])
    assert sizes == [40 * 6]
    assert np.mean(np.flatnonzero(~np.isnan(known[:, 0])) % 2) > 0.95


def test_half_the_calls_rank_as_well() -> None:
    fixed, adaptive, calls = [], [], []
    for seed in range(12):
        won = simulated(1200, 20, seed, every=6)
        truth = won.mean(axis=0)
        settings = AdaptiveSettings(prompts=60, seed=seed)
        known, sizes = replay(settings, won, np.empty((len(won), 0)))
        rates, _ = pool_rates(known, np.ones((1, len(won)), np.intp))
        calls.append(sum(sizes))
        adaptive.append(spearmanr(rates, truth).statistic)
        drawn = np.random.default_rng(seed).permutation(len(won))[: calls[-1] // 10]
        fixed.append(spearmanr(won[drawn].mean(axis=0), truth).statistic)
    # the fixed design had twice the calls: 20 models on a tenth of their number of prompts
    assert np.mean(adaptive) >= np.mean(fixed) - 0.005


@pytest.mark.parametrize("lost", [False, True])
def test_prompts_that_all_win_tell_as_little_as_those_that_all_lose(lost: bool) -> None:
    won = simulated(600, 12, 0, every=6)
    won = 1 - won if lost else won
    known, _ = replay(AdaptiveSettings(prompts=20, pilot=5, candidates=20), won, won[:, :0])
    # five of six prompts are hard, or easy, for all: 4 of 25 at random
    chosen = np.flatnonzero((~np.isnan(known)).sum(axis=1) > 3)
    pilot = np.random.default_rng(0).permutation(600)[:5]
    assert np.sum(np.setdiff1d(chosen, pilot) % 6 == 5) >= 15


def test_what_is_known_averages_orders() -> None:
    earlier = [VerdictRow("p", model, "base", "first", "j", None, 0.0) for model in ("m", "x", "y")]
    known = Known(["p", "q"], ["m", "n"], earlier)
    assert known.others.shape == (2, 2)  # x and y: a run's own verdicts are read as they come
    known.add("p", "m", 1.0)
    known.add("p", "m", 0.0)
    known.add("q", "n", None)
    np.testing.assert_array_equal(known.won(), [[0.5, np.nan], [np.nan, 0.5]])
    assert Known(["p"], ["m"], earlier[:2]).others.shape == (1, 0)


ADAPTIVE: dict[str, Any] = {"prompts": 4, "pilot": 2, "candidates": 3, "looks": 1}


def test_a_run_is_rated_on_all_that_it_looked_at_and_resumes(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.db", tmp_path / "parts.db"
    judge = Judge()
    summary = run_once(judge, whole, 20, 3, adaptive=ADAPTIVE)
    # in both orders: 2 prompts of 3 models, 5 looks that find prompts alike, what 4 prompts take
    assert summary.wanted == summary.judged == summary.calls == 2 * (2 * 3 + 5 + 4 * 3 - 4)
    rows, aside = verdicts_of(whole), dropped_of(whole)
    assert set(Counter(row.prompt_id for row in rows).values()) == {2 * 3}
    assert max(Counter(row.prompt_id for row, _ in aside).values()) < 2 * 3
    assert {reason for _, reason in aside} == {NOT_CHOSEN}
    assert len(rows) + len(aside) == summary.wanted

    every = [*rows, *(row for row, _ in aside)]
    won = np.full((20, 3), np.nan)
    for model in (1, 2, 3):
        for prompt in range(20):
            key = (f"p{prompt:04d}", f"m{model}")
            outcomes = [row.outcome for row in every if (row.prompt_id, row.model) == key]
            won[prompt, model - 1] = np.mean(outcomes) if outcomes else np.nan
    looked = won[~np.isnan(won).all(axis=1)]
    rates, _ = pool_rates(looked, np.ones((1, len(looked)), np.intp))
    board = board_of(whole, Statistics(rounds=50))
    found = dict(zip(board.models, board.rates, strict=True))
    assert [found[f"m{model}"] for model in range(4)] == pytest.approx([0.5, *rates])
    judged = dict(zip(board.models, board.prompts, strict=True))
    assert [judged[f"m{model}"] for model in (1, 2, 3)] == (~np.isnan(won)).sum(axis=0).tolist()
    assert (board.lower <= board.rates).all()
    assert (board.rates <= board.upper).all()

    # a run that money stops goes on, pays nothing twice and ends at the same set
    again = Judge()
    for limit in (judge.usd / 3, judge.usd * 2 / 3, None):
        last = run_once(again, parts, 20, 3, adaptive=ADAPTIVE, max_usd=limit)
        assert last.stopped is (limit is not None)
        assert limit is None or last.usd <= limit
    assert verdicts_of(parts) == rows
    assert again.replies == judge.replies
    assert run_once(again, parts, 20, 3, adaptive=ADAPTIVE).calls == 0

    # all prompts after all: what was looked at is not paid again
    assert run_once(again, parts, 20, 3).calls == 2 * 3 * 20 - judge.replies
    assert (len(verdicts_of(parts)), dropped_of(parts)) == (2 * 3 * 20, [])
    plain = leaderboard(battles_of(parts), Statistics(rounds=50, prior=1))
    assert board_of(parts, Statistics(rounds=50, prior=1)).rows() == plain.rows()


def test_an_estimate_counts_the_calls_of_all_stages(tmp_path: Path) -> None:
    with serve(Judge()) as url:
        settings = settings_for(url, adaptive=ADAPTIVE)
        expected = estimate(settings, prompts_for(20), answers_for(20, 3), tmp_path / "run.db")
        done = run(settings, prompts_for(20), answers_for(20, 3), tmp_path / "run.db")
    # at most: all 12 candidates once, and what 4 prompts take; the run found prompts alike
    assert (expected.calls, done.calls) == (2 * (2 * 3 + 12 + 4 * 2), 2 * (2 * 3 + 5 + 4 * 3 - 4))
    # three models on the pilot's two prompts, 12 candidates once, 6 twice, 4 by the third
    more = settings_for(url, adaptive={**ADAPTIVE, "looks": 2})
    most = estimate(more, prompts_for(20), answers_for(20, 3), tmp_path / "other.db")
    assert most.calls == 2 * (2 * 3 + 12 + 6 + 4)


def test_verdicts_of_a_run_choose_the_prompts_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with writing(path) as store:
        store.put_verdicts(
            VerdictRow(f"p{n:04d}", model, "m0", "first", "old", None, float(won and n >= 16))
            for n in range(20)
            for model, won in (("x", True), ("y", False))
        )
    run_once(Judge(), path, 20, 3, adaptive={"prompts": 4})
    judged = {row.prompt_id for row in verdicts_of(path) if row.model == "m1"}
    assert judged == {"p0016", "p0017", "p0018", "p0019"}


def test_answers_are_needed_for_every_prompt(tmp_path: Path) -> None:
    settings = settings_for("http://127.0.0.1:9/v1", adaptive=ADAPTIVE)
    with pytest.raises(DataError, match="lacks 1"):
        run(settings, prompts_for(20), answers_for(20, 3)[:-1], tmp_path / "run.db")
