"""Evolution by what the shared weights of `micronas.nas.strategies.ranked` say."""

import random

from micronas.nas.prior import USED, moved
from micronas.nas.strategies.base import Parts, Scored
from micronas.nas.strategies.ranked import Ranked
from micronas.nas.strategies.shared import SIFTED_BY
from micronas.space.decisions import Choice

_PARENTS = 1 / 3
"""Share of a generation that the next one comes from."""
_MUTATED = 0.15
"""Probability that a decision moves by one option."""
_TRIES = 20
"""Children for each one wanted: most fall outside the budget or are known."""


class Evolution(Ranked):
    """Crossing and mutation within the budget: of a generation, at first draws of the prior, the
    best third by loss with shared weights are the parents of the next."""

    @property
    def rankings(self) -> int:
        return self.settings.draws * self.settings.generations

    def propose(self, parts: Parts) -> Scored:
        """Return the best networks of all generations."""
        source = random.Random(f"{self.seed} evolution")
        known: dict[Choice, float | None] = {}
        generation = self.pool[: self.settings.draws]
        for _ in range(self.settings.generations):
            known |= self.score(generation, parts, examples=SIFTED_BY)
            parents = sorted(known, key=lambda choice: known[choice] or 0.0)
            parents = parents[: max(2, round(_PARENTS * self.settings.draws))]
            generation = self._children(parents, known, source)
            if not generation:
                break
        return self.finalists(known, parts)

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
