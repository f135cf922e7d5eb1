"""To add a strategy: one class, and its line in the registry."""

import sys

import pytest

from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.prior import uniform_networks
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies import STRATEGIES
from micronas.nas.strategies.base import Parts, Scored, Strategy
from micronas.train.recipe import Recipe
from tests.toy import SPACE, data
from tests.training import search

pytestmark = pytest.mark.usefixtures("device")


class Widest(Strategy):
    """Proposes the widest uniform network and nothing else."""

    def propose(self, parts: Parts) -> Scored:
        return {uniform_networks(self.problem)[0]: None}


def test_a_strategy_of_ones_own_is_searched_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "widest", sys.modules[__name__])
    monkeypatch.setitem(STRATEGIES, "widest", "widest:Widest")
    settings = SearchSettings(strategy="widest", trial=Recipe(epochs=1, batch_size=32))
    found = search(
        SPACE,
        data(),
        board=Board.load("stm32f446re"),
        budget=Budget(sram="4.5 KB"),
        settings=settings,
    )
    assert found.strategy == "widest"
    assert [each.origin for each in found.candidates].count("search") == 1


def test_an_unknown_strategy_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown strategy 'halfing'; did you mean 'halving'"):
        SearchSettings(strategy="halfing")
