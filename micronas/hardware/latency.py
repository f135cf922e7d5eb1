"""Latency as a linear function of counts, and its fit to measurements.

MicroNets (arXiv 2010.11267, section 4) models latency as linear in the operation count, which holds
within one backbone only. `hardware.forms` has forms that carry over from one to another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from micronas.arrays import Floats
from micronas.errors import ConfigError

CONSTANT = "constant"
"""Name of the intercept, in ms."""

Terms = Mapping[str, Mapping[str, float]]
"""Terms of a fit: the features that each coefficient prices, with their ratios."""


@dataclass(frozen=True)
class LinearLatency:
    """Milliseconds per unit of each term; terms are names of counts, or ``constant``."""

    coefficients: Mapping[str, float]

    def predict(self, features: Mapping[str, Any]) -> Any:
        """Return the latency in ms from counts by name.

        They are numbers, or tensors of a supernet's expectations, which keep their gradient. Raises
        ConfigError if a term is missing from the features.
        """
        missing = [t for t in self.coefficients if t != CONSTANT and t not in features]
        if missing:
            raise ConfigError(
                "the terms of a latency model must be counts of the network, but "
                f"{', '.join(missing)} is not among {', '.join(features)}; rename the term"
            )
        latency: Any = self.coefficients.get(CONSTANT, 0.0)
        for term, milliseconds in self.coefficients.items():
            if term != CONSTANT:
                latency = latency + milliseconds * features[term]
        return latency


@dataclass(frozen=True)
class Fit:
    """A fitted model and how far it is off, as fractions of the measured latency."""

    model: LinearLatency
    errors: tuple[float, ...]
    """Signed errors of the networks fitted to."""
    left_out: tuple[float, ...] | None
    """Signed errors of each network left out of the fit; None with too few networks, or without
    `leave_one_out`."""
    r2: float


def fit(
    features: Sequence[Mapping[str, float]],
    latencies: Sequence[float],
    *,
    terms: Sequence[str] | Terms,
    leave_one_out: bool = True,
) -> Fit:
    """Fit non-negative coefficients that minimise the squared relative error.

    `features` are the counts of each network by name, `latencies` those measured, in ms. Terms are
    names of features to use, and ``constant`` for an intercept; or groups of features that share a
    coefficient, each times its ratio. With `leave_one_out` each network is also predicted by a fit
    to the others. Raises ConfigError if there are fewer networks than terms, or a measurement is
    not a positive number.
    """
    if not terms or len(features) != len(latencies) or len(latencies) < len(terms):
        raise ConfigError(
            "a latency fit must have one latency a network and as many networks as terms, but got "
            f"{len(features)} networks, {len(latencies)} latencies and {len(terms)} terms; "
            "measure more networks or drop terms"
        )
    if any(not math.isfinite(latency) or latency <= 0 for latency in latencies):
        raise ConfigError(
            f"measured latencies must be positive numbers of ms, but got {list(latencies)}; "
            "remove the failed measurements"
        )
    groups = terms if isinstance(terms, Mapping) else {term: {term: 1.0} for term in terms}
    matrix = np.array([[_amount(row, group) for group in groups.values()] for row in features])
    measured = np.asarray(latencies, np.float64)
    coefficients = _solve(matrix, measured)
    predicted = matrix @ coefficients
    left_out = None
    if leave_one_out and len(measured) > len(terms):
        keep = ~np.eye(len(measured), dtype=bool)
        left_out = tuple(
            float(row @ _solve(matrix[others], measured[others]) / latency - 1)
            for others, row, latency in zip(keep, matrix, measured, strict=True)
        )
    spread = float(((measured - measured.mean()) ** 2).sum())
    priced = {
        name: ratio * coefficient
        for group, coefficient in zip(groups.values(), coefficients.tolist(), strict=True)
        for name, ratio in group.items()
    }
    return Fit(
        LinearLatency(priced),
        tuple((predicted / measured - 1).tolist()),
        left_out,
        1 - float(((measured - predicted) ** 2).sum()) / spread if spread else math.nan,
    )


def mean_worst_percent(errors: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the largest of absolute errors, in percent."""
    sizes = [100 * abs(error) for error in errors]
    return sum(sizes) / len(sizes), max(sizes)


def _amount(row: Mapping[str, float], group: Mapping[str, float]) -> float:
    return sum(
        ratio * (1.0 if name == CONSTANT else float(row[name])) for name, ratio in group.items()
    )


def _solve(matrix: Floats, measured: Floats) -> Floats:
    """Solve non-negative least squares on relative errors, with columns of one scale."""
    relative = matrix / measured[:, None]
    scale = np.linalg.norm(relative, axis=0)
    scale[scale == 0] = 1
    solution: Floats = _nnls(relative / scale, np.ones_like(measured)) / scale
    return solution


def _nnls(matrix: Floats, target: Floats) -> Floats:
    """Solve by Lawson and Hanson's active sets (Solving Least Squares Problems, chapter 23)."""
    solution = np.zeros(matrix.shape[1])
    free = np.zeros(matrix.shape[1], dtype=bool)
    for _ in range(10 * len(solution)):  # a bound that only rounding errors could reach
        gradient = matrix.T @ (target - matrix @ solution)
        gradient[free] = -np.inf
        best = int(np.argmax(gradient))
        if gradient[best] <= 1e-12:
            break
        free[best] = True
        while True:
            trial = np.zeros_like(solution)
            trial[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            blocked = free & (trial <= 0)
            if not blocked.any():
                solution = trial
                break
            steps = solution[blocked] / (solution[blocked] - trial[blocked])
            solution = solution + steps.min() * (trial - solution)
            free &= solution > 1e-15
            solution[~free] = 0
    return solution
