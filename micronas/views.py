"""Convert inputs to other shapes, among which a search may choose.

A data set is read once, at its finest. Fewer frames, fewer coefficients, a lower resolution or gray
are computed from it, as the front end of a device computes them from its sensor.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.errors import ConfigError

Shape = tuple[int, int, int]
"""Height, width, channels."""

_LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


class View(Protocol):
    """Conversion of inputs from one shape to another."""

    def check(self, read: Shape, shape: Shape) -> None:
        """Raise ConfigError if inputs cannot be converted so."""

    def __call__(self, x: Tensor, shape: Shape) -> Tensor:
        """Return inputs of another shape, float32 [N, channels, height, width]."""

    def meaning(self, read: Shape, shape: Shape) -> Mapping[str, object]:
        """Return additional metadata for the model file, so that the device computes the same."""


class Layout:
    """View of the same values in the same order, NHWC: columns may become channels."""

    def check(self, read: Shape, shape: Shape) -> None:
        if read[0] != shape[0] or read[1] * read[2] != shape[1] * shape[2]:
            raise ConfigError(
                f"an input must hold the rows that were read, {read}, but is {shape}; correct "
                f"`input` of the space: {list(read)}, or {[read[0], 1, read[1] * read[2]]} with "
                "columns as channels"
            )

    def __call__(self, x: Tensor, shape: Shape) -> Tensor:
        return laid_out(x, shape)

    def meaning(self, read: Shape, shape: Shape) -> Mapping[str, object]:
        return {}


class Frames:
    """Features over time [frames, coefficients, 1]: every nth frame, and the first coefficients.

    Frames are computed one by one, so that every second one equals a hop of twice the length; the
    first coefficients of an MFCC are those of a shorter transform. Coefficients may be channels:
    [frames, 1, coefficients].
    """

    def check(self, read: Shape, shape: Shape) -> None:
        frames, coefficients = shape[0], shape[1] * shape[2]
        if _step(read[0], frames) is None or coefficients > read[1] * read[2]:
            raise ConfigError(
                f"an input must take every nth of {read[0]} frames and at most "
                f"{read[1] * read[2]} coefficients, but is {shape}; correct `input` of the space"
            )

    def __call__(self, x: Tensor, shape: Shape) -> Tensor:
        step = _step(x.shape[2], shape[0])
        kept = x.permute(0, 2, 3, 1).flatten(2)[:, ::step, : shape[1] * shape[2]]
        return kept.reshape(-1, *shape).permute(0, 3, 1, 2)

    def meaning(self, read: Shape, shape: Shape) -> Mapping[str, object]:
        step, coefficients = _step(read[0], shape[0]), shape[1] * shape[2]
        found: dict[str, object] = {}
        if step != 1:
            found["every"] = step
        if coefficients != read[1] * read[2]:
            found["coefficients"] = coefficients
        return found


class Pixels:
    """Pictures of lower resolution, by the mean of the pixels of each area, or in gray."""

    def check(self, read: Shape, shape: Shape) -> None:
        larger = shape[0] > read[0] or shape[1] > read[1]
        if larger or shape[2] not in (read[2], 1):
            raise ConfigError(
                f"an input must be no larger than the pictures that were read, {read}, in their "
                f"colours or gray, but is {shape}; correct `input` of the space"
            )

    def __call__(self, x: Tensor, shape: Shape) -> Tensor:
        if x.shape[1] == 3 and shape[2] == 1:
            x = torch.tensordot(x, torch.tensor(_LUMINANCE), ([1], [0]))[:, None]
        return x if x.shape[2:] == shape[:2] else F.interpolate(x, shape[:2], mode="area")

    def meaning(self, read: Shape, shape: Shape) -> Mapping[str, object]:
        gray = {"color": "gray"} if read[2] == 3 and shape[2] == 1 else {}
        return {**gray, "read": list(read)} if read != shape else {}


def laid_out(x: Tensor, shape: Shape) -> Tensor:
    """Return maps of another shape with the same values in the order of the device, NHWC."""
    return x.permute(0, 2, 3, 1).reshape(-1, *shape).permute(0, 3, 1, 2)


def _step(read: int, frames: int) -> int | None:
    """Return the n for which every nth of `read` frames gives `frames`; None without one."""
    return next((n for n in range(1, read + 1) if -(-read // n) == frames), None)
