"""Differences of networks after equal trials, and how much of them may be chance."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import truediv
from statistics import fmean
from typing import NamedTuple

from micronas.objectives.intervals import LEAST_FREEDOM, student


class Comparison(NamedTuple):
    """Result of a network in one comparison."""

    epochs: int
    score: float
    """More is better."""
    values: tuple[str | list[float], ...]
    """Terms of the score's mean for each fold, one for each example that ranked: characters ``1``
    where the network was right, else ``0``; or numbers."""
    groups: tuple[tuple[int, ...], ...]
    """Group of each of these examples for each fold, as in `Split.groups`."""


class Lead(NamedTuple):
    """Lead of a network over another after as many epochs."""

    score: float
    """Difference of the two; negative where it is behind."""
    half_width: float | None
    """95 % interval for examples of other groups (speakers, machines); both are compared in
    pairs. None where the groups weigh less than three of one size. Another training of either
    differs by chance as well, which is not in it."""
    epochs: int


def lead_over(own: Sequence[Comparison], rivals: Iterable[Sequence[Comparison]]) -> Lead | None:
    """Return the lead over the best rival after the most epochs that any of them reached too.

    None where no rival was compared after as many epochs.
    """
    by_epochs = {each.epochs: each for each in own}
    best: dict[int, Comparison] = {}
    for each in (comparison for rival in rivals for comparison in rival):
        if each.epochs not in best or each.score > best[each.epochs].score:
            best[each.epochs] = each
    epochs = max(by_epochs.keys() & best.keys(), default=None)
    if epochs is None:
        return None
    one, other = by_epochs[epochs], best[epochs]
    return Lead(one.score - other.score, _half_width(one, other), epochs)


def _half_width(one: Comparison, other: Comparison) -> float | None:
    """Half width of the interval of a mean over folds of paired differences.

    Examples of a group are correlated, so that the group is the sampling unit. For shares, half a
    pair is added in each fold to each way to differ, so that few examples do not look certain
    (Agresti and Min 2005, doi 10.1002/sim.1781). A large group pulls the mean towards itself, which
    makes its deviation look too small: each square is divided by the share of the other groups
    (MacKinnon and White 1985, HC2). Degrees of freedom are those of the effective number of groups
    of equal size (Kish 1965).
    """
    pairs = 2 if all(isinstance(each, str) for each in (*one.values, *other.values)) else 0
    folds = [
        [(a - b, group) for a, b, group in zip(*map(_numbers, (mine, theirs)), groups, strict=True)]
        for mine, theirs, groups in zip(one.values, other.values, one.groups, strict=True)
    ]
    counts = [len(fold) + pairs for fold in folds]
    sums = [sum(difference for difference, _ in fold) for fold in folds]
    mean = fmean(map(truediv, sums, counts))
    off: dict[int, float] = defaultdict(float)
    share: dict[int, float] = defaultdict(float)
    for fold, count in zip(folds, counts, strict=True):
        for difference, group in fold:
            off[group] += (difference - mean) / count
            share[group] += 1 / len(fold) / len(folds)
    freedom = 1 / math.fsum(each**2 for each in share.values()) - 1
    if freedom < LEAST_FREEDOM:
        return None
    squares = math.fsum(off[group] ** 2 / (1 - share[group]) for group in off)
    added = math.fsum(pairs * (0.5 + mean**2) / count**2 for count in counts)
    return student(freedom) * math.sqrt(squares + added) / len(folds)


def _numbers(values: str | list[float]) -> list[float]:
    return [float(each) for each in values]
