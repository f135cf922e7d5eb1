"""Other forms of operators on rows and matrices, between RESHAPEs.

An operator on rows [1, N, C] computes the same on a map with an axis of 1. Of the forms of a graph
`without_reshapes` takes the one of which fewest RESHAPEs are left.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from micronas.arrays import Shape
from micronas.graph import moves
from micronas.graph.ir import Graph, Op, Tensor, table

REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX")
MAP = 3
"""Dimensions of a map beside its channels."""
OF_ROWS = {
    1: ("CONCATENATION", "SLICE", "TRANSPOSE", *REDUCTIONS, "BATCH_MATMUL"),
    2: ("CONCATENATION", "SLICE", "TRANSPOSE", *REDUCTIONS),
}
"""Operators that take rows [1, N, C] as a map's, by the axis of 1 that is inserted."""
_TURNS = {1: (0, 1, 3, 2), 2: (0, 3, 2, 1)}
"""Permutations that exchange rows and channels, by the axis of 1."""


def with_matrices_turned(graph: Graph) -> Graph:
    """Exchange two axes in place of neighbours that stay so, between RESHAPEs."""
    tensors, ops = dict(graph.tensors), []
    for op in graph.ops:
        shape = graph.input_of(op).shape
        place = moves.integers(graph, op)[1] if op.kind == "TRANSPOSE" else 0
        turned = [0, *range(place, len(shape)), *range(1, place)]
        if len(shape) <= MAP or place < 1 or moves.integers(graph, op) != turned:
            ops.append(op)
            continue
        rows, channels = math.prod(shape[1:place]), math.prod(shape[place:])
        wide, out, order = (f"{op.name}/{part}" for part in ("rows", "turned", "order"))
        tensors[out] = Tensor(out, (1, channels, rows))
        tensors[order] = table(order, [0, 2, 1])
        ops.append(reshape(tensors, op.inputs[0], wide, (1, rows, channels)))
        ops.append(replace(op, inputs=(wide, order), outputs=(out,)))
        ops.append(reshape(tensors, out, op.outputs[0], graph.output_of(op).shape))
    return graph if len(ops) == len(graph.ops) else replace(graph, tensors=tensors, ops=tuple(ops))


def as_maps(graph: Graph, axis: int) -> Graph:
    """Turn operators on rows [1, N, C] into ones on maps with a new `axis`, between RESHAPEs."""
    tensors, ops = dict(graph.tensors), []
    for op in graph.ops:
        gone = _axes_of_one(graph, op) if op.kind in OF_ROWS[axis] else None
        if gone is None or gone == [axis]:
            ops.append(op)
            continue
        inputs = [f"{op.name}/{number}" for number in range(len(op.inputs))]
        for name, wide in zip(op.inputs, inputs, strict=True):
            tensor = graph.tensors[name]
            shape = _put(tensor.shape, gone, axis, 1)
            if not tensor.constant:
                ops.append(reshape(tensors, name, wide, shape))
            elif name in op.operands:
                data = None if tensor.data is None else tensor.data.reshape(shape)
                tensors[wide] = replace(tensor, name=wide, shape=shape, data=data)
            elif op.kind in ("TRANSPOSE", *REDUCTIONS):
                axes = [each for each in moves.integers(graph, op) if each not in gone]
                places = [_moved(each, gone, axis) for each in axes]
                tensors[wide] = table(wide, _TURNS[axis] if op.kind == "TRANSPOSE" else places)
            else:  # the begin of a slice, or its size
                numbers = moves.integers(graph, op, op.inputs.index(name))
                tensors[wide] = table(wide, _put(numbers, gone, axis, int(name != op.inputs[1])))
        out, wide = graph.output_of(op), f"{op.name}/map"
        tensors[wide] = Tensor(wide, _put(out.shape, gone, axis, 1))
        joined = _moved(op.axis, gone, axis)
        ops.append(replace(op, inputs=tuple(inputs), outputs=(wide,), axis=joined))
        ops.append(reshape(tensors, wide, out.name, out.shape))
    return replace(graph, tensors=tensors, ops=tuple(ops))


def _axes_of_one(graph: Graph, op: Op) -> list[int] | None:
    """Return the axis of 1 of a map of rows, [] for rows [1, N, C]; None for other tensors."""
    if op.kind == "TRANSPOSE" and moves.integers(graph, op)[0] != 0:
        return None
    names = [name for name in (*op.operands, *op.outputs) if len(graph.tensors[name].shape) > 1]
    shapes = [graph.tensors[name].shape for name in names]
    if all(len(shape) == MAP for shape in shapes):
        return []
    if any(len(shape) != MAP + 1 for shape in shapes):
        return None
    free = (1,) if op.kind == "BATCH_MATMUL" else (1, 2)  # matrices are the last two
    kept = moves.integers(graph, op) if op.kind in REDUCTIONS else []
    ones = [axis for axis in free if all(shape[axis] == 1 for shape in shapes)]
    return [axis for axis in ones if axis not in kept][:1] or None


def _moved(place: int, gone: Sequence[int], axis: int) -> int:
    """Return the place of an axis without some, and with a new one."""
    left = place - sum(each < place for each in gone)
    return left + (left >= axis)


def _put(sizes: Sequence[int], gone: Sequence[int], axis: int, one: int) -> Shape:
    """Return sizes without some axes, and with a new one."""
    kept = [size for place, size in enumerate(sizes) if place not in gone]
    return (*kept[:axis], one, *kept[axis:])


def reshape(tensors: dict[str, Tensor], source: str, target: str, shape: Shape) -> Op:
    """Return a RESHAPE; add its table, and its output if missing."""
    sizes = f"{target}/shape"
    tensors[sizes] = table(sizes, shape)
    tensors.setdefault(target, Tensor(target, shape))
    return Op("RESHAPE", f"{target}/rows", (source, sizes), (target,))
