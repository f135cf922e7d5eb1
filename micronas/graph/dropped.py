"""Drop axes in reductions, in place of a RESHAPE after them that removes axes of 1."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from micronas.arrays import Shape
from micronas.graph import moves
from micronas.graph.forms import REDUCTIONS
from micronas.graph.ir import Graph, Op, table
from micronas.graph.operators import elements
from micronas.graph.reshapes import without_unread


def with_dropped_axes(graph: Graph) -> Graph:
    """Return an equivalent graph whose reductions write the shape that is read.

    Functions of one value may lie between a reduction and the removed RESHAPE.
    """
    readers = graph.readers()
    tensors, made, gone = dict(graph.tensors), dict[str, Op](), set[str]()
    for op in graph.ops:
        *functions, reshape = _to_reshape(graph, readers, op) or [op]
        target = graph.output_of(reshape).shape
        axes = _axes_that_go(graph, op, target) if reshape is not op else None
        if axes is None:
            continue
        tensors[op.inputs[1]] = table(op.inputs[1], axes)
        last = functions[-1] if functions else op
        for each in (op, *functions):
            out = each.outputs[0]
            tensors[out] = replace(tensors[out], shape=target)
        made[last.name] = replace(last, outputs=reshape.outputs)
        gone.add(reshape.name)
    ops = tuple(made.get(op.name, op) for op in graph.ops if op.name not in gone)
    return without_unread(replace(graph, tensors=tensors, ops=ops))


def _to_reshape(graph: Graph, readers: Mapping[str, Sequence[Op]], op: Op) -> list[Op] | None:
    """Return the readers of a reduction, one after another, up to a RESHAPE; None without one."""
    chain: list[Op] = []
    if op.kind not in REDUCTIONS:
        return None
    while op.outputs[0] not in graph.outputs and len(readers.get(op.outputs[0], ())) == 1:
        op = readers[op.outputs[0]][0]
        chain.append(op)
        if op.kind == "RESHAPE":
            return chain
        is_function = op.kind in elements.ROWS and len(op.operands) == 1
        if not is_function or graph.output_of(op).shape != graph.input_of(op).shape:
            return None
    return None


def _axes_that_go(graph: Graph, op: Op, target: Shape) -> list[int] | None:
    """Return the axes to drop for a shape: the operator's own and some of 1; None if impossible."""
    shape, axes = graph.input_of(op).shape, set(moves.integers(graph, op))
    if len(graph.output_of(op).shape) != len(shape):
        return None
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    for axis in reversed(kept[1:]):  # the first axis is that of examples
        if len(kept) > len(target) and shape[axis] == 1:
            kept.remove(axis)
    if 0 in axes or tuple(shape[axis] for axis in kept) != target:
        return None
    return [axis for axis in range(len(shape)) if axis not in kept]
