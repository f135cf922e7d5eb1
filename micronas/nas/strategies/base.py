"""The protocol of a strategy: it is asked for trainings, and told what each of them gave.

A strategy is a function of its context and of what it was told. So a search that was killed goes on
by asking anew: trainings that are done are looked up, and the strategy is where it was.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet
from micronas.hardware.costs import Costs
from micronas.nas.candidate import Candidate
from micronas.nas.distributed import Ranks
from micronas.nas.folds import finals_of, folds_of
from micronas.nas.problem import Problem
from micronas.nas.settings import StrategySettings
from micronas.progress import Progress
from micronas.train.recipe import Recipe


@dataclass(frozen=True)
class Context:
    """One search, as its strategy sees it."""

    problem: Problem
    data: DataSet
    settings: StrategySettings
    seed: int = 0
    everyone: Ranks = field(default_factory=Ranks)
    """The processes that search together. All ask and are told; one of them trains candidates."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """Where a strategy keeps what it trains itself."""
    shared: Checkpoint | None = None
    """Where searches for other boards and budgets share what depends on neither."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = lambda phase, done, total, numbers: None

    @cached_property
    def folds(self) -> list[DataSet]:
        """Data sets whose training part trains and whose validation part ranks candidates."""
        return folds_of(self.data, self.settings, self.seed)

    @cached_property
    def finals(self) -> list[DataSet]:
        """Further folds, for candidates that reach the end."""
        return finals_of(self.data, self.settings, self.seed, folds=len(self.folds))


@dataclass(frozen=True)
class Training:
    """A training that a strategy asks for.

    A candidate that was in the ask before goes on from there; any other begins.
    """

    candidate: Candidate
    recipe: Recipe
    epochs: int
    """Epochs from the first one on after which it is judged, of those the recipe has."""
    is_final: bool = False
    """Whether it is trained and judged on `Context.finals`, too."""
    begin: State | None = None
    """Weights to begin with; None for random ones."""


@dataclass(frozen=True)
class Plan:
    """Estimate of a search, as far as it is known before it begins."""

    networks: list[Candidate]
    """Networks like those that will be trained."""
    count: int
    """Number of networks that will be trained."""
    trainings: int
    """Number of trainings, one that goes on counted again."""
    epochs: int
    """Epochs of all trainings."""


class Strategy(ABC):
    """Chooses which networks are trained, and for how long.

    Class attribute `Settings` is what `search:` holds where this strategy is named.
    """

    Settings: ClassVar[type[StrategySettings]] = StrategySettings

    def __init__(self, context: Context) -> None:
        self.context = context
        self.problem, self.seed = context.problem, context.seed
        self.reason = "as search.strategy says"
        """Why this strategy."""
        self.history: list[dict[str, float]] = []
        """One record a round of a supernet; empty without."""
        self.gate_history: list[dict[str, list[float]]] = []
        """Probabilities of options after each round, by decision; empty without gates."""
        self.found: list[Candidate] = []
        """Networks that it ranked without trials, the best first."""

    @property
    def name(self) -> str:
        """Name in `search.strategy`."""
        default = self.Settings.model_fields["strategy"].default
        return default if isinstance(default, str) else self.context.settings.strategy

    @abstractmethod
    def ask(self, left: float) -> Sequence[Training]:
        """Return trainings, of at most about `left` epochs together; none ends the search."""

    @abstractmethod
    def tell(self, tried: Sequence[Candidate]) -> None:
        """Take in the candidates of the last ask, in its order, with what their trials gave."""

    @abstractmethod
    def plan(self) -> Plan:
        """Return what the search will take."""

    def rehearse(self) -> float:
        """Return seconds of CPU of what it computes beside trials, from a few steps of it."""
        return 0.0

    def begin(self, winner: Candidate) -> State | None:
        """Return weights with which the final training begins; None for random ones."""
        return None

    def most_likely(self) -> Costs | None:
        """Return the costs of the network with the largest logit of every decision, where there
        are gates."""
        return None


Script = Generator[list[Training], Sequence[Candidate], None]
"""Yields trainings and receives their candidates with what the trials gave."""


class Scripted(Strategy):
    """A strategy written down as one generator."""

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
