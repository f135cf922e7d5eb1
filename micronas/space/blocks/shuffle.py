"""Shuffle block of ShuffleNetV2: convolutions on one half of the channels."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, marks_of, width_text
from micronas.space.decisions import Kernels, Widths
from micronas.space.lowering import Chosen, Lowering


class Shuffle(BlockBase):
    """A 1x1, a depthwise and a 1x1 convolution on one half of the channels, joined to the other.

    With a `width` each half has `width` channels, computed from the whole input with the stride, so
    that the output has twice as many. Without one the second half is passed on and becomes the
    output's first half, which the next block convolves: halves are swapped where ShuffleNetV2
    shuffles channels, which would be a GATHER.

    Source: arXiv 1807.11164.
    """

    type: Literal["shuffle"] = "shuffle"
    width: Widths | None = None
    """Channels of each half."""
    kernel: Kernels = ((3, 3),)

    def lower(self, at: Lowering, source: str) -> str:
        kernel = at.decide("kernel", "kernel", self.kernel)
        bits = at.decide("bits", "bits", self.bits)
        if self.width is None:
            first, second = at.halves(source)
            made = self._branch(at, first, (first, kernel, bits))
            return at.concatenate([second, made])
        width = at.decide("width", "width", self.width)
        made = self._branch(at, source, (width, kernel, bits))
        past = at.depthwise(source, kernel, layer="past", stride=self.stride)
        past = at.conv(past, width, layer="past_pointwise", bits=bits)
        return at.concatenate([past, made])

    def _branch(self, at: Lowering, source: str, sizes: tuple[Chosen | str, Chosen, Chosen]) -> str:
        width, kernel, bits = sizes
        value = at.conv(source, width, layer="first", bits=bits)
        value = at.depthwise(value, kernel, stride=self.stride)
        return at.conv(value, width, layer="second", bits=bits)

    def summary(self) -> str:
        return f"h{width_text(self.width)}{marks_of(self)}"
