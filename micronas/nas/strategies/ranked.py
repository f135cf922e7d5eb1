"""Shared weights trained on networks within the budget, which they then rank: no gates."""

import random

import torch

from micronas.checkpoint import State
from micronas.data import Split
from micronas.nas.prior import draw, uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.base import Parts, Scored
from micronas.nas.strategies.shared import SharedStrategy

_POOL = 200
"""Networks within the budget on which weights are trained."""
_PAIRS = 2
"""Of weight steps in a step: none trains more than a network within the budget."""


class Ranked(SharedStrategy):
    """Networks of the prior; a round depends on the state and on the seed alone.

    Weights are trained on the draws that `micronas.nas.prior` describes and on uniform networks, of
    which each batch trains one, and rank the same networks afterwards. Trials begin with these
    weights.
    """

    hands_down = True

    def __init__(self, problem: Problem, settings: SearchSettings, seed: int) -> None:
        super().__init__(problem, settings, seed)
        source = random.Random(f"{seed} pool")
        self.pool = draw(problem, count=_POOL, source=source) + uniform_networks(problem)

    @property
    def rankings(self) -> int:
        return len(self.pool)

    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps; the part for gates trains weights as well."""
        weights, generator = self.weights, self.weights.generator()
        splits = (training, gating) * _PAIRS
        for indices in weights.steps(splits, generator):
            for split, index in zip(splits, indices, strict=True):
                which = int(torch.randint(len(self.pool), (), generator=generator))
                weights.train(split, index, self.pool[which], generator)
            weights.step += 1
        weights.settle()
        self.history.append({"step": float(weights.step), "loss": weights.loss})

    def propose(self, parts: Parts) -> Scored:
        """Return the best of the networks that weights were trained on."""
        return self.best(self.score(self.pool, parts))

    def state(self) -> State:
        return {**self.weights.state(), "history": list(self.history)}

    def resume(self, state: State) -> None:
        self.weights.restore(state)
        self.history = list(state["history"])
