"""A space of several families: what is drawn from it, and a search, on the toy data set."""

import math
import os
import random
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from micronas.checkpoint import Checkpoint
from micronas.data import TensorSplit
from micronas.errors import BudgetError, ConfigError, DataError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.candidate import Candidate
from micronas.nas.folds import folds_of
from micronas.nas.problem import Problem
from micronas.nas.search import SearchResult
from micronas.nas.settings import DnasSettings, SearchSettings, StrategySettings
from micronas.nas.strategies.base import Context, Training
from micronas.nas.textbook import scaled, shipped, textbook_networks
from micronas.nas.trials import Score, Trials
from micronas.space.open_space import OpenSpace
from micronas.space.space import Space
from micronas.train.recipe import Recipe
from tests.toy import data
from tests.training import search

pytestmark = pytest.mark.usefixtures("device")

BOARD = Board.load("stm32f446re")
BUDGET = Budget(sram="6 KB", macs="60000")
LIMITS = BUDGET.on(BOARD)
OPEN = OpenSpace.model_validate(
    yaml.safe_load("""
name: toy
classes: 4
textbook: [ds_cnn]
families:
  rows:
    input: [12, 1, 12]
    stem: {width: [4, 8, 12, 16], kernel: [3, 1], stride: {any: [1, 2]}}
    blocks:
    - {type: residual, width: [4, 8, 12, 16], kernel: [3, 1]}
    - {type: separable, kernel: [3x1, 5x1], repeat: 2, skip: true}
  flat:
    input: [12, 12, 1]
    stem: {width: [4, 8, 12, 16, 20], kernel: 3, stride: 2}
    blocks:
    - {type: separable, width: [4, 8, 12, 16, 20], repeat: 2}
""")
)
SETTINGS = SearchSettings(draws=4, trial=Recipe(epochs=2, batch_size=16, learning_rate=1e-2))


def run(
    checkpoint: Checkpoint | None = None,
    settings: StrategySettings = SETTINGS.model_copy(update={"champions": 1}),  # noqa: B008
    space: OpenSpace = OPEN,
    budget: Budget = BUDGET,
    **more: Any,
) -> SearchResult:
    given = {"board": BOARD, "budget": budget, "settings": settings, "checkpoint": checkpoint}
    return search(space, data(), **given, **more)


def test_descendants_have_four_bits_where_their_parents_have() -> None:
    space = OPEN.model_copy(update={"bits": (4, 8)})
    for budget, some in ((Budget(flash="5 KB", counts="network"), True), (BUDGET, False)):
        problem, source = Problem(space, BOARD, budget), random.Random(0)
        drawn = problem.draw(12, source)
        four = [each for each in drawn if "b4" in str(each)]
        assert bool(four) == some
        near = problem.descendants(four or drawn, 8, source)
        having = sum("b4" in str(each) for each in near)
        assert having > len(near) / 2 if some else not having  # flash that is left may take 8
        assert all(problem.limits.fits(each.costs) for each in near)


def test_draws_cover_the_families_evenly_and_fit() -> None:
    problem, source = Problem(OPEN, BOARD, BUDGET), random.Random(0)
    first = problem.draw(4, source)
    assert len({str(each) for each in first}) == 4
    assert sorted(each.space.title for each in first) == ["toy/flat"] * 2 + ["toy/rows"] * 2
    assert all(LIMITS.fits(each.costs) for each in first)


def test_spare_draws_leave_those_of_the_most_macs_and_bytes() -> None:
    def capacities(space: OpenSpace, spare: int) -> list[list[int]]:
        """Those of each family, smallest first."""
        drawn = Problem(space, BOARD, BUDGET).draw(6, random.Random(0), spare=spare)
        of = [(each.family, each.costs.macs * each.costs.flash_bytes) for each in drawn]
        return [sorted(c for own, c in of if own == name) for name in space.families]

    for few, many in zip(capacities(OPEN, 1), capacities(OPEN, 8), strict=True):
        assert len(few) == len(many) == 3
        assert few[0] < many[0]
        assert few[-1] <= many[-1]
    small = OPEN.model_copy(update={"fill": 0.25})
    assert capacities(small, 8) == capacities(small, 1)


def test_later_draws_are_new_and_of_the_families_that_lead() -> None:
    problem, source = Problem(OPEN, BOARD, BUDGET), random.Random(1)
    first = problem.draw(9, source)
    leading = sorted(first, key=lambda each: each.space.title != "toy/rows")
    later = problem.descendants(leading, 4, source)
    assert later
    assert {each.space.title for each in later} == {"toy/rows"}
    assert not {str(each) for each in later} & {str(each) for each in first}
    assert all(LIMITS.fits(each.costs) for each in later)


