"""Strategies: how networks are proposed to the trials. One class a strategy, known by its name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from micronas.checkpoint import Checkpoint, State
from micronas.data import Split
from micronas.errors import ConfigError
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies import STRATEGIES, check_name
from micronas.progress import Progress
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable

if TYPE_CHECKING:
    import torch

    from micronas.nas.distributed import Ranks

Scored = Mapping[Choice, float | None]
"""Networks, and their losses with shared weights where there are some."""
Parts = tuple[Split, Split, Split]
"""Of the training set: for weights, for gates, and for ranking."""


class Strategy(ABC):
    """One search; what it proposes depends on the problem, the data, its settings and the seed."""

    def __init__(self, problem: Problem, settings: SearchSettings, seed: int) -> None:
        self.problem, self.settings, self.seed = problem, settings, seed
        self.history: list[dict[str, float]] = []
        """One record a round of a supernet."""
        self.gate_history: list[dict[str, list[float]]] = []
        """Probabilities of options after each round, by decision; empty without gates."""

    def prepare(
        self,
        parts: Parts,
        everyone: "Ranks",
        *,
        checkpoint: Checkpoint,
        shared: Checkpoint | None,
        progress: Progress,
        device: "torch.device",
    ) -> None:
        """Train what proposals are made by, in all processes; nothing by default."""
        return

    @abstractmethod
    def propose(self, parts: Parts) -> Scored:
        """Return different networks within the budget; in one process only."""

    def score(self, choices: list[Choice], parts: Parts) -> Scored:
        """Return losses with shared weights of networks that are known anyway."""
        return dict.fromkeys(choices)

    @classmethod
    def inherits(cls, space: Searchable, settings: SearchSettings) -> bool:
        """Return whether trials begin with weights that were trained before."""
        return False

    def begins(self, choices: list[Choice]) -> Mapping[Choice, State]:
        """Return weights for trials of these networks to begin with, where there are some."""
        return {}

    def most_likely(self) -> Choice | None:
        """Return the largest logit of every decision, where there are gates."""
        return None


def strategy(name: str) -> type[Strategy]:
    """Return the class of a strategy; ConfigError if there is none of that name."""
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    module, _, found = STRATEGIES[name].partition(":")
    loaded: type[Strategy] = getattr(import_module(module), found)
    return loaded
