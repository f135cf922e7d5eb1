"""Resample a recording at equal steps of time."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from micronas.tasks.series.recording import Floats, Recording

_Times = npt.NDArray[np.floating]
_SLACK = 1e-6
"""Rounding error of equal steps of time, as a share of a step."""


def on_grid(
    recording: Recording, times: _Times, rate: float, *, fill: float | None = None
) -> Recording:
    """Return a recording with a sample every 1 / rate seconds from its first one on.

    Values between samples, at the rising `times` in seconds, are interpolated linearly; where
    several samples lie within half a step of a new one, it is their mean, against aliasing. Missing
    values of a channel are filled over at most `fill` seconds between two others; None fills
    nothing. Labels and targets are those of the last sample before, as on a device.
    """
    elapsed = (times - times[0]) * rate  # in new steps
    count = int(np.floor(elapsed[-1] + _SLACK)) + 1
    grid = np.arange(count, dtype=np.float64)
    last = np.searchsorted(elapsed, grid + _SLACK, "right") - 1
    longest = np.inf if fill is None else fill * rate + _SLACK
    values = np.stack(
        [
            _channel(elapsed, column, grid, longest, fills=fill is not None)
            for column in recording.values.T.astype(np.float64)
        ],
        axis=1,
    ).astype(recording.values.dtype)
    known = np.isfinite(recording.values).all(axis=1)
    present = np.zeros(count, np.bool_)
    nearest = np.rint(elapsed[known]).astype(np.int64)
    present[nearest[nearest < count]] = True
    whole = np.isfinite(values).all(axis=1)
    names = (recording.label, *(name for _, name in recording.changes))
    starts = np.array([0, *(at for at, _ in recording.changes)])
    of_sample = np.searchsorted(starts, last, "right") - 1
    changed = np.flatnonzero(np.diff(of_sample)) + 1
    return replace(
        recording,
        label=names[of_sample[0]],
        values=values,
        rate_hz=rate,
        changes=tuple((int(at), names[of_sample[at]]) for at in changed),
        targets=None if recording.targets is None else recording.targets[last],
        filled=int((whole & ~present).sum()) if fill is not None else 0,
    )


def _channel(
    elapsed: _Times, column: Floats, grid: _Times, longest: float, *, fills: bool
) -> npt.NDArray[np.float64]:
    """Return a channel's values at the times of a grid, with all times in steps of the grid."""
    known = np.isfinite(column) if fills else np.ones(len(column), np.bool_)
    at, found = elapsed[known], column[known]
    if not len(at):
        return np.full(len(grid), np.nan)
    values: npt.NDArray[np.float64] = np.interp(grid, at, found)
    places = np.rint(at).astype(np.int64)
    inside = places < len(grid)
    counts = np.bincount(places[inside], minlength=len(grid))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(places[inside], found[inside], len(grid)) / counts
    values = np.where(counts > 1, means, values)
    after = np.searchsorted(at, grid - _SLACK)
    before = np.searchsorted(at, grid + _SLACK, "right") - 1
    outside = (before < 0) | (after >= len(at))
    gap = at[np.minimum(after, len(at) - 1)] - at[np.maximum(before, 0)]
    values[outside | (gap > longest)] = np.nan
    return values
