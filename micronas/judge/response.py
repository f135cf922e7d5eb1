"""Item response model: each model's rate on all prompts from some verdicts.

Log-odds are a model's strength plus the prompt's ease times the model's slope (Birnbaum 1968).
Eases follow whatever distribution on a grid makes the outcomes most likely (Bock and Aitkin 1981).
Which prompt and model were judged may depend on the verdicts before: the likelihood needs no
correction for it, whereas a mean of the outcomes would. Preferences and means of two orders vary
less than wins do, and say as much more (quasi-likelihood, Wedderburn 1974).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, softmax

from micronas.arrays import Floats
from micronas.judge.battles import Indices

_EASES = np.linspace(-6, 6, 25)
_STEPS, _RESAMPLE_STEPS = 40, 12
"""Iterations of a fit, and of one that begins at that of all prompts."""
_WEAK, _SLOPE, _LEAST = 1 / 9, 4.0, 1e-3
"""Before anything is known: precision of a strength, of a slope's logarithm; prompts of an ease."""
_PRECISION = (0.5, 4.0)
"""Least and most wins that an outcome may say as much as."""


@dataclass(frozen=True, eq=False)
class _Response:
    """Strengths and logarithms of slopes [models], shares of eases, and what follows.

    ``precision`` is the variance of a win over that of an outcome; ``chance`` [prompts, models] is
    how likely each model is to win on each prompt, given all verdicts.
    """

    strength: Floats
    steepness: Floats
    share: Floats
    precision: float
    chance: Floats


def respond(
    won: Floats, counts: Floats | None = None, start: _Response | None = None, steps: int = _STEPS
) -> _Response:
    """Fit all by expectation and maximization.

    Parameters
    ----------
    won
        Outcomes [prompts, models], NaN where nobody judged.
    counts
        How often each prompt counts [prompts], such as in a resample.
    start
        A fit to begin with.
    """
    known = (~np.isnan(won)).astype(np.float64)
    gained = np.where(known > 0, won, 0.0)
    weight = np.where(known.any(axis=1), 1.0 if counts is None else counts, 0.0)
    if start is None:
        begin = np.asarray(logit((gained.sum(axis=0) + 0.5) / (known.sum(axis=0) + 1)))
        start = _Response(begin, np.zeros_like(begin), softmax(-(_EASES**2) / 4), 1.0, known)
    strength: Floats = start.strength
    steepness, share, precision = start.steepness, start.share, start.precision
    for _ in range(steps):
        turn = np.exp(steepness[:, None]) * _EASES
        odds = strength[:, None] + turn
        log = precision * (gained @ odds - known @ np.logaddexp(0, odds)) + np.log(share)
        ease = softmax(log, axis=1)
        drawn = ease * weight[:, None]
        share = drawn.sum(axis=0) + _LEAST
        share /= share.sum()
        # Newton's method in two variables a model, from outcomes by ease
        judged, points = known.T @ drawn, gained.T @ drawn
        chance = expit(odds)
        rest, curve = points - judged * chance, judged * chance * (1 - chance)
        slope = precision * rest.sum(axis=1) - _WEAK * strength
        turning = precision * (rest * turn).sum(axis=1) - _SLOPE * steepness
        own = precision * curve.sum(axis=1) + _WEAK
        other = precision * (curve * turn**2).sum(axis=1) + _SLOPE
        both = precision * (curve * turn).sum(axis=1)
        size = own * other - both**2
        strength = strength + np.clip((other * slope - both * turning) / size, -1, 1)
        steepness = steepness + np.clip((own * turning - both * slope) / size, -0.3, 0.3)
        steepness -= steepness.mean()
        spread = gained.T**2 @ drawn - 2 * points * chance + judged * chance**2
        precision = float(np.clip(curve.sum() / max(spread.sum(), 1e-9), *_PRECISION))
    return _Response(strength, steepness, share, precision, ease @ chance.T)


def expected(won: Floats) -> Floats:
    """Fill the gaps of a table [prompts, models] with what its prompt and model let expect."""
    return np.where(np.isnan(won), respond(won).chance, won)


def pool_rates(won: Floats, counts: Indices) -> tuple[Floats, Floats]:
    """Win rates on all prompts [models], and those of resampled ones [rounds, models].

    Parameters
    ----------
    won
        Outcomes [prompts, models], NaN where nobody judged; the prompts are a random part of
        those that the rates are to hold for.
    counts
        How often each round drew each prompt [rounds, prompts].
    """
    whole = respond(won)

    def rates(fit: _Response, weight: Floats) -> Floats:
        filled = np.where(np.isnan(won), fit.chance, won)
        return np.asarray(weight @ filled / weight.sum())

    drawn = counts.astype(np.float64)
    samples = [rates(respond(won, each, whole, _RESAMPLE_STEPS), each) for each in drawn]
    return rates(whole, np.ones(len(won))), np.array(samples)
