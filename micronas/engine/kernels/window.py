"""Windows over maps: their geometry in C, and the overlap of an output with the map it reads."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain, repeat

import numpy as np

from micronas.engine.steps import Fields, Overlap, Rows, Step
from micronas.graph.ir import Graph, extent, same_padding
from micronas.graph.kernels.codes import zero_point

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Geometry of a window in height and width; see export/engine/window.c."""

    size: Pair
    depth: int
    out: Pair
    taps: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    zero: int
    maps: int = 1

    @property
    def fields(self) -> Fields:
        """Members of the C structure; raises NotImplementedError where a number does not fit."""
        largest = (*self.size, *self.out, *self.taps, *self.stride, *self.dilation, self.depth)
        if max(largest) >= 2**16 or max(map(abs, self.before)) >= 2**15:
            raise NotImplementedError
        return {
            "in_height": self.size[0],
            "in_width": self.size[1],
            "out_height": self.out[0],
            "out_width": self.out[1],
            "height": self.taps[0],
            "width": self.taps[1],
            "depth": self.depth,
            "stride_y": self.stride[0],
            "stride_x": self.stride[1],
            "dilation_y": self.dilation[0],
            "dilation_x": self.dilation[1],
            "top": self.before[0],
            "left": self.before[1],
            "zero": self.zero,
        }

    @property
    def is_plain(self) -> bool:
        """Whether every pixel of the output depends on the one at its place only."""
        return self.taps == self.stride == (1, 1) and self.before == (0, 0)

    def rows(self, scratch: int = 0) -> Rows | None:
        """Return the row form of a kernel over this window, which is not laid flat."""
        reach = extent(self.taps[0], self.dilation[0])
        if self.maps > 1 or max(reach, self.size[0], self.out[0]) >= 2**15:
            return None
        return Rows(self.stride[0], self.before[0], reach, scratch, is_window=True)

    def laid_flat(self) -> "Window":
        """Return the window with rows as columns, where maps are one pixel wide.

        Rows side by side in memory are then read in one run.
        """
        if self.size[1] != 1 or self.taps[1] != 1 or self.out[1] != 1 or self.before[1]:
            return self
        turned = {
            name: getattr(self, name)[::-1]
            for name in ("size", "out", "taps", "stride", "dilation", "before")
        }
        return replace(self, **turned)


def window_of(graph: Graph, step: Step, taps: Pair) -> Window:
    """Return the window of an operator over a map."""
    op = step.op
    source, output = graph.tensors[step.source], graph.output_of(op)
    maps, height, width, depth = source.shape
    before = step.pads or (0, 0)
    if op.padding == "SAME":
        reach = (extent(many, apart) for many, apart in zip(taps, op.dilation, strict=True))
        sides = zip((height, width), reach, op.stride, strict=True)
        before = tuple(same_padding(*side)[0] for side in sides)  # type: ignore[assignment]
    out = (output.shape[1], output.shape[2])
    zero = zero_point(source)
    return Window((height, width), depth, out, taps, op.stride, op.dilation, before, zero, maps)


def column_overlap(window: Window, channels: int, tiles: Iterable[int]) -> Overlap:
    """Return the overlap of a kernel that reads the windows of a tile of pixels, then writes it."""
    needed = _first_needed(window)
    ends = np.cumsum(np.fromiter(tiles, np.int64))
    # the output of a tile must end before the bytes that later tiles read
    distances = ends[:-1] * channels - needed[ends[:-1]]
    largest = window.size[0] * window.size[1] * window.depth
    return Overlap(int(distances.max(initial=-largest)))


def channel_overlap(window: Window) -> Overlap:
    """Return the overlap of a kernel that reads and writes channel by channel of each pixel."""
    pixels = np.arange(window.out[0] * window.out[1], dtype=np.int64)
    return Overlap(int((pixels * window.depth - _first_needed(window)).max()))


def tiles_of(pixels: int) -> Iterable[int]:
    """Return the pixels of each tile: three as long as there are as many, then single ones."""
    return chain(repeat(3, pixels // 3), repeat(1, pixels % 3))


def _first_needed(window: Window) -> np.ndarray:
    """Return the first byte of the map that each output pixel or a later one reads."""
    rows, columns = (
        np.maximum(np.arange(out) * step - cut, 0)
        for out, step, cut in zip(window.out, window.stride, window.before, strict=True)
    )
    first = ((rows[:, None] * window.size[1] + columns) * window.depth).ravel()
    return np.minimum.accumulate(first[::-1])[::-1]
