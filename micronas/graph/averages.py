"""Global averages with a scale of their own.

AVERAGE_POOL_2D writes at the scale of the map it reads, although averages are far below the map's
largest values: rounding to those steps is most of its error. MEAN has a scale of its own and takes
130 instructions for each value it reads, a pool 6. A pool over parts of the map, followed by MEAN,
is nearly as fine at a fraction of the cost: the pool's errors average out, except for the rounding
of halves away from zero, which does not occur in windows of an odd number of values
(benchmarks/global_average.py).
"""

import math
from dataclasses import replace
from itertools import product
from typing import Literal

from micronas.graph.ir import Graph, Op, Tensor, table

Average = Literal["pool", "parts", "mean"]
"""Operators of a global average: ``pool``, AVERAGE_POOL_2D over the whole map; ``parts``,
AVERAGE_POOL_2D over parts of it, then MEAN; or ``mean``, MEAN alone."""

_PARTS = 64
"""Most parts: MEAN over 64 takes 1 to 3 % of a small network's instructions. Gates need as many,
since their errors affect whole maps."""
_SMALLEST = 16
"""Least pixels of a map to divide: in smaller ones the map's own errors hardly average out."""


def is_global(graph: Graph, op: Op) -> bool:
    """Return whether an operator averages whole maps per channel, with the scale of the map."""
    whole = op.kind == "AVERAGE_POOL_2D" and op.window == graph.input_of(op).shape[1:3]
    return whole and graph.output_of(op).shape[1:3] == (1, 1) and op.activation == "NONE"


def with_averages(graph: Graph, how: Average) -> Graph:
    """Return a graph, float32 or without data, whose global averages all have one form.

    Shapes and float results stay. With ``parts``, pools of maps under 16 pixels stay.
    """
    for op in graph.ops:
        if how == "pool" or not is_global(graph, op):
            continue
        window = pool_window(op.window) if how == "parts" else (1, 1)
        if window != op.window:
            graph = _averaged(graph, op, window)
    return graph


def pool_window(size: tuple[int, int]) -> tuple[int, int]:
    """Return the best window, height x width, of a pool before a MEAN over a map.

    It is the whole of a small map, which needs no MEAN, and 1x1 where MEAN alone is best.
    """
    return size if math.prod(size) < _SMALLEST else _window(*size)


def _averaged(graph: Graph, op: Op, window: tuple[int, int]) -> Graph:
    _, height, width, depth = graph.input_of(op).shape
    axes = table(f"{op.name}/axes", [1, 2])
    tensors, source, ops = {**graph.tensors, axes.name: axes}, op.inputs[0], []
    if window != (1, 1):
        parts = f"{op.name}/parts"
        shape = (1, height // window[0], width // window[1], depth)
        tensors[parts] = Tensor(parts, shape)
        ops.append(replace(op, name=parts, outputs=(parts,), window=window, stride=window))
        source = parts
    ops.append(Op("MEAN", op.name, (source, axes.name), op.outputs))
    at = graph.ops.index(op)
    return replace(graph, tensors=tensors, ops=(*graph.ops[:at], *ops, *graph.ops[at + 1 :]))


def _window(height: int, width: int) -> tuple[int, int]:
    """Return the window that cuts a map into equal parts with the least rounding error."""
    rows, columns = (
        [part for part in range(1, side + 1) if side % part == 0] for side in (height, width)
    )
    few = (each for each in product(rows, columns) if math.prod(each) <= _PARTS)
    parts = min(few, key=lambda each: _error(height * width, math.prod(each)))
    return height // parts[0], width // parts[1]


def _error(pixels: int, parts: int) -> float:
    """Return the mean square error of an average by rounding its parts, in steps of the map."""
    window = pixels // parts
    if window == 1:
        return 0.0
    shift = 0.0 if window % 2 else 1 / (2 * window)  # half a step, once in `window` sums
    return 1 / (12 * parts) + shift**2
