"""Scale samples to the range of a network's input, as on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.errors import DataError
from micronas.quantities import rounded

LIMIT = 4.0
"""Inputs lie in [-LIMIT, LIMIT] standard deviations of the training part."""
_LEAST = 1e-12
"""Least deviation of a channel that is not constant, as a share of its mean."""
_STEPS = 8
"""Least deviation of another channel or target, in steps of float32 at its mean."""

_Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of each channel, rounded as in the model file."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def apply(self, windows: Tensor) -> Tensor:
        """Standardise [n, channels, time, 1], limited to `LIMIT` either way."""
        mean, deviation = (
            torch.tensor(each)[:, None, None] for each in (self.mean, self.deviation)
        )
        return ((windows - mean) / deviation).clamp_(-LIMIT, LIMIT)


def moments(values: _Floats, names: Sequence[str]) -> tuple[_Floats, _Floats]:
    """Return means and standard deviations, float64 [columns], of training values [n, columns].

    A constant column has the deviation 0. Raises DataError if float32, the type of training and of
    a device's readings, would lose a column's changes.
    """
    origin = values[0].astype(np.float64)
    off = values - origin  # a sum of many equal values would round
    means, deviations = origin + off.mean(0), off.std(0)
    deviations[deviations <= _LEAST * abs(means)] = 0
    steps = np.spacing(abs(means).astype(np.float32))
    for name, mean, deviation, step in zip(names, means, deviations, steps, strict=True):
        if 0 < deviation < _STEPS * step:
            raise DataError(
                f"columns must deviate by at least {_STEPS} steps of float32 in training, but "
                f"{name!r:.60} deviates by {deviation:.2g} from {mean:.9g}, where a step is "
                f"{step:.2g}; subtract an offset, on the device too, or take another column"
            )
    return means, deviations


def fit_scaler(values: _Floats, columns: Sequence[str]) -> Scaler:
    """Return the scaler of samples [samples, channels]; a constant channel is only centred.

    Raises DataError as for `moments`.
    """
    means, deviations = moments(values, columns)
    deviations = np.where(deviations > 0, deviations, 1.0)
    return Scaler(
        tuple(map(rounded, means.tolist(), deviations.tolist())),
        tuple(map(rounded, deviations.tolist(), deviations.tolist())),
    )
