"""Two convolutions beside a shortcut: the basic block of ResNet, and of TC-ResNet over time."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, gated, marks_of, squeeze_mark, width_text
from micronas.space.decisions import Filters, Widths
from micronas.space.lowering import Lowering


class Residual(BlockBase):
    """CONV_2D twice, and the sum with a shortcut before the last activation.

    With a `width` the first convolution takes the stride, and the shortcut is a 1x1 convolution
    with activation, as in TC-ResNet; without one the input itself is added. `hidden` channels lie
    between the two convolutions, by default as many as the output has.

    Source: arXiv 1512.03385; kernels 9 x 1 over time: arXiv 1904.03814.
    """

    type: Literal["residual"] = "residual"
    width: Widths | None = None
    hidden: Widths | None = None
    kernel: Filters = ((3, 3),)
    squeeze: Widths | None = None
    """Channels inside a squeeze-and-excite gate before the sum (arXiv 1709.01507); None for no
    gate."""

    def lower(self, at: Lowering, source: str) -> str:
        kernel = at.decide("kernel", "kernel", self.kernel)
        width = source if self.width is None else at.decide("width", "width", self.width)
        hidden = width if self.hidden is None else at.decide("hidden", "width", self.hidden)
        bits = at.decide("bits", "bits", self.bits)
        first = at.conv(source, hidden, layer="first", kernel=kernel, bits=bits, stride=self.stride)
        out = at.conv(first, width, layer="second", kernel=kernel, bits=bits, active=False)
        out = gated(at, out, self.squeeze)
        if self.width is not None:
            source = at.conv(source, width, layer="shortcut", bits=bits, stride=self.stride)
        return at.add(source, out, active=True)

    def summary(self) -> str:
        hidden = "" if self.hidden is None else f"{self.hidden[0]}-"
        inside = f"r{hidden}{width_text(self.width)}{squeeze_mark(self.squeeze)}"
        return inside + marks_of(self)
