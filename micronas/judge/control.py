"""Ratings at equal length: Bradley-Terry with the lengths of answers as a covariate.

The left model wins with probability ``1 / (1 + exp(-(s_left - s_right + x b)))``, where x is the
relative difference of lengths (Arena-Hard's measure), left minus right, so that scores hold at x =
0. It is scaled but not centred: centring would act as an advantage of the left side, and ratings
would change with the order of answers.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.bootstrap import bootstrap, prompt_counts, unvaried_errors
from micronas.judge.rating import at_zero

_TOLERANCE = 1e-10
_NEWTON_STEPS = 100
_SINGULAR = 1e-9


@dataclass(frozen=True, eq=False)
class _Controlled:
    """Scores [models] at equal length in log-odds, and those of resampled prompts [rounds, models].

    ``effect`` is the log-odds per standard deviation (about zero) of the difference of lengths.
    """

    scores: Floats
    samples: Floats
    effect: float


def control(
    battles: Battles,
    *,
    prior: float = 0.0,
    baseline: str | None = None,
    rounds: int = 1,
    seed: int = 0,
) -> _Controlled:
    """Fit scores and the effect of length together, by maximum likelihood.

    Raises DataError if lengths are unknown, no finite scores exist, or length is confounded with
    the models.

    `prior` and `baseline` are as for ``bradley_terry``; the effect of length has a prior of as many
    draws, between answers one standard deviation apart. Each of the `rounds` is another resample of
    prompts and a separate fit, about as long as the first.
    """
    # raises where no finite scores exist, of all battles or of these resamples
    bootstrap(battles, rounds, prior=prior, seed=seed)
    models, rows = len(battles.models), np.arange(len(battles))
    sides = np.concatenate([battles.left, battles.right])
    players = sparse.csr_array(
        (np.repeat([1.0, -1.0], len(battles)), (np.tile(rows, 2), sides)),
        shape=(len(battles), models),
    )
    design = sparse.csr_array(sparse.hstack([players, sparse.csr_array(_length(battles)[:, None])]))
    fit = _Fit(design, battles.outcome, models, prior)
    solution = fit.solve(battles.weight, np.zeros(models + 1))
    generator = np.random.default_rng(seed)
    counts = prompt_counts(battles, rounds, generator)
    fits = [fit.solve(battles.weight * count[battles.prompt], solution) for count in counts]
    drawn = np.reshape(fits, (rounds, models + 1))[:, :models]
    error = unvaried_errors(battles, prior, baseline)
    drawn = drawn + error * generator.standard_normal(drawn.shape)
    return _Controlled(
        scores=at_zero(solution[:models], battles, baseline),
        samples=at_zero(drawn, battles, baseline),
        effect=float(solution[models]),
    )


def _length(battles: Battles) -> Floats:
    """Return the relative difference of lengths [n] over its root mean square."""
    left, right = battles.length_left, battles.length_right
    if left is None or right is None:
        raise DataError("length control needs the lengths of answers, but the battles have none")
    total = left + right
    found = np.divide(left - right, total, out=np.zeros_like(total), where=total > 0)
    size = np.sqrt(np.average(found**2, weights=battles.weight))
    if size == 0:
        raise DataError("length control needs lengths that differ, but all are the same")
    return np.asarray(found / size)


@dataclass(frozen=True, eq=False)
class _Fit:
    """The likelihood, with the models' scores and then the effect as parameters."""

    design: sparse.csr_array
    outcome: Floats
    models: int
    prior: float

    def gradient_and_hessian(self, weight: Floats, point: Floats) -> tuple[Floats, Floats]:
        """Return gradient and negative Hessian of the log-likelihood, of full rank."""
        chance = expit(self.design @ point)
        gradient = np.asarray(self.design.T @ (weight * (self.outcome - chance)))
        scaled = self.design.multiply((weight * chance * (1 - chance))[:, None])
        hessian = np.asarray((self.design.T @ scaled).todense())
        if self.prior:
            # without draws of its own the effect has no end in resamples that length decides
            even = expit(point)
            gradient += self.prior * (0.5 - even)
            hessian += np.diag(self.prior * even * (1 - even))
        else:
            scores = slice(0, self.models)
            hessian[scores, scores] += np.trace(hessian[scores, scores]) / self.models**2
        return gradient, hessian

    def solve(self, weight: Floats, start: Floats) -> Floats:
        point = start
        for _ in range(_NEWTON_STEPS):
            gradient, hessian = self.gradient_and_hessian(weight, point)
            size = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
            if np.linalg.eigvalsh(hessian / np.outer(size, size))[0] < _SINGULAR:
                break
            step = np.linalg.solve(hessian, gradient)
            change = max(float(np.abs(self.design @ step).max()), 1e-300)
            point = point + step * (np.log1p(change) / change)
            if change < _TOLERANCE:
                return np.asarray(point)
        raise DataError(
            "length and models must be told apart, but length follows from the models or decides "
            "every battle; give --prior 1 (prior=1), or rate without it"
        )
