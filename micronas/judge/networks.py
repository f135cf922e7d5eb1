"""Compare two networks by a paired bootstrap over test clips.

The judge is a metric here: what each network scored on each clip. Both see the same drawn clips,
so that the difficulty of clips cancels, as prompts do for models that answer them.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import ndtr

from micronas.errors import DataError
from micronas.judge.battles import Floats, Indices

_CHUNK = 4_000_000


@dataclass(frozen=True)
class Difference:
    """Mean of A minus mean of B, with its interval.

    ``differing`` counts the clips on which A and B scored differently: the interval cannot be
    trusted where they are few (ten, say), because the resamples know no others.
    """

    value: float
    lower: float
    upper: float
    level: float
    clips: int
    groups: int
    differing: int

    @property
    def certain(self) -> bool:
        """Whether the interval excludes zero."""
        return self.lower > 0 or self.upper < 0

    def __str__(self) -> str:
        where = f"{self.clips} clips"
        if self.groups != self.clips:
            where += f" in {self.groups} groups"
        return (
            f"{100 * self.value:+.2f} points ({100 * self.level:g} % interval "
            f"{100 * self.lower:+.2f} to {100 * self.upper:+.2f}; {where}, "
            f"{self.differing} differ)"
        )


def compare(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    rounds: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Difference of two networks' mean scores with a paired bootstrap interval.

    Percentiles are those of the expanded interval of Hesterberg (2015, arXiv:1411.5279, 5.3),
    which makes up for how narrow a bootstrap of few units is.

    Parameters
    ----------
    correct_a, correct_b
        Score of each clip [clips], in the same order: 0 or 1, or any number.
    groups
        Speaker, machine or recording of each clip. Groups are then drawn whole, because clips of
        one speaker are not independent.

    Raises
    ------
    DataError
        If the scores do not match, or there are fewer than two clips or groups.
    """
    first, second = np.asarray(correct_a, np.float64), np.asarray(correct_b, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise DataError(
            f"both networks need one score a clip of the same clips, but got shapes "
            f"{first.shape} and {second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("scores of clips must be finite; leave out clips without a score")
    if not 0 < level < 1 or rounds < 1:
        raise DataError(f"a level is between 0 and 1 and rounds 1 or more: {level}, {rounds}")
    gain = first - second
    unit = _units(groups, len(gain))
    sums = np.bincount(unit, gain).astype(np.float64)
    sizes = np.bincount(unit).astype(np.float64)
    units = len(sums)
    if units < 2:
        raise DataError(f"a comparison needs two clips or groups or more, but got {units}")
    means = _resample(sums, sizes, rounds, np.random.default_rng(seed))
    tail = ndtr(np.sqrt(units / (units - 1)) * stats.t.ppf((1 - level) / 2, units - 1))
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Difference(
        value=float(gain.mean()),
        lower=float(lower),
        upper=float(upper),
        level=level,
        clips=len(gain),
        groups=units,
        differing=int((gain != 0).sum()),
    )


def _units(groups: Sequence[Hashable] | None, clips: int) -> Indices:
    if groups is None:
        return np.arange(clips)
    if len(groups) != clips:
        raise DataError(f"each clip needs one group, but got {len(groups)} for {clips} clips")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.intp)


def _resample(sums: Floats, sizes: Floats, rounds: int, generator: np.random.Generator) -> Floats:
    """Means [rounds] of units drawn with replacement; equal units are drawn together."""
    kinds, times = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    chance = times / times.sum()
    step = max(1, _CHUNK // len(kinds))
    parts = []
    for begin in range(0, rounds, step):
        drawn = generator.multinomial(len(sums), chance, size=min(step, rounds - begin))
        total = drawn @ kinds
        parts.append(total[:, 0] / total[:, 1])
    return np.concatenate(parts)
