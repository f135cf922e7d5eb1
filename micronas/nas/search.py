"""The search: run the trainings that a strategy asks for and return their results to it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet
from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Costs
from micronas.nas.candidate import Candidate, ranked
from micronas.nas.distributed import ranks
from micronas.nas.problem import Problem
from micronas.nas.same_data import of_same_data
from micronas.nas.settings import StrategySettings, strategy_settings
from micronas.nas.strategies.base import Context, Strategy, Training
from micronas.nas.strategies.registry import planned, strategy
from micronas.nas.table import Picture, candidates_html, candidates_text, plot
from micronas.nas.trials import Trials, executor
from micronas.objectives.base import Measure
from micronas.objectives.classes import CLASSES
from micronas.progress import Progress, nobody
from micronas.space.content import content
from micronas.space.open_space import OpenSpace
from micronas.space.searchable import Searchable
from micronas.train.devices import find_device
from micronas.train.memory import keep_freed_memory
from micronas.train.recipe import Device, Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SECTION = "of"
"""Section of a checkpoint on the search it is of."""
_IDLE = 100
"""Asks in a row for finished trainings alone, after which a strategy would ask for ever."""


@dataclass(frozen=True)
class SearchResult:
    """Result of a search."""

    candidates: list[Candidate]
    """All networks that were trained themselves, the best first."""
    epochs: int
    """Epochs of all trials, and those of a supernet that hands down its weights."""
    strategy: str
    reason: str
    """Reason for this strategy."""
    most_likely: Costs | None = None
    """Costs of the network with the largest logit in every decision, which may differ from the
    winner. None where there are no gates."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One record per round of the supernet: loss and, with gates, penalty, expected costs,
    multipliers."""
    gates: list[dict[str, list[float]]] = field(default_factory=list)
    """Probabilities of each decision's options after every round, by the decision's name."""
    weights: State | None = field(default=None, repr=False, compare=False)
    """The winner's weights after the search, if it kept them; see `begin`."""
    trained: int = 0
    """Epochs that trained these weights."""
    measure: Measure = CLASSES.shown
    """Measure that `Candidate.trial_score` holds."""

    @property
    def winner(self) -> Candidate:
        return self.candidates[0]

    def begin(self, recipe: Recipe) -> State | None:
        """Return the weights with which the winner's final training begins; None for random ones.

        Those of the search, unless it trained them for fewer epochs: a long training ends better
        from random weights (docs/results/search.md).

        Source: J. Ash and R. Adams, "On Warm-Starting Neural Network Training", 2020.
        """
        return self.weights if recipe.epochs <= self.trained else None

    def table(self, *, width: int | None = None) -> str:
        """Return the networks that had a trial as a table, the best first, at most `width` wide."""
        return candidates_text(self.candidates, self.measure, width=width)

    def plot(self, kind: Picture = "front", *, axes: "Axes | None" = None) -> "Axes":
        """Draw trials against latency (``front``) or ``arena``, or the supernet's ``history``."""
        return plot(self.candidates, self.history, kind, axes, self.measure)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return candidates_html(self.candidates, f"{self.strategy}: {self.winner}", self.measure)


