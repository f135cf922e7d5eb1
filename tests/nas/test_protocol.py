"""One loop for every strategy and every kind of space, stopped anywhere and gone on with."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.candidate import Candidate
from micronas.nas.convert import convert
from micronas.nas.search import SearchResult
from micronas.nas.settings import SHIPPED, StrategySettings
from micronas.nas.strategies.base import Context, Plan, Strategy, Training
from micronas.progress import Progress, nobody
from micronas.train.recipe import Recipe
from tests.nas.brief import brief
from tests.nas.own_networks import DSCNN
from tests.nas.stopped import until_it_ends
from tests.nas.test_open_problem import OPEN
from tests.toy import CLASSES, SMALL, few
from tests.training import search

pytestmark = pytest.mark.usefixtures("device")

BOARD = Board.load("stm32f446re")
TRIAL = Recipe(epochs=2, batch_size=40, learning_rate=1e-2)


class Climb(Strategy):
    """Hill climbing on real trainings: each ask is for two descendants of the best so far."""

    Settings: ClassVar[type[StrategySettings]] = StrategySettings

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._source = random.Random(self.seed)
        self._tried: list[Candidate] = []

    def ask(self, left: float) -> Sequence[Training]:
        trial = self.context.settings.trial
        best = sorted(self._tried, key=lambda each: each.trial_loss or 0.0)
        near = self.problem.descendants(best, 2, self._source) if best else []
        networks = near or self.problem.draw(2, self._source)
        return [Training(each, trial, trial.epochs) for each in networks]

    def tell(self, tried: Sequence[Candidate]) -> None:
        self._tried += tried

    def plan(self) -> Plan:
        return Plan(self.problem.draw(2, random.Random(0)), 6, 6, 12)


PLUGIN = f"{__name__}:Climb"


@pytest.fixture(scope="module")
def spaces() -> dict[str, tuple[Any, Budget]]:
    torch.manual_seed(0)
    module = DSCNN(classes=len(CLASSES))
    return {
        "several families": (OPEN, Budget(sram="6 KB", macs="60000")),
        "one family": (SMALL, Budget(sram="4.5 KB", macs="60000")),
        "a module": (convert(module, torch.randn(1, 1, 12, 12)), Budget(latency="1.8 ms")),
    }


def settings(strategy: str) -> StrategySettings:
    if strategy == PLUGIN:
        return StrategySettings(strategy=PLUGIN, trial=TRIAL, epochs=12)
    return brief(strategy, trial=TRIAL, champions=2 if strategy == "halving" else 1)


ALIKE = {"evolution", "random", PLUGIN}
"""Trials alone as halving has them, which are of one family or a module as of several."""


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        pytest.param(kind, strategy, marks=[pytest.mark.long] * (kind != "several families"))
        for kind in ("several families", "one family", "a module")
        for strategy in (*sorted(SHIPPED.keys() - {"auto"}), PLUGIN)
        if kind == "several families" or strategy not in ALIKE
    ],
)
def test_a_search_stopped_anywhere_ends_in_the_same_result(
    kind: str, strategy: str, spaces: dict[str, tuple[Any, Budget]], tmp_path: Path
) -> None:
    space, budget = spaces[kind]

    def run(checkpoint: Checkpoint, progress: Progress = nobody) -> SearchResult:
        return search(
            space,
            few(),
            board=BOARD,
            budget=budget,
            settings=settings(strategy),
            seed=1,
            checkpoint=checkpoint,
            progress=progress,
        )

    if kind == "several families" and strategy in ("ranked", "dnas"):
        with pytest.raises(ConfigError, match=f"search.strategy={strategy} must have"):
            run(Checkpoint())
        return
    whole = run(Checkpoint())
    found, attempts = until_it_ends(
        run,
        tmp_path / "checkpoint.pt",
        lambda attempt: 4 * attempt,  # finished trials are told of again
    )
    assert attempts >= 2
    assert found == whole
    assert len(found.gates) == (len(found.history) if strategy == "dnas" else 0)
    assert (found.most_likely is None) == (strategy != "dnas")
    assert found.reason == "as search.strategy says"
    if kind == "one family" and strategy != "single_stage":
        assert {each.origin for each in found.candidates} == {"search", "uniform"}
    if strategy == "random":
        assert {each.trial_epochs for each in found.candidates} <= {2, 5}  # and the champion's
    assert found.strategy == strategy
    assert all(budget.on(BOARD).fits(each.costs) for each in found.candidates)
