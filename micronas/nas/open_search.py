"""Search an open space: draws from all families at first, then from what the trials prefer.

Members of an open space share no weights, since their maps differ in size: real trainings choose.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from micronas.data import DataSet
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Limits
from micronas.hardware.front_ends import front_end_costs
from micronas.nas.prior import USED, draw, moved
from micronas.nas.problem import Problem
from micronas.nas.textbook import shipped, textbook_networks
from micronas.nas.trials import Candidate
from micronas.space.decisions import Choice
from micronas.space.open_space import OpenSpace, Picks
from micronas.space.searchable import Searchable
from micronas.space.space import Space

_TRIES = 8
"""Draws for each network wanted, at most: some members hold none within the budget."""
_PARENTS = 1 / 3
"""Share of the tried networks that others descend from."""
_REDRAWN = 0.15
"""Probability that a descendant settles an `any`, a kernel, a depth or a kind of block anew."""
_STEPPED = 0.3
"""Probability that one of its widths takes a step, of up to `_STEP` of its value."""
_STEP = 0.35


@dataclass(frozen=True)
class Drawn:
    """A network of an open space."""

    family: str
    picks: Picks
    choice: Choice


class OpenProblem:
    """An open space, a board and limits.

    Parameters
    ----------
    known
        Of the input's meaning: each member is charged for the front end of its own input.
    """

    def __init__(
        self,
        space: OpenSpace,
        board: Board,
        budget: Budget,
        *,
        known: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.space, self._board, self._budget, self._known = space, board, budget, known
        self._problem = lru_cache(maxsize=1024)(self._made)
        self._drawn: dict[str, Drawn] = {}

    def problem(self, family: str, picks: Picks) -> Problem:
        """Return the problem of one member."""
        return self._problem(family, picks)

    @property
    def limits(self) -> Limits:
        """The budget on the board, as numbers, as the first member has it."""
        return self.problem(*next(self.space.ways())).limits

    def check_feasible(self) -> None:
        """Raise BudgetError if not even the smallest network of any member fits.

        The error is that of the member nearest to the budget.
        """
        nearest = None
        for family, picks in self.space.ways():
            problem = self.problem(family, picks)
            share = problem.share(problem.least())
            if share <= 1:
                return
            if nearest is None or share < nearest[0]:
                nearest = share, problem
        assert nearest is not None, "a family has members"
        nearest[1].check_feasible()

    def first(self, count: int, source: random.Random) -> list[Candidate]:
        """Draw up to `count` different networks, as many of each family.

        Where draws miss the few members that hold any within the budget, their smallest are given.
        """
        families = list(self.space.families)
        source.shuffle(families)
        found: dict[str, Candidate] = {}
        for turn in range(count):
            family, before = families[turn % len(families)], len(found)
            for _ in range(_TRIES):
                picks = self.space.draw(family, source)
                problem = self.problem(family, picks)
                for choice in draw(problem, count=1, source=source, fill=self.space.fill):
                    self._keep(found, Drawn(family, picks, choice))
                if len(found) > before:
                    break
        return list(found.values()) or self._smallest(count)

    def _smallest(self, count: int) -> list[Candidate]:
        found: dict[str, Candidate] = {}
        for family, picks in self.space.ways():
            problem = self.problem(family, picks)
            if len(found) < count and problem.fits(problem.least()):
                self._keep(found, Drawn(family, picks, problem.least()))
        return list(found.values())

    def rivals(self, data: DataSet) -> list[Candidate]:
        """Return the textbook networks of the space, as wide as fits; small ones, too, where the
        space draws small networks."""
        return textbook_networks(
            shipped(self.space.textbook),
            self._board,
            self._budget,
            kind=self.space.kind,
            input_shape=data.input,
            classes=len(data.classes),
            as_published=self.space.fill < USED,
            known=self._known,
        )

    def next(self, tried: list[Candidate], count: int, source: random.Random) -> list[Candidate]:
        """Draw up to `count` networks near the best of those tried, which come first."""
        known = {str(each) for each in tried}
        pool = [self._drawn[str(each)] for each in tried if str(each) in self._drawn]
        parents = pool[: max(2, round(_PARENTS * len(pool)))]
        found: dict[str, Candidate] = {}
        for turn in range(_TRIES * count):
            if len(found) >= count or not parents:
                break
            child = self._descendant(parents[turn % len(parents)], source)
            if child is not None:
                self._keep(found, child, known)
        return list(found.values())

    def _descendant(self, parent: Drawn, source: random.Random) -> Drawn | None:
        sizes = self.space.sizes(parent.family)
        picks = tuple(
            source.randrange(size) if source.random() < _REDRAWN else pick
            for size, pick in zip(sizes, parent.picks, strict=True)
        )
        before = self.problem(parent.family, parent.picks).space
        problem = self.problem(parent.family, picks)
        floor = min(USED, self.space.fill)
        varied = _varied(problem.space, before, parent.choice, source)
        choice = moved(problem, varied, floor, source)
        return Drawn(parent.family, picks, choice) if problem.fits(choice) else None

    def _keep(
        self, found: dict[str, Candidate], drawn: Drawn, known: "set[str] | None" = None
    ) -> None:
        problem = self.problem(drawn.family, drawn.picks)
        space = problem.space
        assert isinstance(space, Space), "members are"
        architecture = space.architecture(drawn.choice)
        label = f"{drawn.family} {architecture.in_full}"
        if label in (known or ()) or label in found:
            return
        costs = problem.costs(drawn.choice)
        found[label] = Candidate("search", drawn.choice, architecture, costs, space, label)
        self._drawn[label] = drawn

    def _made(self, family: str, picks: Picks) -> Problem:
        member = self.space.member(family, picks)
        front_end = front_end_costs(self._known, member.input)
        return Problem(member, self._board, self._budget, front_end=front_end)


def problem_of(
    space: Searchable | OpenSpace, board: Board, budget: Budget, *, known: Mapping[str, Any]
) -> Problem | OpenProblem:
    """Return the problem of a space of one family or of several.

    Parameters
    ----------
    known
        Of the input's meaning, see `micronas.hardware.front_ends.front_end_costs`.
    """
    if isinstance(space, OpenSpace):
        return OpenProblem(space, board, budget, known=known)
    front_end = front_end_costs(known, space.input_shape)
    return Problem(space, board, budget, front_end=front_end)


def _varied(space: Searchable, parent: Searchable, choice: Choice, source: random.Random) -> Choice:
    """Return a choice near a parent's, some of whose options are drawn anew.

    Layers keep their bits, and new ones have those of the others: which pay is up to the budget.
    """
    values, varied = parent.values(choice), []
    bits = min((values[each.name] for each in parent.decisions if each.kind == "bits"), default=8)
    for decision in space.decisions:
        options, value = decision.options, values.get(decision.name)
        if decision.kind == "bits":
            varied.append(options.index(value or bits))
        elif value is None or (decision.kind != "width" and source.random() < _REDRAWN):
            varied.append(source.randrange(len(options)))
        elif decision.kind == "width":
            wanted = value * (1 + _STEP) ** source.uniform(-1, 1)
            wanted = wanted if source.random() < _STEPPED else value
            varied.append(decision.nearest(wanted))
        else:
            varied.append(options.index(value) if value in options else len(options) - 1)
    return tuple(varied)
