"""Ratings by category, with intervals that hold for the whole table at once.

A table of 14 categories and 20 models has 280 intervals, of which 14 miss at 95 % each. Here they
are wide enough to hold all together: the bootstrap's largest deviation in the table, in standard
errors, sets the width (max-t).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit, logit

from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.bootstrap import bootstrap
from micronas.judge.leaderboard import Statistics, baseline_of
from micronas.judge.rating import bradley_terry, expected_win_rates


def category_prior(statistics: Statistics) -> float:
    """Return the prior inside categories, where models easily win all of their few battles."""
    return max(statistics.prior, 1.0)


def by_categories(
    battles: Battles, statistics: Statistics, categories: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return win rates in each category of two prompts or more, one row per category and model.

    Rates are as those of a `leaderboard` of the category's models, and the intervals hold for all
    rows at once; models without battles in a category have no row.
    Categories are those of the battles, unless others are given by the ids of prompts.
    """
    level, rounds, prior = statistics.level, statistics.rounds, category_prior(statistics)
    if not 0 < level < 1:
        raise DataError(f"the level of an interval must be between 0 and 1, but got {level}")
    own = battles.category
    if categories is not None:
        own = tuple(categories.get(prompt, "") for prompt in battles.prompts)
    prompts = Counter(own[prompt] for prompt in np.unique(battles.prompt).tolist())
    # one prompt has no interval
    names = sorted(name for name, count in prompts.items() if name and count > 1)
    baseline, largest = baseline_of(battles), np.zeros(rounds)
    seeds, tables = np.random.SeedSequence(statistics.seed).spawn(len(names)), []
    for name, seed in zip(names, seeds, strict=True):
        part = battles.of_prompts(np.array([each == name for each in own]))
        scores = bradley_terry(part, prior=prior, baseline=baseline)
        samples = bootstrap(
            part, rounds, prior=prior, baseline=baseline, seed=int(seed.generate_state(1)[0])
        )
        played = np.unique([part.left, part.right])
        place = None if baseline is None else int(np.searchsorted(played, part.index(baseline)))
        rates, drawn = (
            logit(expected_win_rates(each[..., played], place)) for each in (scores, samples)
        )
        errors = drawn.std(axis=0)
        moves = errors > 0
        if moves.any():
            t = np.abs(drawn - rates)[:, moves] / errors[moves]
            largest = np.maximum(largest, t.max(axis=1))
        tables.append((name, played, rates, errors))
    width = np.quantile(largest, level)
    return [
        {
            "category": name,
            "model": battles.models[model],
            "rate": float(expit(rate)),
            "low": float(expit(rate - width * error)),
            "high": float(expit(rate + width * error)),
            "prompts": prompts[name],
        }
        for name, played, rates, errors in tables
        for model, rate, error in zip(played.tolist(), rates, errors, strict=True)
    ]
