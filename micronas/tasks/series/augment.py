"""Change training windows at random as sensors and people do: noise, size, orientation, speed."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.tasks.series.front_end import LIMIT, Scaler
from micronas.tasks.series.settings import SeriesSettings

_BENDS = 4
"""Number of random speeds along a window; between them speed is linear."""


def augment(
    windows: Tensor, generator: torch.Generator, settings: SeriesSettings, scaler: Scaler
) -> Tensor:
    """Rotate, warp, scale and jitter standardised windows, each by its own draws.

    Windows are float32 [n, channels, time, 1], as the result, which keeps the limits of the front
    end. Rotation acts on raw samples, since standardisation hides means and sizes of axes.
    """
    if settings.rotation_degrees > 0:
        windows = _rotated(windows, generator, settings.rotation_degrees, scaler)
    if settings.time_warp > 0:
        windows = warped(windows, generator, settings.time_warp)
    count = len(windows)
    factors = 1 + settings.scaling * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
    noise = settings.jitter * torch.randn(windows.shape, generator=generator)
    return (windows * factors + noise).clamp_(-LIMIT, LIMIT)


def rotations(count: int, generator: torch.Generator, degrees: float) -> Tensor:
    """Return rotations [n, 3, 3] about random axes by up to an angle (Rodrigues' formula)."""
    axis = F.normalize(torch.randn(count, 3, generator=generator), dim=1)
    angle = math.radians(degrees) * (2 * torch.rand(count, generator=generator) - 1)
    cross = torch.zeros(count, 3, 3)
    for row, column, place, sign in ((0, 1, 2, -1), (0, 2, 1, 1), (1, 2, 0, -1)):
        cross[:, row, column] = sign * axis[:, place]
        cross[:, column, row] = -sign * axis[:, place]
    sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return torch.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)


def _rotated(windows: Tensor, generator: torch.Generator, degrees: float, scaler: Scaler) -> Tensor:
    count, channels, time, _ = windows.shape
    mean, deviation = (torch.tensor(each)[:, None] for each in (scaler.mean, scaler.deviation))
    raw = (windows[..., 0] * deviation + mean).reshape(count, channels // 3, 3, time)
    turned = rotations(count, generator, degrees)[:, None] @ raw
    return ((turned.reshape(count, channels, time) - mean) / deviation)[..., None]


def warped(windows: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Sample windows at varying speed, from the first sample to the last."""
    count, _, time, _ = windows.shape
    speeds = 1 + share * (2 * torch.rand(count, 1, _BENDS, generator=generator) - 1)
    speed = F.interpolate(speeds, time - 1, mode="linear", align_corners=True)[:, 0]
    passed = F.pad(speed.cumsum(1), (1, 0))
    position = 2 * passed / passed[:, -1:] - 1
    grid = torch.stack([torch.zeros_like(position), position], dim=-1)[:, :, None]
    return F.grid_sample(windows, grid, mode="bilinear", align_corners=True)
