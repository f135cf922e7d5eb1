"""Runs an int8 graph in NumPy with the very bits TensorFlow Lite Micro computes.

Every kernel repeats the arithmetic of TFLM's reference kernel (double rounding), not its loops:
dot products go through floating-point BLAS where each partial sum is an integer the type holds
exactly, so their order cannot matter.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from micronas.errors import ModelError
from micronas.graph import fixed_point, lookup
from micronas.graph.check import check_int8
from micronas.graph.ir import Array, Graph, Op, Tensor, same_padding

Values = npt.NDArray[np.int8]
"""[N, *tensor.shape]: a batch of whole tensors, the leading 1 of NHWC included."""
Accumulators = npt.NDArray[np.int32]
Kernel = Callable[..., Values]

_WORKSPACE_BYTES = 32 * 2**20


def run(graph: Graph, inputs: Values) -> Values:
    """Compute the output of an int8 graph.

    Parameters
    ----------
    graph
        One input, one output, both int8.
    inputs
        int8 [N, height, width, channels] (or [N, ...] for an input of another rank).

    Returns
    -------
    int8 [N, ...], equal to TFLM's reference kernels bit for bit.

    Raises
    ------
    ModelError
        If the graph is not a complete int8 graph, or `inputs` do not match its input.
    """
    parts = [values[graph.outputs[0]] for values in _chunks(graph, inputs)]
    return _unbatched(np.concatenate(parts), graph.tensors[graph.outputs[0]])


def run_all(graph: Graph, inputs: Values) -> dict[str, Values]:
    """Compute every activation by name, as `run` does its output; the input is included."""
    parts = list(_chunks(graph, inputs))
    names = [*graph.inputs, *(name for op in graph.ops for name in op.outputs)]
    return {
        name: _unbatched(np.concatenate([part[name] for part in parts]), graph.tensors[name])
        for name in names
    }


def _unbatched(values: Values, tensor: Tensor) -> Values:
    """Let N take the place of a leading 1."""
    one = len(tensor.shape) > 1 and tensor.shape[0] == 1
    return values.reshape(len(values), *tensor.shape[1:]) if one else values


def _chunks(graph: Graph, inputs: Values) -> Iterator[dict[str, Values]]:
    """Run the graph on as many examples at a time as bounded memory allows."""
    check_int8(graph)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(
            "integer execution takes graphs of one input and one output, but this one has "
            f"{len(graph.inputs)} and {len(graph.outputs)}; split the model"
        )
    source = graph.tensors[graph.inputs[0]]
    expected = source.shape[1:] if source.shape[0] == 1 else source.shape
    if inputs.dtype != np.int8 or inputs.shape[1:] != expected or len(inputs) == 0:
        raise ModelError(
            f"inputs must be int8 [N, {', '.join(map(str, expected))}] with N >= 1, but got "
            f"{inputs.dtype} {list(inputs.shape)}; quantise and batch them first"
        )
    constants = {
        tensor.name: tensor.data.astype(np.int8)[None]
        for tensor in graph.tensors.values()
        if tensor.data is not None and tensor.dtype == "int8"
    }
    steps = [(op, _kernel(graph, op)) for op in graph.ops]
    size = max(1, _WORKSPACE_BYTES // max([_workspace(graph, op) for op in graph.ops], default=1))
    for start in range(0, len(inputs), size):
        batch = inputs[start : start + size]
        values = {**constants, source.name: batch.reshape(len(batch), *source.shape)}
        for op, kernel in steps:
            values[op.outputs[0]] = kernel(*(values[name] for name in op.operands))
        yield values


def _workspace(graph: Graph, op: Op) -> int:
    """Bytes an operator needs for one example: float patches, and accumulators of 8 bytes."""
    outputs, inputs = graph.output_of(op).elements, graph.input_of(op).elements
    if op.kind == "CONV_2D":
        filters = graph.constant_of(op)
        inputs = outputs * filters.elements // filters.shape[0] ** 2
    return 4 * inputs + 24 * outputs


def _kernel(graph: Graph, op: Op) -> Kernel:
    match op.kind:
        case "CONV_2D":
            return _convolution(graph, op)
        case "DEPTHWISE_CONV_2D":
            return _depthwise_convolution(graph, op)
        case "FULLY_CONNECTED":
            return _fully_connected(graph, op)
        case "ADD":
            return _add(graph, op)
        case "PAD":
            return _pad(graph, op)
        case "AVERAGE_POOL_2D":
            return _average_pool(graph, op)
        case "MAX_POOL_2D":
            return _max_pool(graph, op)
        case "MEAN":
            return _mean(graph, op)
        case "RESHAPE":
            shape = graph.output_of(op).shape
            return lambda x: x.reshape(len(x), *shape)
        case "SOFTMAX":
            return _softmax(graph, op)
        case "CONCATENATION":
            return _concatenation(graph, op)
        case "LOGISTIC" | "HARD_SWISH" | "RELU" | "RELU6":
            table = _table(graph, op)
            return lambda x: table[x.astype(np.intp) + 128]
        case "UNKNOWN":  # check_int8 refuses it
            raise AssertionError(op)


def _convolution(graph: Graph, op: Op) -> Kernel:
    filters, output = graph.constant_of(op), graph.output_of(op)
    kernel = (filters.shape[1], filters.shape[2])
    rows = _data(filters).reshape(filters.shape[0], -1)
    dtype = _exact_type(rows)
    columns = rows.T.astype(dtype)
    finish = _finish(graph, op, rows.sum(axis=1, dtype=np.int64))
    fill = _zero_point(graph.input_of(op))

    def convolve(x: Values) -> Values:
        if kernel == (1, 1) and op.stride == (1, 1):
            patches: Array = x
        else:
            patches = np.moveaxis(_windows(x, op, kernel, fill), -3, -1)
        products = patches.astype(dtype, order="C").reshape(-1, len(columns)) @ columns
        return finish(products.astype(np.int32)).reshape(len(x), *output.shape)

    return convolve


def _depthwise_convolution(graph: Graph, op: Op) -> Kernel:
    filters, output = graph.constant_of(op), graph.output_of(op)
    _, height, width, channels = filters.shape
    taps = _data(filters)[0]
    multiplier = channels // graph.input_of(op).shape[3]
    dtype = _exact_type(taps.reshape(-1, channels).T)
    finish = _finish(graph, op, taps.sum(axis=(0, 1), dtype=np.int64))
    fill = _zero_point(graph.input_of(op))
    _, out_height, out_width, _ = output.shape

    def convolve(x: Values) -> Values:
        padded = _padded(x, op, (height, width), fill).astype(dtype)
        if multiplier > 1:
            padded = np.repeat(padded, multiplier, axis=-1)
        total = np.zeros((len(padded), out_height, out_width, channels), dtype)
        product = np.empty_like(total)
        for i in range(height):
            rows = slice(i, i + (out_height - 1) * op.stride[0] + 1, op.stride[0])
            for j in range(width):
                cols = slice(j, j + (out_width - 1) * op.stride[1] + 1, op.stride[1])
                np.multiply(padded[:, rows, cols], taps[i, j].astype(dtype), out=product)
                total += product
        return finish(total.astype(np.int32)).reshape(len(x), *output.shape)

    return convolve


def _fully_connected(graph: Graph, op: Op) -> Kernel:
    rows, output = _data(graph.constant_of(op)), graph.output_of(op)
    dtype = _exact_type(rows)
    columns = rows.T.astype(dtype)
    finish = _finish(graph, op, rows.sum(axis=1, dtype=np.int64))

    def multiply(x: Values) -> Values:
        products = x.reshape(-1, len(columns)).astype(dtype) @ columns
        return finish(products.astype(np.int32)).reshape(len(x), *output.shape)

    return multiply


def _exact_type(rows: Array) -> type[np.float32] | type[np.float64]:
    """Return the narrowest float in which every partial sum of int8 values x rows is exact."""
    largest = int(np.abs(rows.astype(np.int64)).sum(axis=1).max()) * 128
    return np.float32 if largest <= 2**24 else np.float64


def _finish(
    graph: Graph, op: Op, weight_sums: npt.NDArray[np.int64]
) -> Callable[[Accumulators], Values]:
    """Bias, input zero point, rescaling, activation: from raw dot products to int8."""
    source, weights, output = graph.input_of(op), graph.constant_of(op), graph.output_of(op)
    offset = -_zero_point(source) * weight_sums
    if len(op.inputs) > 2:
        offset = offset + _data(graph.constant_of(op, 2))
    factors = _scale(source) * _scales(weights) / _scale(output)
    multiplier, shift = fixed_point.quantize_multiplier(factors)
    wrapped = offset.astype(np.int32)
    low, high = _activation_range(op, output)
    zero_point = _zero_point(output)

    def finish(accumulators: Accumulators) -> Values:
        accumulators += wrapped
        scaled = fixed_point.rescale(accumulators, multiplier, shift)
        scaled += zero_point
        return np.clip(scaled, low, high, out=scaled).astype(np.int8)

    return finish


def _add(graph: Graph, op: Op) -> Kernel:
    """Both inputs move to twice the larger scale with 20 spare bits: two tables of 256 entries."""
    left, right = (graph.tensors[name] for name in op.inputs[:2])
    output = graph.output_of(op)
    common = 2 * max(_scale(left), _scale(right))
    codes = np.arange(-128, 128, dtype=np.int32)

    def table(tensor: Tensor) -> Accumulators:
        shifted = (codes - _zero_point(tensor)) << 20
        factor = fixed_point.quantize_multiplier(_scale(tensor) / common)
        return fixed_point.rescale(shifted, *factor).astype(np.int32)

    tables = table(left), table(right)
    factor = fixed_point.quantize_multiplier(common / (2**20 * _scale(output)))
    low, high = _activation_range(op, output)

    def widened(x: Values) -> npt.NDArray[np.intp]:
        missing = len(output.shape) + 1 - x.ndim
        return x.reshape(len(x), *(1,) * missing, *x.shape[1:]).astype(np.intp) + 128

    def add(x: Values, y: Values) -> Values:
        total = tables[0][widened(x)] + tables[1][widened(y)]
        scaled = fixed_point.rescale(total, *factor) + _zero_point(output)
        return np.clip(scaled, low, high).astype(np.int8)

    return add


def _pad(graph: Graph, op: Op) -> Kernel:
    amounts = [(0, 0), *((int(a), int(b)) for a, b in _data(graph.constant_of(op)))]
    fill = _zero_point(graph.output_of(op))
    return lambda x: np.pad(x, amounts, constant_values=fill)


def _average_pool(graph: Graph, op: Op) -> Kernel:
    """Average of the codes themselves, ties away from zero; padding does not count."""
    source, output = graph.input_of(op), graph.output_of(op)
    ones = np.ones((1, *source.shape), np.int8)
    counts = _windows(ones, op, op.window, 0).sum(axis=(-2, -1), dtype=np.int32)
    low, high = _activation_range(op, output)

    def pool(x: Values) -> Values:
        sums = _windows(x, op, op.window, 0).sum(axis=(-2, -1), dtype=np.int32)
        rounded: Accumulators = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
        return np.clip(rounded, low, high).astype(np.int8).reshape(len(x), *output.shape)

    return pool


def _max_pool(graph: Graph, op: Op) -> Kernel:
    output = graph.output_of(op)
    low, high = _activation_range(op, output)

    def pool(x: Values) -> Values:
        largest = _windows(x, op, op.window, -128).max(axis=(-2, -1))
        clipped: Values = np.clip(largest, low, high)
        return clipped.reshape(len(x), *output.shape)

    return pool


def _mean(graph: Graph, op: Op) -> Kernel:
    """Mean over axes, with 1/count folded into the multiplier by an integer division."""
    source, output = graph.input_of(op), graph.output_of(op)
    rank = len(source.shape)
    axes = tuple({int(axis) % rank + 1 for axis in _data(graph.constant_of(op)).flat})
    count = int(np.prod([source.shape[axis - 1] for axis in axes]))
    multiplier, shift = fixed_point.quantize_multiplier(_scale(source) / _scale(output))
    fold = min(count.bit_length() - 1, 32, 31 + int(shift))
    folded = np.int32((int(multiplier) << fold) // count)

    def mean(x: Values) -> Values:
        sums = x.sum(axis=axes, dtype=np.int64) - _zero_point(source) * count
        scaled = fixed_point.rescale(sums.astype(np.int32), folded, shift - fold)
        scaled += _zero_point(output)
        return np.clip(scaled, -128, 127).astype(np.int8).reshape(len(x), *output.shape)

    return mean


def _softmax(graph: Graph, op: Op) -> Kernel:
    """exp from a table over the 256 differences to the maximum, then a Newton reciprocal."""
    scale = _scale(graph.input_of(op))
    multiplier, shift = fixed_point.quantize_multiplier(min(scale * 2**26, 2**31 - 1.0))
    differences = np.arange(-255, 1, dtype=np.int64)
    radius = int(31 * 2.0**26 / 2.0 ** int(shift))
    kept = differences >= -radius
    raised = fixed_point.doubling_high_mul(np.where(kept, differences, 0) << shift, multiplier)
    exponentials = np.where(kept, fixed_point.exp_of_negative(raised), 0)
    addends = fixed_point.rounding_divide(exponentials.copy(), 12)

    def softmax(x: Values) -> Values:
        index = x.astype(np.intp) - x.max(axis=-1, keepdims=True) + 255
        total = addends[index].sum(axis=-1, keepdims=True)
        headroom = 32 - np.frexp(total.astype(np.float64))[1]
        reciprocal = fixed_point.reciprocal_of_one_plus((total << headroom) - 2**31)
        products = fixed_point.doubling_high_mul(exponentials[index], reciprocal)
        codes = fixed_point.rounding_divide(products, 12 - headroom + 23) - 128
        return np.clip(codes, -128, 127).astype(np.int8)

    return softmax


def _concatenation(graph: Graph, op: Op) -> Kernel:
    """Codes as they are: all operands share one scale. Constants stand for every example."""
    shapes = [graph.tensors[name].shape for name in op.operands]

    def join(*parts: Values) -> Values:
        size = max(len(part) for part in parts)
        whole = [
            np.broadcast_to(part, (size, *shape)) for part, shape in zip(parts, shapes, strict=True)
        ]
        return np.concatenate(whole, axis=op.axis + 1)

    return join


def _table(graph: Graph, op: Op) -> Values:
    """Return the output code of every input code from -128 to 127."""
    source, output = graph.input_of(op), graph.output_of(op)
    zero, out_zero = _zero_point(source), _zero_point(output)
    match op.kind:
        case "LOGISTIC":
            return lookup.logistic(float(_scale(source)), zero)
        case "HARD_SWISH":
            scales = np.float32(_scale(source)), np.float32(_scale(output))
            return lookup.hard_swish(scales[0], zero, scales[1], out_zero)
        case "RELU":
            return lookup.relu(float(_scale(source)), zero, float(_scale(output)), out_zero)
        case _:
            return lookup.relu6(np.float32(_scale(source)), zero)


def _activation_range(op: Op, output: Tensor) -> tuple[int, int]:
    """Smallest and largest code an operator's fused activation lets through."""
    if op.activation == "NONE":
        return -128, 127
    zero_point = _zero_point(output)
    high = 127
    if op.activation == "RELU6":
        six = float(np.float32(6) / np.float32(_scale(output)))  # TFLM divides in float32
        high = min(127, zero_point + math.floor(six + 0.5))
    return max(-128, zero_point), high


