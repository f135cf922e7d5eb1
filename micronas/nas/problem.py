"""The problem of a search: the networks of a space, on a board, within limits.

A space of one family, or a user's own network, has one member. Members share no weights, since
their maps differ in size.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Limits
from micronas.hardware.front_ends import front_end_costs
from micronas.nas.candidate import Candidate
from micronas.nas.member import Member
from micronas.nas.prior import USED, draw, moved, uniform_networks
from micronas.nas.textbook import shipped, textbook_networks
from micronas.space.decisions import Choice
from micronas.space.open_space import OpenSpace, Picks
from micronas.space.searchable import Searchable

if TYPE_CHECKING:
    from micronas.data import DataSet

_TRIES = 8
"""Most draws for each network wanted: some members have none within the budget."""
_PARENTS = 1 / 3
"""Share of the tried networks that are parents."""
_REDRAWN = 0.15
"""Probability that a descendant draws an `any`, a kernel, a depth or a kind of block anew."""
_STEPPED = 0.3
"""Probability that a width takes a step, of up to `_STEP` of its value."""
_STEP = 0.35


class Problem:
    """A space, a board and limits.

    The space is of one family or of several, or the result of `convert`; `meaning` is that of the
    inputs, as in `DataSet.meaning`: each member is charged for the front end of its own input.
    """

    def __init__(
        self,
        space: Searchable | OpenSpace,
        board: Board,
        budget: Budget,
        *,
        meaning: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.space = space
        self._board, self._budget, self._meaning = board, budget, meaning
        self._member = lru_cache(maxsize=1024)(self._made)

    def member(self, family: str, picks: Picks) -> Member:
        """Return a member of the space, on the board within the limits."""
        return self._member(family, picks)

    def only(self, purpose: str) -> Member:
        """Return the only member.

        Where there are several, the ConfigError says that `purpose` takes one.
        """
        first, *others = self.space.ways()
        if others:
            raise ConfigError(
                f"{purpose} must have a space of one family, whose networks share weights, but "
                f"'{self.space.title}' has several; set search.strategy=halving, or give a space "
                "of one family"
            )
        return self.member(*first)

    @property
    def limits(self) -> Limits:
        """Limits of the first member: the budget on the board, as numbers."""
        return next(self._members()).limits

    def check_feasible(self) -> None:
        """Raise BudgetError if not even the smallest network of any member fits.

        The error is that of the member nearest to the budget.
        """
        shares: dict[Member, float] = {}
        for member in self._members():
            shares[member] = member.share(member.least())
            if shares[member] <= 1:
                return
        min(shares, key=lambda member: shares[member]).check_feasible()

    def check_data(self, data: "DataSet") -> None:
        """Raise ConfigError if a member does not fit the data's inputs or number of classes."""
        for member in self._members():
            space = member.space
            data.view.check(data.input, space.input_shape)
            if len(data.classes) != space.outputs:
                raise ConfigError(
                    f"data set and search space must agree on the number of classes: "
                    f"data={len(data.classes)}, space '{space.title}'={space.outputs}; edit "
                    "`classes` of the space"
                )

    def draw(self, count: int, source: random.Random, *, spare: int = 1) -> list[Candidate]:
        """Draw up to `count` different networks from the prior, as many of each family.

        Of `spare` times as many, those of the largest `_capacity` are returned, unless the space
        need not be filled. Where draws miss the few members with networks that fit, their smallest
        are returned.
        """
        spare = spare if self.space.fill >= USED else 1
        families = list(dict.fromkeys(family for family, _ in self.space.ways()))
        source.shuffle(families)
        found: list[Candidate] = []
        for turn, family in enumerate(families):
            wanted = len(range(turn, count, len(families)))
            drawn: dict[str, Candidate] = {}
            for _ in range(_TRIES * wanted):
                self._draw_one(drawn, family, self.space.draw(family, source), source)
                if len(drawn) == spare * wanted:
                    break
            found += sorted(drawn.values(), key=_capacity, reverse=True)[:wanted]
        return found or self._smallest(count)

    def draw_of(
        self, family: str, ways: Sequence[Picks], count: int, source: random.Random
    ) -> list[Candidate]:
        """Draw up to `count` different networks of a family, with picks from `ways`."""
        found: dict[str, Candidate] = {}
        for _ in range(_TRIES * count):
            if len(found) >= count:
                break
            self._draw_one(found, family, source.choice(ways), source)
        return list(found.values())

    def descendants(
        self, tried: list[Candidate], count: int, source: random.Random
    ) -> list[Candidate]:
        """Draw up to `count` new networks near the best third of `tried`, which is sorted best
        first."""
        known = {each.label for each in tried}
        drawn = [each for each in tried if each.origin == "search"]
        parents = drawn[: max(2, round(_PARENTS * len(drawn)))]
        found: dict[str, Candidate] = {}
        for turn in range(_TRIES * count):
            if len(found) >= count or not parents:
                break
            self._descend(found, parents[turn % len(parents)], source, known)
        return list(found.values())

    def rivals(self, data: "DataSet") -> list[Candidate]:
        """Return the widest rivals that fit and need no search: the textbook networks that the
        space names, and the uniform ones of a space of one member.
        """
        named = textbook_networks(
            shipped(self.space.textbook),
            self._board,
            self._budget,
            kind=self.space.kind,
            input_shape=data.input,
            classes=len(data.classes),
            as_published=self.space.fill < USED,
            meaning=self._meaning,
        )
        first, *others = self.space.ways()
        uniform = [] if others else uniform_networks(self.member(*first))
        return named + [self.candidate("uniform", *first, choice) for choice in uniform]

    def candidate(self, origin: str, family: str, picks: Picks, choice: Choice) -> Candidate:
        """Return the network of a member's choice."""
        member = self.member(family, picks)
        name = self.space.label(family, member.space.architecture(choice))
        costs = member.costs(choice)
        return Candidate(origin, choice, member.space, costs, name, family, picks)

    def _members(self) -> Iterator[Member]:
        return (self.member(*way) for way in self.space.ways())

    def _smallest(self, count: int) -> list[Candidate]:
        found: dict[str, Candidate] = {}
        for family, picks in self.space.ways():
            member = self.member(family, picks)
            if len(found) < count and member.fits(member.least()):
                self._keep(found, family, picks, member.least())
        return list(found.values())

    def _draw_one(
        self, found: dict[str, Candidate], family: str, picks: Picks, source: random.Random
    ) -> None:
        member = self.member(family, picks)
        for choice in draw(member, count=1, source=source, fill=self.space.fill):
            self._keep(found, family, picks, choice)

    def _descend(
        self, found: dict[str, Candidate], parent: Candidate, source: random.Random, known: set[str]
    ) -> None:
        picks = tuple(
            source.randrange(size) if source.random() < _REDRAWN else pick
            for size, pick in zip(self.space.sizes(parent.family), parent.picks, strict=True)
        )
        member = self.member(parent.family, picks)
        varied = _varied(member.space, parent.space, parent.choice, source)
        # where even the largest network fits, no share of the budget is worth moving to
        floor = 0.0 if member.is_roomy else min(USED, self.space.fill)
        choice = moved(member, varied, floor, source)
        if member.fits(choice):
            self._keep(found, parent.family, picks, choice, known)

    def _keep(
        self,
        found: dict[str, Candidate],
        family: str,
        picks: Picks,
        choice: Choice,
        known: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        candidate = self.candidate("search", family, picks, choice)
        if candidate.label not in known:
            found.setdefault(candidate.label, candidate)

    def _made(self, family: str, picks: Picks) -> Member:
        space = self.space.member(family, picks)
        front_end = front_end_costs(self._meaning, space.input_shape)
        return Member(space, self._board, self._budget, front_end=front_end)


def _capacity(candidate: Candidate) -> int:
    """Return the product of multiply-accumulates and bytes of flash."""
    return candidate.costs.macs * candidate.costs.flash_bytes


def _varied(space: Searchable, parent: Searchable, choice: Choice, source: random.Random) -> Choice:
    """Return a choice near a parent's, some of whose options are drawn anew.

    Layers keep their bits; new ones take those of the others: the budget decides which pay.
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
