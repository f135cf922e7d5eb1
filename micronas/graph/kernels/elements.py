"""Operators on single elements: sums, products, and functions of one code as tables."""

import numpy as np

from micronas.graph import fixed_point, lookup
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels.codes import (
    Accumulators,
    Kernel,
    Values,
    activation_range,
    scale,
    zero_point,
)


def add(graph: Graph, op: Op) -> Kernel:
    """Both inputs move to twice the larger scale with 20 spare bits: two tables of 256 entries."""
    left, right = (graph.tensors[name] for name in op.inputs[:2])
    output = graph.output_of(op)
    common = 2 * max(scale(left), scale(right))
    codes = np.arange(-128, 128, dtype=np.int32)

    def table(tensor: Tensor) -> Accumulators:
        shifted = (codes - zero_point(tensor)) << 20
        factor = fixed_point.quantize_multiplier(scale(tensor) / common)
        return fixed_point.rescale(shifted, *factor).astype(np.int32)

    tables = table(left), table(right)
    factor = fixed_point.quantize_multiplier(common / (2**20 * scale(output)))
    low, high = activation_range(op, output)

    def looked_up(table: Accumulators, x: Values) -> Accumulators:
        return table[_widened(x, output).astype(np.intp) + 128]

    def add(x: Values, y: Values) -> Values:
        total = looked_up(tables[0], x) + looked_up(tables[1], y)
        scaled = fixed_point.rescale(total, *factor) + zero_point(output)
        return np.clip(scaled, low, high).astype(np.int8)

    return add


def mul(graph: Graph, op: Op) -> Kernel:
    left, right = (graph.tensors[name] for name in op.inputs[:2])
    output = graph.output_of(op)
    factor = fixed_point.quantize_multiplier(scale(left) * scale(right) / scale(output))
    low, high = activation_range(op, output)

    def offset(x: Values, tensor: Tensor) -> Accumulators:
        return _widened(x, output).astype(np.int32) - zero_point(tensor)

    def multiply(x: Values, y: Values) -> Values:
        product = offset(x, left) * offset(y, right)
        scaled = fixed_point.rescale(product, *factor) + zero_point(output)
        return np.clip(scaled, low, high).astype(np.int8)

    return multiply


def softmax(graph: Graph, op: Op) -> Kernel:
    """exp from a table over the 256 differences to the maximum, then a Newton reciprocal."""
    step = scale(graph.input_of(op))
    multiplier, shift = fixed_point.quantize_multiplier(min(step * 2**26, 2**31 - 1.0))
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


def logistic(graph: Graph, op: Op) -> Kernel:
    source = graph.input_of(op)
    return _looked_up(lookup.logistic(float(scale(source)), zero_point(source)))


def hard_swish(graph: Graph, op: Op) -> Kernel:
    source, output = graph.input_of(op), graph.output_of(op)
    steps = np.float32(scale(source)), np.float32(scale(output))
    zeros = zero_point(source), zero_point(output)
    return _looked_up(lookup.hard_swish(steps[0], zeros[0], steps[1], zeros[1]))


def relu(graph: Graph, op: Op) -> Kernel:
    source, output = graph.input_of(op), graph.output_of(op)
    steps = float(scale(source)), float(scale(output))
    return _looked_up(lookup.relu(steps[0], zero_point(source), steps[1], zero_point(output)))


def relu6(graph: Graph, op: Op) -> Kernel:
    source = graph.input_of(op)
    return _looked_up(lookup.relu6(np.float32(scale(source)), zero_point(source)))


def _widened(x: Values, output: Tensor) -> Values:
    """Give a batch of operands the output's rank, for broadcasting."""
    missing = len(output.shape) + 1 - x.ndim
    return x.reshape(len(x), *(1,) * missing, *x.shape[1:])


def _looked_up(table: Values) -> Kernel:
    """Replace each code; the table starts with that of -128."""
    return lambda x: table[x.astype(np.intp) + 128]
