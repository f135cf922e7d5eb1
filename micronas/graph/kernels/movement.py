"""Operators that only move values: axes in another order, and pieces of them."""

import numpy as np

from micronas.graph import moves
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import Kernel, data


def transpose(graph: Graph, op: Op) -> Kernel:
    order = (0, *(axis + 1 for axis in moves.integers(graph, op)))
    return lambda x: x.transpose(order)


def cut(graph: Graph, op: Op) -> Kernel:
    """SLICE and STRIDED_SLICE."""
    pieces = moves.pieces(graph, op)
    assert pieces is not None  # check_int8 has seen it
    index = (slice(None), *(as_slice(piece) for piece in pieces))
    shape = graph.output_of(op).shape
    return lambda x: x[index].reshape(len(x), *shape)


def gather(graph: Graph, op: Op) -> Kernel:
    places = data(graph.constant_of(op))
    return lambda x: np.take(x, places, axis=op.axis + 1)


def broadcast_to(graph: Graph, op: Op) -> Kernel:
    source, shape = graph.input_of(op).shape, graph.output_of(op).shape
    widened = (1,) * (len(shape) - len(source)) + source
    return lambda x: np.broadcast_to(x.reshape(len(x), *widened), (len(x), *shape))


def as_slice(piece: range) -> slice:
    """Return the slice of an axis that takes these positions."""
    return slice(piece.start, piece.stop if piece.stop >= 0 else None, piece.step)
