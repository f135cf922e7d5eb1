"""Ratings at equal style: Bradley-Terry with the answers' length and style beside the models.

The left model wins with probability ``1 / (1 + exp(-(s_left - s_right + x . b)))``, where x are
differences in style. Scores are then what is left at x = 0, answers of equal style. Features are
scaled but not centred: a centred feature would be an advantage of the left side in disguise, and
ratings would change with the order in which answers were shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import expit

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.bootstrap import prompt_counts
from micronas.judge.rating import Ratings, at_zero, check_connected

_TOLERANCE = 1e-10
_NEWTON_STEPS = 100
_SINGULAR = 1e-9


@dataclass(frozen=True, eq=False)
class _Controlled:
    """Ratings at equal style, and what style was worth.

    ``coefficients`` [features] are log-odds a standard deviation (about zero) of the feature;
    ``errors`` [features] are their standard errors with the battles of a prompt as one unit;
    ``samples`` [rounds, models] are scores of resampled prompts, if any were asked for.
    """

    ratings: Ratings
    features: tuple[str, ...]
    coefficients: Floats
    errors: Floats
    samples: Floats | None = None


def relative_difference(left: ArrayLike, right: ArrayLike, smoothing: float = 0.0) -> Floats:
    """(left - right) / (left + right + smoothing) [n], and 0 where both are zero.

    Arena-Hard's measure: without smoothing for lengths, with 1 for counts or densities of headers,
    lists and bold text.
    """
    first, second = np.asarray(left, np.float64), np.asarray(right, np.float64)
    total = first + second + smoothing
    return np.divide(first - second, total, out=np.zeros_like(total), where=total > 0)


def length_feature(battles: Battles) -> Floats:
    """Relative difference [n] of the answers' lengths."""
    if battles.length_left is None or battles.length_right is None:
        raise DataError("length control needs the lengths of answers, but the battles have none")
    return relative_difference(battles.length_left, battles.length_right)


def control(
    battles: Battles,
    features: Mapping[str, Floats] | None = None,
    *,
    prior: float = 0.0,
    baseline: str | None = None,
    rounds: int = 0,
    seed: int = 0,
) -> _Controlled:
    """Fit scores and the effect of style together, by maximum likelihood.

    Parameters
    ----------
    features
        Difference [n] of each feature, left minus right; by default the length alone.
    prior, baseline
        As for ``bradley_terry``.
    rounds
        Resamples of prompts; each is a fit of its own, about as long as the first.

    Raises
    ------
    DataError
        If no finite scores exist, or a feature cannot be told from the models or from others.
    """
    if features is None:
        features = {"length": length_feature(battles)}
    check_connected(battles, prior)
    values = _scaled(battles, features)
    models, rows = len(battles.models), np.arange(len(battles))
    players = sparse.csr_array(
        (
            np.repeat([1.0, -1.0], len(battles)),
            (np.tile(rows, 2), np.concatenate([battles.left, battles.right])),
        ),
        shape=(len(battles), models),
    )
    design = sparse.csr_array(sparse.hstack([players, sparse.csr_array(values)]))
    fit = _Fit(design, battles.outcome, models, prior)
    solution = fit.solve(battles.weight, np.zeros(design.shape[1]))
    errors = fit.clustered_errors(battles, solution)
    samples = None
    if rounds:
        counts = prompt_counts(battles, rounds, np.random.default_rng(seed))
        fits = [
            fit.solve(battles.weight * count[battles.prompt], solution)[:models] for count in counts
        ]
        samples = at_zero(np.stack(fits), battles, baseline)
    scores = at_zero(solution[:models], battles, baseline)
    return _Controlled(
        ratings=Ratings(battles.models, scores, baseline),
        features=tuple(features),
        coefficients=solution[models:],
        errors=errors[models:],
        samples=samples,
    )


def _scaled(battles: Battles, features: Mapping[str, Floats]) -> Floats:
    """Features [n, features] over their root mean square."""
    columns = []
    for name, column in features.items():
        if column.shape != (len(battles),) or not np.isfinite(column).all():
            raise DataError(
                f"feature {name!r} must be one finite number a battle ({len(battles)}), "
                f"but got shape {column.shape}"
            )
        size = np.sqrt(np.average(column**2, weights=battles.weight))
        if size == 0:
            raise DataError(f"feature {name!r} is zero in every battle; leave it out")
        columns.append(column / size)
    return np.stack(columns, axis=1) if columns else np.zeros((len(battles), 0))


@dataclass(frozen=True, eq=False)
class _Fit:
    """The likelihood; its parameters are the models' scores, then the coefficients."""

    design: sparse.csr_array
    outcome: Floats
    models: int
    prior: float

    def gradient_and_hessian(self, weight: Floats, point: Floats) -> tuple[Floats, Floats]:
        """Gradient and negative Hessian of the log-likelihood; the rank of the mean filled up."""
        chance = expit(self.design @ point)
        gradient = np.asarray(self.design.T @ (weight * (self.outcome - chance)))
        scaled = self.design.multiply((weight * chance * (1 - chance))[:, None])
        hessian = np.asarray((self.design.T @ scaled).todense())
        scores = slice(0, self.models)
        if self.prior:
            # a drawn battle against score zero
            even = expit(point[scores])
            gradient[scores] += self.prior * (0.5 - even)
            hessian[scores, scores] += np.diag(self.prior * even * (1 - even))
        else:
            hessian[scores, scores] += np.trace(hessian[scores, scores]) / self.models**2
        return gradient, hessian

    def solve(self, weight: Floats, start: Floats) -> Floats:
        point = start
        for _ in range(_NEWTON_STEPS):
            gradient, hessian = self.gradient_and_hessian(weight, point)
            size = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
            if np.linalg.eigvalsh(hessian / np.outer(size, size))[0] < _SINGULAR:
                raise DataError(
                    "style and models must be told apart, but a feature follows from the models, "
                    "from other features, or decides every battle; leave it out or give a prior"
                )
            step = np.linalg.solve(hessian, gradient)
            change = max(float(np.abs(self.design @ step).max()), 1e-300)
            point = point + step * (np.log1p(change) / change)
            if change < _TOLERANCE:
                return np.asarray(point)
        raise DataError(
            f"style control did not converge in {_NEWTON_STEPS} steps: a model or a feature "
            "decides every battle; give a prior or leave it out"
        )

    def clustered_errors(self, battles: Battles, point: Floats) -> Floats:
        """Standard errors (sandwich) with the battles of a prompt as one unit."""
        _, hessian = self.gradient_and_hessian(battles.weight, point)
        residual = battles.weight * (self.outcome - expit(self.design @ point))
        prompts = sparse.csr_array(
            (residual, (battles.prompt, np.arange(len(battles)))),
            shape=(len(battles.prompts), len(battles)),
        )
        scores = np.asarray((prompts @ self.design).todense())
        half = np.linalg.solve(hessian, scores.T)
        return np.asarray(np.sqrt((half**2).sum(axis=1)))
