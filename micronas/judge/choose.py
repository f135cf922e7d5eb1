"""Choose prompts that separate models, by the results of earlier models.

A prompt on which no model wins against the baseline, or every model does, adds noise to every rate
and separates none. That is a property of the prompt far more than of a model, so that verdicts on
other models show it: see docs/results/judge.md.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Indices
from micronas.judge.rows import NULL_PREFIX, VerdictRow

_NORMAL = 1.96
"""Distance in summed standard errors of two models at which 95 % intervals do not overlap."""
_PRIOR = 20
"""Number of average prompts at the start, so that the first picks do not decide alone."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Shares of the point won by models [prompts, models]; NaN without a verdict."""

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    won: Floats

    @classmethod
    def of(cls, rows: Iterable[VerdictRow], leave_out: Collection[str] = ()) -> "Outcomes":
        """Average the valid verdicts of each prompt, model and baseline over orders and judges.

        Constant answers and the models to leave out are ignored, also as baselines.

        Raises DataError if fewer than two models are left.
        """
        points: defaultdict[tuple[str, tuple[str, str]], list[float]] = defaultdict(list)
        for row in rows:
            pair = (row.model, row.baseline)
            constant = row.model.startswith(NULL_PREFIX) or row.model == row.baseline
            if row.outcome is not None and not constant and not set(pair) & set(leave_out):
                points[row.prompt_id, pair].append(row.outcome)
        prompts = sorted({prompt for prompt, _ in points})
        pairs = sorted({pair for _, pair in points})
        if len(pairs) < 2:
            raise DataError(
                f"prompts are chosen by the verdicts on two models or more, but {len(pairs)} are "
                "left; judge more models, or leave out fewer"
            )
        won = np.full((len(prompts), len(pairs)), np.nan)
        place = {name: row for row, name in enumerate(prompts)}
        column = {pair: each for each, pair in enumerate(pairs)}
        for (prompt, pair), values in points.items():
            won[place[prompt], column[pair]] = np.mean(values)
        return cls(tuple(prompts), tuple(f"{model} against {base}" for model, base in pairs), won)

    def on(self, prompts: Sequence[str]) -> "Outcomes":
        """Return the outcomes on the given prompts, in their order; unknown ones are NaN."""
        place = {name: row for row, name in enumerate(self.prompts)}
        rows = np.array([place.get(name, len(self.prompts)) for name in prompts], np.intp)
        padded = np.concatenate([self.won, np.full((1, len(self.models)), np.nan)])
        return Outcomes(tuple(prompts), self.models, padded[rows])


def expected(won: Floats) -> Floats:
    """Fill the gaps of a table [prompts, models] with expected values.

    They are the model's mean plus the prompt's mean advantage for the models judged on it.
    """
    known = ~np.isnan(won)
    gained, judged = np.where(known, won, 0.0), known.sum(axis=0)
    means = gained.sum(axis=0) / np.maximum(judged, 1)
    ease = np.where(known, won - means, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known, won, np.clip(means + ease[:, None], 0, 1))


def discriminating(won: Floats, strata: Indices, quotas: Indices) -> list[int]:
    """Pick the prompts that separate the most pairs of models, within quotas of strata.

    Prompts are added one by one: the one that, to first order, adds most to the number of pairs
    whose intervals would not overlap at the final size, with a soft edge of one standard error.
    Outcomes [prompts, models] have no gaps, and of equal prompts the first is taken; `strata`
    [prompts] are indices into `quotas` [strata]. Indices of the prompts are returned, ascending.
    """
    size = int(quotas.sum())
    first, second = np.triu_indices(won.shape[1], 1)
    both = np.concatenate([won, won**2], axis=1)
    models = won.shape[1]
    means = won.mean(axis=0)
    order = np.sign(means[first] - means[second])
    total, count = _PRIOR * both.mean(axis=0), float(_PRIOR)
    left = np.array(quotas)
    free = left[strata] > 0
    chosen: list[int] = []
    for _ in range(min(size, len(won))):
        if not free.any():
            break
        mean, square = total[:models] / count, total[models:] / count
        error = np.sqrt(np.maximum(square - mean**2, 1e-6) / size)
        width = error[first] + error[second]
        t = order * (mean[first] - mean[second]) / width
        edge = expit(t - _NORMAL)
        slope = edge * (1 - edge) / width
        # derivatives of t by the means, and by the errors, which depend on means and mean squares
        by_mean = np.bincount(first, slope * order, models)
        by_mean -= np.bincount(second, slope * order, models)
        by_error = np.bincount(first, slope * t, models) + np.bincount(second, slope * t, models)
        by_mean += by_error * mean / (size * error)
        gain = both @ np.concatenate([by_mean, -by_error / (2 * size * error)])
        best = int(np.where(free, gain, -np.inf).argmax())
        chosen.append(best)
        total, count = total + both[best], count + 1
        left[strata[best]] -= 1
        free &= left[strata] > 0
        free[best] = False
    return sorted(chosen)
