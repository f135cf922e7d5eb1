"""What the kernels of TFLM with CMSIS-NN do, as counts their instructions are linear in.

Each function describes one operator as a `Work`: which kernel runs it and how often that kernel
does each thing. All counts are sums of products of functions of one width each, so that they hold
for numbers and for a supernet's expectations alike. Read from CMSIS-NN for cores with the DSP
extension, as GCC compiles it: 1x1 convolutions multiply two positions by two channels at a time,
sixteen or four inputs a step; larger kernels first copy each patch (im2col) and widen it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from micronas.graph.ir import Padding, extent, same_padding
from micronas.graph.transposing import before

Area = tuple[int, int]
"""Height, width."""


@dataclass(frozen=True)
class Width:
    """Channels, and the parts of them that kernels treat apart: numbers, or expectations."""

    channels: Any
    sixteens: Any
    """Channels in full groups of 16."""
    remainders: tuple[Any, Any, Any, Any]
    """k * channels % 4 for k = 0, 1, 2, 3."""
    odd: Any
    """channels % 2."""

    @property
    def fours(self) -> Any:
        """Channels in full groups of 4."""
        return self.channels - self.remainders[1]


WIDTH_PARTS: tuple[Callable[[int], int], ...] = (
    lambda channels: channels,
    lambda channels: channels - channels % 16,
    lambda channels: channels % 4,
    lambda channels: 2 * channels % 4,
    lambda channels: 3 * channels % 4,
    lambda channels: channels % 2,
)
"""The functions of a width that `width_of` takes the values (or expectations) of."""


def width_of(parts: Any) -> Width:
    """Return a width from the values of WIDTH_PARTS."""
    channels, sixteens, first, second, third, odd = parts
    return Width(channels, sixteens, (0, first, second, third), odd)


def exactly(channels: int) -> Width:
    """Return a width that is known."""
    return width_of([part(channels) for part in WIDTH_PARTS])


@dataclass(frozen=True)
class Work:
    """The kernel that runs an operator, and how often it does what."""

    kernel: str
    terms: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A window moved over a map of `source` to give one of `out`."""

    source: Area
    out: Area
    kernel: Area
    stride: Area = (1, 1)
    padding: Padding = "SAME"
    dilation: Area = (1, 1)

    @property
    def positions(self) -> int:
        return self.out[0] * self.out[1]

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def inside(self) -> Area:
        """Kernel rows and columns inside the map, each summed over its output coordinate."""
        return self._inside(0), self._inside(1)

    @property
    def valid_taps(self) -> int:
        """Taps inside the map, summed over positions."""
        rows, columns = self.inside
        return rows * columns

    @property
    def valid_rows(self) -> int:
        """Kernel rows inside the map, summed over positions."""
        return self.inside[0] * self.out[1]

    def _inside(self, axis: int) -> int:
        sizes = (side[axis] for side in (self.source, self.out, self.kernel))
        return _taps_inside(*sizes, self.stride[axis], self.dilation[axis], self.padding)


