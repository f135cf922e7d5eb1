from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from micronas.errors import DataError
from micronas.judge.adaptive import NOT_CHOSEN, AdaptiveSettings, Known, stages
from micronas.judge.rows import VerdictRow
from micronas.judge.run import estimate, run
from micronas.judge.store import dropped_of, verdicts_of, writing
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
    # pilot; 80 candidates are looked at once, 40 twice; the rest of the models on the best 20
    assert sizes == [5 * 8, 80, 40, 20 * (8 - 2)]
    assert (~np.isnan(known)).all(axis=1).sum() == 25


def test_where_all_prompts_tell_as_much_none_is_chosen() -> None:
    won = simulated(300, 20, 0, every=1)
    known, sizes = replay(AdaptiveSettings(prompts=30, pilot=5), won, won[:, :0])
    assert sizes == [5 * 20, 6 * 30, 30 * (20 - 1)]
    complete = (~np.isnan(known)).all(axis=1)
    assert set(np.flatnonzero(complete)) == set(np.random.default_rng(0).permutation(300)[:35])


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
        complete = known[(~np.isnan(known)).all(axis=1)]
        calls.append(sum(sizes))
        adaptive.append(spearmanr(complete.mean(axis=0), truth).statistic)
        drawn = np.random.default_rng(seed).permutation(len(won))[: calls[-1] // 10]
        fixed.append(spearmanr(won[drawn].mean(axis=0), truth).statistic)
    # the fixed design had twice the calls: 20 models on a tenth of their number of prompts
    assert np.mean(adaptive) >= np.mean(fixed) - 0.005


@pytest.mark.parametrize("lost", [False, True])
def test_prompts_that_all_win_tell_as_little_as_those_that_all_lose(lost: bool) -> None:
    won = simulated(600, 12, 0, every=6)
    won = 1 - won if lost else won
    known, _ = replay(AdaptiveSettings(prompts=20, pilot=5, candidates=20), won, won[:, :0])
    # five of six prompts are hard, or easy, for all: 3 of 20 at random
    complete = np.flatnonzero((~np.isnan(known)).all(axis=1))
    pilot = np.random.default_rng(0).permutation(600)[:5]
    assert np.sum(np.setdiff1d(complete, pilot) % 6 == 5) >= 12


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


def test_a_run_judges_all_models_on_chosen_prompts_and_resumes(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.db", tmp_path / "parts.db"
    judge = Judge()
    summary = run_once(judge, whole, 20, 3, adaptive=ADAPTIVE)
    # in both orders: 2 prompts of 3 models, 12 looks, 4 prompts of the 2 models left
    assert summary.wanted == summary.judged == summary.calls == 2 * (2 * 3 + 12 + 4 * 2)
    rows = verdicts_of(whole)
    assert len(rows) == 2 * 3 * (2 + 4)
    assert {reason for _, reason in dropped_of(whole)} == {NOT_CHOSEN}
    assert len(dropped_of(whole)) == 2 * 8

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


def test_an_estimate_counts_the_calls_of_all_stages(tmp_path: Path) -> None:
    with serve(Judge()) as url:
        settings = settings_for(url, adaptive=ADAPTIVE)
        expected = estimate(settings, prompts_for(20), answers_for(20, 3), tmp_path / "run.db")
        done = run(settings, prompts_for(20), answers_for(20, 3), tmp_path / "run.db")
    assert expected.calls == done.calls
    # at most: three models on the pilot's two prompts, 12 candidates once, 6 twice, 4 by the third
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
