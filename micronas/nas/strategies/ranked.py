"""Shared weights, trained on smooth networks, that rank networks within the budget."""

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import torch

from micronas.checkpoint import State
from micronas.data import Split
from micronas.nas.candidate import Candidate
from micronas.nas.prior import draw, draw_any
from micronas.nas.settings import RankedSettings, StrategySettings
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.shared import SharedStrategy
from micronas.space.decisions import Choice
from micronas.train.loop import source_for
from micronas.train.network import Network
from micronas.train.recipe import Recipe

_POOL = 200
"""Number of networks that train the weights, and of those ranked."""
_BATCHES = 4
"""Batches of a step, each of which trains one network."""


class Ranked(SharedStrategy):
    """Networks of the prior; a round depends on the state and on the seed alone.

    Networks within the budget, drawn from `micronas.nas.prior`, and uniform ones train the weights,
    one per batch, which then rank them. Instead networks of any size may train them
    (`RankedSettings.supernet`): such weights depend on neither board nor budget. Trials begin with
    these weights.
    """

    Settings: ClassVar[type[StrategySettings]] = RankedSettings

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.settings, RankedSettings), "OneOf saw to it"
        self._ranked = context.settings

    @cached_property
    def pool(self) -> list[Choice]:
        """Networks within the budget, to be ranked."""
        drawn = draw(self.member, count=_POOL, source=source_for(self.seed, "pool"))
        return drawn + [each.choice for each in self.uniform]

    @cached_property
    def _trained(self) -> list[Choice]:
        if self._ranked.supernet == "budget":
            return self.pool
        source = source_for(self.seed, "space")
        return draw_any(self.member.space, count=_POOL, source=source)

    @property
    def exempt(self) -> list[Candidate]:
        # weights of a whole space serve many budgets for little, and uniform networks are ranked
        alone = self._ranked.supernet == "space" and self.settings.finalists > 0
        return [] if alone else self.uniform

    @property
    def rankings(self) -> int:
        return len(self.pool)

    @property
    def examples(self) -> int:
        """Number of examples that train the supernet."""
        return _BATCHES * self.settings.steps * self.settings.batch_size

    @property
    def inherits(self) -> bool:
        # a user's network has its own weights
        return self._ranked.inherited > 0 and self.member.space.own_layers() is None

    @property
    def recipe(self) -> Recipe:
        trial = self.settings.trial
        epochs = max(1, round(self._ranked.inherited * trial.epochs))
        return trial.model_copy(update={"epochs": epochs}) if self.inherits else trial

    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps; the part for gates trains weights as well."""
        weights, generator = self.weights, self.weights.generator()
        splits = (training, gating) * (_BATCHES // 2)
        for indices in weights.steps(splits, generator):
            for split, index in zip(splits, indices, strict=True):
                which = int(torch.randint(len(self._trained), (), generator=generator))
                weights.train(split, index, self._trained[which], generator)
            weights.step += 1
        weights.settle()
        self.history.append({"step": float(weights.step), "loss": weights.loss})

    def proposals(self) -> list[Choice]:
        return self.pool

    def begins(self, candidates: list[Candidate]) -> Mapping[str, State]:
        found: dict[str, State] = {}
        if self.inherits:
            for each in candidates:
                network = Network(each.architecture.graph(), generator=torch.Generator())
                self.weights.supernet.hand_down(network, each.choice)
                found[each.label] = network.state_dict()
        return found

    @property
    def in_common(self) -> bool:
        return self.settings.shares and self.weights.finished

    def state(self) -> State:
        return {**self.weights.state(), "history": list(self.history)}

    def resume(self, state: State) -> None:
        self.weights.restore(state)
        self.history = list(state["history"])
