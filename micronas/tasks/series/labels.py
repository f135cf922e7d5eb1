"""Labels that are measured numbers: classes of ranges, or refused in words."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from micronas.errors import ConfigError
from micronas.tasks.series.settings import SeriesSettings

_MOST_NUMBERS = 50
"""Numbers that may be names of classes."""

Labels = npt.NDArray[np.str_]


def as_classes(labels: Labels, settings: SeriesSettings) -> Labels:
    """Return labels as they are, or the ranges of `settings.bins` that they lie in.

    Raises
    ------
    ConfigError
        If labels have to be numbers and are not, or are so many different numbers that they must
        be measurements.
    """
    numbers = _numbers(labels)
    if not settings.bins:
        kinds = 0 if numbers is None else len(np.unique(numbers))
        if kinds > _MOST_NUMBERS:
            raise ConfigError(
                f"labels must be classes, but {settings.path} has {kinds} different numbers, and "
                "there is no regression; make ranges of them by data.bins=[EDGE, ...], or name "
                "another column in data.label"
            )
        return labels
    if numbers is None:
        wrong = next(str(label) for label in labels if _numbers(np.array([label])) is None)
        raise ConfigError(
            f"data.bins needs labels that are numbers, but {settings.path} has {wrong!r:.60}; "
            "leave it out, or name another column in data.label"
        )
    edges = [f"{edge:g}" for edge in settings.bins]
    ranges = [f"{low} to {high}" for low, high in pairwise(edges)]
    names = np.array([f"below {edges[0]}", *ranges, f"{edges[-1]} and above"])
    binned: Labels = np.where(
        np.isnan(numbers), "", names[np.digitize(numbers, np.array(settings.bins))]
    )
    return binned


def _numbers(labels: Labels) -> npt.NDArray[np.float64] | None:
    """Return labels as numbers, nan where one is missing; None where they are names."""
    try:
        return np.where(labels == "", "nan", labels).astype(np.float64)
    except ValueError:
        return None
