"""Inverted bottleneck: the block of MobileNetV2, and its fused form."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, gated, marks_of, squeeze_mark, width_text
from micronas.space.decisions import Kernels, Widths
from micronas.space.lowering import Lowering


class Bottleneck(BlockBase):
    """1x1 expansion, depthwise convolution, linear 1x1 projection.

    `fused` replaces the first two by one full convolution, which a Cortex-M computes faster per
    multiply-accumulate (EfficientNetV2, arXiv 2104.00298). With `residual`, or without a `width`,
    the input is added; where the two widths differ, the narrower side is padded with zero channels.
    `bits` are those of the weights of full convolutions.
    """

    type: Literal["bottleneck"] = "bottleneck"
    expansion: Widths
    """Channels between expansion and projection."""
    width: Widths | None = None
    kernel: Kernels = ((3, 3),)
    residual: bool = False
    """Add the input; needs stride 1."""
    fused: bool = False
    squeeze: Widths | None = None
    """Channels inside a squeeze-and-excite gate on the expanded map (EfficientNet, arXiv
    1905.11946); None for no gate."""

    @property
    def has_residual(self) -> bool:
        return self.residual or super().has_residual

    def lower(self, at: Lowering, source: str) -> str:
        expansion = at.decide("expansion", "width", self.expansion)
        kernel = at.decide("kernel", "kernel", self.kernel)
        width = source if self.width is None else at.decide("width", "width", self.width)
        bits = at.decide("bits", "bits", self.bits)
        if self.fused:
            hidden = at.conv(
                source, expansion, layer="expand", kernel=kernel, bits=bits, stride=self.stride
            )
        else:
            hidden = at.conv(source, expansion, layer="expand", bits=bits)
            hidden = at.depthwise(hidden, kernel, stride=self.stride)
        hidden = gated(at, hidden, self.squeeze)
        out = at.conv(hidden, width, layer="project", bits=bits, active=False)
        return at.add(source, out) if self.has_residual else out

    def summary(self) -> str:
        mark = "f" if self.fused else ""
        inside = f"{mark}{self.expansion[0]}{squeeze_mark(self.squeeze)}"
        return f"{inside}-{width_text(self.width)}{marks_of(self)}"
