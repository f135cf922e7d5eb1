"""A search over several families, on the toy data set."""

import math
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from micronas.checkpoint import Checkpoint
from micronas.errors import BudgetError, ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.open_search import OpenProblem
from micronas.nas.search import SearchResult, search
from micronas.nas.settings import SearchSettings
from micronas.nas.textbook import scaled, textbook_networks
from micronas.progress import Progress
from micronas.space.open_space import OpenSpace
from micronas.space.space import Space
from micronas.train.recipe import Recipe
from tests.nas.stopped import until_it_ends
from tests.toy import SPACE, data

BOARD = Board.load("stm32f446re")
BUDGET = Budget(sram="6 KB", macs="60000")
HEIGHT, WIDTH, _ = SPACE.input
OPEN = OpenSpace.model_validate(
    {
        "name": "toy",
        "classes": 4,
        "textbook": ["ds_cnn"],
        "families": {
            "rows": {
                "input": [HEIGHT, 1, WIDTH],
                "stem": {"width": [4, 8, 12, 16], "kernel": [3, 1], "stride": {"any": [1, 2]}},
                "blocks": [
                    {"type": "residual", "width": [4, 8, 12, 16], "kernel": [3, 1]},
                    {"type": "separable", "kernel": ["3x1", "5x1"], "repeat": 2, "skip": True},
                ],
            },
            "flat": {
                "input": [HEIGHT, WIDTH, 1],
                "stem": {"width": [4, 8, 12, 16, 20], "kernel": 3, "stride": 2},
                "blocks": [{"type": "separable", "width": [4, 8, 12, 16, 20], "repeat": 2}],
            },
        },
    }
)
SETTINGS = SearchSettings(draws=4, trial=Recipe(epochs=2, batch_size=8, learning_rate=1e-2))


def test_draws_cover_the_families_evenly_and_fit() -> None:
    problem, source = OpenProblem(OPEN, BOARD, BUDGET), random.Random(0)
    first = problem.first(4, source)
    assert len({str(each) for each in first}) == 4
    assert sorted(each.space.title for each in first) == ["toy/flat"] * 2 + ["toy/rows"] * 2
    assert all(problem_fits(each.costs) for each in first)


def test_later_draws_are_new_and_of_the_families_that_lead() -> None:
    problem, source = OpenProblem(OPEN, BOARD, BUDGET), random.Random(1)
    first = problem.first(9, source)
    leading = sorted(first, key=lambda each: each.space.title != "toy/rows")
    later = problem.next(leading, 4, source)
    assert later
    assert {each.space.title for each in later} == {"toy/rows"}
    assert not {str(each) for each in later} & {str(each) for each in first}
    assert all(problem_fits(each.costs) for each in later)


def problem_fits(costs: object) -> bool:
    return BUDGET.on(BOARD).fits(costs)  # type: ignore[arg-type]


def test_the_winner_fits_and_textbook_networks_compete() -> None:
    result = search(OPEN, data(), board=BOARD, budget=BUDGET, settings=SETTINGS)
    assert problem_fits(result.winner.costs)
    assert result.strategy == "halving"
    assert {each.origin for each in result.candidates} == {"search", "textbook"}
    assert max(each.trial_accuracy or 0 for each in result.candidates) > 0.5
    for each in result.candidates:
        assert isinstance(each.architecture, Space)
        assert each.architecture.is_network
        assert each.space.resolve(each.choice) == each.architecture.graph()


def test_a_search_stopped_anywhere_ends_in_the_same_result(tmp_path: Path) -> None:
    def run(checkpoint: Checkpoint, progress: Progress | None = None) -> SearchResult:
        return search(
            OPEN,
            data(),
            board=BOARD,
            budget=BUDGET,
            settings=SETTINGS,
            checkpoint=checkpoint,
            progress=progress,
        )

    found, attempts = until_it_ends(run, tmp_path / "stopped.pt", lambda attempt: attempt + 4)
    assert attempts >= 2
    assert found == run(Checkpoint())


@pytest.mark.parametrize("workers", [2, 4])
def test_nothing_depends_on_processes_nor_on_one_that_is_killed(workers: int) -> None:
    def run(workers: int) -> SearchResult:
        return search(OPEN, data(), board=BOARD, budget=BUDGET, settings=SETTINGS, workers=workers)

    killed = threading.Event()

    def kill_one() -> None:
        children = Path(f"/proc/{os.getpid()}/task/{threading.main_thread().native_id}/children")
        while not killed.is_set():
            for pid in children.read_text().split()[:1]:
                os.kill(int(pid), signal.SIGKILL)
                killed.set()

    killer = threading.Thread(target=kill_one, daemon=True)
    alone = run(1)
    killer.start()
    assert run(workers) == alone
    assert killed.is_set()


def test_a_budget_below_every_family_and_another_strategy_are_refused() -> None:
    with pytest.raises(BudgetError, match="sram budget must reach the smallest network"):
        search(OPEN, data(), board=BOARD, budget=Budget(sram="1 KB"), settings=SETTINGS)
    gates = SETTINGS.model_copy(update={"strategy": "dnas"})
    with pytest.raises(ConfigError, match="several families must be searched by halving"):
        search(OPEN, data(), board=BOARD, budget=BUDGET, settings=gates)


def test_the_member_nearest_to_a_budget_is_named() -> None:
    asked = OpenProblem(OPEN, BOARD, Budget(macs="100"))
    least = {}
    for way in OPEN.ways():
        problem = asked.problem(*way)
        least[problem.space.title] = min(
            problem.costs(problem.least()).macs, least.get(problem.space.title, math.inf)
        )
    # in either order of the families
    assert len(set(least.values())) == 2
    nearest = min(least, key=lambda title: least[title])
    for families in (OPEN.families, dict(reversed(OPEN.families.items()))):
        space = OPEN.model_copy(update={"families": families})
        with pytest.raises(BudgetError, match=f"'{nearest}'"):
            search(space, data(), board=BOARD, budget=Budget(macs="100"), settings=SETTINGS)


def test_where_draws_miss_the_smallest_networks_are_given() -> None:
    wide = list(range(64, 1024, 4))
    family = {
        "input": [HEIGHT, WIDTH, 1],
        "stem": {"width": {"any": [4, *wide]}, "kernel": 3, "stride": 2},
        "blocks": [],
    }
    space = OpenSpace.model_validate({"name": "rare", "classes": 4, "families": {"one": family}})
    problem = OpenProblem(space, BOARD, Budget(macs="2000"))
    (only,) = problem.first(1, random.Random(0))
    assert str(only).startswith("one 12x12x1 3@2: 4; ")


def test_textbook_networks_are_the_widest_that_fit() -> None:
    budget = Budget(sram="24 KB", latency="60 ms")
    (found,) = textbook_networks(
        ["tc_resnet8"], BOARD, budget, kind="kws", input_shape=(49, 10, 1), classes=40
    )
    assert isinstance(found.architecture, Space)
    assert found.architecture.input == (49, 1, 10)
    assert budget.on(BOARD).fits(found.costs)
    assert 0.9 < max(budget.on(BOARD).used(found.costs).values()) <= 1
    none = textbook_networks(
        ["ds_cnn"], BOARD, Budget(sram="2 KB"), kind="kws", input_shape=(49, 10, 1), classes=40
    )
    assert none == []


def test_scaling_takes_every_width_to_the_grid() -> None:
    network = Space.load("textbook/mobilenet_v2")
    half = scaled(network, 0.5)
    assert half.stem.width == (8,)  # 6, to the nearest multiple of 4
    assert half.head.width == (224,)
    assert scaled(network, 1.0) == network
