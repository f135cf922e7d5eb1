"""Shapes of operators that only move values, and the pieces of axes that they take.

Limits are the tighter ones of TFLM's reference kernels and CMSIS-NN's, so that a file runs on the
board as on the host.
"""

import numpy as np

from micronas.arrays import Shape
from micronas.graph.ir import Array, Graph, Op


def transposed(graph: Graph, op: Op) -> Shape | str:
    shape, order = graph.input_of(op).shape, integers(graph, op)
    if len(shape) > 4 or sorted(order) != list(range(len(shape))) or order == sorted(order):
        # CMSIS-NN exchanges the axes of any matrix, and writes nothing at rank 5.
        return "TRANSPOSE must put 2 to 4 axes into another order"
    return tuple(shape[axis] for axis in order)


def sliced(graph: Graph, op: Op) -> Shape | str:
    taken = pieces(graph, op)
    if taken is None or len(taken) > 5:
        return "SLICE must begin inside its input and end there, of at most 5 axes"
    return tuple(len(piece) for piece in taken)


def sliced_in_steps(graph: Graph, op: Op) -> Shape | str:
    taken = pieces(graph, op)
    if taken is None or len(taken) > 4 or not all(taken):
        return "STRIDED_SLICE must take part of each axis, of 4 at most"
    gone = dropped(op)
    return tuple(len(piece) for axis, piece in enumerate(taken) if axis not in gone)


def gathered(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of GATHER: the places' dimensions replace the axis."""
    shape, places = graph.input_of(op).shape, graph.constant_of(op).data
    if places is None or not 0 <= op.axis < len(shape):
        return "GATHER must read constant places of one of its axes"
    if min(integers(graph, op)) < 0 or max(integers(graph, op)) >= shape[op.axis]:
        return "GATHER must read places of its input"
    return (*shape[: op.axis], *places.shape, *shape[op.axis + 1 :])


def repeated(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of BROADCAST_TO: sizes counted from the last stay, unless they were 1."""
    source, target = graph.input_of(op).shape, tuple(integers(graph, op))
    pairs = zip(source[::-1], target[::-1], strict=False)
    if len(source) > len(target) or len(target) > 5 or any(a not in (b, 1) for a, b in pairs):
        return "BROADCAST_TO must repeat axes of size 1, of 5 at most"
    return target


def pieces(graph: Graph, op: Op) -> tuple[range, ...] | None:
    """Return the positions that SLICE or STRIDED_SLICE takes of each axis; None if impossible."""
    shape = graph.input_of(op).shape
    tables = [integers(graph, op, place) for place in range(1, len(op.inputs))]
    if any(len(table) != len(shape) for table in tables):
        return None
    if op.kind == "SLICE":
        starts, sizes = tables
        ends = [
            whole if size == -1 else start + size
            for whole, start, size in zip(shape, starts, sizes, strict=True)
        ]
        taken = tuple(range(*ends) for ends in zip(starts, ends, strict=True))
        inside = all(0 <= piece.start < piece.stop for piece in taken)
        fits = all(piece.stop <= size for piece, size in zip(taken, shape, strict=True))
        return taken if inside and fits else None
    if not all(tables[2]):
        return None
    entries = zip(shape, *tables, strict=True)
    return tuple(_steps(op, axis, *entry) for axis, entry in enumerate(entries))


def split_in_blocks(graph: Graph, op: Op) -> Shape:
    """Return the input's shape, of six axes, where SPACE_TO_DEPTH and DEPTH_TO_SPACE exchange those
    at places 2 and 3."""
    source, output, block = graph.input_of(op).shape, graph.output_of(op).shape, op.block
    if op.kind == "SPACE_TO_DEPTH":
        return (source[0], output[1], block, output[2], block, source[3])
    return (*source[:3], block, block, output[3])


def dropped(op: Op) -> set[int]:
    """Return the axes that a STRIDED_SLICE drops from its output."""
    return {axis for axis in range(op.masks[2].bit_length()) if op.masks[2] >> axis & 1}


def integers(graph: Graph, op: Op, position: int = 1) -> list[int]:
    """Return the entries of one of an operator's tables, in order."""
    data: Array | None = graph.constant_of(op, position).data
    return [] if data is None else [int(value) for value in np.ravel(data)]


def _steps(op: Op, axis: int, size: int, start: int, stop: int, step: int) -> range:
    """Return the positions of one axis by TensorFlow's meaning of begin, end and stride."""
    first, last = (0, size) if step > 0 else (-1, size - 1)
    start, stop = (value + size if value < 0 else value for value in (start, stop))
    start, stop = (min(max(value, first), last) for value in (start, stop))
    forgotten, endless, gone = (bool(mask >> axis & 1) for mask in op.masks)
    if forgotten:
        start = first if step > 0 else last
    if endless:
        stop = last if step > 0 else first
    if gone:
        return range(start, min(start + 1, size)) if step > 0 else range(0)
    return range(start, stop, step)
