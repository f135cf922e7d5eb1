"""Percentile intervals of bootstrap samples."""

import numpy as np

from micronas.arrays import Floats
from micronas.errors import DataError


def intervals(samples: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return the percentile interval (lower, upper) of each column of samples [rounds, ...]."""
    if not 0 < level < 1:
        raise DataError(f"the level of an interval must be between 0 and 1, but got {level}")
    lower, upper = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return lower, upper


def paired_intervals(samples: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return intervals [models, models] of row's minus column's score, on the same prompts."""
    bounds = [intervals(samples[:, [model]] - samples, level) for model in range(samples.shape[1])]
    return np.stack([lower for lower, _ in bounds]), np.stack([upper for _, upper in bounds])
