"""Which operators leave the examples of a batch apart.

A device runs one example: dimension 0 of its tensors is 1. Where many run at once they lie along
that dimension, which no operator may then move, merge or leave out.
"""

from collections.abc import Callable, Mapping

from micronas.errors import ConfigError
from micronas.graph import moves, products
from micronas.graph.ir import Graph, Kind, Op


def _reduces_first(graph: Graph, op: Op) -> bool:
    rank = len(graph.input_of(op).shape)
    return any(axis % rank == 0 for axis in moves.integers(graph, op))


_MOVES_FIRST: Mapping[Kind, Callable[[Graph, Op], bool]] = {
    "TRANSPOSE": lambda graph, op: moves.integers(graph, op)[0] != 0,
    "STRIDED_SLICE": lambda graph, op: 0 in moves.dropped(op),
    "GATHER": lambda graph, op: op.axis == 0,
    "CONCATENATION": lambda graph, op: op.axis == 0,
    "BATCH_MATMUL": products.mixes_examples,
    "MEAN": _reduces_first,
    "SUM": _reduces_first,
    "REDUCE_MAX": _reduces_first,
}


def keeps_examples(graph: Graph, op: Op) -> bool:
    """Whether dimension 0 of what an operator writes is that of what it reads, of one example."""
    tensors = [graph.tensors[name] for name in (*op.operands, *op.outputs)]
    shapes = [tensor.shape for tensor in tensors if not tensor.constant]
    if op.kind == "UNKNOWN" or any(len(shape) < 2 or shape[0] != 1 for shape in shapes):
        return False
    moves_first = _MOVES_FIRST.get(op.kind)
    return moves_first is None or not moves_first(graph, op)


def check_batches(graph: Graph) -> None:
    """Check that a graph can run on many examples at once, as training and calibration do.

    Raises
    ------
    ConfigError
        Naming the first operator that mixes examples.
    """
    for op in graph.ops:
        if not keeps_examples(graph, op):
            shapes = [graph.tensors[name].shape for name in (*op.operands, *op.outputs)]
            raise ConfigError(
                "every operator must leave dimension 0 alone, where the examples of a batch lie, "
                f"but {op.kind} {op.name!r} does not ({' -> '.join(map(str, shapes))}); keep the "
                "batch first in every tensor"
            )
