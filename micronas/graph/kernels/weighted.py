"""Convolutions and fully connected layers: dot products, rescaled to int8."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from micronas.arrays import Shape
from micronas.graph import fixed_point
from micronas.graph.fixed_point import Int64
from micronas.graph.ir import Array, Graph, Op, Tensor
from micronas.graph.kernels.codes import (
    Kernel,
    Values,
    activation_range,
    data,
    limits,
    padded,
    scale,
    scales,
    stored,
    windows,
    zero_point,
)
from micronas.graph.kernels.rule import Rule, window_shape
from micronas.graph.transposing import before, is_computed


def convolution(graph: Graph, op: Op) -> Kernel:
    filters, output = graph.constant_of(op), graph.output_of(op)
    kernel = (filters.shape[1], filters.shape[2])
    rows, groups = data(filters).reshape(filters.shape[0], -1), graph.groups_of(op)
    dtype = _exact_type(rows, graph.input_of(op))
    columns = rows.reshape(groups, -1, rows.shape[1]).transpose(0, 2, 1).astype(dtype)
    finish = _finish(graph, op, rows.sum(axis=1, dtype=np.int64))
    fill = zero_point(graph.input_of(op))

    def convolve(x: Values) -> Values:
        if kernel == (1, 1) and op.stride == (1, 1):
            patches: Array = x
        else:
            patches = np.moveaxis(windows(x, op, kernel, fill), -3, -1)
        parts = patches.astype(dtype, order="C").reshape(-1, *kernel, groups, filters.shape[3])
        products = np.moveaxis(parts, 3, 0).reshape(groups, len(parts), -1) @ columns
        totals = np.moveaxis(products, 0, 1).reshape(len(parts), -1)
        return finish(totals).reshape(len(x), *output.shape)

    return convolve


def _depthwise_convolution(graph: Graph, op: Op) -> Kernel:
    filters, output = graph.constant_of(op), graph.output_of(op)
    _, height, width, channels = filters.shape
    taps = data(filters)[0]
    multiplier = channels // graph.input_of(op).shape[3]
    dtype = _exact_type(taps.reshape(-1, channels).T, graph.input_of(op))
    finish = _finish(graph, op, taps.sum(axis=(0, 1), dtype=np.int64))
    fill = zero_point(graph.input_of(op))
    _, out_height, out_width, _ = output.shape

    def convolve(x: Values) -> Values:
        source = padded(x, op, (height, width), fill).astype(dtype)
        if multiplier > 1:
            source = np.repeat(source, multiplier, axis=-1)
        total = np.zeros((len(source), out_height, out_width, channels), dtype)
        product = np.empty_like(total)
        for i in range(height):
            top = i * op.dilation[0]
            rows = slice(top, top + (out_height - 1) * op.stride[0] + 1, op.stride[0])
            for j in range(width):
                left = j * op.dilation[1]
                cols = slice(left, left + (out_width - 1) * op.stride[1] + 1, op.stride[1])
                np.multiply(source[:, rows, cols], taps[i, j].astype(dtype), out=product)
                total += product
        return finish(total).reshape(len(x), *output.shape)

    return convolve


def _transposed_convolution(graph: Graph, op: Op) -> Kernel:
    """Return the kernel: each pixel adds its channels times the filters to an area of that size."""
    source, filters, output = graph.input_of(op), graph.constant_of(op), graph.output_of(op)
    channels, height, width, depth = filters.shape
    values = data(filters)
    dtype = _exact_type(values.reshape(channels, -1), source, shifted=True)
    columns: npt.NDArray[np.floating] = np.moveaxis(values, 0, -1).astype(dtype)
    columns = columns.reshape(height * width, depth, channels)
    finish = _finish(graph, op, np.zeros(channels, np.int64))  # the zero point is subtracted before
    _, rows, cols, _ = source.shape
    sizes = (rows - 1) * op.stride[0] + height, (cols - 1) * op.stride[1] + width
    cuts = [before(taps, reach) for taps, reach in zip((height, width), op.reach, strict=True)]
    # pixels beyond the filters' reach are the bias
    sizes = tuple(np.maximum(sizes, output.shape[1:3]))

    def convolve(x: Values) -> Values:
        pixels: npt.NDArray[np.floating] = x.reshape(-1, *source.shape[1:]).astype(dtype)
        pixels = pixels - zero_point(source)
        total = np.zeros((len(pixels), *sizes, channels), dtype)
        for tap, column in enumerate(columns):
            i, j = divmod(tap, width)
            bottom, right = i + (rows - 1) * op.stride[0] + 1, j + (cols - 1) * op.stride[1] + 1
            total[:, i : bottom : op.stride[0], j : right : op.stride[1]] += pixels @ column
        ends = [cut + out for cut, out in zip(cuts, output.shape[1:3], strict=True)]
        kept = total[:, cuts[0] : ends[0], cuts[1] : ends[1]]
        return finish(kept).reshape(len(x), *output.shape)

    return convolve


def _fully_connected(graph: Graph, op: Op) -> Kernel:
    rows, output = data(graph.constant_of(op)), graph.output_of(op)
    dtype = _exact_type(rows, graph.input_of(op))
    columns = rows.T.astype(dtype)
    finish = _finish(graph, op, rows.sum(axis=1, dtype=np.int64))

    def multiply(x: Values) -> Values:
        products = x.reshape(-1, len(columns)).astype(dtype) @ columns
        return finish(products).reshape(len(x), *output.shape)

    return multiply


def _exact_type(
    rows: Array, source: Tensor, *, shifted: bool = False
) -> type[np.float32] | type[np.float64]:
    """Return the narrowest float in which every partial sum of rows x codes is exact.

    Codes are those of `source`, less its zero point if `shifted`.
    """
    low, high = limits(source)
    factor = high - low if shifted else -low
    largest = int(np.abs(rows.astype(np.int64)).sum(axis=1).max()) * factor
    return np.float32 if largest <= 2**24 else np.float64


def _finish(
    graph: Graph, op: Op, weight_sums: npt.NDArray[np.int64]
) -> Callable[[npt.NDArray[np.floating]], Values]:
    """Return the function from dot products to codes: bias, zero points, rescaling, activation.

    Sums of int16 are int64, and are rescaled in one step.
    """
    source, weights, output = graph.input_of(op), graph.constant_of(op), graph.output_of(op)
    offset = -zero_point(source) * weight_sums
    for name in op.learnt[1:]:
        offset = offset + data(graph.tensors[name])
    factors = scale(source) * scales(weights) / scale(output)
    multiplier, shift = fixed_point.quantize_multiplier(factors)
    is_wide = source.dtype == "int16"
    kind = np.int64 if is_wide else np.int32
    rescale: Callable[..., Int64] = fixed_point.rescale_sums if is_wide else fixed_point.rescale
    wrapped = offset.astype(kind)
    low, high = activation_range(op, output)
    zero = zero_point(output)

    def finish(products: npt.NDArray[np.floating]) -> Values:
        sums = products.astype(kind)
        sums += wrapped
        scaled = rescale(sums, multiplier, shift)
        scaled += zero
        return stored(np.clip(scaled, low, high, out=scaled), output)

    return finish


def _conv_shape(graph: Graph, op: Op) -> Shape | str | None:
    """Return the shape of CONV_2D: the filters' first dimension is the output's channels.

    Filters of less depth than the input divide it into groups.
    """
    depth, filters = graph.input_of(op).shape[3], graph.constant_of(op)
    channels, *window, part = filters.shape
    if depth % part or channels % (depth // part):
        return None
    wide = graph.input_of(op).dtype == "int16"
    if part < depth and (len(op.inputs) < 3 or filters.dtype == "int4" or wide):
        # CMSIS-NN advances even a missing bias per group, and treats int4 filters and maps of int16
        # as ungrouped
        return "CONV_2D in groups must have a bias, and weights and activations of 8 bits"
    return window_shape(graph, op, window, channels)


def _depthwise_shape(graph: Graph, op: Op) -> Shape | None:
    """Return the shape of DEPTHWISE_CONV_2D: each channel gives one or several."""
    depth, filters = graph.input_of(op).shape[3], graph.constant_of(op).shape
    fits = filters[0] == 1 and filters[3] % depth == 0
    return window_shape(graph, op, filters[1:3], filters[3]) if fits else None


def _dense_shape(graph: Graph, op: Op) -> Shape | None:
    """Return the shape of FULLY_CONNECTED: any with a row of features per row of the input."""
    source, output = graph.input_of(op), graph.output_of(op)
    features, depth = graph.constant_of(op).shape
    fits = source.elements % depth == 0 and output.shape[-1] == features
    fits = fits and output.elements == source.elements // depth * features
    return output.shape if fits else None


def _transpose_conv_shape(graph: Graph, op: Op) -> Shape | str | None:
    """Return the shape of TRANSPOSE_CONV: that of maps whose convolution has the input's shape."""
    batch, *area, depth = graph.input_of(op).shape
    channels, *window, part = graph.constant_of(op).shape
    (height, width), (rows, columns) = area, window
    sizes = []
    for size, step, taps, reach in zip(area, op.stride, window, op.reach, strict=True):
        first = taps if op.padding == "VALID" else 1
        if not first <= reach < first + step:
            return "TRANSPOSE_CONV must write a map from which its convolution makes the input"
        sizes.append((size - 1) * step + reach)
    if not is_computed((height, width), (rows, columns), op.stride, op.reach, depth):
        return (
            "TRANSPOSE_CONV of up to 16 channels or strides above 2 must be padded by whole "
            "strides and have filters as large as strides, as CMSIS-NN computes no others"
        )
    shape = (batch, *sizes, channels)
    table = graph.tensors[op.inputs[-1]].data
    if table is None or tuple(table.ravel()) != shape:
        return "TRANSPOSE_CONV must name the shape it writes"
    return shape if part == depth else None


RULES: Mapping[str, Rule] = {
    "CONV_2D": Rule(_conv_shape, convolution),
    "DEPTHWISE_CONV_2D": Rule(_depthwise_shape, _depthwise_convolution),
    "FULLY_CONNECTED": Rule(_dense_shape, _fully_connected),
    "TRANSPOSE_CONV": Rule(_transpose_conv_shape, _transposed_convolution),
}
