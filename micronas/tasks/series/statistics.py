"""Simple statistics of windows, the inputs of a plain model of sensors."""

import torch
from torch import Tensor

_SMALLEST = 1e-3
"""Offset of powers of standardised channels before the logarithm."""
_PAIRED = 9
"""Most channels at which correlations of each pair are included."""


def statistics(inputs: Tensor) -> Tensor:
    """Return statistics float32 [n, features] of windows [n, channels, time, 1].

    Each channel has mean, deviation, extremes and quartiles, mean absolute step, mean of the last
    quarter, the last value, and the logarithm of the power in each octave. Correlations of up to
    nine channels follow.
    """
    windows = inputs[..., 0]
    mean = windows.mean(2, keepdim=True)
    off = windows - mean
    deviation = off.square().mean(2, keepdim=True).sqrt()
    quartiles = windows.quantile(torch.tensor((0.0, 0.25, 0.5, 0.75, 1.0)), dim=2)
    steps = windows.diff(dim=2).abs().mean(2)
    last = windows[..., -max(windows.shape[2] // 4, 1) :].mean(2)
    power = torch.fft.rfft(off * torch.hann_window(windows.shape[2])).abs().square()
    power = power / windows.shape[2]
    edges = [2**octave for octave in range(power.shape[2].bit_length())]
    bands = [power[..., edge : 2 * edge].sum(2) for edge in edges if edge < power.shape[2]]
    found = [mean[..., 0], deviation[..., 0], *quartiles, steps, last, windows[..., -1]]
    found += [(band + _SMALLEST).log() for band in bands]
    if 1 < windows.shape[1] <= _PAIRED:
        unit = off / (deviation + _SMALLEST)
        first, second = torch.triu_indices(windows.shape[1], windows.shape[1], offset=1)
        found.append((unit[:, first] * unit[:, second]).mean(2))
    return torch.cat(found, 1)
