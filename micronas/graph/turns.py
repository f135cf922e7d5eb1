"""Use one TRANSPOSE in place of one for each part of a tensor, and none in place of a way back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from micronas.arrays import Shape
from micronas.graph import moves
from micronas.graph.forms import reshape
from micronas.graph.ir import Graph, Op, Tensor, table
from micronas.graph.reshapes import without_unread

_Readers = Mapping[str, Sequence[Op]]


def without_detours(graph: Graph) -> Graph:
    """Read a tensor itself where TRANSPOSEs, one after another, restore the order of its elements.

    Between them are at most RESHAPEs that add or remove axes of size 1.
    """
    tensors, ops = dict(graph.tensors), []
    ways: dict[str, tuple[str, list[int]]] = {}
    for op in graph.ops:
        shape, target = graph.input_of(op).shape, graph.output_of(op)
        axes = [axis for axis, size in enumerate(shape) if size > 1]
        is_turn = op.kind == "TRANSPOSE"
        if is_turn or (op.kind == "RESHAPE" and _long(shape) == _long(target.shape)):
            source, order = ways.get(op.inputs[0], (op.inputs[0], [*range(len(axes))]))
            if is_turn:
                turned = [axis for axis in moves.integers(graph, op) if axis in axes]
                order = [order[axes.index(axis)] for axis in turned]
                if order == sorted(order):
                    op = reshape(tensors, source, target.name, target.shape)
            ways[target.name] = source, order
        ops.append(op)
    return without_unread(replace(graph, tensors=tensors, ops=tuple(ops)))


def _long(shape: Shape) -> Shape:
    """Return the sizes above 1, which alone have an order."""
    return tuple(size for size in shape if size > 1)


def turned_whole(graph: Graph) -> Graph:
    """Permute axes before a tensor is cut, where those of all its parts are permuted alike.

    Fewer operators then move the same elements, such as queries, keys and values of attention.
    """
    readers = graph.readers()
    tensors = dict(graph.tensors)
    made: dict[str, tuple[Op, ...]] = {}
    gone: set[str] = set()
    for name in graph.tensors:
        cuts = [op for op in readers.get(name, []) if op.kind == "SLICE"]
        turns = _common_turn(graph, readers, cuts)
        if not turns:
            continue
        order = moves.integers(graph, turns[0])
        whole = f"{turns[0].name}/whole"
        tensors[whole] = Tensor(whole, tuple(graph.tensors[name].shape[axis] for axis in order))
        first = replace(turns[0], name=whole, inputs=(name, turns[0].inputs[1]), outputs=(whole,))
        for cut, turn in zip(cuts, turns, strict=True):
            for each in cut.inputs[1:]:
                tensors[each] = table(each, np.array(tensors[each].data)[order])
            made[cut.name] = (replace(cut, inputs=(whole, *cut.inputs[1:]), outputs=turn.outputs),)
            gone.add(turn.name)
        made[cuts[0].name] = (first, *made[cuts[0].name])
    ops = [new for op in graph.ops if op.name not in gone for new in made.get(op.name, (op,))]
    return without_unread(replace(graph, tensors=tensors, ops=tuple(ops)))


def _common_turn(graph: Graph, readers: _Readers, cuts: Sequence[Op]) -> list[Op]:
    """Return the TRANSPOSE after each part of a tensor, if all are alike and the parts cover it."""
    turns: list[Op] = []
    for cut in cuts:
        behind = readers.get(cut.outputs[0], [])
        is_one = len(behind) == 1 and behind[0].kind == "TRANSPOSE"
        if not is_one or cut.outputs[0] in graph.outputs:
            return []
        turns += behind
    orders = {tuple(moves.integers(graph, turn)) for turn in turns}
    elements = sum(graph.output_of(cut).elements for cut in cuts)
    is_more = len(cuts) > 1 and elements >= graph.input_of(cuts[0]).elements
    return turns if is_more and len(orders) == 1 else []
