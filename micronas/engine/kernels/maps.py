"""Pools, reductions and operators that move values."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from micronas.engine.kernels.window import channel_overlap, window_of
from micronas.engine.steps import Call, Rows, Step, amounts
from micronas.graph import moves, resizing
from micronas.graph.ir import Graph
from micronas.graph.kernels import places
from micronas.graph.kernels.codes import activation_range, data, zero_point
from micronas.graph.kernels.maps import reduced_axes, reduction_factor, summed

Sizes = tuple[int, ...]


def average_pool(graph: Graph, step: Step) -> list[Call]:
    return _pool(graph, step, "average")


def max_pool(graph: Graph, step: Step) -> list[Call]:
    return _pool(graph, step, "largest")


def _pool(graph: Graph, step: Step, function: str) -> list[Call]:
    op = step.op
    window = window_of(graph, step, op.window)
    low, high = activation_range(op, graph.output_of(op))
    fields = {"window": window.fields, "low": low, "high": high}
    overlaps = {0: channel_overlap(window)} if window.maps == 1 else {}
    return [
        Call(
            function,
            (function,),
            fields,
            "Pool",
            overlaps=overlaps,
            maps=window.maps,
            rows=window.rows(),
        )
    ]


def reduction(graph: Graph, step: Step) -> list[Call]:
    """Return the calls of MEAN, SUM or REDUCE_MAX."""
    source, axes = graph.tensors[step.source], reduced_axes(graph, step.op)
    function, factor = "reduce_max", (0, 0)
    if step.op.kind != "REDUCE_MAX":
        function, factor = "reduce_sum", reduction_factor(graph, step.op)
    kept = [axis for axis in range(len(source.shape)) if axis not in axes]
    order = [*kept, *axes]
    steps = _strides(source.shape)
    pairs = [(source.shape[axis], steps[axis]) for axis in order]
    kept_pairs, reduced_pairs = _joined(pairs[: len(kept)]), _joined(pairs[len(kept) :]) or [(1, 0)]
    both = [*kept_pairs, *reduced_pairs]
    offset = -zero_point(source) * summed(graph, step.op)
    fields = {
        "kept": len(kept_pairs),
        "reduced": len(reduced_pairs),
        "sizes": tuple(size for size, _ in both),
        "steps": tuple(step for _, step in both),
        "offset": int(np.array(offset).astype(np.int32)),
        "factor": factor,
        "zero": zero_point(graph.output_of(step.op)),
    }
    return [Call(function, (function,), fields, "Reduce")]


def _joined(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join neighbouring dimensions (size, step) that can be walked as one."""
    found: list[tuple[int, int]] = []
    for size, step in pairs:
        if size == 1:
            continue
        if found and found[-1][1] == size * step:
            found[-1] = found[-1][0] * size, step
        else:
            found.append((size, step))
    return found


def _strides(shape: Sequence[int]) -> Sizes:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def move(
    sizes: Sequence[int],
    steps: Sequence[int],
    to: Sequence[int],
    *,
    operand: int = 0,
    first: int = 0,
    place: int = 0,
    filled: int = 0,
    fill: int = 0,
) -> Call:
    """Return a copy along dimensions in which operand and output have their own steps."""
    joined: list[tuple[int, int, int]] = []
    for size, one, other in zip(sizes, steps, to, strict=True):
        if size == 1:
            continue
        if joined and joined[-1][1:] == (size * one, size * other):
            joined[-1] = joined[-1][0] * size, one, other
        else:
            joined.append((size, one, other))
    joined = joined or [(1, 1, 1)]
    if filled % joined[0][0]:
        joined.insert(0, (1, 0, 0))
    if len(joined) > 6:
        raise NotImplementedError
    columns = list(zip(*joined, strict=True))
    fields = {
        "rank": len(joined),
        "sizes": columns[0],
        "from": columns[1],
        "to": columns[2],
        "first": first,
        "place": place,
        "filled": filled // joined[0][0],
        "fill": fill,
    }
    return Call("move", ("move",), fields, "Move", (operand,))


def pad(graph: Graph, step: Step) -> list[Call]:
    return _padded(graph, step, 1, zero_point(graph.output_of(step.op)))


def pad_with(graph: Graph, step: Step) -> list[Call]:
    value = graph.tensors[step.op.inputs[1]]
    return _padded(graph, step, 2, 0 if value.data is None else int(data(value).item()))