def _windows(x: Values, op: Op, window: tuple[int, int], fill: int) -> Array:
    """View of every pooling or filter window: [N, out height, out width, C, *window]."""
    views = np.lib.stride_tricks.sliding_window_view(
        _padded(x, op, window, fill), window, axis=(1, 2)
    )
    return views[:, :: op.stride[0], :: op.stride[1]]


def _padded(x: Values, op: Op, window: tuple[int, int], fill: int) -> Values:
    """Merge the batch with NHWC's N, and surround the maps as the operator's padding says."""
    merged = x.reshape(-1, *x.shape[2:])
    if op.padding == "VALID":
        return merged
    rows, cols = (
        same_padding(merged.shape[axis + 1], window[axis], op.stride[axis]) for axis in (0, 1)
    )
    if not any((*rows, *cols)):
        return merged
    return np.pad(merged, ((0, 0), rows, cols, (0, 0)), constant_values=fill)


def _data(tensor: Tensor) -> npt.NDArray[np.signedinteger[Any]]:
    """Return a constant's integers, which check_int8 has seen to be there."""
    return cast(npt.NDArray[np.signedinteger[Any]], tensor.data)


def _scales(tensor: Tensor) -> npt.NDArray[np.float64]:
    assert tensor.quantization is not None
    return tensor.quantization.scale.astype(np.float64)


def _scale(tensor: Tensor) -> np.float64:
    return cast(np.float64, _scales(tensor)[0])


def _zero_point(tensor: Tensor) -> int:
    assert tensor.quantization is not None
    return tensor.quantization.zero_point
