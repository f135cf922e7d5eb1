"""Successive halving in which slow starters stay: the best network of most families goes on.

Source: K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", 2016; the families are our own.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from micronas.checkpoint import State
from micronas.nas.candidate import Candidate, ranked
from micronas.nas.strategies.base import Context, Plan, Script, Training
from micronas.train.recipe import Recipe

_FINISH = 5
"""Approximate number of candidates whose trials go to the end."""
LONGER = 3
"""Ratio of the epochs of champions to those of trials."""
TELLING = 150
"""Fewest steps of a training before networks are compared: deep and wide ones start slowly, and
with fewer steps were dropped though they ended ahead. The average gain from more than 100 is not
confirmed (docs/results/search.md)."""


@dataclass(frozen=True)
class Race:
    """Trainings under one schedule; after each rung the better half goes on.

    In this half are the best networks of two thirds of the families that were left: after a few
    epochs a family that ends ahead may be behind. In the end the best networks of a few families,
    the champions, go on alone. Each textbook network is a family.
    """

    context: Context
    recipe: Recipe
    """Schedule of all trainings; it ends where champions do."""
    rungs: Sequence[int]
    """Epochs after which candidates are compared."""
    families: int
    """Most families among the candidates."""
    champions: int
    """Number of families whose best goes on alone; 0 where the last rung decides."""
    begins: Mapping[str, State] = field(default_factory=lambda: MappingProxyType({}))
    """Initial weights, by a candidate's label."""

    def to_first(self, entrants: list[Candidate]) -> list[Training]:
        """Return the trainings up to the first comparison."""
        return self._trainings(entrants, self.rungs[0])

    def rest(self, tried: Sequence[Candidate]) -> Script:
        """Train on after the first comparison."""
        left = ranked(tried)
        for rung, (count, families) in zip(self.rungs[1:], self._going(len(left)), strict=True):
            first = _bests(left)[:families]
            others = [each for each in left if each not in first]
            going = first + others[: count - len(first)]
            left = ranked((yield self._trainings(going, rung)))
        if self.champions:
            yield self._trainings(_bests(left)[: self.champions], self.recipe.epochs)

    def plan(self, networks: list[Candidate], count: int) -> Plan:
        """Return the plan of a race of `count` networks, of which `networks` are examples."""
        counts, reached = [count, *(each for each, _ in self._going(count))], [*self.rungs]
        if self.champions:
            counts, reached = [*counts, self.champions], [*reached, self.recipe.epochs]
        steps = [end - begin for begin, end in zip([0, *reached], reached, strict=False)]
        epochs = sum(each * step for each, step in zip(counts, steps, strict=True))
        folds = len(self.context.folds)
        return Plan(networks, count, folds * sum(counts), folds * epochs)

    def _going(self, count: int) -> Iterator[tuple[int, int]]:
        """Yield the numbers of candidates and of families that go on after each rung."""
        families = self.families if self.champions else 0
        for _ in self.rungs[1:]:
            families = max(-(-2 * families // 3), self.champions)
            count = max(-(-count // 2), min(count, families))
            yield count, families

    def _trainings(self, candidates: list[Candidate], epochs: int) -> list[Training]:
        return [
            Training(each, self.recipe, epochs, begin=self.begins.get(each.label))
            for each in candidates
        ]


def race(
    context: Context,
    trial: Recipe,
    count: int | None,
    rivals: Sequence[Candidate],
    *,
    decides: bool = False,
    begins: Mapping[str, State] = MappingProxyType({}),
) -> Race:
    """Return the race of a search.

    `trial` is the training up to the last rung, `count` the number of candidates that are halved,
    None for one comparison at its end. `rivals` are not drawn from the space; where the trial
    `decides`, there are no champions.
    """
    steps = trial.steps(len(context.folds[0].train.labels))
    rungs = [trial.epochs] if count is None else rung_epochs(count, trial.epochs, steps)
    drawn = {("search", family) for family, _ in context.problem.space.ways()}
    families = len(drawn | set(map(_family, rivals)))
    champions = 0 if decides else min(context.settings.champions, families)
    champions = champions if champions > 1 else 0
    whole = {"epochs": (LONGER if champions else 1) * trial.epochs}
    recipe = trial.model_copy(update=whole)
    return Race(context, recipe, rungs, families, champions, begins)


def rung_epochs(count: int, epochs: int, steps: int) -> list[int]:
    """Return the epochs after which the worse half is dropped, and the last epoch.

    An epoch has `steps` steps.
    """
    halvings = max(1, math.ceil(math.log2(max(count, 1) / _FINISH)))
    found = {-(-epochs // 2**power) for power in range(1, halvings + 1)}
    return [*sorted(each for each in found if each < epochs and each * steps >= TELLING), epochs]


def _family(candidate: Candidate) -> tuple[str, str]:
    textbook = candidate.origin == "textbook"
    return candidate.origin, candidate.label if textbook else candidate.family


def _bests(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the first candidate of each family."""
    first: dict[tuple[str, str], Candidate] = {}
    for each in candidates:
        first.setdefault(_family(each), each)
    return list(first.values())