def test_a_space_that_need_not_be_filled_draws_small_networks_too() -> None:
    """Sizes from a quarter of the budget up, evenly on a logarithmic scale: half below a half."""
    space = OPEN.model_copy(update={"fill": 0.25})
    problem, source = Problem(space, BOARD, BUDGET), random.Random(3)
    shares = [
        max(LIMITS.used(each.costs).values()) for _ in range(12) for each in problem.draw(4, source)
    ]
    assert 0.2 < min(shares) < 0.5
    assert max(shares) <= 1
    assert 0.25 < sum(share < 0.5 for share in shares) / len(shares) < 0.75
    roomy = Budget(sram="100 KB")
    widest, published = Problem(space, BOARD, roomy).rivals(data())
    assert published.label == "ds_cnn x1.00"
    assert Problem(OPEN, BOARD, roomy).rivals(data()) == [widest]


@pytest.mark.parametrize(
    ("groups", "folds", "expected"), [(7, "auto", 3), (40, "auto", 1), (7, 2, 2)]
)
def test_every_group_ranks_where_groups_are_few(groups: int, folds: Any, expected: int) -> None:
    """People of a fold's training part are never those that rank; three folds see all of them."""
    few = replace(data(), train=by_groups(groups))
    found = folds_of(few, SearchSettings(folds=folds), seed=0)
    assert len(found) == expected
    ranked = set[int]()
    for each in found:
        trained, ranking = (set(split.groups.tolist()) for split in (each.train, each.validation))
        assert not trained & ranking
        assert len(each.train.labels) + len(each.validation.labels) == len(few.train.labels)
        ranked |= ranking
    assert (len(ranked) == groups) == (expected > 1)


def test_groups_of_one_class_each_rank_nothing() -> None:
    """Each fold ranked networks on a class that it had not trained them on."""
    train = data().train
    inputs = train.batch(torch.arange(len(train.labels)), None)
    one_each = TensorSplit(inputs, train.labels, groups=train.labels)
    with pytest.raises(DataError, match=r"must have groups .* one part of 4 in all; number"):
        folds_of(replace(data(), train=one_each), SearchSettings(), seed=0)
    few = TensorSplit(inputs[:4], torch.arange(4))
    with pytest.raises(DataError, match=r"must have examples .* 4 in all; add examples of that"):
        folds_of(replace(data(), train=few), SearchSettings(), seed=0)


def by_groups(count: int) -> TensorSplit:
    train = data().train
    everything = torch.arange(len(train.labels))
    return TensorSplit(train.batch(everything, None), train.labels, groups=everything % count)


@pytest.mark.long
def test_scores_are_means_over_folds() -> None:
    """Of what the checkpoint holds for each training; the first is as without other folds."""
    few = replace(data(), train=by_groups(7))
    problem = Problem(OPEN, BOARD, BUDGET)
    (candidate,) = problem.draw(1, random.Random(0))
    folds = folds_of(few, SearchSettings(), seed=0)

    def tried(count: int) -> tuple[Candidate, list[Score]]:
        checkpoint = Checkpoint()
        context = Context(problem, few, SETTINGS, checkpoint=checkpoint)
        vars(context)["folds"] = folds[:count]
        trials = Trials(context, planned=count)
        (found,), epochs = trials([Training(candidate, SETTINGS.trial, SETTINGS.trial.epochs)])
        assert epochs == SETTINGS.trial.epochs * count
        return found, list((checkpoint.load("trials") or {}).values())

    (alone, one), (both, two) = tried(1), tried(2)
    (right,) = alone.comparisons[-1].values
    assert one == [(alone.trial_loss, alone.trial_score, right)] == two[:1]
    assert right.count("1") / len(folds[0].validation.labels) == alone.trial_score
    assert both.comparisons[-1].values == (two[0][2], two[1][2])
    assert both.comparisons[-1].groups == tuple(
        tuple(fold.validation.groups.tolist()) for fold in folds[:2]
    )
    assert two[1] != two[0]
    assert both.trial_loss == pytest.approx((two[0][0] + two[1][0]) / 2)
    assert both.trial_score == pytest.approx((two[0][1] + two[1][1]) / 2)


