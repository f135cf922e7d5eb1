"""Shared weights trained on smooth networks, by which those within the budget are ranked."""

import random

import torch

from micronas.checkpoint import State
from micronas.data import Split
from micronas.nas.prior import draw, draw_any, uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.base import Parts, Scored
from micronas.nas.strategies.shared import SharedStrategy

_POOL = 200
"""Networks on which weights are trained, and those that are ranked."""
_PAIRS = 2
"""Of weight steps in a step: none trains more than a network within the budget."""


class Ranked(SharedStrategy):
    """Networks of the prior; a round depends on the state and on the seed alone.

    Networks within the budget, drawn as `micronas.nas.prior` describes, and uniform ones train the
    weights, one a batch, and are ranked by them afterwards. Instead networks of any size may train
    them (`SearchSettings.supernet`): such weights belong to the space, whatever the board and
    budget. Trials begin with these weights.
    """

    hands_down = True

    def __init__(self, problem: Problem, settings: SearchSettings, seed: int) -> None:
        super().__init__(problem, settings, seed)
        source = random.Random(f"{seed} pool")
        self.pool = draw(problem, count=_POOL, source=source) + uniform_networks(problem)
        self._trained = self.pool
        if settings.supernet == "space":
            self._trained = draw_any(
                problem.space, count=_POOL, source=random.Random(f"{seed} space")
            )

    @property
    def rankings(self) -> int:
        return len(self.pool)

    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps; the part for gates trains weights as well."""
        weights, generator = self.weights, self.weights.generator()
        splits = (training, gating) * _PAIRS
        for indices in weights.steps(splits, generator):
            for split, index in zip(splits, indices, strict=True):
                which = int(torch.randint(len(self._trained), (), generator=generator))
                weights.train(split, index, self._trained[which], generator)
            weights.step += 1
        weights.settle()
        self.history.append({"step": float(weights.step), "loss": weights.loss})

    def propose(self, parts: Parts) -> Scored:
        """Return the best of the networks within the budget."""
        return self.best(self.score(self.pool, parts))

    @property
    def in_common(self) -> bool:
        return self.settings.shares and self.weights.finished

    def start_shared(self, state: State) -> None:
        self.resume(state)

    def state(self) -> State:
        return {**self.weights.state(), "history": list(self.history)}

    def resume(self, state: State) -> None:
        self.weights.restore(state)
        self.history = list(state["history"])
