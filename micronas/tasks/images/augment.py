"""Augmentation of images: crops, mirror images, brightness and contrast, as for ImageNet."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.tasks.images.settings import VisualSettings

_ASPECT = math.log(4 / 3)
_LUMA = (0.299, 0.587, 0.114)


def augment(pixels: Tensor, generator: torch.Generator, settings: VisualSettings) -> Tensor:
    """Crop, mirror, brighten and change the contrast of images at random, as for ImageNet.

    A crop has `smallest_crop` to 1 of the area, an aspect ratio of 3:4 to 4:3 (less where it would
    not fit), and a place, all uniform, the ratio on a logarithmic scale; it is scaled up
    bilinearly. Brightness is a factor, contrast one on the distance from the image's mean luma.

    Parameters
    ----------
    pixels
        float32 [n, 1 or 3, size, size], 0 to 255.
    generator
        All randomness; the same number of draws whatever the settings.

    Returns
    -------
    Tensor
        Same shape and range.
    """
    draws = torch.rand(7, len(pixels), generator=generator)
    area = settings.smallest_crop + (1 - settings.smallest_crop) * draws[0]
    reach = (-area.log()).clamp(0.0, _ASPECT)
    stretch = (0.5 * reach * (2 * draws[1] - 1)).exp()
    width = (area.sqrt() * stretch).clamp(max=1.0)
    height = (area.sqrt() / stretch).clamp(max=1.0)
    mirrored = (draws[4] < 0.5) & torch.tensor(settings.flip)
    pixels = resample(
        pixels,
        left=draws[2] * (1 - width),
        top=draws[3] * (1 - height),
        width=width,
        height=height,
        mirrored=mirrored,
    )
    brightness = 1 + settings.brightness * (2 * draws[5] - 1)
    contrast = 1 + settings.contrast * (2 * draws[6] - 1)
    pixels = (pixels * brightness[:, None, None, None]).clamp_(0.0, 255.0)
    luma = torch.tensor(_LUMA if pixels.shape[1] == 3 else (1.0,))
    mean = (pixels.mean((2, 3)) @ luma)[:, None, None, None]
    return (mean + (pixels - mean) * contrast[:, None, None, None]).clamp_(0.0, 255.0)


def resample(
    pixels: Tensor, *, left: Tensor, top: Tensor, width: Tensor, height: Tensor, mirrored: Tensor
) -> Tensor:
    """Scale a box of each image up to the whole, bilinearly, and mirror some left to right.

    Parameters
    ----------
    pixels
        float32 [n, channels, height, width].
    left, top, width, height
        float32 [n]: the boxes, as fractions of the image's sides.
    mirrored
        bool [n].
    """
    transform = torch.zeros(len(pixels), 2, 3)
    transform[:, 0, 0] = torch.where(mirrored, -width, width)
    transform[:, 0, 2] = 2 * left + width - 1
    transform[:, 1, 1] = height
    transform[:, 1, 2] = 2 * top + height - 1
    grid = F.affine_grid(transform, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