def search(
    space: Searchable | OpenSpace,
    data: DataSet,
    *,
    board: Board,
    budget: Budget,
    settings: StrategySettings | Mapping[str, Any] | None = None,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    shared: Checkpoint | None = None,
    workers: int | None = None,
    ray: str | None = None,
    device: Device = "cpu",
    progress: Progress = nobody,
) -> SearchResult:
    """Find the most accurate network of a space that fits a budget on a board.

    In an initialised process group of `torch.distributed` all processes search together and
    return the same result; see `micronas.nas.distributed`.

    Parameters
    ----------
    budget
        Limits; SRAM and flash default to the board's.
    settings
        Keys of `search:` in a run's YAML, such as ``{"strategy": "dnas", "steps": 200}``, or an
        object of them, such as `SearchSettings`; by default the strategy is chosen.
    checkpoint
        Checkpoint for the state every few steps, from which a killed search continues to the same
        result.
    shared
        Checkpoint for the part that depends on neither board nor budget
        (`StrategySettings.shares`): warm-up, or all training of a supernet. The first search writes
        it, and others of the same space, data, settings and seed continue from it, to the same
        result as without.
    workers
        Number of trial trainings at once; by default one for each CPU, and one on an accelerator.
        The result does not depend on it.
    ray
        Ray cluster that runs trial trainings instead: ``local``, ``auto`` or ``HOST:PORT``.
    device
        Device to train on; ``auto`` takes an accelerator if there is one.
    progress
        Called after every round and every trial training.

    Raises
    ------
    BudgetError
        Before any training, if not even the smallest network of the space fits.
    ConfigError
        If a key of `settings` is wrong, if the data set has another input shape or number of
        classes than the space, if batches cannot be divided among the processes, if the checkpoint
        is of another search, or if the device or Ray is missing.
    """
    for name, given, kinds, way in (
        ("space", space, (Searchable, OpenSpace), "micronas.load_space(NAME)"),
        ("data", data, (DataSet,), "micronas.DataSet(...)"),
        ("board", board, (Board,), "micronas.Board.load(NAME)"),
        ("budget", budget, (Budget,), "micronas.Budget(sram='24 KB')"),
        ("checkpoint", checkpoint, (Checkpoint, NoneType), "micronas.checkpoint.Checkpoint(path)"),
    ):
        if not isinstance(given, kinds):
            raise ConfigError(
                f"{name} of a search must be an object, but got {type(given).__name__}; pass "
                f"{way}, or call micronas.run, which also takes names"
            )
    settings = strategy_settings(settings)
    data = replace(data, objective=data.objective.ranked_by(settings.rank_by))
    everyone = ranks()
    where = find_device(device)
    if ray is not None and where.type != "cpu":
        raise ConfigError(
            f"trainings on Ray must run on the CPU, but device={device}; leave out one of the two"
        )
    keep_freed_memory()
    problem = Problem(space, board, budget, meaning=data.meaning)
    problem.check_feasible()
    problem.check_data(data)
    kept = checkpoint or Checkpoint()
    of = {
        "space": content(space),
        "board": board.model_dump_json(),
        "budget": budget.model_dump_json(),
        "settings": settings.model_dump_json(),
        "seed": str(seed),
    }
    everyone.once(lambda: _check_same(kept, data, of))
    left: float = math.inf if settings.epochs is None else settings.epochs
    known: dict[str, Candidate] = {}
    idle = 0
    ray = ray if everyone.first else None
    with executor(settings.trial, where, workers=workers, ray=ray) as run:
        context = Context(
            problem,
            data,
            settings,
            seed=seed,
            everyone=everyone,
            checkpoint=kept,
            shared=shared,
            device=where,
            progress=progress,
            run=run,
        )
        chosen = strategy(context)
        epochs = chosen.epochs
        trials = Trials(context, planned=planned(chosen).trainings)
        while left > 0 and (asked := _asked(chosen, left)):
            tried, spent = everyone.once(partial(trials, asked))
            known |= {each.label: each for each in tried}
            left, epochs = left - spent, epochs + spent
            chosen.tell(tried)
            idle = 0 if spent else idle + 1
            if idle == _IDLE:
                raise ConfigError(
                    "a strategy must ask for trainings that go on, but the last "
                    f"{_IDLE} asks of {chosen.name} were for finished ones; let `ask` return [] "
                    "where nothing is left to try"
                )
        candidates = ranked([*known.values(), *chosen.found])
        if not candidates:
            raise ConfigError(
                f"a strategy must ask for a training, but {chosen.name} asked for none; let `ask` "
                "return Trainings of problem.draw or problem.rivals"
            )
        weights = everyone.once(partial(trials.end, candidates[0]))
    return SearchResult(
        candidates,
        epochs,
        chosen.name,
        chosen.reason,
        chosen.most_likely(),
        chosen.history,
        chosen.gate_history,
        everyone.once(lambda: chosen.begin(candidates[0])) or weights,
        max(chosen.epochs, candidates[0].trial_epochs),
        data.objective.shown,
    )


def _check_same(checkpoint: Checkpoint, data: DataSet, of: Mapping[str, str]) -> None:
    """Raise ConfigError where a checkpoint is of another search, whose results would be taken."""
    known = checkpoint.load(_SECTION) or of
    differing = [name for name, value in of.items() if known.get(name) != value]
    if differing:
        raise ConfigError(
            "a checkpoint must belong to one search, but this one is of another "
            f"{', '.join(differing)}; give each search a checkpoint of its own"
        )
    of_same_data(checkpoint, data, "the checkpoint")
    checkpoint.note(_SECTION, {**of})


def _asked(chosen: Strategy, left: float) -> Sequence[Training]:
    """Return the trainings of a strategy's next ask, which a user may have written."""
    asked: Any = chosen.ask(left)
    given = asked if isinstance(asked, Sequence) else [asked]
    for each in given:
        if not isinstance(each, Training):
            raise ConfigError(
                "`ask` must return a list of Trainings, but that of "
                f"{chosen.name} returned {type(asked).__name__} with {type(each).__name__}; return "
                "[Training(candidate, recipe, epochs), ...]"
            )
    return given
