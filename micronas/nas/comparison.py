"""How far apart networks are after equal trials, and how much of that may be chance."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_NORMAL = 1.96
"""Half width of a 95 % interval in standard errors."""


class Comparison(NamedTuple):
    """One comparison that a network took part in."""

    epochs: int
    accuracy: float
    right: tuple[str, ...] = ()
    """For each fold a character for each example that ranked: ``1`` where the network was right,
    else ``0``. None in searches that began before these were kept."""


class Lead(NamedTuple):
    """How far a network is ahead of another after as many epochs."""

    accuracy: float
    """Difference of the two; negative where it is behind."""
    half_width: float | None
    """Of a 95 % interval over examples, on which both are compared in pairs. Another training of
    either differs by chance as well, which is not in it."""
    epochs: int


def lead_over(own: Sequence[Comparison], rivals: Iterable[Sequence[Comparison]]) -> Lead | None:
    """Return the lead over the best rival after the most epochs that any of them reached too.

    None where no rival was compared after as many epochs.
    """
    by_epochs = {each.epochs: each for each in own}
    best: dict[int, Comparison] = {}
    for each in (comparison for rival in rivals for comparison in rival):
        if each.epochs not in best or each.accuracy > best[each.epochs].accuracy:
            best[each.epochs] = each
    epochs = max(by_epochs.keys() & best.keys(), default=None)
    if epochs is None:
        return None
    one, other = by_epochs[epochs], best[epochs]
    return Lead(one.accuracy - other.accuracy, _half_width(one, other), epochs)


def _half_width(one: Comparison, other: Comparison) -> float | None:
    if not one.right or not other.right:
        return None
    pairs = zip(one.right, other.right, strict=True)
    variances = [_variance(*pair) for pair in pairs]
    return _NORMAL * math.sqrt(math.fsum(variances)) / len(variances)


def _variance(one: str, other: str) -> float:
    """Variance of the difference of two accuracies on the same examples.

    Half a pair is added to each way to differ, so that few examples do not look certain (Agresti
    and Min 2005, doi 10.1002/sim.1781).
    """
    pairs = list(zip(one, other, strict=True))
    gained, lost = pairs.count(("1", "0")), pairs.count(("0", "1"))
    count = len(pairs) + 2
    return (gained + lost + 1 - (gained - lost) ** 2 / count) / count**2
