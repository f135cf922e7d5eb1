"""Triangular filters on the mel scale."""

import math

import torch
from torch import Tensor

from micronas.tasks.waveform import RATE


def mel_filters(lowest: float, highest: float, bands: int, fft: int) -> Tensor:
    """Return filters float64 [bins, bands] for the bins of a transform up to the highest frequency.

    Corners are equidistant on the scale ``mel(f) = 1127 ln(1 + f / 700)``, sides are straight lines
    in mel, and the peak is 1.
    """
    frequency = torch.arange(int(highest * fft / RATE) + 1, dtype=torch.float64) * RATE / fft
    low, high = (1127.0 * math.log1p(hertz / 700.0) for hertz in (lowest, highest))
    corners = torch.linspace(low, high, bands + 2, dtype=torch.float64)
    position = (1127.0 * torch.log1p(frequency / 700.0)).unsqueeze(1)
    rising = (position - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - position) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0)
