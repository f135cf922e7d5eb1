"""Shared weights trained on networks within the budget, then evolution by what they say."""

import random

import torch

from micronas.checkpoint import State
from micronas.data import Split
from micronas.nas.budget import Limits, Meter
from micronas.nas.draw import draw
from micronas.nas.select import USED, moved, rank, uniform_networks
from micronas.nas.settings import SearchSettings
from micronas.nas.weights import SharedSearch
from micronas.space.architecture import Architecture
from micronas.space.search_space import Choice, SearchSpace

_POOL = 200
"""Networks within the budget on which weights are trained."""
_PARENTS = 1 / 3
"""Share of a generation that the next one comes from."""
_MUTATED = 0.15
"""Probability that a decision moves by one option."""
_TRIES = 20
"""Children for each one wanted: most fall outside the budget or are known."""


class Evolution(SharedSearch):
    """The state of one search; a round depends on it and on the seed alone.

    Once weights have learnt something on random networks, they are trained on networks from the
    prior that `micronas.nas.draw` describes, and on uniform ones. The best third of a generation,
    by loss with shared weights, is then crossed and mutated, within the budget.
    """

    def __init__(
        self, space: SearchSpace, settings: SearchSettings, limits: Limits, meter: Meter, seed: int
    ) -> None:
        super().__init__(space, settings, limits, meter, seed)
        source = random.Random(f"{seed} pool")
        self._pool = draw(space, limits, meter, count=_POOL, source=source)
        self._pool += uniform_networks(space, limits, meter)

    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps; the part for gates trains weights as well."""
        weights, generator = self.weights, self.weights.generator()
        if not weights.warm:
            weights.warm_up(training, generator)
        else:
            for indices in weights.steps((training, gating), generator):
                for split, index in zip((training, gating), indices, strict=True):
                    which = int(torch.randint(len(self._pool), (), generator=generator))
                    weights.train(split, index, self._pool[which], generator)
                weights.step += 1
        self._record()

    def propose(self, ranking: Split) -> dict[Choice, float]:
        """The networks of all generations, and their losses."""
        source = random.Random(f"{self.seed} evolution")
        known: dict[Choice, float] = {}
        generation = self._pool[: self.settings.draws]
        for _ in range(self.settings.generations):
            known |= zip(
                generation,
                rank(self.weights.supernet, generation, ranking, self.seed),
                strict=True,
            )
            parents = sorted(known, key=lambda choice: known[choice])
            parents = parents[: max(2, round(_PARENTS * self.settings.draws))]
            generation = self._children(parents, known, source)
            if not generation:
                break
        return known

    def state(self) -> State:
        """Everything a round changes."""
        return {**self.weights.state(), "history": list(self.history)}

    def start_warm(self, state: State) -> None:
        """Go on from the warm-up of a search for another board or budget."""
        self.resume(state)
        self.history = [
            {name: record[name] for name in ("step", "loss")} for record in self.history
        ]

    def resume(self, state: State) -> None:
        """Go on from a state of this search."""
        self.weights.restore(state)
        self.history = list(state["history"])

    def _children(
        self, parents: list[Choice], known: dict[Choice, float], source: random.Random
    ) -> list[Choice]:
        old = set(map(self.space.architecture, known))
        children: dict[Architecture, Choice] = {}
        for _ in range(_TRIES * self.settings.draws):
            if len(children) == self.settings.draws:
                break
            mother, father = source.choice(parents), source.choice(parents)
            cut = source.randrange(len(mother) + 1)
            child = self._mutated((*mother[:cut], *father[cut:]), source)
            child = moved(self.space, child, USED, self.limits, self.meter, source)
            architecture = self.space.architecture(child)
            if architecture not in old and self.limits.fits(self.meter.costs(architecture)):
                children.setdefault(architecture, child)
        return list(children.values())

    def _mutated(self, choice: Choice, source: random.Random) -> Choice:
        changed = []
        for decision, index in zip(self.space.decisions, choice, strict=True):
            step = source.choice((-1, 1)) if source.random() < _MUTATED else 0
            changed.append(min(max(index + step, 0), len(decision.options) - 1))
        return tuple(changed)

    def _record(self) -> None:
        self.history.append({"step": float(self.weights.step), "loss": self.weights.loss})
