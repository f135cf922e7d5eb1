"""Operators on maps: pooling, reductions, resizing."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from micronas.arrays import Shape
from micronas.graph import fixed_point, moves, resizing
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import (
    Accumulators,
    Kernel,
    Values,
    activation_range,
    limits,
    scale,
    stored,
    windows,
    zero_point,
)
from micronas.graph.kernels.rule import Rule, product_scales, window_shape

_LARGEST_SIDE = 2**15
"""Largest side of a resized map: positions in 1/1024 of a pixel fit int32."""


def average_pool(graph: Graph, op: Op) -> Kernel:
    """Return the kernel of averages of codes, ties away from zero; padding does not count."""
    source, output = graph.input_of(op), graph.output_of(op)
    ones = np.ones((1, *source.shape), np.int8)
    counts = windows(ones, op, op.window, 0).sum(axis=(-2, -1), dtype=np.int32)
    low, high = activation_range(op, output)

    def pool(x: Values) -> Values:
        sums = windows(x, op, op.window, 0).sum(axis=(-2, -1), dtype=np.int32)
        rounded: Accumulators = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
        return stored(np.clip(rounded, low, high), output).reshape(len(x), *output.shape)

    return pool


def _max_pool(graph: Graph, op: Op) -> Kernel:
    output = graph.output_of(op)
    low, high = activation_range(op, output)

    def pool(x: Values) -> Values:
        largest = windows(x, op, op.window, limits(output)[0]).max(axis=(-2, -1))
        clipped: Values = np.clip(largest, low, high)
        return clipped.reshape(len(x), *output.shape)

    return pool


def _sum_up(graph: Graph, op: Op) -> Kernel:
    """Return the kernel of SUM or MEAN."""
    source, output, axes = graph.input_of(op), graph.output_of(op), _of_batch(graph, op)
    offset = zero_point(source) * summed(graph, op)
    factor = np.array(reduction_factor(graph, op), np.int32)

    def add(x: Values) -> Values:
        sums = x.sum(axis=axes, dtype=np.int64) - offset
        scaled = fixed_point.rescale(sums.astype(np.int32), *factor) + zero_point(output)
        return stored(np.clip(scaled, *limits(output)), output).reshape(len(x), *output.shape)

    return add


def _reduce_max(graph: Graph, op: Op) -> Kernel:
    output, axes = graph.output_of(op), _of_batch(graph, op)

    def reduce(x: Values) -> Values:
        largest: Values = x.max(axis=axes)
        return largest.reshape(len(x), *output.shape)

    return reduce


def reduced_axes(graph: Graph, op: Op) -> list[int]:
    """Return the axes that MEAN, SUM or REDUCE_MAX reduces, in order."""
    rank = len(graph.input_of(op).shape)
    return sorted({axis % rank for axis in moves.integers(graph, op)})


def _of_batch(graph: Graph, op: Op) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in reduced_axes(graph, op))


def summed(graph: Graph, op: Op) -> int:
    """Return the number of values in each sum of a reduction."""
    return math.prod(graph.input_of(op).shape[axis] for axis in reduced_axes(graph, op))


def reduction_factor(graph: Graph, op: Op) -> tuple[int, int]:
    """Return multiplier and shift of SUM or MEAN, whose integer division folds 1/count into the
    multiplier."""
    ratio = scale(graph.input_of(op)) / scale(graph.output_of(op))
    multiplier, shift = map(int, fixed_point.quantize_multiplier(ratio))
    if op.kind == "SUM":
        return multiplier, shift
    count = summed(graph, op)
    fold = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << fold) // count, shift - fold


def resize_nearest(graph: Graph, op: Op) -> Kernel:
    source, output = graph.input_of(op).shape, graph.output_of(op).shape
    rows, cols = (resizing.nearest(source[side], output[side], op) for side in (1, 2))
    return lambda x: x[:, :, rows[:, None], cols]


def resize_bilinear(graph: Graph, op: Op) -> Kernel:
    """Return the kernel of weighted codes of four pixels, in 2**-20; ties away from code 0."""
    source, output = graph.input_of(op).shape, graph.output_of(op).shape
    tops, bottoms, downs = resizing.between(source[1], output[1], op)
    lefts, rights, acrosses = resizing.between(source[2], output[2], op)
    down, across = downs[:, None, None], acrosses[:, None]

    def resize(x: Values) -> Values:
        def row(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            left, right = x[:, :, rows[:, None], lefts], x[:, :, rows[:, None], rights]
            return left * (1024 - across) + right * across

        total = row(tops) * (1024 - down) + row(bottoms) * down
        rounded: Values = (np.sign(total) * ((np.abs(total) + (1 << 19)) >> 20)).astype(np.int8)
        return rounded

    return resize


def _pool_shape(graph: Graph, op: Op) -> Shape | None:
    return window_shape(graph, op, op.window, graph.input_of(op).shape[3])


def _reduction_shape(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of MEAN, SUM or REDUCE_MAX: axes become 1, or all of them are dropped."""
    shape, data = graph.input_of(op).shape, graph.constant_of(op).data
    rank = len(shape)
    if data is None or not data.size or data.min() < -rank or data.max() >= rank:
        return f"{op.kind} must name axes from {-rank} to {rank - 1}"
    axes = reduced_axes(graph, op)
    if len(graph.output_of(op).shape) == rank:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes) or (1,)


def _resize_shape(graph: Graph, op: Op) -> Shape | str:
    source, table = graph.input_of(op).shape, graph.constant_of(op).data
    sizes = [] if table is None else [int(size) for size in table.flat]
    if len(source) != 4 or len(sizes) != 2 or min(sizes) < 1 or max(sizes) > _LARGEST_SIDE:
        return f"{op.kind} must read a map [N, ...] and two sizes of 1 to {_LARGEST_SIDE}"
    if op.kind == "RESIZE_BILINEAR":
        if op.half_pixel and op.align_corners:
            return "RESIZE_BILINEAR must have centres of half a pixel or aligned corners, not both"
        sides = zip(source[1:3], sizes, strict=True)
        if any(resizing.between(size, out, op)[0].max() >= size for size, out in sides):
            return "RESIZE_BILINEAR must not enlarge so much that TFLM reads beyond the map"
    return (source[0], *sizes, source[3])


def _total_scales(sources: Sequence[float], output: float) -> str | None:
    holds = sources[0] < output * 2**7
    return None if holds else "SUM must write a scale above 2**-7 of that it reads"


def _reduction_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return the sizes of sums, index and axes, int32 each."""
    index = 4 * len(graph.input_of(op).shape), 4 * graph.constant_of(op).elements
    return index if op.kind == "REDUCE_MAX" else (4 * graph.output_of(op).elements, *index)


def _reduces_first(graph: Graph, op: Op) -> bool:
    return 0 in reduced_axes(graph, op)


_reduction = partial(
    Rule, _reduction_shape, scratch=_reduction_scratch, mixes_examples=_reduces_first
)
RULES: Mapping[str, Rule] = {
    "AVERAGE_POOL_2D": Rule(_pool_shape, average_pool),
    "MAX_POOL_2D": Rule(_pool_shape, _max_pool),
    "MEAN": _reduction(_sum_up, scales=product_scales),
    "SUM": _reduction(_sum_up, scales=_total_scales),
    "REDUCE_MAX": _reduction(_reduce_max),
    "RESIZE_NEAREST_NEIGHBOR": Rule(_resize_shape, resize_nearest),
    "RESIZE_BILINEAR": Rule(_resize_shape, resize_bilinear),
}
