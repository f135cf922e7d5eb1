"""Channels of a tensor in a graph with choices, and their presence under a choice.

There are three kinds. `Units` are numbered channels, each owned by a width decision (the first
ranks are kept) or by none; `Either` are those of the tensor that a decision selects; `Union` are
those of a sum whose narrower side is padded with zero channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Kept = npt.NDArray[np.bool_]
_Options = Sequence[tuple[int, ...]]
"""Options of each width decision; () for others."""

ALWAYS = -1
"""Owner of channels that are always kept."""


class Channels(ABC):
    """The channels of a tensor, depending on decisions.

    Equal channels have equal keys. `values` are the possible widths, in rising order.
    """

    key: tuple[Any, ...]
    size: int
    """Number of channels where all are present."""
    decisions: frozenset[int]
    """Decisions that the channels depend on."""
    values: tuple[int, ...]
    is_prefix: bool
    """The existing channels are always the first ones."""

    @abstractmethod
    def kept(self, choice: Sequence[int]) -> Kept:
        """Return whether each channel [size] exists under a choice."""

    def width(self, choice: Sequence[int]) -> int:
        """Return the number of channels under a choice."""
        return int(self.kept(choice).sum())

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Channels) and self.key == other.key)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.key)


class Units(Channels):
    """Numbered channels.

    Parameters
    ----------
    owners, ranks
        int64 [channels]: the width decision of each, or ALWAYS, and its rank there. A channel
        exists if its rank is below the width.
    options
        Widths of each decision.
    """

    def __init__(self, owners: Numbers, ranks: Numbers, options: _Options) -> None:
        self.owners, self.ranks = owners, ranks
        self.key = ("units", owners.tobytes(), ranks.tobytes())
        self.size = len(owners)
        self.owned = tuple(sorted({*owners.tolist()} - {ALWAYS}))
        self.decisions = frozenset(self.owned)
        self.fixed = int((owners == ALWAYS).sum())
        self.counts = {
            owner: tuple(int((ranks[owners == owner] < each).sum()) for each in options[owner])
            for owner in self.owned
        }
        sums = {self.fixed}
        for counts in self.counts.values():
            sums = {known + count for known in sums for count in counts}
        self.values = tuple(sorted(sums))
        rising = len(self.owned) <= 1 and bool((ranks == np.arange(self.size)).all())
        self.is_prefix = not self.owned or (rising and self.fixed == 0)
        self._options = options

    def kept(self, choice: Sequence[int]) -> Kept:
        found = np.ones(self.size, np.bool_)
        for owner in self.owned:
            mine = self.owners == owner
            found[mine] = self.ranks[mine] < self._options[owner][choice[owner]]
        return found

    def width(self, choice: Sequence[int]) -> int:
        found: int = self.fixed + sum(
            counts[choice[owner]] for owner, counts in self.counts.items()
        )
        return found


class Either(Channels):
    """The channels of one of several tensors, selected by a decision."""

    def __init__(self, decision: int, branches: Sequence[Channels]) -> None:
        self.decision, self.branches = decision, tuple(branches)
        self.key = ("either", decision, *(each.key for each in branches))
        self.size = max(each.size for each in branches)
        self.decisions = frozenset({decision}).union(*(each.decisions for each in branches))
        self.values = tuple(sorted({value for each in branches for value in each.values}))
        self.is_prefix = all(each.is_prefix for each in branches)

    def kept(self, choice: Sequence[int]) -> Kept:
        return _padded(self.branches[choice[self.decision]].kept(choice), self.size)

    def width(self, choice: Sequence[int]) -> int:
        return self.branches[choice[self.decision]].width(choice)


class Union(Channels):
    """The channels that either of two independent tensors has."""

    def __init__(self, left: Channels, right: Channels) -> None:
        self.left, self.right = left, right
        self.key = ("union", left.key, right.key)
        self.size = max(left.size, right.size)
        self.decisions = left.decisions | right.decisions
        self.values = tuple(sorted({max(a, b) for a in left.values for b in right.values}))
        self.is_prefix = left.is_prefix and right.is_prefix

    def kept(self, choice: Sequence[int]) -> Kept:
        left, right = (_padded(each.kept(choice), self.size) for each in (self.left, self.right))
        return left | right

    def width(self, choice: Sequence[int]) -> int:
        return max(self.left.width(choice), self.right.width(choice))


def fixed(size: int) -> Units:
    """Return channels that always exist."""
    return Units(np.full(size, ALWAYS, np.int64), np.arange(size), ())


def owned(decision: int, options: _Options) -> Units:
    """Return the channels of one width decision, whose options rise."""
    largest = options[decision][-1]
    return Units(np.full(largest, decision, np.int64), np.arange(largest), options)


def _padded(kept: Kept, size: int) -> Kept:
    return np.concatenate([kept, np.zeros(size - len(kept), np.bool_)])
