"""Convolutions and linear layers: filters packed for tiles, unrolled taps for planes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from itertools import product

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
Taken = tuple[list[int], list[int]]
Made = tuple[Fields, tuple[str, ...], int]
"""Fields of a structure, kernel files and bytes of work memory."""
_LARGEST_SUM = 2**30
"""Bound of sums that SMMULR rescales like TFLM."""
_SHIFTS = range(1, 23)
"""Shifts to the right at which rounding and zero point fit in one constant."""


class Rescaling:
    """Filters, biases and factors of channels.

    Parameters
    ----------
    is_folded
        Whether biases hold the input's zero point.
    taps
        Rows and columns of the filters in the order in which a window meets them, all when left
        out; the one behind the last is zero.
    """

    def __init__(
        self, graph: Graph, step: Step, *, is_folded: bool = True, taps: Taken | None = None
    ) -> None:
        self._graph, self._step, self._is_folded, self._taps = graph, step, is_folded, taps
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

    def unfolded(self) -> "Rescaling":
        return Rescaling(self._graph, self._step, is_folded=False, taps=self._taps)

    @cached_property
    def rows(self) -> Wide:
        """Weights of each channel."""
        filters: Wide = data(self._graph.constant_of(self._step.op)).astype(np.int64)
        if self._taps is not None:
            more = np.pad(filters, ((0, 0), (0, 1), (0, 1), (0, 0)))
            filters = more[:, self._taps[0]][:, :, self._taps[1]]
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

    @property
    def is_4_bits(self) -> bool:
        return self._graph.constant_of(self._step.op).dtype == "int4"

    @property
    def is_packed(self) -> bool:
        """Whether filters of 4 bits stay so, whose sums are 16 times as large."""
        return self.is_4_bits and self.largest < 2**27

    def limits(self) -> Fields:
        return {"zero": 2 * self.zero + 1, "low": self.low, "high": self.high}

    def scales(self, times: int = 1, *, groups: int = 1, even: bool = False) -> Fields:
        """Return the scales of channels, with `even` of one more in groups of an odd number."""
        each = self.channels // groups
        more = each % 2 if even else 0
        count = groups * (each + more)

        def evened(*values: Wide) -> Wide:
            parts = np.stack(values, axis=1).reshape(groups, each, -1)
            return np.pad(parts, ((0, 0), (0, more), (0, 0))).reshape(count, -1)

        def pairs() -> Wide:
            return evened(self.bias * times, self.multiplier.astype(np.int64))

        return {
            "scales": Constant((count, 2), np.int32, pairs),
            "shifts": Constant((count,), np.int8, lambda: evened(self.right)[:, 0]),
        }


def fully_connected(graph: Graph, step: Step) -> list[Call]:
    _, depth = graph.constant_of(step.op).shape
    return _pointwise(Rescaling(graph, step), depth, graph.tensors[step.source].elements // depth)


def convolution(graph: Graph, step: Step) -> list[Call]:
    _, *sides, depth = graph.constant_of(step.op).shape
    window = window_of(graph, step, (sides[0], sides[1]))
    rescaling = Rescaling(graph, step)
    if depth == 1 < window.depth:
        return _by_channel(window, rescaling)
    if depth < window.depth:
        return _grouped(window, rescaling, window.depth // depth)
    if window.is_plain:
        return _pointwise(rescaling, depth, window.maps * math.prod(window.out))
    return _convolution(window, rescaling)


def _convolution(window: Window, rescaling: Rescaling) -> list[Call]:
    is_flat, window = window.laid_flat() != window, window.laid_flat()
    fields, uses, size = _over(window, rescaling)
    overlap = column_overlap(window, rescaling.channels, tiles_of(math.prod(window.out)))
    return [
        Call(
            "convolution",
            ("convolution", *uses),
            fields,
            "Convolution",
            scratch=3 * size,
            overlaps={0: overlap} if window.maps == 1 else {},
            maps=window.maps,
            rows=None if is_flat else window.rows(3 * size),
        )
    ]


def _over(window: Window, rescaling: Rescaling, groups: int = 1) -> Made:
    """Return the fields of a convolution over a window, or over that of one of its groups."""
    height, width = window.taps
    taps, runs = (width, 1) if window.dilation[1] == 1 else (1, width)
    tile, uses, size = _tile(rescaling, height * runs, taps * window.depth, groups)
    return {"tile": tile, "window": window.fields, "runs": runs, "taps": taps}, uses, size


def _pointwise(rescaling: Rescaling, depth: int, pixels: int) -> list[Call]:
    fields, uses, size = _tile(rescaling, 1, depth)
    window = Window((1, pixels), depth, (1, pixels), (1, 1), (1, 1), (1, 1), (0, 0), 0)
    return [
        Call(
            "pointwise",
            ("pointwise", *uses),
            {"tile": fields, "pixels": pixels, "depth": depth},
            "Pointwise",
            scratch=size * min(pixels, 3) if pixels >= 3 else size,
            overlaps={0: column_overlap(window, rescaling.channels, tiles_of(pixels))},
            rows=Rows(scratch=3 * size),
        ),
    ]


def _tile(rescaling: Rescaling, runs: int, run: int, groups: int = 1) -> Made:
    """Return fields of the first of tiles side by side, kernel files and bytes of a column.

    Runs of so many elements are side by side in the map, each from an even place.
    """
    length, channels = runs * (run + run % 2), rescaling.channels // groups
    if channels >= 2**16 or length > 2**17 - 8:
        raise NotImplementedError
    is_packed = rescaling.is_packed
    pairs = (length + -length % 4) // 2

    def words() -> Table:
        columns = rescaling.rows.reshape(groups, channels, runs, run)
        even = np.pad(columns, ((0, 0), (0, 0), (0, 0), (0, run % 2)))
        even = even.reshape(groups, channels, length)
        full = np.pad(even, ((0, 0), (0, channels % 2), (0, -length % 4)))
        # bytes of a word: element a of both channels, then element b
        found: Table = full.reshape(-1, 2, pairs, 2).transpose(0, 2, 3, 1).astype(np.int8)
        if is_packed:
            halves = found.reshape(-1, pairs // 2, 2, 4).view(np.uint8) & 15
            found = halves[:, :, 0] | halves[:, :, 1] << 4
        return found.reshape(-1).view(np.int8 if is_packed else np.uint8)

    size = groups * (channels + channels % 2) * pairs * (1 if is_packed else 2)
    bits = "4" if is_packed else "8"
    form, name = f"tile_{bits}", f"k{bits}"
    if not rescaling.is_usual:
        form, name = ("tile_plain4", "kPlain4") if is_packed else ("tile_plain", "kPlain")
    fields = {
        "weights": Constant((size,), np.int8 if is_packed else np.uint8, words),
        **rescaling.scales(16 if is_packed else 1, groups=groups, even=True),
        "pairs": pairs,
        "channels": channels,
        **rescaling.limits(),
        "form": f"&{name}",
    }
    return fields, (form,), pairs * 4


def depthwise(graph: Graph, step: Step) -> list[Call]:
    _, *sides, channels = graph.constant_of(step.op).shape
    window, rescaling = window_of(graph, step, (sides[0], sides[1])), Rescaling(graph, step)
    if window.depth == 1 < channels:  # all filters read the one channel, as a convolution's do
        return _convolution(window, rescaling)
    return _by_channel(window, rescaling)


def _by_channel(window: Window, rescaling: Rescaling) -> list[Call]:
    """Return the call of a convolution whose filters read a channel each, in the map's order."""
    is_flat, window = window.laid_flat() != window, window.laid_flat()
    (height, width), (_, apart) = window.taps, window.dilation
    reach = (width - 1) * apart + 1
    rows_of_plane = (window.out[0] - 1) * window.stride[0] + (height - 1) * window.dilation[0] + 1
    together = 2 if window.stride[1] == 1 else 1
    last = -(-window.out[1] // together) * together - 1
    pitch = last * window.stride[1] + reach + 1
    pitch += pitch % 2
    plane = rows_of_plane * pitch
    fits = plane < 2**20 and max(pitch, rows_of_plane) < 2**16 and reach <= MOST_REACH
    is_packed = rescaling.is_packed
    kernel = Taps(window, is_packed) if fits and rescaling.is_usual else None
    if kernel is None or len(kernel.pairs) > MOST_PAIRS or rescaling.is_4_bits > is_packed:
        return _reference(window, rescaling.unfolded())

    def taps() -> npt.NDArray[np.int8]:
        found = rescaling.rows.astype(np.int8)
        if is_packed:
            halves = np.pad(found, ((0, 0), (0, found.shape[1] % 2))).view(np.uint8) & 15
            found = (halves[:, ::2] | halves[:, 1::2] << 4).view(np.int8)
        return found.reshape(-1)

    fields: Fields = {
        "weights": Constant((rescaling.channels * kernel.bytes,), np.int8, taps),
        **rescaling.scales(16 if is_packed else 1),
        "window": window.fields,
        "taps": kernel.name,
        "bytes": kernel.bytes,
        "pitch": pitch,
        **rescaling.limits(),
    }
    row = (height - 1) * window.dilation[0] + 1
    times = rescaling.channels // window.depth
    is_shrunk = math.prod(window.out) <= math.prod(window.size) and times == 1
    name = "depthwise" if times == 1 else "several"
    return [
        Call(
            name,
            (name,),
            fields if times == 1 else {"depthwise": fields, "times": times},
            name.capitalize(),
            scratch=aligned(plane * 2),
            overlaps={0: Overlap(0, exact=True)} if is_shrunk and window.maps == 1 else {},
            maps=window.maps,
            generated={kernel.name: kernel.text},
            rows=None if is_flat else window.rows(2 * row * pitch),
        ),
    ]


def _grouped(window: Window, rescaling: Rescaling, groups: int) -> list[Call]:
    """Return the call of a convolution in groups: each reads a map of as many narrower pixels."""
    if groups >= 2**15:
        raise NotImplementedError
    narrow = replace(
        window,
        depth=window.depth // groups,
        size=(window.size[0], window.size[1] * groups),
        stride=(window.stride[0], window.stride[1] * groups),
        dilation=(window.dilation[0], window.dilation[1] * groups),
        before=(window.before[0], window.before[1] * groups),
    )
    return [_parts(narrow, rescaling, groups, {"first": 0, "step": rescaling.channels, "line": 0})]


def _parts(window: Window, rescaling: Rescaling, groups: int, places: Mapping[str, int]) -> Call:
    fields, uses, size = _over(window, rescaling, groups)
    weights: Constant = fields["tile"]["weights"]
    return Call(
        "parts",
        ("parts", *uses),
        {"convolution": fields, "groups": groups, "bytes": weights.nbytes // groups, **places},
        "Parts",
        scratch=3 * size + aligned(3 * rescaling.channels // groups),
        maps=window.maps,
    )


def transposed(graph: Graph, step: Step) -> list[Call]:
    """Return a convolution for each place between strides, whose outputs meet the same taps."""
    op = step.op
    _, *taps, _ = graph.constant_of(op).shape
    whole = window_of(graph, step, (taps[0], taps[1]))
    cut = (before(size, reach) for size, reach in zip(taps, op.reach, strict=True))
    sides = zip(whole.out, taps, op.stride, cut, strict=True)
    rows, columns = ([*_phases(*side)] for side in sides)
    pixel, (_, width) = graph.output_of(op).shape[3], whole.out
    calls = []
    for (y, height, top, down), (x, many, left, across) in product(rows, columns):
        window = replace(
            whole,
            out=(height, many),
            taps=(len(down), len(across)),
            stride=(1, 1),
            before=(top, left),
        )
        rescaling = Rescaling(graph, step, taps=(down, across))
        if len(rows) == len(columns) == 1:
            return _convolution(window, rescaling)
        places = {
            "first": (y * width + x) * pixel,
            "step": op.stride[1] * pixel,
            "line": (op.stride[0] * width - op.stride[1] * many) * pixel,
        }
        calls.append(_parts(window, rescaling, 1, places))
    return calls


def _phases(
    out: int, taps: int, stride: int, cut: int
) -> Iterator[tuple[int, int, int, list[int]]]:
    """Yield along one dimension the first output, how many a stride apart follow with it, the
    padding before their windows, and the taps that these meet."""
    for first in range(min(stride, out)):
        down, tap = divmod(first + cut, stride)
        met = [*range(tap, taps, stride)][::-1] or [taps]
        yield first, -(-(out - first) // stride), len(met) - 1 - down, met


def _reference(window: Window, rescaling: Rescaling) -> list[Call]:
    channels, rows = rescaling.channels, lambda: rescaling.rows.T.reshape(-1)
    fields: Fields = {
        "weights": Constant((channels * math.prod(window.taps),), np.int8, rows),
        "biases": Constant((channels,), np.int32, lambda: rescaling.bias),
        "factors": rescaling.factors,
        "window": window.fields,
        "channels": channels,
        "zero": rescaling.zero,
        "low": rescaling.low,
        "high": rescaling.high,
    }
    name = "reference_depthwise"
    return [Call(name, (name,), fields, "Reference", is_reference=True, maps=window.maps)]
