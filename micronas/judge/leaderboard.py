"""Rank models with intervals from battles, and read a reference ranking."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.bootstrap import bootstrap
from micronas.judge.control import control
from micronas.judge.quality import Estimates
from micronas.judge.rating import bradley_terry, expected_win_rates
from micronas.language.intervals import intervals
from micronas.language.rows import read_rows

_COLUMNS = ("model", "score", "lower", "upper")
_LEAD = ("lead", "lead_low", "lead_high")
_MOST_FITS = 200
"""Most resamples at equal length, where each is a separate fit."""


@dataclass(frozen=True)
class Statistics:
    """Settings of scores and intervals; see `bradley_terry` and `bootstrap`."""

    rounds: int = 1000
    level: float = 0.95
    prior: float = 0.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Models, best first, with win rates [models] and their bootstrap."""

    models: tuple[str, ...]
    baseline: str | None
    """Model of score zero, against which win rates are; None for a tournament, where they are means
    over all other models."""
    scores: Floats
    """Log-odds [models]."""
    rates: Floats
    lower: Floats
    upper: Floats
    """`rates` are win rates [models], `lower` and `upper` their intervals."""
    leads: Floats
    """Interval (lower, upper) of each model's win rate less that of the next one, on the same drawn
    prompts [models - 1, 2]: they separate models whose own intervals overlap."""
    samples: Floats
    """Win rates [rounds, models] of resampled prompts."""
    prompts: tuple[int, ...]
    """Number of prompts with a battle of the model [models]."""

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per model, as JSON values; the last one has no lead."""
        leads = np.vstack([self.leads, [[np.nan, np.nan]]])
        ahead = np.append(self.rates[:-1] - self.rates[1:], np.nan)
        return [
            {
                "model": model,
                "rate": float(self.rates[row]),
                **{
                    name: None if np.isnan(value) else float(value)
                    for name, value in zip(_LEAD, (ahead[row], *leads[row]), strict=True)
                },
                "low": float(self.lower[row]),
                "high": float(self.upper[row]),
                "score": float(self.scores[row]),
                "prompts": self.prompts[row],
            }
            for row, model in enumerate(self.models)
        ]

    def estimates(self) -> Estimates:
        """Return the estimates for `micronas.judge.quality`."""
        mean, variance = self.samples.mean(axis=0), self.samples.var(axis=0)
        bounds = (self.lower, self.upper)
        return Estimates(self.models, self.rates, *bounds, self.samples, mean, variance)


def leaderboard(battles: Battles, statistics: Statistics | None = None) -> Leaderboard:
    """Rate models by Bradley-Terry, with intervals from a bootstrap over prompts.

    Raises DataError if no finite scores exist and there is no prior.
    """
    wanted = statistics or Statistics()
    baseline = baseline_of(battles)
    place = None if baseline is None else battles.index(baseline)
    scores = bradley_terry(battles, prior=wanted.prior, baseline=baseline)
    drawn = bootstrap(
        battles, wanted.rounds, prior=wanted.prior, baseline=baseline, seed=wanted.seed
    )
    order = np.argsort(-scores, kind="stable")
    samples = expected_win_rates(drawn, place)[:, order]
    lower, upper = intervals(samples, wanted.level)
    leads = intervals(samples[:, :-1] - samples[:, 1:], wanted.level)
    prompts = tuple(
        len(np.unique(battles.prompt[(battles.left == model) | (battles.right == model)]))
        for model in order.tolist()
    )
    return Leaderboard(
        models=tuple(battles.models[model] for model in order.tolist()),
        baseline=baseline,
        scores=scores[order],
        rates=expected_win_rates(scores, place)[order],
        lower=lower,
        upper=upper,
        leads=np.stack(leads, axis=1),
        samples=samples,
        prompts=prompts,
    )


def at_equal_length(battles: Battles, statistics: Statistics) -> list[dict[str, Any]]:
    """Return win rates as if all answers had the same length, one row per model, for JSON.

    Raises DataError if lengths are unknown, or no finite scores exist and there is no prior.
    """
    baseline = baseline_of(battles)
    found = control(
        battles,
        prior=statistics.prior,
        baseline=baseline,
        rounds=min(statistics.rounds, _MOST_FITS),
        seed=statistics.seed,
    )
    place = None if baseline is None else battles.index(baseline)
    rates = expected_win_rates(found.scores, place)
    lower, upper = intervals(expected_win_rates(found.samples, place), statistics.level)
    return [
        {
            "model": battles.models[model],
            "rate": float(rates[model]),
            "low": float(lower[model]),
            "high": float(upper[model]),
            "score": float(found.scores[model]),
            "length_effect": found.effect,
        }
        for model in np.argsort(-rates, kind="stable").tolist()
    ]


def baseline_of(battles: Battles) -> str | None:
    """Return the only model that all battles are against; the right one if there are only two."""
    right = np.unique(battles.right)
    if len(right) == 1:
        return battles.models[int(right[0])]
    every = [
        model
        for model in range(len(battles.models))
        if bool(((battles.left == model) | (battles.right == model)).all())
    ]
    return battles.models[every[0]] if len(every) == 1 else None


def read_reference(path: Path, known: Iterable[str] = ()) -> Estimates:
    """Read a ranking by people from a CSV file with columns model, score, lower, upper.

    Without bounds a score is taken as certain. Names are read as those of known models that differ
    in blanks around them or in the Unicode form alone.

    Raises DataError if a column is missing or a value is not a number; the message names the line.
    """
    models, values = [], []
    same = {_plain(name): name for name in known}
    for line, row in read_rows(path):
        cells = (row.get(name) for name in _COLUMNS)
        model, score, lower, upper = ("" if each is None else str(each) for each in cells)
        model = _plain(model)
        try:
            value = float(score)
            bounds = (float(lower) if lower else value, float(upper) if upper else value)
        except ValueError:
            value, bounds = float("nan"), (0.0, 0.0)
        if not model or not np.isfinite([value, *bounds]).all():
            raise DataError(
                f"{path}:{line}: a row of a reference must have the columns model, score and maybe "
                f"lower and upper as finite numbers, but got {dict(row)!r:.120}"
            )
        models.append(same.get(model, model))
        values.append((value, *bounds))
    if len(set(models)) != len(models) or not models:
        raise DataError(f"{path} must name each model once, and at least one")
    scores, lower_bounds, upper_bounds = np.array(values).T
    return Estimates(tuple(models), scores, lower_bounds, upper_bounds)


def _plain(name: str) -> str:
    return normalize("NFC", name).strip()
