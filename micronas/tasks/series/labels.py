"""Make classes of measured labels, or refuse them; sort classes."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from micronas.errors import ConfigError
from micronas.tasks.series.settings import SeriesSettings

_MOST_NUMBERS = 50
"""Most different numbers that may be names of classes."""

_Labels = npt.NDArray[np.str_]


def as_classes(labels: _Labels, settings: SeriesSettings) -> _Labels:
    """Return the labels, or with `settings.bins` the range of each.

    Raises ConfigError if there are `bins`, and a label is no number.
    """
    if not settings.bins:
        return labels
    numbers = _numbers(labels)
    if numbers is None:
        wrong = next(str(label) for label in labels if _numbers(np.array([label])) is None)
        raise ConfigError(
            f"data.bins needs labels that are numbers, but {settings.path} has {wrong!r:.60}; "
            "leave it out, or name another column in data.label"
        )
    names = np.array(bin_names(settings))
    return np.where(np.isnan(numbers), "", names[np.digitize(numbers, np.array(settings.bins))])


def bin_names(settings: SeriesSettings) -> tuple[str, ...]:
    """Return the classes of `settings.bins`, the lowest first; none without edges."""
    edges = [f"{edge:g}" for edge in settings.bins]
    ranges = [f"{low} to {high}" for low, high in pairwise(edges)]
    return (f"below {edges[0]}", *ranges, f"{edges[-1]} and above") if edges else ()


def in_order(labels: Iterable[str], settings: SeriesSettings) -> tuple[str, ...]:
    """Return the classes that occur, in the order of outputs and reports.

    Ranges and numbers rise; other labels are sorted as text. Raises ConfigError if labels are more
    than `_MOST_NUMBERS` different numbers, which must be measurements.
    """
    found = sorted(set(labels))
    if settings.bins:
        return tuple(sorted(found, key=bin_names(settings).index))
    numbers = _numbers(np.array(found))
    if numbers is None or not found:
        return tuple(found)
    kinds = len(np.unique(numbers))
    if kinds > _MOST_NUMBERS:
        raise ConfigError(
            f"labels must be classes, but {settings.path} has {kinds} different numbers, and "
            "must be measured: tell the value by data.goal=regression data.target=COLUMN, make "
            "ranges of them by data.bins=[EDGE, ...], or name another column in data.label"
        )
    return tuple(found[place] for place in np.argsort(numbers, kind="stable"))


def _numbers(labels: _Labels) -> npt.NDArray[np.float64] | None:
    """Return labels as numbers, nan for missing ones; None where they are names."""
    try:
        return np.where(labels == "", "nan", labels).astype(np.float64)
    except ValueError:
        return None
