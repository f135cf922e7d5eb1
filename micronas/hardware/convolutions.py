"""Work of CMSIS-NN's kernels that move a window over a map.

1x1 convolutions multiply two positions by two channels at a time, sixteen or four inputs per step;
larger kernels first copy each patch (im2col) and widen it.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from statistics import fmean

from micronas.engine.newlib import copied, filled
from micronas.graph.ir import Padding, extent, same_padding
from micronas.graph.transposing import before
from micronas.hardware.kernels import Work

_Area = tuple[int, int]
"""Height, width."""
_Seen = tuple[int, int, int]
"""Taps of a kernel's side before, inside and behind the map."""


@dataclass(frozen=True)
class Sweep:
    """Move of a window over a map of size `source` that gives one of size `out`."""

    source: _Area
    out: _Area
    kernel: _Area
    stride: _Area = (1, 1)
    padding: Padding = "SAME"
    dilation: _Area = (1, 1)

    @property
    def positions(self) -> int:
        return self.out[0] * self.out[1]

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def seen(self) -> tuple[tuple[_Seen, ...], tuple[_Seen, ...]]:
        """Kernel rows before, inside and behind the map, by row of outputs; columns likewise."""
        return self._seen(0), self._seen(1)

    @property
    def inside(self) -> _Area:
        """Kernel rows and columns inside the map, each summed over its output coordinate."""
        rows, columns = (sum(inside for _, inside, _ in axis) for axis in self.seen)
        return rows, columns

    @property
    def valid_taps(self) -> int:
        """Taps inside the map, summed over positions."""
        rows, columns = self.inside
        return rows * columns

    @property
    def valid_rows(self) -> int:
        """Kernel rows inside the map, summed over positions."""
        return self.inside[0] * self.out[1]

    def _seen(self, axis: int) -> tuple[_Seen, ...]:
        sizes = (side[axis] for side in (self.source, self.out, self.kernel))
        return _taps_seen(*sizes, self.stride[axis], self.dilation[axis], self.padding)


