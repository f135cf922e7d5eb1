"""The protocol of a strategy: `ask` returns trainings, `tell` takes their results.

A strategy is a function of its context and of these results. A killed search continues by asking
again: finished trainings are looked up, until the strategy is where it was.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import ClassVar, Protocol, SupportsIndex

import torch

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet
from micronas.errors import ConfigError
from micronas.hardware.costs import Costs
from micronas.nas.candidate import Candidate
from micronas.nas.distributed import Ranks
from micronas.nas.folds import folds_of
from micronas.nas.problem import Problem
from micronas.nas.settings import StrategySettings
from micronas.progress import Progress, nobody
from micronas.train.recipe import Recipe
from micronas.train.side_by_side import Job, Result, side_by_side


class Executor(Protocol):
    """Runs trainings, in parallel or in turn; see `side_by_side`."""

    def __call__(
        self, jobs: Mapping[str, Job[Result]], *, checkpoint: Checkpoint
    ) -> Iterator[tuple[str, Result]]: ...


IN_TURN: Executor = partial(side_by_side, workers=1)
"""Runs one training after the other, in this process."""


@dataclass(frozen=True)
class Context:
    """Inputs of a strategy in one search."""

    problem: Problem
    data: DataSet
    settings: StrategySettings
    seed: int = 0
    everyone: Ranks = field(default_factory=Ranks)
    """Processes that search together. All call `ask` and `tell`; one of them trains candidates."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """Checkpoint for what a strategy trains itself."""
    shared: Checkpoint | None = None
    """Checkpoint shared with searches for other boards and budgets."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = nobody
    run: Executor = IN_TURN
    """Runs trials, and families that race."""

    @cached_property
    def folds(self) -> list[DataSet]:
        """Data sets whose training part trains and whose validation part ranks candidates."""
        return folds_of(self.data, self.settings, self.seed)


@dataclass(frozen=True)
class Training:
    """A training that a strategy asks for.

    A candidate of the ask before continues from there; any other begins.
    """

    candidate: Candidate
    recipe: Recipe
    epochs: int
    """Epochs of the recipe, from the first, after which the network is evaluated."""
    begin: State | None = None
    """Initial weights; None for random ones."""

    def __post_init__(self) -> None:
        given = self.candidate, self.recipe
        if not (isinstance(given[0], Candidate) and isinstance(given[1], Recipe)):
            raise ConfigError(
                "a training must be of a Candidate by a Recipe, but got "
                f"{' and '.join(type(each).__name__ for each in given)}; pass one of problem.draw "
                "and context.settings.trial"
            )
        if not (isinstance(self.epochs, SupportsIndex) and 1 <= self.epochs <= self.recipe.epochs):
            raise ConfigError(
                f"a training must end within the {self.recipe.epochs} epochs of its recipe, but "
                f"epochs={self.epochs}; give a longer recipe, or a whole number of 1 to "
                f"{self.recipe.epochs}"
            )


@dataclass(frozen=True)
class Plan:
    """Estimate of a search before it begins."""

    networks: list[Candidate]
    """Examples of the networks that will be trained."""
    count: int
    """Number of networks that will be trained."""
    trainings: int
    """Number of trainings; one that continues counts again."""
    epochs: int
    """Epochs of all trainings."""
    in_turn: int = 0
    """Epochs of those that cannot run side by side."""


class Strategy(ABC):
    """Chooses the networks to train, and for how long.

    Class attribute `Settings` is the class of `search:` in a configuration that names this
    strategy.
    """

    Settings: ClassVar[type[StrategySettings]] = StrategySettings

    def __init__(self, context: Context) -> None:
        self.context = context
        self.problem, self.seed = context.problem, context.seed
        self.reason = "as search.strategy says"
        """Reason for this strategy."""
        self.epochs = 0
        """Epochs of a training of its own whose weights the final training begins with."""
        self.history: list[dict[str, float]] = []
        """One record per round of a supernet; empty without."""
        self.gate_history: list[dict[str, list[float]]] = []
        """Probabilities of options after each round, by decision; empty without gates."""
        self.found: list[Candidate] = []
        """Networks ranked without trials, the best first."""

    @property
    def name(self) -> str:
        """Name in `search.strategy`."""
        default = self.Settings.model_fields["strategy"].default
        return default if isinstance(default, str) else self.context.settings.strategy

    @abstractmethod
    def ask(self, left: float) -> Sequence[Training]:
        """Return trainings of at most about `left` epochs in total; an empty list ends the
        search."""

    @abstractmethod
    def tell(self, tried: Sequence[Candidate]) -> None:
        """Take the candidates of the last ask, in its order, with the results of their trials."""

    @abstractmethod
    def plan(self) -> Plan:
        """Return an estimate of the search."""

    def rehearse(self) -> float:
        """Return the CPU seconds of computation beside trials, estimated from a few steps."""
        return 0.0

    def begin(self, winner: Candidate) -> State | None:
        """Return the winner's weights after `epochs` of training; None for those of its trial."""
        return None

    def most_likely(self) -> Costs | None:
        """Return the costs of the network with the largest logits; None without gates."""
        return None


Script = Generator[list[Training], Sequence[Candidate], None]
"""Yields trainings and receives their candidates with the results of the trials."""


class Scripted(Strategy):
    """A strategy written as one generator."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._script: Script | None = None
        self._next: list[Training] = []

    @abstractmethod
    def script(self) -> Script:
        """Yield the trainings of each ask."""

    def ask(self, left: float) -> list[Training]:
        if self._script is None:
            self._script = self.script()
            self._next = next(self._script, [])
        return self._next

    def tell(self, tried: Sequence[Candidate]) -> None:
        assert self._script is not None, "asked before"
        try:
            self._next = self._script.send(tried)
        except StopIteration:
            self._next = []
