"""Convolutions and linear layers: filters packed for tiles, unrolled taps for planes."""

import math
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from micronas.engine.kernels.taps import MOST_PAIRS, MOST_REACH, Taps
from micronas.engine.kernels.window import Window, column_overlap, tiles_of, window_of
from micronas.engine.steps import Call, Constant, Fields, Overlap, Rows, Step, Table
from micronas.graph import fixed_point
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import activation_range, data, scale, scales, zero_point
from micronas.graph.transposing import before
from micronas.quantities import aligned

Wide = npt.NDArray[np.int64]
_LARGEST_SUM = 2**30
"""Bound of sums that SMMULR rescales like TFLM."""
_SHIFTS = range(1, 23)
"""Shifts to the right at which rounding and zero point fit in one constant."""


class Rescaling:
    """Biases and factors of channels; with `is_folded`, biases hold the input's zero point."""

    def __init__(self, graph: Graph, step: Step, *, is_folded: bool = True) -> None:
        self._graph, self._step, self._is_folded = graph, step, is_folded
        op = step.op
        source, output = graph.tensors[step.source], graph.output_of(op)
        weights = graph.constant_of(op)
        self._by_column = op.kind == "DEPTHWISE_CONV_2D"
        self.channels = weights.shape[-1 if self._by_column else 0]
        factors = scale(source) * scales(weights) / scale(output)
        multiplier, shift = fixed_point.quantize_multiplier(np.broadcast_to(factors, self.channels))
        self.multiplier, self.right = multiplier, -shift.astype(np.int64)
        self.zero = zero_point(output)
        self.low, self.high = activation_range(op, output)
        if weights.data is not None:
            self._steady()

    def _steady(self) -> None:
        """Write the one code of a channel without weights with a usual factor, whatever its own:
        the scales of channels that have died are next to zero."""
        dead = ~self.rows.any(axis=1)
        value = fixed_point.rescale(self._offset.astype(np.int32), self.multiplier, -self.right)
        value = np.clip(value, self.low - self.zero, self.high - self.zero)
        self._offset = np.where(dead, 4 * value, self._offset)
        self.multiplier = np.where(dead, np.int32(2**30), self.multiplier)
        self.right = np.where(dead, 1, self.right)

    @cached_property
    def rows(self) -> Wide:
        """Weights of each channel."""
        filters: Wide = data(self._graph.constant_of(self._step.op)).astype(np.int64)
        shape = (-1, self.channels) if self._by_column else (self.channels, -1)
        rows: Wide = filters.reshape(shape)
        return rows.T if self._by_column else rows

    @cached_property
    def _offset(self) -> Wide:
        zero = zero_point(self._graph.tensors[self._step.source])
        offset: Wide = -zero * self.rows.sum(axis=1) * self._is_folded
        for name in self._step.op.learnt[1:]:
            offset = offset + data(self._graph.tensors[name])
        return offset

    @property
    def bias(self) -> Wide:
        return self._offset.astype(np.int32).astype(np.int64)

    @cached_property
    def largest(self) -> int:
        """Bound of all sums; 0 without weights, as for those of usual networks."""
        if self._graph.constant_of(self._step.op).data is None:
            return 0
        return int((np.abs(self.rows).sum(axis=1) * 128 + np.abs(self._offset)).max())

    @property
    def is_usual(self) -> bool:
        return self.largest < _LARGEST_SUM and all(
            each in _SHIFTS for each in np.unique(self.right)
        )

    @property
    def factors(self) -> Constant:
        pairs = partial(np.stack, [self.multiplier, -self.right], axis=1)
        return Constant((self.channels, 2), np.int32, pairs)

    def limits(self) -> Fields:
        return {"zero": 2 * self.zero + 1, "low": self.low, "high": self.high}

    def scales(self, times: int = 1, *, even: bool = False) -> Fields:
        more = self.channels % 2 if even else 0
        count = self.channels + more

        def pairs() -> npt.NDArray[np.int64]:
            found = np.stack([self.bias * times, self.multiplier], axis=1)
            return np.pad(found, ((0, more), (0, 0)))

        return {
            "scales": Constant((count, 2), np.int32, pairs),
            "shifts": Constant((count,), np.int8, lambda: np.pad(self.right, (0, more))),
        }