@lru_cache(maxsize=4096)
def _taps_seen(
    size: int, out: int, kernel: int, stride: int, apart: int, padding: Padding
) -> tuple[_Seen, ...]:
    reach = extent(kernel, apart)
    pad = same_padding(size, reach, stride)[0] if padding == "SAME" else 0
    seen = []
    for start in range(-pad, out * stride - pad, stride):
        first = min(kernel, max(0, -(start // apart)))  # taps before the map
        end = max(first, min(kernel, -((start - size) // apart)))
        seen.append((first, end - first, kernel - end))
    return tuple(seen)


def convolution(sweep: Sweep, source: int, out: int, *, bits: int = 8) -> Work:
    """Return the work of CONV_2D; its kernel depends on the `bits` of a weight."""
    if sweep.kernel != (1, 1) or sweep.dilation != (1, 1):
        work = Work("convolution", {**_patches(sweep, source, out), "calls": 1})
    elif sweep.stride == (1, 1):
        work = _pointwise(sweep.positions, source, out, bits)
    else:
        rows, width = sweep.out  # the kernel is called once for each row of outputs
        terms = {**_products(rows, width, source, out, bits), "rows": rows, "calls": 1}
        work = Work("pointwise_strided", terms)
    return work.of_bits(bits)


def convolution_grouped(sweep: Sweep, source: int, out: int, groups: int) -> Work:
    """Return the work of CONV_2D in groups, one after another; widths are those of a group."""
    terms = {name: groups * amount for name, amount in _patches(sweep, source, out, groups).items()}
    return Work("convolution_grouped", {**terms, "groups": groups, "calls": 1})


def dense_as_convolution(rows: int, source: int, out: int, *, is_spread: bool = True) -> Work:
    """Return the work of FULLY_CONNECTED that runs as a 1x1 convolution.

    `is_spread`: one scale is copied for all channels.
    """
    pointwise = _pointwise(rows, source, out, bits=8)
    return Work("pointwise", {**pointwise.terms, "spread_scales": out * is_spread})


def depthwise(sweep: Sweep, channels: int, *, bits: int = 8) -> Work:
    """Return the work of DEPTHWISE_CONV_2D of multiplier 1; int4 has no special 3x3 kernel."""
    if sweep.dilation != (1, 1):
        return _depthwise_plain("depthwise_dilated", sweep, channels, channels, bits)
    rest = channels % 4
    positions, taps, valid = sweep.positions, sweep.taps, sweep.valid_taps
    if sweep.kernel == (3, 3) and bits == 8:
        return Work(
            "depthwise_3x3",
            {
                "valid_macs": valid * (channels - rest),
                "valid_rows": sweep.valid_rows * (channels - rest),
                "outputs": positions * (channels - rest),
                "left_over_macs": valid * rest,
                "left_over_rows": sweep.valid_rows * rest,
                "left_over_outputs": positions * rest,
                "positions": positions,
                "calls": 1,
            },
        )
    columns_outside = sweep.valid_rows * sweep.kernel[1] - valid
    by_nibble = rest * (channels % 2) * (bits == 4)  # weights of odd channels lie in half bytes
    terms = {
        "paired_macs": positions * (taps - taps % 2) * (channels - rest),
        "single_macs": positions * (taps % 2) * (channels - rest),
        "outputs": positions * (channels - rest),
        "left_over_macs": positions * taps * rest,
        "nibble_macs": positions * taps * by_nibble,
        "left_over_outputs": positions * rest,
        "copied": valid * (channels - rest),
        "left_over_copied": valid * rest,
        "valid_taps": valid,
        "filling": columns_outside * filled(2 * channels, 0) + _rows_cleared(sweep, channels),
        "columns_outside": columns_outside,
        "valid_rows": sweep.valid_rows,
        "positions": positions,
        "calls": 1,
    }
    return Work("depthwise", terms).of_bits(bits)


def _rows_cleared(sweep: Sweep, channels: int) -> float:
    """Return the instructions to clear kernel rows outside the map, as runs of int16."""
    row = 2 * sweep.kernel[1] * channels
    runs = (
        filled(row * rows, 0)
        for above, _, below in sweep.seen[0]
        for rows in (above, below)
        if rows
    )
    return sweep.out[1] * sum(runs)


def depthwise_multiplied(
    sweep: Sweep, source: int, out: int, multiplier: int, *, bits: int = 8
) -> Work:
    """Return the work of DEPTHWISE_CONV_2D with several outputs per channel.

    Its kernel is plain C unless the multiplier is 4, 8, ...
    """
    if sweep.dilation != (1, 1):
        return _depthwise_plain("depthwise_dilated", sweep, source, out, bits)
    kernel = "depthwise_fours" if multiplier % 4 == 0 else "depthwise_plain"
    return _depthwise_plain(kernel, sweep, source, out, bits)


def _depthwise_plain(kernel: str, sweep: Sweep, source: int, out: int, bits: int) -> Work:
    terms = {
        "valid_macs": sweep.valid_taps * out,
        "valid_rows": sweep.valid_rows * out,
        "outputs": sweep.positions * out,
        "source_positions": sweep.positions * source,
        "positions": sweep.positions,
        "dilated_axes": sweep.positions * out * sum(apart > 1 for apart in sweep.dilation),
        "calls": 1,
    }
    return Work(kernel, terms).of_bits(bits)


def pool(sweep: Sweep, channels: int, *, maximum: bool = False) -> Work:
    """Return the work of AVERAGE_POOL_2D or MAX_POOL_2D."""
    return Work(
        "max_pool" if maximum else "average_pool",
        {
            "valid_elements": sweep.valid_taps * channels,
            "outputs": sweep.positions * channels,
            "positions": sweep.positions,
            "valid_taps": sweep.valid_taps,
            "valid_rows": sweep.valid_rows,
            "calls": 1,
        },
    )


def transposed(
    source: _Area,
    reached: _Area,
    kernel: _Area,
    stride: _Area,
    depth: int,
    out: int,
    *,
    biased: bool,
) -> Work:
    """Return the work of TRANSPOSE_CONV that adds rows of the input to a buffer.

    It takes four pixels at a time, then two. `reached` is the size of the written map. The buffer
    is cleared pixel by pixel with the bias, or without one as a whole.
    """
    rows, columns = source
    visited = _rows_visited(rows, reached[0], kernel[0], stride[0])
    steps = columns // 4 + columns % 4 // 2 + columns % 2
    filters = visited * kernel[1] * out
    width = (columns - 1) * stride[1] + max(kernel[1], stride[1])
    cleared = (rows * stride[0] + max(kernel[0], stride[0])) * width
    terms = {
        "macs_by_4": columns // 4 * 4 * filters * (depth - depth % 4),
        "macs_by_2": columns % 4 // 2 * 2 * filters * (depth - depth % 4),
        "macs_by_1": columns % 2 * filters * (depth - depth % 4),
        "left_over_macs": columns * filters * (depth % 4),
        "left_over_steps": steps * filters * (depth % 4),
        "steps": steps * filters,
        "sums": columns * filters,
        "kernel_rows": steps * visited * out,
        "rows": steps * rows * out,
        "outputs": reached[0] * reached[1] * out,
        "positions": reached[0] * reached[1],
        "lines": rows,
        "written_lines": reached[0],
        "cleared": cleared * biased,
        "cleared_sums": cleared * out * biased,
        "zeroed_sums": cleared * out * (not biased),
        "calls": 1,
    }
    return Work("transposed", terms)


def _rows_visited(rows: int, reached: int, taps: int, stride: int) -> int:
    """Return the filter rows inside the map written, summed over the input's rows."""
    gone = before(taps, reached - (rows - 1) * stride)
    return sum(
        taps - max(0, gone - start) - max(0, start + taps - gone - reached - 1)
        for start in range(0, rows * stride, stride)
    )


def transposed_turned(
    source: _Area, reached: _Area, kernel: _Area, stride: _Area, depth: int, out: int
) -> Work:
    """Return the work of TRANSPOSE_CONV as a convolution over an enlarged map, filters reversed.

    In an enlarged map a patch is filled, and the pixels inside it are copied. With stride 1 the map
    keeps its size, and patches are a convolution's.
    """
    large = source[0] * stride[0], source[1] * stride[1]
    sweep = Sweep(large, reached, kernel)
    patches = _patches(sweep, depth, out)
    filters = sweep.taps * out
    turned = {"filters": filters, "weights": filters * depth}
    if stride == (1, 1):
        return Work("transposed_flat", {**patches, **turned, "calls": 1})
    rows, columns = (_met(*sides) for sides in zip(source, reached, kernel, stride, strict=True))
    enlarged = {
        "met_taps": rows * columns,
        "met_rows": rows * reached[1] * kernel[1],
        "met_bytes": rows * columns * depth,
    }
    return Work("transposed_turned", {**patches, **turned, **enlarged, "calls": 1})


def _met(size: int, reached: int, taps: int, stride: int) -> int:
    """Return the filter taps inside the map written, summed over the rows (or columns) read."""
    gone = before(taps, reached - (size - 1) * stride)
    places = range(-gone, size * stride - gone, stride)
    return sum(max(0, min(reached, place + taps) - max(0, place)) for place in places)


def _pointwise(positions: int, source: int, out: int, bits: int) -> Work:
    return Work("pointwise", {**_products(1, positions, source, out, bits), "calls": 1})


def _products(turns: int, positions: int, source: int, out: int, bits: int) -> dict[str, float]:
    """Return terms of `turns` products of `positions` by weights, two by two outputs at a time.

    In each turn int8 weights are summed first. Left-over outputs (odd ones, with int4 those beyond
    a multiple of four) are computed value by value.
    """
    single = turns * (positions % 2)
    paired = turns * positions - single
    alone = out % (2 if bits == 8 else 4)
    together = out - alone
    return {
        "macs_by_16": paired * together * (source - source % 16),
        "macs_by_4": paired * together * (source % 16 - source % 4),
        "left_over_macs": paired * together * (source % 4),
        "sixteens": paired * together * (source >= 16),
        "fours": paired * together * (source % 16 >= 4),
        "outputs": paired * together,
        "weights": turns * together * source,
        "filters": turns * together,
        "odd_positions": single * together * (source - source % 4),
        "odd_position_left_over": single * together * (source % 4),
        "odd_position_outputs": single * together,
        "odd_output_macs": turns * positions * alone * source,
        "odd_outputs": turns * positions * alone,
        "odd_sources": turns * positions * out * (source % 2) * (bits == 4),
    }


def _patches(sweep: Sweep, source: int, out: int, groups: int = 1) -> dict[str, float]:
    """Return terms of one group's products with patches of the map, copied tap by tap."""
    positions, taps, valid = sweep.positions, sweep.taps, sweep.valid_taps
    pairs, single = positions - positions % 2, positions % 2
    patch = taps * source
    rest, alone = patch % 4, out % 2
    copying, filling = _tap_runs(source, taps, groups)
    return {
        "macs_by_4": pairs * (patch - rest) * (out - alone),
        "left_over_macs": pairs * rest * (out - alone),
        "outputs": pairs * (out - alone),
        "odd_output_macs": pairs * (patch - rest) * alone,
        "odd_output_left_over": pairs * rest * alone,
        "odd_outputs": pairs * alone,
        "odd_positions": single * (patch - rest) * out,
        "odd_position_left_over": single * rest * out,
        "odd_position_outputs": single * out,
        "copying": valid * copying,
        "filling": (positions * taps - valid) * filling,
        "im2col_taps": positions * taps,
        "im2col_rows": positions * sweep.kernel[0],
        "im2col_bytes": positions * (patch - rest),
        "im2col_left_over": positions * rest,
        "positions": positions,
        "pairs": pairs,
    }


@lru_cache(maxsize=4096)
def _tap_runs(source: int, taps: int, groups: int) -> tuple[float, float]:
    """Return the mean instructions to copy, and to fill, a tap of two patches side by side."""
    places = [tap * source % 4 for tap in range(2 * taps)]
    turns = product(range(4), range(min(groups, 4)))
    starts = [(pixel * groups + group) * source % 4 for pixel, group in turns]
    return (
        fmean(copied(source, to, start) for to in places for start in starts),
        fmean(filled(source, to) for to in places),
    )
