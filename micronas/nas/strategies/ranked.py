"""Shared weights trained on smooth networks, by which those within the budget are ranked."""

import random
from collections.abc import Mapping

import torch

from micronas.checkpoint import State
from micronas.data import Split
from micronas.nas.prior import draw, draw_any, uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.base import Parts, Scored
from micronas.nas.strategies.shared import SIFTED_BY, SharedStrategy
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.train.network import Network

_POOL = 200
"""Networks on which weights are trained, and those that are ranked."""
BATCHES = 4
"""In a step: each trains one network only, where gates take a whole supernet."""


class Ranked(SharedStrategy):
    """Networks of the prior; a round depends on the state and on the seed alone.

    Networks within the budget, drawn as `micronas.nas.prior` describes, and uniform ones train the
    weights, one a batch, and are ranked by them afterwards. Instead networks of any size may train
    them (`SearchSettings.supernet`): such weights belong to the space, whatever the board and
    budget. Trials begin with these weights.
    """

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
        splits = (training, gating) * (BATCHES // 2)
        for indices in weights.steps(splits, generator):
            for split, index in zip(splits, indices, strict=True):
                which = int(torch.randint(len(self._trained), (), generator=generator))
                weights.train(split, index, self._trained[which], generator)
            weights.step += 1
        weights.settle()
        self.history.append({"step": float(weights.step), "loss": weights.loss})

    def propose(self, parts: Parts) -> Scored:
        """Return the best of the networks within the budget."""
        return self.finalists(self.score(self.pool, parts, examples=SIFTED_BY), parts)

    @classmethod
    def inherits(cls, space: Searchable, settings: SearchSettings) -> bool:
        # a user's network has weights of its own
        return settings.inherited > 0 and space.own_layers() is None

    def begins(self, choices: list[Choice]) -> Mapping[Choice, State]:
        """Return the shared weights of each network, if trials begin with them."""
        found: dict[Choice, State] = {}
        if self.inherits(self.problem.space, self.settings):
            for choice in choices:
                graph = self.problem.space.architecture(choice).graph()
                network = Network(graph, generator=torch.Generator())
                self.weights.supernet.hand_down(network, choice)
                found[choice] = network.state_dict()
        return found

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