def fully_connected(graph: Graph, step: Step) -> list[Call]:
    _, depth = graph.constant_of(step.op).shape
    return _pointwise(graph, step, graph.tensors[step.source].elements // depth)


def convolution(graph: Graph, step: Step) -> list[Call]:
    channels, *sides, _ = graph.constant_of(step.op).shape
    window = window_of(graph, step, (sides[0], sides[1]))
    if graph.groups_of(step.op) > 1:
        return _reference(graph, step, window, "reference_convolution")
    if window.is_plain:
        return _pointwise(graph, step, window.maps * math.prod(window.out))
    return _convolution(graph, step, window, channels)


def _convolution(graph: Graph, step: Step, window: Window, channels: int) -> list[Call]:
    is_flat, window = window.laid_flat() != window, window.laid_flat()
    height, width = window.taps
    taps, runs = (width, 1) if window.dilation[1] == 1 else (1, width)
    run = taps * window.depth
    tile = _tile(graph, step, height * runs, run)
    if tile is None:
        kind = "depthwise" if step.op.kind == "DEPTHWISE_CONV_2D" else "convolution"
        return _reference(graph, step, window, f"reference_{kind}")
    fields, uses, size = tile
    overlap = column_overlap(window, channels, tiles_of(math.prod(window.out)))
    return [
        Call(
            "convolution",
            ("convolution", *uses),
            {"tile": fields, "window": window.fields, "runs": runs, "taps": taps},
            "Convolution",
            scratch=3 * size,
            overlaps={0: overlap} if window.maps == 1 else {},
            maps=window.maps,
            rows=None if is_flat else window.rows(3 * size),
        )
    ]


def _pointwise(graph: Graph, step: Step, pixels: int) -> list[Call]:
    channels, *_, depth = graph.constant_of(step.op).shape
    tile = _tile(graph, step, 1, depth)
    window = Window((1, pixels), depth, (1, pixels), (1, 1), (1, 1), (1, 1), (0, 0), 0)
    if tile is None:
        return _reference(graph, step, window, "reference_convolution")
    fields, uses, size = tile
    return [
        Call(
            "pointwise",
            ("pointwise", *uses),
            {"tile": fields, "pixels": pixels, "depth": depth},
            "Pointwise",
            scratch=size * min(pixels, 3) if pixels >= 3 else size,
            overlaps={0: column_overlap(window, channels, tiles_of(pixels))},
            rows=Rows(scratch=3 * size),
        ),
    ]


def _tile(
    graph: Graph, step: Step, runs: int, run: int
) -> tuple[Fields, tuple[str, ...], int] | None:
    """Return fields of a tile, kernel files and bytes of a column, or None where sums wrap around.

    Parameters
    ----------
    runs, run
        Number of runs of elements side by side in the map, each from an even place, and their
        length.
    """
    rescaling, length = Rescaling(graph, step), runs * (run + run % 2)
    if rescaling.largest >= 2**31 or length > 2**17 - 8:
        return None
    channels = rescaling.channels
    if channels >= 2**16:
        raise NotImplementedError
    is_packed = graph.constant_of(step.op).dtype == "int4" and rescaling.largest < 2**27
    pairs = (length + -length % 4) // 2

    def words() -> Table:
        columns = rescaling.rows.reshape(channels, runs, run)
        even = np.pad(columns, ((0, 0), (0, 0), (0, run % 2))).reshape(channels, length)
        full = np.pad(even, ((0, channels % 2), (0, -length % 4)))
        # bytes of a word: element a of both channels, then element b
        found: Table = full.reshape(-1, 2, pairs, 2).transpose(0, 2, 3, 1).astype(np.int8)
        if is_packed:
            halves = found.reshape(-1, pairs // 2, 2, 4).view(np.uint8) & 15
            found = halves[:, :, 0] | halves[:, :, 1] << 4
        return found.reshape(-1).view(np.int8 if is_packed else np.uint8)

    size = (channels + channels % 2) * pairs * (1 if is_packed else 2)
    bits = "4" if is_packed else "8"
    form, name = f"tile_{bits}", f"k{bits}"
    if not rescaling.is_usual:
        form, name = ("tile_plain4", "kPlain4") if is_packed else ("tile_plain", "kPlain")
    fields = {
        "weights": Constant((size,), np.int8 if is_packed else np.uint8, words),
        **rescaling.scales(16 if is_packed else 1, even=True),
        "pairs": pairs,
        "channels": channels,
        **rescaling.limits(),
        "form": f"&{name}",
    }
    return fields, (form,), pairs * 4


def depthwise(graph: Graph, step: Step) -> list[Call]:
    _, *sides, channels = graph.constant_of(step.op).shape
    window = window_of(graph, step, (sides[0], sides[1]))
    if window.depth == 1 < channels:  # all filters read the one channel, as a convolution's do
        return _convolution(graph, step, window, channels)
    rescaling = Rescaling(graph, step)
    if channels != window.depth or not rescaling.is_usual:
        return _reference(graph, step, window, "reference_depthwise")
    is_flat, window = window.laid_flat() != window, window.laid_flat()
    (height, width), (_, apart) = window.taps, window.dilation
    reach = (width - 1) * apart + 1
    rows_of_plane = (window.out[0] - 1) * window.stride[0] + (height - 1) * window.dilation[0] + 1
    together = 2 if window.stride[1] == 1 else 1
    last = -(-window.out[1] // together) * together - 1
    pitch = last * window.stride[1] + reach + 1
    pitch += pitch % 2
    plane = rows_of_plane * pitch
    is_packed = graph.constant_of(step.op).dtype == "int4"
    fits = plane < 2**20 and max(pitch, rows_of_plane) < 2**16 and reach <= MOST_REACH
    if not fits or (is_packed and rescaling.largest >= 2**27):
        return _reference(graph, step, window, "reference_depthwise")
    kernel = Taps(window, is_packed)
    if len(kernel.pairs) > MOST_PAIRS:
        return _reference(graph, step, window, "reference_depthwise")

    def taps() -> npt.NDArray[np.int8]:
        found = rescaling.rows.astype(np.int8)
        if is_packed:
            halves = np.pad(found, ((0, 0), (0, found.shape[1] % 2))).view(np.uint8) & 15
            found = (halves[:, ::2] | halves[:, 1::2] << 4).view(np.int8)
        return found.reshape(-1)

    fields = {
        "weights": Constant((channels * kernel.bytes,), np.int8, taps),
        **rescaling.scales(16 if is_packed else 1),
        "window": window.fields,
        "taps": kernel.name,
        "bytes": kernel.bytes,
        "pitch": pitch,
        **rescaling.limits(),
    }
    row = (height - 1) * window.dilation[0] + 1
    is_shrunk = math.prod(window.out) <= math.prod(window.size)
    return [
        Call(
            "depthwise",
            ("depthwise",),
            fields,
            "Depthwise",
            scratch=aligned(plane * 2),
            overlaps={0: Overlap(0, exact=True)} if is_shrunk and window.maps == 1 else {},
            maps=window.maps,
            generated={kernel.name: kernel.text},
            rows=None if is_flat else window.rows(2 * row * pitch),
        ),
    ]


def transposed(graph: Graph, step: Step) -> list[Call]:
    op = step.op
    _, *sides, _ = graph.constant_of(op).shape
    taps = sides[0], sides[1]
    cut = before(taps[0], op.reach[0]), before(taps[1], op.reach[1])
    window = replace(window_of(graph, step, taps), before=cut)
    return _reference(graph, step, window, "reference_transposed")


def _reference(graph: Graph, step: Step, window: Window, function: str) -> list[Call]:
    op, filters = step.op, graph.constant_of(step.op)
    rescaling = Rescaling(graph, step, is_folded=function != "reference_transposed")
    channels = rescaling.channels
    fields = {
        "weights": Constant((filters.elements,), np.int8, lambda: data(filters).reshape(-1)),
        "biases": Constant((channels,), np.int32, lambda: rescaling.bias),
        "factors": rescaling.factors,
        "window": {**window.fields, "zero": zero_point(graph.tensors[step.source])},
        "channels": channels,
        "groups": graph.groups_of(op) if op.kind == "CONV_2D" else 1,
        "zero": rescaling.zero,
        "low": rescaling.low,
        "high": rescaling.high,
    }
    return [Call(function, (function,), fields, "Reference", is_reference=True, maps=window.maps)]