@pytest.mark.long
def test_the_best_of_two_families_train_longer() -> None:
    """Of six networks of two families one of each goes on to three times the epochs."""
    settings = SETTINGS.model_copy(update={"draws": 6, "generations": 0, "champions": 2})
    checkpoint, told = Checkpoint(), list[tuple[int, int]]()
    result = run(
        checkpoint,
        settings,
        OPEN.model_copy(update={"textbook": ()}),
        progress=lambda phase, done, total, numbers: told.append((done, total)),
    )
    first, second, *others = result.candidates
    scores = checkpoint.load("trials") or {}
    assert told[-1] == (8, 8)
    assert {first.family, second.family} == {"rows", "flat"}
    assert result.epochs == 6 * 2 + 2 * 4
    for each in (first, second):
        assert each.trial_loss == scores[f"trial/{each} after 6"][0]
        rivals = [other for other in others if other.family == each.family]
        before = scores[f"trial/{each} after 2"][0]
        assert all(before <= (other.trial_loss or 0) for other in rivals)
        assert [one.epochs for one in each.comparisons] == [2, 6]
    assert (first.trial_loss or 0) <= (second.trial_loss or 0)
    assert {each.trial_epochs for each in others} == {2}
    kept = checkpoint.load(f"trial/{first}") or {}
    assert result.weights.keys() == kept["module"].keys()
    assert all(torch.equal(result.weights[name], each) for name, each in kept["module"].items())
    assert checkpoint.load(f"trial/{second}") is None
    # a final training longer than the trial begins with random weights
    assert result.trained == 6
    assert result.begin(Recipe(epochs=6)) is result.weights
    assert result.begin(Recipe(epochs=7)) is None


@pytest.fixture(scope="module")
def alone(device: str) -> SearchResult:
    return run(workers=1)


@pytest.mark.long
def test_the_winner_fits_and_textbook_networks_compete(alone: SearchResult) -> None:
    assert LIMITS.fits(alone.winner.costs)
    assert alone.strategy == "halving"
    assert {each.origin for each in alone.candidates} == {"search", "textbook"}
    assert max(each.trial_score or 0 for each in alone.candidates) > 0.5
    for each in alone.candidates:
        assert not each.architecture.decisions
        assert each.space.resolve(each.choice) == each.architecture.graph()


@pytest.mark.long
def test_nothing_depends_on_processes_nor_on_one_that_is_killed(alone: SearchResult) -> None:
    killed = threading.Event()

    def kill_one() -> None:
        children = Path(f"/proc/{os.getpid()}/task/{threading.main_thread().native_id}/children")
        while not killed.is_set():
            for pid in children.read_text().split()[:1]:
                os.kill(int(pid), signal.SIGKILL)
                killed.set()
            killed.wait(0.001)

    threading.Thread(target=kill_one, daemon=True).start()
    assert run(workers=3) == alone
    assert killed.is_set()


def test_a_budget_below_every_family_and_another_strategy_are_refused() -> None:
    with pytest.raises(BudgetError, match="sram budget must reach the smallest network"):
        run(budget=Budget(sram="1 KB"))
    for other in (DnasSettings(), SETTINGS.model_copy(update={"supernet": "space"})):
        with pytest.raises(ConfigError, match=r"must have a space of one family.*'toy' has"):
            run(settings=other)


def test_the_member_nearest_to_a_budget_is_named() -> None:
    asked = Problem(OPEN, BOARD, Budget(macs="100"))
    least = {}
    for way in OPEN.ways():
        member = asked.member(*way)
        least[member.space.title] = min(
            member.costs(member.least()).macs, least.get(member.space.title, math.inf)
        )
    # in either order of the families
    assert len(set(least.values())) == 2
    nearest = min(least, key=lambda title: least[title])
    for families in (OPEN.families, dict(reversed(OPEN.families.items()))):
        space = OPEN.model_copy(update={"families": families})
        with pytest.raises(BudgetError, match=f"'{nearest}'"):
            run(space=space, budget=Budget(macs="100"))


def test_where_draws_miss_the_smallest_networks_are_given() -> None:
    wide = list(range(64, 1024, 4))
    family = {
        "input": [12, 12, 1],
        "stem": {"width": {"any": [4, *wide]}, "kernel": 3, "stride": 2},
        "blocks": [],
    }
    space = OpenSpace.model_validate({"name": "rare", "classes": 4, "families": {"one": family}})
    problem = Problem(space, BOARD, Budget(macs="2000"))
    (only,) = problem.draw(1, random.Random(0))
    assert str(only).startswith("one 12x12x1 3@2: 4; ")


def test_textbook_networks_are_the_widest_that_fit() -> None:
    budget = Budget(sram="24 KB", latency="60 ms")
    given = {"kind": "kws", "input_shape": (49, 10, 1), "classes": 40}
    (found,) = textbook_networks(shipped(["tc_resnet8"]), BOARD, budget, **given)
    assert found.architecture.input == (49, 1, 10)
    assert budget.on(BOARD).fits(found.costs)
    assert 0.9 < max(budget.on(BOARD).used(found.costs).values()) <= 1
    assert textbook_networks(shipped(["ds_cnn"]), BOARD, Budget(sram="2 KB"), **given) == []


def test_scaling_takes_every_width_to_the_grid() -> None:
    network = Space.load("textbook/mobilenet_v2")
    half = scaled(network, 0.5)
    assert half.stem.width == (8,)  # 6, to the nearest multiple of 4
    assert half.head.width == (224,)
    assert scaled(network, 1.0) == network
