"""Inputs of an operator in the order of a file, where a graph has them otherwise."""

from collections.abc import Sequence

from micronas.graph.ir import Op


def in_file(op: Op) -> tuple[str, ...]:
    """Return an operator's inputs as TFLite lists them: TRANSPOSE_CONV's shape comes first."""
    if op.kind != "TRANSPOSE_CONV":
        return op.inputs
    source, weights, *bias, shape = op.inputs
    return (shape, weights, source, *bias)


def in_graph(kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return inputs of a file as an operator of a graph has them; the inverse of `in_file`."""
    if kind != "TRANSPOSE_CONV":
        return tuple(names)
    shape, weights, source, *bias = names
    return (source, weights, *bias, shape)
