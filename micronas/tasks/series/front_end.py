"""Scale samples to the range of a network's input, as on the device."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.quantities import rounded

LIMIT = 4.0
"""Inputs lie in [-LIMIT, LIMIT] standard deviations of the training part."""
_LEAST = 1e-9
"""Least deviation of a channel that is not constant, as a share of its mean."""

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
    means, deviations = (each(axis=0, dtype=np.float64) for each in (values.mean, values.std))
    deviations = np.where(deviations > _LEAST * abs(means), deviations, 1.0)
    return Scaler(
        tuple(map(rounded, means.tolist(), deviations.tolist())),
        tuple(map(rounded, deviations.tolist(), deviations.tolist())),
    )
