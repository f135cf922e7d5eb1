"""A strategy of one's own: a class in one's own package, named by where it is imported from."""

import random
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, cast

import pytest
from pydantic import Field

from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas import settings as settings_of
from micronas.nas.candidate import Candidate
from micronas.nas.problem import Problem
from micronas.nas.search import SearchResult
from micronas.nas.settings import StrategySettings
from micronas.nas.strategies.base import Context, Plan, Strategy, Training
from micronas.runs.settings import RunSettings, load_run
from micronas.train.recipe import Recipe
from tests.toy import SPACE, data
from tests.training import search

pytestmark = pytest.mark.usefixtures("device")


class WidestSettings(StrategySettings):
    epochs: int | None = 3
    """Three trainings of one epoch."""
    wanted: int = Field(2, ge=1)


class Widest(Strategy):
    """Trains rivals again and again, the widest first, each time with what it was told."""

    Settings: ClassVar[type[StrategySettings]] = WidestSettings
    told: ClassVar[list[list[Candidate]]] = []
    lefts: ClassVar[list[float]] = []

    def ask(self, left: float) -> Sequence[Training]:
        self.lefts.append(left)
        networks = sorted(self.problem.rivals(self.context.data), key=lambda each: -each.costs.macs)
        trial = self.context.settings.trial
        which = networks[len(self.told) % len(networks)]
        return [Training(which, trial, trial.epochs)]

    def tell(self, tried: Sequence[Candidate]) -> None:
        self.told.append(list(tried))

    def plan(self) -> Plan:
        return Plan(self.problem.rivals(self.context.data), 3, 3, 3)


PATH = "own_strategies:Widest"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_strategies", sys.modules[__name__])
    monkeypatch.setattr(Widest, "told", [])
    monkeypatch.setattr(Widest, "lefts", [])


@pytest.fixture
def network() -> Candidate:
    problem = Problem(SPACE, Board.load("stm32f446re"), Budget(sram="4.5 KB"))
    return problem.draw(1, random.Random(0))[0]


def found(settings: StrategySettings) -> SearchResult:
    return search(
        SPACE,
        data(),
        board=Board.load("stm32f446re"),
        budget=Budget(sram="4.5 KB"),
        settings=settings,
    )


def test_it_is_asked_until_its_epochs_are_spent_and_told_each_result() -> None:
    trial = Recipe(epochs=1, batch_size=32)
    result = found(WidestSettings(strategy=PATH, trial=trial, champions=1))
    assert result.strategy == PATH
    assert Widest.lefts == [3, 2, 1]
    told = [each for tried in Widest.told for each in tried]
    assert [each.trial_epochs for each in told] == [1, 1, 1]
    assert all(each.trial_loss is not None for each in told)
    assert {each.label for each in told} == {each.label for each in result.candidates}
    losses = [each.trial_loss or 0.0 for each in result.candidates]
    assert losses == sorted(losses)


RUN = ("board=stm32f446re", "data.path=x", "data.task=kws")


def loaded(*search: str) -> RunSettings:
    return load_run("kws_small", [*RUN, *search])


def test_its_settings_are_read_from_yaml() -> None:
    settings = loaded(f"search.strategy={PATH}", "search.wanted=7").search
    assert settings == WidestSettings(strategy=PATH, wanted=7)
    with pytest.raises(ConfigError, match=r"search.wanted: input should be greater"):
        loaded(f"search.strategy={PATH}", "search.wanted=0")
    with pytest.raises(ConfigError, match=r"unknown key 'search.wante'"):
        loaded(f"search.strategy={PATH}", "search.wante=1")


