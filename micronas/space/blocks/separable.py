"""Depthwise then 1x1 convolution: the block of DS-CNN and MobileNetV1."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, bits_mark, kernel_mark, stride_mark
from micronas.space.decisions import Kernels, Widths
from micronas.space.lowering import Lowering


class Separable(BlockBase):
    """Depthwise then 1x1 convolution, each with activation.

    `bits` are those of the 1x1 convolution's weights: the depthwise ones are few, and slow at 4.
    """

    type: Literal["separable"] = "separable"
    width: Widths
    kernel: Kernels = ((3, 3),)

    def lower(self, at: Lowering, source: str) -> str:
        kernel = at.decide("kernel", "kernel", self.kernel)
        width = at.decide("width", "width", self.width)
        bits = at.decide("bits", "bits", self.bits)
        hidden = at.depthwise(source, kernel, stride=self.stride)
        return at.conv(hidden, width, layer="pointwise", bits=bits)

    def summary(self) -> str:
        marks = bits_mark(self.bits) + kernel_mark(self.kernel[0]) + stride_mark(self.stride)
        return f"{self.width[0]}{marks}"
