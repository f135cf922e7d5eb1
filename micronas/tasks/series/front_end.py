"""Scale samples to the range of a network's input, as on the device."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LIMIT = 4.0
"""Inputs lie in [-LIMIT, LIMIT] standard deviations of the training part."""
_DIGITS = 4
_LEAST = 1e-6

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


def fit_scaler(values: _Floats) -> Scaler:
    """Return the scaler of samples [samples, channels]; a constant channel is only centred."""
    deviations = values.std(axis=0, dtype=np.float64)
    return Scaler(
        tuple(_rounded(each) for each in values.mean(axis=0, dtype=np.float64)),
        tuple(_rounded(each) if each > _LEAST else 1.0 for each in deviations),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
