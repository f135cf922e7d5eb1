"""Augmentation of images: crops, mirror images and colours, as for ImageNet."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.tasks.images.settings import PictureSettings

_ASPECT = math.log(4 / 3)
_LUMA = (0.299, 0.587, 0.114)


def augment(pixels: Tensor, generator: torch.Generator, settings: PictureSettings) -> Tensor:
    """Crop, mirror and change the colours of images at random, by `settings.augment`.

    A crop has `smallest_crop` to 1 of the area, an aspect ratio of 3:4 to 4:3 (less where it would
    not fit), and a place, all uniform, the ratio on a logarithmic scale; it is scaled up
    bilinearly. Brightness is a factor on pixels, contrast on their distance from the image's mean
    luma, saturation on their distance from their own luma. Images are float32 [n, 1 or 3, size,
    size], 0 to 255, as the result; the number of draws does not depend on the settings.
    """
    draws, chosen = torch.rand(8, len(pixels), generator=generator), settings.augment
    smallest = settings.smallest_crop if "crop" in chosen else 1.0
    area = smallest + (1 - smallest) * draws[0]
    reach = (-area.log()).clamp(0.0, _ASPECT)
    stretch = (0.5 * reach * (2 * draws[1] - 1)).exp()
    width = (area.sqrt() * stretch).clamp(max=1.0)
    height = (area.sqrt() / stretch).clamp(max=1.0)
    mirrored = (draws[4] < 0.5) & torch.tensor("flip" in chosen)
    if smallest < 1 or "flip" in chosen:
        pixels = resample(
            pixels,
            left=draws[2] * (1 - width),
            top=draws[3] * (1 - height),
            width=width,
            height=height,
            mirrored=mirrored,
        )
    return _coloured(pixels, draws[5:], settings) if "colour" in chosen else pixels


def _coloured(pixels: Tensor, draws: Tensor, settings: PictureSettings) -> Tensor:
    strengths = torch.tensor((settings.brightness, settings.contrast, settings.saturation))
    factors = (1 + strengths[:, None] * (2 * draws - 1))[:, :, None, None, None]
    brightness, contrast, saturation = factors.unbind()
    pixels = (pixels * brightness).clamp_(0.0, 255.0)
    luma = torch.tensor(_LUMA if pixels.shape[1] == 3 else (1.0,))
    mean = (pixels.mean((2, 3)) @ luma)[:, None, None, None]
    pixels = (mean + (pixels - mean) * contrast).clamp_(0.0, 255.0)
    if pixels.shape[1] == 1:
        return pixels
    gray: Tensor = torch.tensordot(pixels, luma, ([1], [0]))[:, None]
    return (gray + (pixels - gray) * saturation).clamp_(0.0, 255.0)


def resample(
    pixels: Tensor, *, left: Tensor, top: Tensor, width: Tensor, height: Tensor, mirrored: Tensor
) -> Tensor:
    """Scale a box of each image up to the whole, bilinearly, and mirror some left to right.

    Images are float32 [n, channels, height, width], boxes float32 [n] as fractions of their sides,
    `mirrored` is bool [n].
    """
    transform = torch.zeros(len(pixels), 2, 3)
    transform[:, 0, 0] = torch.where(mirrored, -width, width)
    transform[:, 0, 2] = 2 * left + width - 1
    transform[:, 1, 1] = height
    transform[:, 1, 2] = 2 * top + height - 1
    grid = F.affine_grid(transform, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
