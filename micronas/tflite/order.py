"""Order of an operator's inputs in a file, where it differs from a graph's."""

from collections.abc import Sequence

from micronas.graph import recurrent
from micronas.graph.ir import Op


def in_file(op: Op) -> tuple[str, ...]:
    """Return an operator's inputs in TFLite's order, "" where one is left out.

    TRANSPOSE_CONV's shape and the codes of a TABLE come first there, and the value that PADV2
    writes around its input last.
    """
    if op.kind == "PADV2":
        source, value, amounts = op.inputs
        return (source, amounts, value)
    if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return recurrent.in_file(op.inputs)
    if op.kind == "TABLE":
        return op.inputs[::-1]
    if op.kind != "TRANSPOSE_CONV":
        return op.inputs
    source, weights, *bias, shape = op.inputs
    return (shape, weights, source, *bias)


def in_graph(kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return inputs of a file in a graph's order; the inverse of `in_file`."""
    if kind == "PADV2":
        source, amounts, value = names
        return (source, value, amounts)
    if kind == "TABLE":
        return tuple(names[::-1])
    if kind != "TRANSPOSE_CONV":
        return tuple(names)
    shape, weights, source, *bias = names
    return (source, weights, *bias, shape)
