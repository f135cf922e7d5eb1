"""Times of samples in seconds, their rate, and their jumps."""

import math
import re
import warnings

import numpy as np
import numpy.typing as npt

from micronas.errors import DataError
from micronas.tasks.series.csv_table import Header, Texts

_Times = npt.NDArray[np.floating]
_UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_NAMED = re.compile(
    r"(?P<name>.*?)(?:[\s_.]+|\s*[(\[]\s*)(?P<unit>" + "|".join(_UNITS) + r")\s*[)\]]?",
    re.IGNORECASE,
)
"""A column's name with a unit after it: ``time_ms``, ``time (ms)``, ``Time [s]``."""
_TIMES = ("time", "timestamp", "t", "datetime", "date_time")
RATES_DIFFER = 0.05
"""Largest difference of rates that are taken as equal, as a share."""
JUMP = 10
"""Longest step within a recording, in median steps; longer ones are gaps."""


def is_time(column: str) -> bool:
    """Return whether a column is one of time, by its name alone."""
    return _parted(column)[0].lower() in _TIMES


def counted_times(column: str, times: _Times) -> _Times:
    """Return the numbers of a column of time in seconds."""
    return times * (_parted(column)[1] or _UNITS[assumed_unit(column, times) or "s"])


def assumed_unit(column: str, times: _Times) -> str:
    """Return the unit of times that are 1 or more apart, where the column's name gives none; else
    an empty text. Few sensors have a second or more between two samples."""
    step = 0.0 if _parted(column)[1] else _step(times)
    return "" if step < 1 else "ms" if step < 1e3 else "us" if step < 1e6 else "ns"


def dated(header: Header, stamps: Texts) -> _Times:
    """Return dates in seconds.

    Raises DataError if a text is no date.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a time zone moves all of them alike
            dates = np.array(stamps.names).astype("datetime64[us]")
    except (ValueError, OverflowError) as error:
        raise DataError(
            "times must be numbers or dates such as 2024-03-01 12:00:00.5, but "
            f"{header.path} has others: {error}; set data.time to another column"
        ) from error
    return np.where(np.isnat(dates), np.nan, dates.astype(np.int64) / 1e6)[stamps.codes]


def rate_of(times: _Times) -> float | None:
    """Return samples per second, or None where times give no rate."""
    step = _step(times)
    return 1 / step if step > 0 and math.isfinite(1 / step) else None


def jumps(times: _Times, rate: float, *, fill: float | None = None) -> npt.NDArray[np.bool_]:
    """Return whether a recording ends between two samples, bool [N - 1]: time stands or jumps.

    A gap of up to `fill` seconds, at least two steps, ends none; by default ten steps.
    """
    longest = JUMP / rate if fill is None else max(fill, 2 / rate)
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.diff(times)
    return (steps <= 0) | (steps > longest)


def _step(times: _Times) -> float:
    """Return the median step between times; 0 without any."""
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.diff(times)
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps)) if len(steps) else 0.0


def _parted(column: str) -> tuple[str, float | None]:
    """Return a column's name without its unit, and that unit in seconds."""
    found = _NAMED.fullmatch(column.strip())
    return (found["name"], _UNITS[found["unit"].lower()]) if found else (column.strip(), None)
