"""Depthwise then 1x1 convolution: the block of DS-CNN and MobileNetV1."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, marks_of, width_text
from micronas.space.decisions import Kernels, Widths
from micronas.space.lowering import Lowering


class Separable(BlockBase):
    """Depthwise then 1x1 convolution, each with activation.

    Without a `width` the input is added before the last activation, as in MatchboxNet. `bits` are
    those of the 1x1 convolution's weights: depthwise weights are few, and slow at 4 bits.
    """

    type: Literal["separable"] = "separable"
    width: Widths | None = None
    kernel: Kernels = ((3, 3),)

    def lower(self, at: Lowering, source: str) -> str:
        kernel = at.decide("kernel", "kernel", self.kernel)
        width = source if self.width is None else at.decide("width", "width", self.width)
        bits = at.decide("bits", "bits", self.bits)
        hidden = at.depthwise(source, kernel, stride=self.stride)
        out = at.conv(hidden, width, layer="pointwise", bits=bits, active=not self.has_residual)
        return at.add(source, out, active=True) if self.has_residual else out

    def summary(self) -> str:
        return f"{width_text(self.width)}{marks_of(self)}"
