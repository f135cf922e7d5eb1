"""Operators on maps: pooling, means, padding and pieces that only change places."""

import math

import numpy as np
import numpy.typing as npt

from micronas.graph import fixed_point, resizing
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


def pad_with(graph: Graph, op: Op) -> Kernel:
    amounts = [(0, 0), *((int(a), int(b)) for a, b in data(graph.constant_of(op, 2)))]
    return lambda x, value: np.pad(x, amounts, constant_values=value.item())


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
    axes, count = _reduced(graph, op)
    multiplier, shift = fixed_point.quantize_multiplier(scale(source) / scale(output))
    fold = min(count.bit_length() - 1, 32, 31 + int(shift))
    folded = np.int32((int(multiplier) << fold) // count)

    def mean(x: Values) -> Values:
        sums = x.sum(axis=axes, dtype=np.int64) - zero_point(source) * count
        scaled = fixed_point.rescale(sums.astype(np.int32), folded, shift - fold)
        scaled += zero_point(output)
        return np.clip(scaled, -128, 127).astype(np.int8).reshape(len(x), *output.shape)

    return mean


def sum_up(graph: Graph, op: Op) -> Kernel:
    source, output = graph.input_of(op), graph.output_of(op)
    axes, count = _reduced(graph, op)
    factor = fixed_point.quantize_multiplier(scale(source) / scale(output))

    def add(x: Values) -> Values:
        sums = x.sum(axis=axes, dtype=np.int64) - zero_point(source) * count
        scaled = fixed_point.rescale(sums.astype(np.int32), *factor) + zero_point(output)
        return np.clip(scaled, -128, 127).astype(np.int8).reshape(len(x), *output.shape)

    return add


def reduce_max(graph: Graph, op: Op) -> Kernel:
    output = graph.output_of(op)
    axes, _ = _reduced(graph, op)

    def reduce(x: Values) -> Values:
        largest: Values = x.max(axis=axes)
        return largest.reshape(len(x), *output.shape)

    return reduce


def _reduced(graph: Graph, op: Op) -> tuple[tuple[int, ...], int]:
    """Axes of a batch that an operator reduces, and how many values become one."""
    shape = graph.input_of(op).shape
    axes = sorted({int(axis) % len(shape) for axis in data(graph.constant_of(op)).flat})
    return tuple(axis + 1 for axis in axes), math.prod(shape[axis] for axis in axes)


def resize_nearest(graph: Graph, op: Op) -> Kernel:
    source, output = graph.input_of(op).shape, graph.output_of(op).shape
    rows, cols = (resizing.nearest(source[side], output[side], op) for side in (1, 2))
    return lambda x: x[:, :, rows[:, None], cols]


def resize_bilinear(graph: Graph, op: Op) -> Kernel:
    """Codes of four pixels, weighted in 2**-20; ties away from code 0."""
    source, output = graph.input_of(op).shape, graph.output_of(op).shape
    tops, bottoms, downs = resizing.between(source[1], output[1], op)
    lefts, rights, acrosses = resizing.between(source[2], output[2], op)
    down, across = downs[:, None, None], acrosses[:, None]

    def resize(x: Values) -> Values:
        def row(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            left, right = x[:, :, rows[:, None], lefts], x[:, :, rows[:, None], rights]
            mixed: npt.NDArray[np.int64] = left * (1024 - across) + right * across
            return mixed

        total = row(tops) * (1024 - down) + row(bottoms) * down
        rounded: Values = (np.sign(total) * ((np.abs(total) + (1 << 19)) >> 20)).astype(np.int8)
        return rounded

    return resize


def space_to_depth(graph: Graph, op: Op) -> Kernel:
    batch, height, width, depth = graph.output_of(op).shape
    block = op.block

    def move(x: Values) -> Values:
        split = x.reshape(len(x), batch, height, block, width, block, -1)
        moved: Values = split.transpose(0, 1, 2, 4, 3, 5, 6)
        return moved.reshape(len(x), batch, height, width, depth)

    return move


def depth_to_space(graph: Graph, op: Op) -> Kernel:
    batch, height, width, _ = graph.input_of(op).shape
    block, shape = op.block, graph.output_of(op).shape

    def move(x: Values) -> Values:
        split = x.reshape(len(x), batch, height, width, block, block, -1)
        moved: Values = split.transpose(0, 1, 2, 4, 3, 5, 6)
        return moved.reshape(len(x), *shape)

    return move


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
