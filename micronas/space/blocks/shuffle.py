"""Half of the channels go past, the other half through two 1x1 convolutions: as in ShuffleNetV2."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, marks_of, width_text
from micronas.space.decisions import Kernels, Widths
from micronas.space.lowering import Chosen, Lowering


class Shuffle(BlockBase):
    """A 1x1, a depthwise and a 1x1 convolution on one half of the channels, joined to the other.

    With a `width` both halves are made of the whole input, each `width` channels, and take the
    stride: twice as many come out. Without one the second half goes past, and comes out as the
    first, so that the next block takes it: halves change places where ShuffleNetV2 shuffles
    channels, which would be a GATHER.

    Source: arXiv 1807.11164.
    """

    type: Literal["shuffle"] = "shuffle"
    width: Widths | None = None
    """Channels of each half."""
    kernel: Kernels = ((3, 3),)

    @property
    def has_residual(self) -> bool:
        return self.width is None

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
