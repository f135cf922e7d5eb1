"""Front end of a camera's pixels, which are cut, scaled and made gray as by Pillow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from micronas.errors import ConfigError
from micronas.export.firmware.front_ends.front_end import Array, FrontEnd
from micronas.graph.ir import Quantization

_FORMATS = {"gray": 1, "rgb": 3, "rgb565": 2}
"""Bytes of a pixel by format."""
_BITS = 22
"""Fractional bits of Pillow's weights."""


@dataclass(frozen=True)
class Camera:
    """Frame of a camera: rows of pixels from the top."""

    width: int
    height: int
    format: str
    """Format of pixels: ``gray``, ``rgb`` (8 bits each) or ``rgb565`` (little endian)."""

    @classmethod
    def parse(cls, text: str) -> "Camera":
        """Read ``320x240:rgb565``.

        Raises ConfigError if the text has another form, or a side is not 16 to 4,096 pixels.
        """
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5}):(\w+)", text)
        sides = [int(side) for side in found.groups()[:2]] if found else []
        if found is None or found[3] not in _FORMATS or not all(16 <= s <= 4096 for s in sides):
            raise ConfigError(
                "a camera must be written as WIDTHxHEIGHT:FORMAT with sides of 16 to 4096 pixels "
                f"and a format of {', '.join(_FORMATS)}, but got {text!r}; such as 160x120:gray"
            )
        return cls(sides[0], sides[1], found[3])


@dataclass(frozen=True)
class Image(FrontEnd):
    """Front end of pictures, for a network whose input is a square."""

    camera: Camera
    size: int
    """Side of the square."""
    channels: int
    fit: str
    """``stretch`` squeezes the whole picture, ``crop`` takes the middle square."""
    middle: float
    """Pixel of value 0; a value is ``(pixel - middle) / middle``."""

    kind: ClassVar[str] = "image"
    samples: ClassVar[str] = "uint8"
    templates: ClassVar[Mapping[str, str]] = {
        "front_end.h": "front_end_image.h.in",
        "front_end.c": "front_end_image.c.in",
    }
    pace: ClassVar[None] = None

    @property
    def codes(self) -> int:
        return self.size**2 * self.channels

    def values(self, quantization: Quantization) -> Mapping[str, str]:
        return {
            "WIDTH": str(self.camera.width),
            "HEIGHT": str(self.camera.height),
            "PIXEL": str(_FORMATS[self.camera.format]),
            "SIZE": str(self.size),
            "CHANNELS": str(self.channels),
            "LINES": str(self._scaling()[1][2].shape[1]),
            "ACROSS": str(self._scaling()[0][2].shape[1]),
        }

    def tables(self, quantization: Quantization) -> Mapping[str, Mapping[str, Array]]:
        (left, across_count, across), (top, down_count, down) = self._scaling()
        middle = np.float32(self.middle)
        pixels = (np.arange(256, dtype=np.float32) - middle) / middle
        steps = np.rint(pixels / quantization.scale[0]) + quantization.zero_point
        found = {
            "kLeft": left,
            "kAcrossCount": across_count,
            "kAcross": across,
            "kTop": top,
            "kDownCount": down_count,
            "kDown": down,
            "kCodes": np.clip(steps, -128, 127).astype(np.int8),
        }
        return {"front_end.c": found}

    def _scaling(self) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
        """Return first pixels, counts and weights across and down."""
        width, height = self.camera.width, self.camera.height
        left, top, across, down = 0.0, 0.0, float(width), float(height)
        if self.fit == "crop":
            across = down = float(min(width, height))
            left, top = (width - across) / 2, (height - down) / 2
        return _bilinear(width, left, across, self.size), _bilinear(height, top, down, self.size)


def _bilinear(source: int, start: float, length: float, size: int) -> tuple[Array, Array, Array]:
    """Return the first pixel, the number of pixels and their weights for each result.

    The filter is a triangle over twice the pixels that a result covers, at least two (antialiased),
    cut at the edges. Source: Pillow's ``precompute_coeffs`` and ``normalize_coeffs_8bpc``.
    """
    scale = length / size
    support = max(scale, 1.0)
    centres = start + (np.arange(size) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support + 0.5).astype(np.int64), source)
    counts = last - first
    places = np.arange(counts.max())[None]
    distance = np.abs((places + first[:, None] - centres[:, None] + 0.5) * (1.0 / support))
    weights = np.where(places < counts[:, None], np.maximum(1.0 - distance, 0.0), 0.0)
    weights /= np.array([sum(row) for row in weights.tolist()])[:, None]  # in Pillow's order
    integers = (0.5 + weights * (1 << _BITS)).astype(np.int32)
    return first.astype(np.uint16), counts.astype(np.uint16), integers