def _padded(graph: Graph, step: Step, position: int, fill: int) -> list[Call]:
    shape, output = graph.tensors[step.source].shape, graph.output_of(step.op)
    to = _strides(output.shape)
    added = amounts(graph, step.op) if position == 1 else data(graph.constant_of(step.op, position))
    place = sum(int(pair[0]) * one for pair, one in zip(added, to, strict=True))
    call = move(shape, _strides(shape), to, place=place, filled=output.elements, fill=fill)
    # channels only: rows consist of pixels, which come first
    by_pixel = len(shape) == 4 and not added[:3].any() and call.fields["rank"] == 2
    return [replace(call, rows=Rows() if by_pixel else None)]


def reshape(graph: Graph, step: Step) -> list[Call]:
    return []


def concatenation(graph: Graph, step: Step) -> list[Call]:
    axis, to = step.op.axis, _strides(graph.output_of(step.op).shape)
    calls, place = [], 0
    for operand, name in enumerate(step.operands):
        shape = graph.tensors[name].shape
        calls.append(move(shape, _strides(shape), to, operand=operand, place=place))
        place += shape[axis] * to[axis]
    return calls


def transpose(graph: Graph, step: Step) -> list[Call]:
    return [_turned(graph.tensors[step.source].shape, moves.integers(graph, step.op))]


def cut(graph: Graph, step: Step) -> list[Call]:
    shape = graph.tensors[step.source].shape
    pieces = moves.pieces(graph, step.op)
    assert pieces is not None  # checked by check_int8
    steps = _strides(shape)
    sizes = [len(piece) for piece in pieces]
    first = sum(piece.start * one for piece, one in zip(pieces, steps, strict=True))
    jumps = [piece.step * one for piece, one in zip(pieces, steps, strict=True)]
    return [move(sizes, jumps, _strides(sizes), first=first)]


def broadcast_to(graph: Graph, step: Step) -> list[Call]:
    source, output = graph.tensors[step.source].shape, graph.output_of(step.op).shape
    shape = (1,) * (len(output) - len(source)) + source
    steps = [one if size > 1 else 0 for size, one in zip(shape, _strides(shape), strict=True)]
    return [move(output, steps, _strides(output))]


def in_blocks(graph: Graph, step: Step) -> list[Call]:
    """Return the calls of SPACE_TO_DEPTH or DEPTH_TO_SPACE."""
    return [_turned(moves.split_in_blocks(graph, step.op), (0, 1, 3, 2, 4, 5))]


def _turned(shape: Sizes, order: Sequence[int]) -> Call:
    output = [shape[axis] for axis in order]
    steps = _strides(shape)
    return move(output, [steps[axis] for axis in order], _strides(output))


def gather(graph: Graph, step: Step) -> list[Call]:
    shape, axis = graph.tensors[step.source].shape, step.op.axis
    table = data(graph.constant_of(step.op)).ravel()
    return [_picked(shape, axis, 1, np.zeros(1, np.int64), table)]


def moved(graph: Graph, step: Step) -> list[Call]:
    """Return the calls of any operator that moves values, which pick each by its place."""
    source = (graph.tensors[step.source].elements,)
    table = places(graph, step.op).ravel()
    return [replace(_picked(source, 0, 1, np.zeros(1, np.int64), table), is_reference=True)]


def resize_nearest(graph: Graph, step: Step) -> list[Call]:
    source, output = graph.tensors[step.source].shape, graph.output_of(step.op).shape
    rows, columns = (resizing.nearest(source[side], output[side], step.op) for side in (1, 2))
    return [_picked(source, 2, source[1], rows, columns)]


def _picked(shape: Sizes, axis: int, rows: int, from_rows: np.ndarray, table: np.ndarray) -> Call:
    if max(shape) > 2**16:
        raise NotImplementedError
    fields = {
        "rows": from_rows.astype(np.uint16),
        "columns": table.astype(np.uint16),
        "outer": math.prod(shape[:axis]) // rows,
        "many_rows": len(from_rows),
        "many_columns": len(table),
        "in_rows": rows,
        "in_columns": shape[axis],
        "inner": math.prod(shape[axis + 1 :]),
    }
    return Call("pick", ("pick",), fields, "Pick")


def resize_bilinear(graph: Graph, step: Step) -> list[Call]:
    source, output = graph.tensors[step.source].shape, graph.output_of(step.op).shape
    if max(source) > 2**16:
        raise NotImplementedError
    rows, columns = (
        np.stack(resizing.between(source[side], output[side], step.op), axis=1) for side in (1, 2)
    )
    fields = {
        "rows": rows,
        "columns": columns,
        "maps": source[0],
        "height": output[1],
        "width": output[2],
        "in_height": source[1],
        "in_width": source[2],
        "depth": source[3],
    }
    return [Call("interpolate", ("interpolate",), fields, "Interpolate", is_reference=True)]