@lru_cache(maxsize=4096)
def _taps_inside(
    size: int, out: int, kernel: int, stride: int, apart: int, padding: Padding
) -> int:
    reach = extent(kernel, apart)
    before = same_padding(size, reach, stride)[0] if padding == "SAME" else 0
    starts = range(-before, out * stride - before, stride)
    first = (max(0, -(start // apart)) for start in starts)  # taps left of the map come before
    behind = (min(kernel, -((start - size) // apart)) for start in starts)
    return sum(max(0, end - begin) for begin, end in zip(first, behind, strict=True))


def convolution(sweep: Sweep, source: Width, out: Width, *, bits: int = 8) -> Work:
    """CONV_2D; `bits` of a weight choose between kernels. A dilated one copies other pixels."""
    if sweep.kernel != (1, 1) or sweep.dilation != (1, 1):
        work = _patches(sweep, source, out)
    elif sweep.stride == (1, 1):
        work = _pointwise(sweep.positions, source, out)
    else:
        work = _pointwise_strided(sweep, source, out)
    return _of_bits(work, bits)


def convolution_grouped(sweep: Sweep, source: Width, out: Width, groups: int) -> Work:
    """CONV_2D in groups, one after another; widths are those of a group."""
    terms = {name: groups * amount for name, amount in _patches(sweep, source, out).terms.items()}
    return Work("convolution_grouped", {**terms, "calls": 1})


def depthwise(sweep: Sweep, channels: Width, *, bits: int = 8) -> Work:
    """DEPTHWISE_CONV_2D of multiplier 1; int4 weights have no kernel for 3x3 of their own."""
    if sweep.dilation != (1, 1):
        return _depthwise_dilated(sweep, channels, channels, bits)
    if sweep.kernel == (3, 3) and bits == 8:
        return Work(
            "depthwise_3x3",
            {
                "valid_macs": sweep.valid_taps * channels.channels,
                "outputs": sweep.positions * channels.channels,
                "positions": sweep.positions,
                "left_over_outputs": sweep.positions * channels.remainders[1],
                "calls": 1,
            },
        )
    positions, taps, valid = sweep.positions, sweep.taps, sweep.valid_taps
    pairs = taps - taps % 2
    return _of_bits(
        Work(
            "depthwise",
            {
                "paired_macs": positions * pairs * channels.fours,
                "single_macs": positions * (taps % 2) * channels.fours,
                "left_over_macs": positions * taps * channels.remainders[1],
                "left_over_outputs": positions * channels.remainders[1],
                "copied": valid * channels.channels,
                "padded": (positions * taps - valid) * channels.channels,
                "valid_taps": valid,
                "columns_outside": sweep.valid_rows * sweep.kernel[1] - valid,
                "valid_rows": sweep.valid_rows,
                "outputs": positions * channels.fours,
                "positions": positions,
                "calls": 1,
            },
        ),
        bits,
    )


def depthwise_multiplied(
    sweep: Sweep, source: Width, out: Width, multiplier: int, *, bits: int = 8
) -> Work:
    """DEPTHWISE_CONV_2D with several outputs a channel; other than 4, 8, ... it is plain C."""
    if sweep.dilation != (1, 1):
        return _depthwise_dilated(sweep, source, out, bits)
    terms = {
        "macs": sweep.positions * sweep.taps * out.channels,
        "valid_macs": sweep.valid_taps * out.channels,
        "valid_rows": sweep.valid_rows * out.channels,
        "outputs": sweep.positions * out.channels,
        "source_positions": sweep.positions * source.channels,
        "calls": 1,
    }
    kernel = "depthwise_fours" if multiplier % 4 == 0 else "depthwise_plain"
    return _of_bits(Work(kernel, terms), bits)


def _depthwise_dilated(sweep: Sweep, source: Width, out: Width, bits: int) -> Work:
    """A dilated DEPTHWISE_CONV_2D is plain C, whatever the multiplier."""
    terms = {
        "valid_macs": sweep.valid_taps * out.channels,
        "valid_rows": sweep.valid_rows * out.channels,
        "outputs": sweep.positions * out.channels,
        "source_positions": sweep.positions * source.channels,
        "calls": 1,
    }
    return _of_bits(Work("depthwise_dilated", terms), bits)


def dense(
    rows: int, source: Width, out: Width, *, per_channel: bool = False, bits: int = 8
) -> Work:
    """FULLY_CONNECTED on `rows` vectors."""
    terms = {
        "macs": rows * source.channels * out.channels,
        "outputs": rows * out.channels,
        "left_over": rows * out.channels * source.remainders[1],
        "odd_outputs": rows * source.channels * out.odd,
        "scaled_outputs": rows * out.channels * per_channel,
        "rows": rows,
        "calls": 1,
    }
    return _of_bits(Work("dense", terms), bits)


def matrix_product(outer: int, rows: int, depth: Width, out: Width, turned: Any) -> Work:
    """BATCH_MATMUL of `outer` matrices; `turned` elements are moved so that rows meet rows."""
    vectors, paired = outer * rows, out.channels - out.odd
    terms = {
        "macs": vectors * depth.fours * paired,
        "outputs": vectors * out.channels,
        "left_over": vectors * paired * depth.remainders[1],
        "left_over_twice": vectors * paired * depth.remainders[2],
        "left_over_thrice": vectors * paired * depth.remainders[3],
        "odd_macs": vectors * depth.fours * out.odd,
        "odd_left_over": vectors * depth.remainders[1] * out.odd,
        "odd_outputs": vectors * out.odd,
        "rows": vectors,
        "matrices": outer,
        "turned": turned,
        "calls": 1,
    }
    return Work("batch_matmul", terms)


def lstm(steps: int, source: Width, units: Width) -> Work:
    """UNIDIRECTIONAL_SEQUENCE_LSTM: four gates of what comes in, and of the last step's output."""
    gates, later = 4 * steps * units.channels, 4 * (steps - 1) * units.channels
    terms = {
        "input_macs": gates * source.channels,
        "recurrent_macs": later * units.channels,
        "left_over": gates * source.remainders[1] + later * units.remainders[1],
        "odd_units": 4 * (steps * source.channels + (steps - 1) * units.channels) * units.odd,
        "units": steps * units.channels,
        "later_units": (steps - 1) * units.channels,
        "steps": steps,
        "calls": 1,
    }
    return Work("lstm", terms)


def dense_as_convolution(rows: int, source: Width, out: Width, *, is_spread: bool = True) -> Work:
    """FULLY_CONNECTED that runs as a 1x1 convolution; one scale is spread to all channels."""
    pointwise = _pointwise(rows, source, out)
    return Work("pointwise", {**pointwise.terms, "spread_scales": out.channels * is_spread})


def pool(sweep: Sweep, channels: Width, *, maximum: bool = False) -> Work:
    """AVERAGE_POOL_2D or MAX_POOL_2D."""
    return Work(
        "max_pool" if maximum else "average_pool",
        {
            "valid_elements": sweep.valid_taps * channels.channels,
            "outputs": sweep.positions * channels.channels,
            "positions": sweep.positions,
            "valid_taps": sweep.valid_taps,
            "valid_rows": sweep.valid_rows,
            "calls": 1,
        },
    )


def transposed(
    source: Area,
    reached: Area,
    kernel: Area,
    stride: Area,
    depth: Width,
    out: Width,
    *,
    biased: bool,
) -> Work:
    """TRANSPOSE_CONV that adds rows of the input to a buffer, four pixels at a time, then two.

    `reached` is the size of the map it writes. The buffer is cleared pixel by pixel with the bias,
    or else as a whole.
    """
    rows, columns = source
    visited = _rows_visited(rows, reached[0], kernel[0], stride[0])
    steps = columns // 4 + columns % 4 // 2 + columns % 2
    filters = visited * kernel[1] * out.channels
    width = (columns - 1) * stride[1] + max(kernel[1], stride[1])
    cleared = (rows * stride[0] + max(kernel[0], stride[0])) * width
    terms = {
        "macs_by_4": columns // 4 * 4 * filters * depth.fours,
        "macs_by_2": columns % 4 // 2 * 2 * filters * depth.fours,
        "macs_by_1": columns % 2 * filters * depth.fours,
        "left_over_macs": columns * filters * depth.remainders[1],
        "left_over_steps": steps * filters * depth.remainders[1],
        "steps": steps * filters,
        "sums": columns * filters,
        "kernel_rows": steps * visited * out.channels,
        "rows": steps * rows * out.channels,
        "outputs": reached[0] * reached[1] * out.channels,
        "positions": reached[0] * reached[1],
        "lines": rows,
        "written_lines": reached[0],
        "cleared": cleared * biased,
        "cleared_sums": cleared * out.channels * biased,
        "zeroed_sums": cleared * out.channels * (not biased),
        "calls": 1,
    }
    return Work("transposed", terms)


def _rows_visited(rows: int, reached: int, taps: int, stride: int) -> int:
    """Rows of filters in the map that a transposed convolution writes, summed over its input's."""
    gone = before(taps, reached - (rows - 1) * stride)
    return sum(
        taps - max(0, gone - start) - max(0, start + taps - gone - reached - 1)
        for start in range(0, rows * stride, stride)
    )


def transposed_turned(
    source: Area, reached: Area, kernel: Area, stride: Area, depth: Width, out: Width
) -> Work:
    """TRANSPOSE_CONV as a convolution over an enlarged map, filters turned around.

    Where the map is enlarged a patch is filled, and the pixels that it meets are copied. With
    stride 1 it stays flat, and patches are a convolution's.
    """
    large = source[0] * stride[0], source[1] * stride[1]
    sweep = Sweep(large, reached, kernel)
    patches = _patches(sweep, depth, out).terms
    filters = sweep.taps * out.channels
    turned = {"filters": filters, "weights": filters * depth.channels}
    if stride == (1, 1):
        return Work("transposed_flat", {**patches, **turned})
    rows, columns = (_met(*sides) for sides in zip(source, reached, kernel, stride, strict=True))
    enlarged = {
        "met_taps": rows * columns,
        "met_rows": rows * reached[1] * kernel[1],
        "met_bytes": rows * columns * depth.channels,
    }
    return Work("transposed_turned", {**patches, **turned, **enlarged})


def _met(size: int, reached: int, taps: int, stride: int) -> int:
    """Taps of filters in the map that is written, summed over the rows (or columns) read."""
    gone = before(taps, reached - (size - 1) * stride)
    places = range(-gone, size * stride - gone, stride)
    return sum(max(0, min(reached, place + taps) - max(0, place)) for place in places)


def elementwise(kernel: str, elements: Any, outputs: Any = 0) -> Work:
    """An operator whose work is in proportion to what it reads."""
    return Work(kernel, {"elements": elements, "outputs": outputs, "calls": 1})


def _pointwise(positions: int, source: Width, out: Width) -> Work:
    pairs = positions - positions % 2
    weights = source.channels * out.channels
    return Work(
        "pointwise",
        {
            "macs_by_16": pairs * source.sixteens * out.channels,
            "macs_by_4": pairs * (source.fours - source.sixteens) * out.channels,
            "left_over_macs": pairs * source.remainders[1] * out.channels,
            "outputs": positions * out.channels,
            "weights": weights,
            "odd_positions": (positions % 2) * weights,
            "odd_position_outputs": (positions % 2) * out.channels,
            "odd_outputs": positions * source.channels * out.odd,
            "calls": 1,
        },
    )


def _pointwise_strided(sweep: Sweep, source: Width, out: Width) -> Work:
    """The kernel is called once for each row of outputs."""
    rows, width = sweep.out
    pairs = rows * (width - width % 2)
    weights = rows * source.channels * out.channels
    return Work(
        "pointwise_strided",
        {
            "macs_by_16": pairs * source.sixteens * out.channels,
            "macs_by_4": pairs * (source.channels - source.sixteens) * out.channels,
            "outputs": sweep.positions * out.channels,
            "weights": weights,
            "row_outputs": rows * out.channels,
            "rows": rows,
            "odd_positions": (width % 2) * weights,
            "odd_row_outputs": (width % 2) * rows * out.channels,
            "calls": 1,
        },
    )


def _patches(sweep: Sweep, source: Width, out: Width) -> Work:
    positions, taps = sweep.positions, sweep.taps
    pairs = positions - positions % 2
    patch = taps * source.channels
    left_over = source.remainders[taps % 4]
    return Work(
        "convolution",
        {
            "macs_by_4": pairs * (patch - left_over) * out.channels,
            "left_over_macs": pairs * left_over * out.channels,
            "outputs": positions * out.channels,
            "im2col_bytes": positions * patch,
            "im2col_taps": positions * taps,
            "padded_taps": positions * taps - sweep.valid_taps,
            "left_over_bytes": positions * taps * source.remainders[1],
            "kernel_rows": positions * sweep.kernel[0],
            "positions": positions,
            "odd_positions": (positions % 2) * patch * out.channels,
            "odd_position_outputs": (positions % 2) * out.channels,
            "odd_outputs": pairs * patch * out.odd,
            "calls": 1,
        },
    )


def _of_bits(work: Work, bits: int) -> Work:
    return work if bits == 8 else Work(f"{work.kernel}_int{bits}", work.terms)
