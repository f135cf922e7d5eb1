"""Ratings by category, with intervals that hold for the whole table at once.

A table of 14 categories and 20 models has 280 intervals, of which 14 miss at 95 % each. Here they
are wide enough to hold all together: the bootstrap's largest deviation in the table, in standard
errors, sets the width (max-t).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles, Indices
from micronas.judge.bootstrap import bootstrap
from micronas.judge.rating import bradley_terry


@dataclass(frozen=True, eq=False)
class _CategoryTable:
    """Scores in log-odds [categories, models] with simultaneous bounds.

    Zero is the baseline, or else the mean of the models in that category. A model without battles
    in a category has NaN. ``prompts`` [categories] are the numbers behind each row; ``width`` is
    the half width of the intervals in standard errors.
    """

    categories: tuple[str, ...]
    models: tuple[str, ...]
    scores: Floats
    lower: Floats
    upper: Floats
    prompts: Indices
    width: float

    def win_rates(self) -> tuple[Floats, Floats, Floats]:
        """Return win rates (value, lower, upper) against the model at zero."""
        return expit(self.scores), expit(self.lower), expit(self.upper)


def category_table(
    battles: Battles,
    categories: Mapping[str, Collection[str]],
    *,
    rounds: int = 1000,
    level: float = 0.95,
    prior: float = 1.0,
    baseline: str | None = None,
    seed: int = 0,
) -> _CategoryTable:
    """Rate models in every category.

    Parameters
    ----------
    categories
        Ids of the prompts of each category; they may overlap.
    prior
        As for ``bradley_terry``; not zero by default, since few battles are easily all won.

    Raises
    ------
    DataError
        If a category has fewer than two prompts with battles.
    """
    if not 0 < level < 1:
        raise DataError(f"the level of an interval must be between 0 and 1, but got {level}")
    parts = {
        name: battles.of_prompts(np.array([each in ids for each in battles.prompts], bool))
        for name, ids in categories.items()
    }
    for name, part in parts.items():
        prompts = len(set(part.prompt.tolist()))
        if prompts < 2:
            raise DataError(
                f"a category needs two prompts with battles or more, but {name!r} has {prompts}"
            )
    scores, deviations, largest = [], [], np.zeros(rounds)
    seeds = np.random.SeedSequence(seed).spawn(len(parts))
    for part, child in zip(parts.values(), seeds, strict=True):
        score = bradley_terry(part, prior=prior, baseline=baseline)
        samples = bootstrap(
            part,
            rounds,
            prior=prior,
            baseline=baseline,
            seed=int(child.generate_state(1)[0]),
        )
        deviation = samples.std(axis=0)
        played = np.bincount(np.concatenate([part.left, part.right]), minlength=len(part.models))
        moves = (played > 0) & (deviation > 0)
        if moves.any():
            t = np.abs(samples - score)[:, moves] / deviation[moves]
            largest = np.maximum(largest, t.max(axis=1))
        scores.append(np.where(played > 0, score, np.nan))
        deviations.append(np.where(played > 0, deviation, np.nan))
    width = float(np.quantile(largest, level))
    table, half = np.stack(scores), width * np.stack(deviations)
    return _CategoryTable(
        categories=tuple(parts),
        models=battles.models,
        scores=table,
        lower=table - half,
        upper=table + half,
        prompts=np.array([len(set(part.prompt.tolist())) for part in parts.values()]),
        width=width,
    )
