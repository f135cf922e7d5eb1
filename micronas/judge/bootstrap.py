"""Bootstrap of Bradley-Terry scores over prompts.

The unit drawn with replacement is a prompt with all its battles: the games of one prompt are not
independent (both orders, all models on the same question), and drawing single battles, as is
common, gives far too narrow intervals. All models have the same drawn prompts, so that the
difference of two columns of the samples is a paired difference.
"""

import numpy as np
from scipy import sparse

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles, Indices
from micronas.judge.rating import Likelihood, Pairs, at_zero

# a table of points by pair and prompt with at most this many cells per battle is kept dense: such
# tables come from designs with a baseline, and sorting their battles would be the longest step
_DENSE = 2


def bootstrap(
    battles: Battles,
    rounds: int = 1000,
    *,
    prior: float = 0.0,
    baseline: str | None = None,
    seed: int = 0,
) -> Floats:
    """Return Bradley-Terry scores [rounds, models] of resampled battles.

    Parameters
    ----------
    prior, baseline
        As for ``bradley_terry``.

    Raises
    ------
    DataError
        If there is no battle, or a resample has no finite scores and there is no prior.
    """
    if rounds < 1:
        raise DataError(f"a bootstrap needs one round or more, but got {rounds}")
    pairs = Pairs.of(battles)
    likelihood = Likelihood.of(pairs, battles.models, prior)
    generator = np.random.default_rng(seed)
    points = _draw_prompts(battles, pairs, rounds, generator)
    wins, losses = points[: len(pairs.first)], points[len(pairs.first) :]
    total = np.stack(pairs.totals())[:, :, None]
    start = likelihood.fit(total[0], total[1])
    scores = likelihood.fit(wins, losses, start).T
    error = unvaried_errors(battles, prior, baseline)
    return at_zero(scores + error * generator.standard_normal(scores.shape), battles, baseline)


def unvaried_errors(battles: Battles, prior: float, baseline: str | None) -> Floats:
    """Return the standard errors [models] of those with one share on every prompt, 0 of others.

    All resamples agree on a model that won, lost or tied every battle, or won at the same place of
    every prompt, and alone would give an interval of no width; the error is that of the likelihood.
    The baseline has none.
    """
    models, prompts = len(battles.models), len(battles.prompts)
    points = battles.weight * battles.outcome
    sides = np.concatenate([battles.left, battles.right]) * prompts + np.tile(battles.prompt, 2)
    cells, cell = np.unique(sides, return_inverse=True)
    fought = np.bincount(cell, np.tile(battles.weight, 2))
    gained = np.bincount(cell, np.concatenate([points, battles.weight - points]))
    sums = fought, gained, gained**2 / np.where(fought > 0, fought, 1)
    total, won, squares = (np.bincount(cells // prompts, each, models) for each in sums)
    unvaried = (total > 0) & np.isclose(total * squares, won**2, rtol=1e-9)
    if baseline is not None:
        unvaried[battles.index(baseline)] = False
    share = (won + prior / 2) / np.where(unvaried, total + prior, 1)
    variance = np.where(unvaried, (total + prior) * share * (1 - share), np.inf)
    return np.asarray(1 / np.sqrt(variance))


def prompt_counts(battles: Battles, rounds: int, generator: np.random.Generator) -> Indices:
    """Return the number of draws of each prompt [rounds, prompts]; 0 for those without battles."""
    used = np.flatnonzero(np.bincount(battles.prompt, minlength=len(battles.prompts)))
    size = len(battles.prompts)
    drawn = used[generator.integers(0, len(used), size=(rounds, len(used)))]
    drawn += np.arange(rounds)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=rounds * size).reshape(rounds, size)


def _draw_prompts(
    battles: Battles, pairs: Pairs, rounds: int, generator: np.random.Generator
) -> Floats:
    """Return points [2 x pairs, rounds] on drawn prompts."""
    counts = prompt_counts(battles, rounds, generator).T.astype(np.float64)
    size, prompts = len(pairs.first), len(battles.prompts)
    if size * prompts <= _DENSE * len(battles):
        key = pairs.of_battle * prompts + battles.prompt
        both = (pairs.first_points, pairs.second_points)
        rows = [np.bincount(key, points, size * prompts).reshape(size, -1) for points in both]
        return np.asarray(np.concatenate(rows) @ counts)
    place = np.concatenate([pairs.of_battle, pairs.of_battle + size])
    points = np.concatenate([pairs.first_points, pairs.second_points])
    table = sparse.csr_array(
        (points, (place, np.tile(battles.prompt, 2))), shape=(2 * size, prompts)
    )
    return np.asarray(table @ counts)
