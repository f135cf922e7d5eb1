"""Measure a benchmark: its separation of models, and its agreement with people.

Definitions of Arena-Hard (Li et al., arXiv:2406.11939, and its ``benchmark_statistics`` notebook),
computed on pairs of models by index. A share always carries its number of pairs: with ten models
one pair is two points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.language.intervals import paired_intervals
from micronas.settings import nearest

_Convention = Literal["half", "signed", "arena-hard"]


@dataclass(frozen=True)
class Share:
    """Points won on pairs of models."""

    points: float
    pairs: int

    @property
    def value(self) -> float:
        """Points per pair; NaN without pairs."""
        return self.points / self.pairs if self.pairs else float("nan")

    def __str__(self) -> str:
        said = f"{100 * self.value:.2f} % ({self.points:g} of {self.pairs} pairs)"
        return said if self.pairs else "undefined (no pairs)"


@dataclass(frozen=True, eq=False)
class Estimates:
    """Scores [models] with intervals, and optionally bootstrap samples [rounds, models].

    ``mean`` and ``variance`` [models] of the samples may replace them.
    """

    models: tuple[str, ...]
    scores: Floats
    lower: Floats
    upper: Floats
    samples: Floats | None = None
    mean: Floats | None = None
    variance: Floats | None = None

    def __post_init__(self) -> None:
        shape = (len(self.models),)
        columns = (self.scores, self.lower, self.upper, self.mean, self.variance)
        if any(each is not None and each.shape != shape for each in columns):
            raise DataError(f"each of {len(self.models)} models needs one score and one interval")
        if not np.isfinite(self.scores).all() or not (self.lower <= self.upper).all():
            raise DataError("scores must be finite, and intervals must not end before they begin")

    def of_models(self, names: Sequence[str]) -> "Estimates":
        """Return the estimates of the named models, in that order."""
        for name in names:
            if name not in self.models:
                raise DataError(f"no scores of model {name!r}; {nearest(name, self.models)}")
        place = [self.models.index(name) for name in names]
        columns = [getattr(self, each.name) for each in fields(self)[1:]]
        kept: list[Any] = [None if each is None else each[..., place] for each in columns]
        return Estimates(tuple(names), *kept)


@dataclass(frozen=True)
class Quality:
    """Quality of a benchmark on n models; figures against a reference are None without one.

    ``separability_paired`` uses intervals of differences on the same prompts, ``separability`` the
    overlap of the models' own intervals, as in the literature.
    """

    models: int
    separability_paired: Share | None
    separability: Share
    strict_agreement: Share | None = None
    agreement: Share | None = None
    spearman: float | None = None
    kendall: float | None = None
    brier: float | None = None
    log_loss: float | None = None

    def shown(self) -> dict[str, str]:
        """Return the figures there are as text, by name."""
        return {
            name: f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in vars(self).items()
            if value is not None
        }


def quality(
    benchmark: Estimates,
    reference: Estimates | None = None,
    *,
    top: int | None = None,
    convention: _Convention = "half",
    level: float = 0.95,
) -> Quality:
    """Return all figures on the models that benchmark and reference share.

    Parameters
    ----------
    top
        Number of best models to use, by the reference if there is one. All figures fall as the
        range narrows, so state it with them.
    level
        Level of the paired intervals, which are computed where the benchmark has samples.

    Raises
    ------
    DataError
        If fewer than two models are shared.
    """
    if reference is not None:
        shared = [name for name in benchmark.models if name in reference.models]
        benchmark, reference = benchmark.of_models(shared), reference.of_models(shared)
    if top is not None:
        judge = benchmark if reference is None else reference
        order = np.argsort(-judge.scores, kind="stable")[: max(top, 0)]
        names = [judge.models[place] for place in order]
        benchmark = benchmark.of_models(names)
        reference = None if reference is None else reference.of_models(names)
    count = len(benchmark.models)
    if count < 2:
        raise DataError(
            f"benchmark quality needs two models or more, but got {count}; do model names match?"
        )
    separated = separability(benchmark.lower, benchmark.upper)
    paired = (
        None
        if benchmark.samples is None
        else separability(*paired_intervals(benchmark.samples, level))
    )
    if reference is None:
        return Quality(count, paired, separated)
    if np.ptp(reference.scores) == 0:
        same = f"gives all {count} the score {reference.scores[0]:g}"
        raise DataError(f"a reference must rank models, but {same}; give scores that differ")
    scores = benchmark.scores, reference.scores
    ranks = np.ptp(benchmark.scores) > 0
    brier = log_loss = None
    if benchmark.mean is not None and benchmark.variance is not None:
        brier, log_loss = pair_losses(benchmark.mean, benchmark.variance, reference.scores)
    return Quality(
        models=count,
        separability=separated,
        separability_paired=paired,
        strict_agreement=strict_agreement(*scores),
        agreement=agreement(benchmark, reference, convention),
        spearman=float(stats.spearmanr(*scores).statistic) if ranks else None,
        kendall=float(stats.kendalltau(*scores).statistic) if ranks else None,
        brier=brier,
        log_loss=log_loss,
    )


def overlaps(lower: Floats, upper: Floats) -> NDArray[np.bool_]:
    """Return which of the intervals [n] overlap [n, n]; touching ends do not, equal points do."""
    inside = (lower[:, None] < upper[None, :]) & (lower[None, :] < upper[:, None])
    return np.asarray(inside | ((lower[:, None] == upper) & (lower == upper[:, None])))


def separability(lower: Floats, upper: Floats) -> Share:
    """Return the share of pairs that are separated.

    Bounds are intervals [n] of scores, which must not overlap, or paired intervals [n, n] of
    differences of scores (row minus column), which must exclude zero. The latter is the sharper
    test: the difficulty of prompts cancels.
    """
    apart = ~overlaps(lower, upper) if lower.ndim == 1 else (lower > 0) | (upper < 0)
    pairs = np.triu_indices(len(lower), 1)
    return Share(float(apart[pairs].sum()), len(pairs[0]))


def strict_agreement(scores: Floats, reference: Floats) -> Share:
    """Return the share of pairs in the same strict order of scores [n]; a tie never agrees."""
    first, second = np.triu_indices(len(scores), 1)
    same = (scores[first] - scores[second]) * (reference[first] - reference[second]) > 0
    return Share(float(same.sum()), len(first))


def agreement(
    benchmark: Estimates, reference: Estimates, convention: _Convention = "half"
) -> Share:
    """Return the agreement with confidence on the pairs that the reference separates.

    A pair in the same order counts 1. Both arguments must list models in the same order.

    Parameters
    ----------
    convention
        ``half``: 0.5 if the benchmark does not separate a pair, 0 in the other order;
        ``signed``: 0 and -1, as in Arena-Hard's text; ``arena-hard``: ``half`` as in its code,
        where an interval without width (the anchor of a rating) overlaps nothing.
        Intervals are ordered by lower, then upper end, as there.
    """
    first, second = np.triu_indices(len(benchmark.models), 1)
    open_pairs = _overlaps_by_length if convention == "arena-hard" else overlaps
    kept = ~open_pairs(reference.lower, reference.upper)[first, second]
    first, second = first[kept], second[kept]
    same = _before(benchmark, first, second) == _before(reference, first, second)
    unsure = open_pairs(benchmark.lower, benchmark.upper)[first, second]
    right, open_, wrong = (1.0, 0.0, -1.0) if convention == "signed" else (1.0, 0.5, 0.0)
    points = np.where(unsure, open_, np.where(same, right, wrong))
    return Share(float(points.sum()), len(first))


def pair_losses(mean: Floats, variance: Floats, reference: Floats) -> tuple[float, float]:
    """Return Brier score and log-loss of the predicted order of every pair that has one.

    The benchmark predicts with the normal distribution of the difference, mean [n] and variance
    [n] of its bootstrap; the reference's scores [n] are taken as certain. Without any variance
    the prediction is the order itself, and a half for a tie.
    """
    # a tie in the reference is no order, and would count as the one in which models are listed
    first, second = np.nonzero(np.triu(reference[:, None] != reference))
    ahead = mean[second] - mean[first]
    deviation = np.sqrt(variance[first] + variance[second])
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.where(ahead == 0, 0.5, ndtr(ahead / deviation))
    truth = reference[first] < reference[second]
    epsilon = np.finfo(np.float64).eps
    likely = np.clip(np.where(truth, below, 1 - below), epsilon, 1 - epsilon)
    return float(np.mean((below - truth) ** 2)), float(-np.log(likely).mean())


def _before(
    estimates: Estimates, first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.bool_]:
    lower, upper = estimates.lower, estimates.upper
    tie = (lower[first] == lower[second]) & (upper[first] < upper[second])
    return np.asarray((lower[first] < lower[second]) | tie)


def _overlaps_by_length(lower: Floats, upper: Floats) -> NDArray[np.bool_]:
    shared = np.minimum(upper[:, None], upper) - np.maximum(lower[:, None], lower)
    return np.asarray(shared > 0)
