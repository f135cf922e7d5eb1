"""Pixels as a network's input; on the device the int8 input is the pixel minus 128."""

from torch import Tensor

MIDDLE = 128.0


def features(pixels: Tensor) -> Tensor:
    """Return (pixel - 128) / 128: float32 in [-1, 1], of the same shape."""
    return (pixels - MIDDLE) / MIDDLE
