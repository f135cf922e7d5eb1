"""One full convolution of any kernel, such as 9 x 1 over time."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, marks_of
from micronas.space.decisions import Filters, Widths
from micronas.space.lowering import Lowering


class Convolution(BlockBase):
    """CONV_2D with activation."""

    type: Literal["conv"] = "conv"
    width: Widths
    kernel: Filters = ((3, 3),)

    def lower(self, at: Lowering, source: str) -> str:
        kernel = at.decide("kernel", "kernel", self.kernel)
        width = at.decide("width", "width", self.width)
        bits = at.decide("bits", "bits", self.bits)
        return at.conv(source, width, kernel=kernel, bits=bits, stride=self.stride)

    def summary(self) -> str:
        return f"c{self.width[0]}{marks_of(self)}"
