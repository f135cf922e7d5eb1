"""Simple statistics of pictures, the inputs of a plain model."""

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize, one_hot

_PARTS, _CELLS = 8, 4
"""Parts per side of the small copy, and of the map of directions."""
_DIRECTIONS = 8


def statistics(inputs: Tensor) -> Tensor:
    """Return statistics float32 [n, features] of pictures [n, channels, height, width].

    They are a copy of 8x8 parts in each channel, and for each of 4x4 parts the change in brightness
    in each of eight directions (N. Dalal and B. Triggs, 2005, with one norm for a whole picture).
    """
    small = adaptive_avg_pool2d(inputs, _PARTS).flatten(1)
    gray = inputs.mean(1)
    across = gray[:, 1:-1, 2:] - gray[:, 1:-1, :-2]
    down = gray[:, 2:, 1:-1] - gray[:, :-2, 1:-1]
    turns = torch.atan2(down, across).remainder(math.pi) / math.pi
    direction = (turns * _DIRECTIONS).round().long() % _DIRECTIONS
    parts = one_hot(direction, _DIRECTIONS) * torch.hypot(across, down)[..., None]
    cells = adaptive_avg_pool2d(parts.movedim(3, 1), _CELLS).flatten(1)
    return torch.cat([small, normalize(cells)], 1)
