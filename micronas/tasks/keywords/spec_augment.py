"""Augmentation of features: masks of SpecAugment, and another microphone or room."""

import torch
from torch import Tensor


def spec_augment(
    features: Tensor, generator: torch.Generator, *, time_mask: int, frequency_mask: int
) -> Tensor:
    """Hide one stretch of frames and one band of coefficients of every example.

    The width of each is uniform in 0 .. `time_mask` and 0 .. `frequency_mask`, its place uniform
    among those that fit. Hidden values of float32 [n, 1, frames, coefficients] become 0, about the
    mean of each feature (see `micronas.tasks.keywords.front_end.mfcc`). Every example draws four
    numbers at all settings, so that the same generator state hides the same places. Source: D. Park
    et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", 2019;
    one mask of each kind, no time warping.
    """
    draws = torch.rand(4, len(features), generator=generator)
    frames = _hidden(features.shape[2], time_mask, draws[0], draws[1])
    coefficients = _hidden(features.shape[3], frequency_mask, draws[2], draws[3])
    hidden = frames[:, None, :, None] | coefficients[:, None, None, :]
    return features.masked_fill(hidden, 0.0)


def other_channel(
    features: Tensor, generator: torch.Generator, *, spread: float, limit: float
) -> Tensor:
    """Add a constant to each coefficient, as another microphone or room does to cepstra.

    The constants are normal with mean 0 and standard deviation `spread`, drawn for every example
    and coefficient, and the same for all frames of float32 [n, 1, frames, coefficients]. Results
    stay within [-limit, limit], as those of the front end do.
    """
    n, _, _, coefficients = features.shape
    constants = spread * torch.randn(n, 1, 1, coefficients, generator=generator)
    return (features + constants).clamp_(-limit, limit)


def _hidden(size: int, widest: int, width_draw: Tensor, start_draw: Tensor) -> Tensor:
    """Return bool [n, size]: true on a stretch of 0 to `widest` places."""
    width = (width_draw * (widest + 1)).long()
    start = (start_draw * (size - width + 1)).long()
    place = torch.arange(size)
    return (place >= start.unsqueeze(1)) & (place < (start + width).unsqueeze(1))
