"""Inverted bottleneck: the block of MobileNetV2."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, bits_mark, kernel_mark, stride_mark
from micronas.space.decisions import Kernels, Widths
from micronas.space.lowering import Lowering


class Bottleneck(BlockBase):
    """1x1 expansion, depthwise convolution, linear 1x1 projection.

    With `residual` the input is added; where the two widths differ, the narrower side is padded
    with zero channels. `bits` are those of both 1x1 convolutions' weights.
    """

    type: Literal["bottleneck"] = "bottleneck"
    expansion: Widths
    """Channels between the two 1x1 convolutions."""
    width: Widths
    kernel: Kernels = ((3, 3),)
    residual: bool = False
    """Whether the input is added; needs stride 1."""

    @property
    def has_residual(self) -> bool:
        return self.residual

    def lower(self, at: Lowering, source: str) -> str:
        expansion = at.decide("expansion", "width", self.expansion)
        kernel = at.decide("kernel", "kernel", self.kernel)
        width = at.decide("width", "width", self.width)
        bits = at.decide("bits", "bits", self.bits)
        hidden = at.conv(source, expansion, layer="expand", bits=bits)
        hidden = at.depthwise(hidden, kernel, stride=self.stride)
        out = at.conv(hidden, width, layer="project", bits=bits, active=False)
        return at.add(source, out) if self.residual else out

    def summary(self) -> str:
        marks = bits_mark(self.bits) + kernel_mark(self.kernel[0]) + stride_mark(self.stride)
        return f"{self.expansion[0]}-{self.width[0]}{marks}"