def test_an_installed_package_registers_one_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"widest": PATH, "broken": "no_such_package:Tpe"}

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == settings_of.GROUP
        return [EntryPoint(each, paths[each], group) for each in paths if name in (None, each)]

    monkeypatch.setattr(settings_of, "entry_points", entry_points)
    settings = loaded("search.strategy=widest").search
    assert "widest" in {*settings_of.KINDS}
    # a broken package stops no other strategy
    with pytest.raises(ConfigError, match=r"'broken' is not \(No module named"):
        loaded("search.strategy=broken")
    with pytest.raises(ConfigError, match=r"unknown key 'search.wante'"):
        loaded("search.strategy=widest", "search.wante=1")
    assert isinstance(settings, WidestSettings)
    assert found(settings.model_copy(update={"trial": Recipe(epochs=1)})).strategy == "widest"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("halfing", "did you mean 'halving'"),
        ("xyz", r"must be one of auto, .*, single_stage \(choose one of them\), but got 'xyz'"),
        ("own_strategies:Half", "must have ask, tell and plan, but .*Half' has no plan, tell"),
        ("no_such_package:Tpe", "must be importable as MODULE:CLASS.*No module named"),
        ("own_strategies:Tpe", "must be importable as MODULE:CLASS.*no attribute 'Tpe'"),
        (
            "own_strategies:Plan",
            "must be a class derived from .*Strategy, .* 'own_strategies:Plan'",
        ),
    ],
)
def test_an_unknown_strategy_is_one_error(name: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        loaded(f"search.strategy={name}")


class Half(Strategy):
    """Lacks tell and plan."""

    def ask(self, left: float) -> Sequence[Training]:
        return []


class Idle(Widest):
    """Asks for nothing, for the same training for ever, or for what is none."""

    answer: ClassVar[Callable[[Candidate, Recipe], Any]]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.network = self.problem.rivals(context.data)[0]

    def ask(self, left: float) -> Any:
        return type(self).answer(self.network, self.context.settings.trial)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda *_: [], "must ask for a training"),
        (
            lambda network, trial: [Training(network, trial, 1)],
            "last 100 asks of .*Idle were for finished ones",
        ),
        (lambda network, _: [network], "list of Trainings, .*Idle returned list with Candidate"),
        (
            lambda network, trial: [
                Training(network, each, 1)
                for each in (trial, trial.model_copy(update={"amp": "bf16"}))
            ],
            "a candidate must have one recipe, .* in searches of their own",
        ),
        (lambda *_: None, "list of Trainings, .*Idle returned NoneType"),
    ],
)
def test_a_strategy_that_trains_nothing_is_one_error(
    answer: Any, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Idle, "answer", answer, raising=False)
    trial = Recipe(epochs=1, batch_size=64)
    with pytest.raises(ConfigError, match=complaint):
        found(StrategySettings(strategy="own_strategies:Idle", trial=trial))


class Unmade(Widest):
    """Does not call Strategy.__init__; with `reads` its own uses what that sets."""

    reads: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        if self.reads:
            random.Random(self.seed)


class Planless(Widest):
    def plan(self) -> Any:
        return None


def test_a_strategy_that_is_no_whole_one_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for reads in (False, True):
        monkeypatch.setattr(Unmade, "reads", reads)
        with pytest.raises(
            ConfigError, match=r"'own_strategies:Unmade' lacks .* super\(\)\.__init"
        ):
            found(StrategySettings(strategy="own_strategies:Unmade"))
    with pytest.raises(ConfigError, match=r"`plan` must return a Plan, .*Planless returned None"):
        found(StrategySettings(strategy="own_strategies:Planless"))


@pytest.mark.parametrize("ends", [[(2,), (1,)], [(1, 2)]])
def test_a_training_goes_on_from_where_it_ended(
    ends: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of two epochs were said to be those of one; in one ask they were a KeyError."""
    trial, asks = Recipe(epochs=2, batch_size=64), iter(ends)
    monkeypatch.setattr(
        Idle,
        "answer",
        lambda network, _: [Training(network, trial, each) for each in next(asks, ())],
        raising=False,
    )
    with pytest.raises(ConfigError, match=r"go on from where it ended, .* after or beside"):
        found(StrategySettings(strategy="own_strategies:Idle", trial=trial))


@pytest.mark.parametrize("epochs", [0, 3, 1.5, "2"])
def test_a_training_ends_within_its_recipe(epochs: Any, network: Candidate) -> None:
    """Epochs that never were stood in metrics.json."""
    with pytest.raises(ConfigError, match=f"within the 2 epochs of its recipe, .* epochs={epochs}"):
        Training(network, Recipe(epochs=2), epochs)


def test_a_training_is_of_a_candidate_by_a_recipe(network: Candidate) -> None:
    for given in ((network, {"epochs": 2}), ("24k5", Recipe(epochs=2))):
        with pytest.raises(ConfigError, match=r"a Candidate by a Recipe, but got (Cand|str)"):
            Training(*cast(Any, given), epochs=2)


def test_settings_of_another_strategy_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown key .search\.steps."):
        loaded("search.strategy=halving", "search.steps=3")
    with pytest.raises(ConfigError, match=r"must be halving, but got dnas; take .*DnasSettings"):
        settings_of.HalvingSettings(strategy="dnas")
    for other in (["dnas"], 5, None, "none"):  # a TypeError of ours, but for the last
        with pytest.raises(ConfigError, match=r"must be halving, but got .*; pass a mapping"):
            settings_of.HalvingSettings(strategy=other)
