"""Operators on maps: pooling, means, padding and pieces that only change places."""

import numpy as np

from micronas.graph import fixed_point
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import (
    Accumulators,
    Kernel,
    Values,
    activation_range,
    data,
    scale,
    windows,
    zero_point,
)


def pad(graph: Graph, op: Op) -> Kernel:
    amounts = [(0, 0), *((int(a), int(b)) for a, b in data(graph.constant_of(op)))]
    fill = zero_point(graph.output_of(op))
    return lambda x: np.pad(x, amounts, constant_values=fill)


def average_pool(graph: Graph, op: Op) -> Kernel:
    """Average of the codes themselves, ties away from zero; padding does not count."""
    source, output = graph.input_of(op), graph.output_of(op)
    ones = np.ones((1, *source.shape), np.int8)
    counts = windows(ones, op, op.window, 0).sum(axis=(-2, -1), dtype=np.int32)
    low, high = activation_range(op, output)

    def pool(x: Values) -> Values:
        sums = windows(x, op, op.window, 0).sum(axis=(-2, -1), dtype=np.int32)
        rounded: Accumulators = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
        return np.clip(rounded, low, high).astype(np.int8).reshape(len(x), *output.shape)

    return pool


def max_pool(graph: Graph, op: Op) -> Kernel:
    output = graph.output_of(op)
    low, high = activation_range(op, output)

    def pool(x: Values) -> Values:
        largest = windows(x, op, op.window, -128).max(axis=(-2, -1))
        clipped: Values = np.clip(largest, low, high)
        return clipped.reshape(len(x), *output.shape)

    return pool


def mean(graph: Graph, op: Op) -> Kernel:
    """Mean over axes, with 1/count folded into the multiplier by an integer division."""
    source, output = graph.input_of(op), graph.output_of(op)
    rank = len(source.shape)
    axes = tuple({int(axis) % rank + 1 for axis in data(graph.constant_of(op)).flat})
    count = int(np.prod([source.shape[axis - 1] for axis in axes]))
    multiplier, shift = fixed_point.quantize_multiplier(scale(source) / scale(output))
    fold = min(count.bit_length() - 1, 32, 31 + int(shift))
    folded = np.int32((int(multiplier) << fold) // count)

    def mean(x: Values) -> Values:
        sums = x.sum(axis=axes, dtype=np.int64) - zero_point(source) * count
        scaled = fixed_point.rescale(sums.astype(np.int32), folded, shift - fold)
        scaled += zero_point(output)
        return np.clip(scaled, -128, 127).astype(np.int8).reshape(len(x), *output.shape)

    return mean


def reshape(graph: Graph, op: Op) -> Kernel:
    shape = graph.output_of(op).shape
    return lambda x: x.reshape(len(x), *shape)


def concatenation(graph: Graph, op: Op) -> Kernel:
    """Codes as they are: all operands share one scale. Constants stand for every example."""
    shapes = [graph.tensors[name].shape for name in op.operands]

    def join(*parts: Values) -> Values:
        size = max(len(part) for part in parts)
        whole = [
            np.broadcast_to(part, (size, *shape)) for part, shape in zip(parts, shapes, strict=True)
        ]
        return np.concatenate(whole, axis=op.axis + 1)

    return join
