"""Shared weights trained on networks within the budget, then evolution by what they say."""

import random

import torch

from micronas.checkpoint import State
from micronas.data import Split
from micronas.nas.prior import USED, draw, moved, uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.base import Parts, Scored
from micronas.nas.strategies.shared import SharedStrategy
from micronas.space.decisions import Choice

_POOL = 200
"""Networks within the budget on which weights are trained."""
_PARENTS = 1 / 3
"""Share of a generation that the next one comes from."""
_MUTATED = 0.15
"""Probability that a decision moves by one option."""
_TRIES = 20
"""Children for each one wanted: most fall outside the budget or are known."""


class Evolution(SharedStrategy):
    """Crossing and mutation; a round depends on the state and on the seed alone.

    Once weights have learnt something on random networks, they are trained on networks from the
    prior that `micronas.nas.prior` describes, and on uniform ones. The best third of a generation,
    by loss with shared weights, is then crossed and mutated, within the budget.
    """

    def __init__(self, problem: Problem, settings: SearchSettings, seed: int) -> None:
        super().__init__(problem, settings, seed)
        source = random.Random(f"{seed} pool")
        self.pool = draw(problem, count=_POOL, source=source) + uniform_networks(problem)

    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps; the part for gates trains weights as well."""
        weights, generator = self.weights, self.weights.generator()
        if not weights.warm:
            weights.warm_up(training, generator)
        else:
            for indices in weights.steps((training, gating), generator):
                for split, index in zip((training, gating), indices, strict=True):
                    which = int(torch.randint(len(self.pool), (), generator=generator))
                    weights.train(split, index, self.pool[which], generator)
                weights.step += 1
            weights.settle()
        self._record()

    def propose(self, parts: Parts) -> Scored:
        """Return the best networks of all generations."""
        source = random.Random(f"{self.seed} evolution")
        known: dict[Choice, float | None] = {}
        generation = self.pool[: self.settings.draws]
        for _ in range(self.settings.generations):
            known |= self.score(generation, parts)
            parents = sorted(known, key=lambda choice: known[choice] or 0.0)
            parents = parents[: max(2, round(_PARENTS * self.settings.draws))]
            generation = self._children(parents, known, source)
            if not generation:
                break
        return self.best(known)

    def state(self) -> State:
        return {**self.weights.state(), "history": list(self.history)}

    def start_warm(self, state: State) -> None:
        self.resume(state)
        self.history = [
            {name: record[name] for name in ("step", "loss")} for record in self.history
        ]

    def resume(self, state: State) -> None:
        self.weights.restore(state)
        self.history = list(state["history"])

    def _children(
        self, parents: list[Choice], known: Scored, source: random.Random
    ) -> list[Choice]:
        canonical = self.problem.space.canonical
        old = set(map(canonical, known))
        children: dict[Choice, Choice] = {}
        for _ in range(_TRIES * self.settings.draws):
            if len(children) == self.settings.draws:
                break
            mother, father = source.choice(parents), source.choice(parents)
            cut = source.randrange(len(mother) + 1)
            child = self._mutated((*mother[:cut], *father[cut:]), source)
            child = moved(self.problem, child, USED, source)
            if canonical(child) not in old and self.problem.fits(child):
                children.setdefault(canonical(child), child)
        return list(children.values())

    def _mutated(self, choice: Choice, source: random.Random) -> Choice:
        changed = []
        for decision, index in zip(self.problem.space.decisions, choice, strict=True):
            step = source.choice((-1, 1)) if source.random() < _MUTATED else 0
            changed.append(min(max(index + step, 0), len(decision.options) - 1))
        return tuple(changed)

    def _record(self) -> None:
        self.history.append({"step": float(self.weights.step), "loss": self.weights.loss})
