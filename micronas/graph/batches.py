"""Check that operators keep the examples of a batch apart.

A device runs one example: dimension 0 of its tensors is 1. The examples of a batch lie along that
dimension, so no operator may move, merge or drop it.
"""

from micronas.errors import ConfigError
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels import RULES


def keeps_examples(graph: Graph, op: Op) -> bool:
    """Return whether an operator leaves dimension 0 of its operands, of one example, in place."""
    tensors = [graph.tensors[name] for name in (*op.operands, *op.outputs)]
    shapes = [tensor.shape for tensor in tensors if not tensor.constant]
    if op.kind == "UNKNOWN" or any(len(shape) < 2 or shape[0] != 1 for shape in shapes):
        return False
    mixes = RULES[op.kind].mixes_examples
    return mixes is None or not mixes(graph, op)


def check_batches(graph: Graph) -> None:
    """Check that a graph can run on many examples at once, as training and calibration do.

    Raises ConfigError if an operator mixes examples; the error names the first.
    """
    for op in graph.ops:
        if not keeps_examples(graph, op):
            shapes = [graph.tensors[name].shape for name in (*op.operands, *op.outputs)]
            raise ConfigError(
                "every operator must leave dimension 0 alone, where the examples of a batch lie, "
                f"but {op.kind} {op.name!r} does not ({' -> '.join(map(str, shapes))}); keep the "
                "batch first in every tensor"
            )
