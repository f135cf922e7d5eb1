"""Share of bootstrap intervals that cover the truth, in simulated games of two models."""

from dataclasses import replace

import numpy as np
from scipy.special import expit

from micronas.arrays import Floats
from micronas.judge.battles import Battles
from micronas.judge.bootstrap import bootstrap
from micronas.language.intervals import intervals

PROMPTS, SPREAD, CLEAR = 500, 1.6, 3


def games(strength: float, prompts: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Outcome and weight [prompts, 2] of the model's two games on each prompt."""
    logit = strength + SPREAD * generator.normal(size=(prompts, 1))
    latent = logit + generator.logistic(size=(prompts, 2))
    outcome = np.where(np.abs(latent) < 0.3, 0.5, (latent > 0).astype(np.float64))
    return outcome, np.where(np.abs(latent) > 1.5, float(CLEAR), 1.0)


def battles_of(outcome: Floats, weight: Floats) -> Battles:
    """The model on the left of the baseline."""
    prompts = len(outcome)
    return Battles(
        models=("baseline", "model"),
        prompts=tuple(f"p{each:03d}" for each in range(prompts)),
        left=np.ones(2 * prompts, np.intp),
        right=np.zeros(2 * prompts, np.intp),
        prompt=np.repeat(np.arange(prompts), 2),
        outcome=outcome.ravel(),
        weight=weight.ravel(),
        category=("",) * prompts,
    )


def repeated(battles: Battles) -> Battles:
    """Each battle in as many rows as it weighs."""
    times = battles.weight.astype(np.intp)
    return replace(
        battles,
        left=np.repeat(battles.left, times),
        right=np.repeat(battles.right, times),
        prompt=np.repeat(battles.prompt, times),
        outcome=np.repeat(battles.outcome, times),
        weight=np.ones(times.sum()),
    )


def apart(battles: Battles) -> Battles:
    """The same battles, each on a prompt of its own: drawing these is drawing battles."""
    rows = range(len(battles))
    return replace(
        battles,
        prompts=tuple(map(str, rows)),
        prompt=np.array(rows, np.intp),
        category=("",) * len(battles),
    )


def coverage(
    strength: float, simulations: int, rounds: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Share of intervals that cover the true win rate, and their mean width, by method."""
    generator = np.random.default_rng(seed)
    outcome, weight = games(strength, 2_000_000, generator)
    truth = float((outcome * weight).sum() / weight.sum())
    hits: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    for simulation in range(simulations):
        battles = battles_of(*games(strength, PROMPTS, generator))
        drawn = {
            "prompts": battles,
            "battles": apart(battles),
            "repeated rows": apart(repeated(battles)),
        }
        for name, sample in drawn.items():
            scores = bootstrap(sample, rounds, baseline="baseline", seed=simulation)
            lower, upper = intervals(expit(scores[:, 1]))
            hits.setdefault(name, []).append(bool(lower <= truth <= upper))
            widths.setdefault(name, []).append(float(upper - lower))
    return {name: (float(np.mean(hits[name])), float(np.mean(widths[name]))) for name in hits}
