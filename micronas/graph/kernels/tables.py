"""Functions of one code without a kernel in TFLM: a table of 256 codes, or rows, by position."""

from collections.abc import Mapping

import numpy as np

from micronas.arrays import Shape
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import Kernel, data
from micronas.graph.kernels.rule import Rule, same_shape


def _positions(graph: Graph, op: Op) -> Kernel:
    """Return the kernel from a code to its place in a table that starts with that of -128."""
    return lambda x: x.astype(np.int32) + 128


def _table(graph: Graph, op: Op) -> Kernel:
    codes = data(graph.constant_of(op)).astype(np.int8)
    return lambda places: codes[places]


def _table_shape(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of TABLE; TFLM does not check that positions lie in the table."""
    source, table = graph.input_of(op), graph.constant_of(op)
    written = {name: each.kind for each in graph.ops for name in each.outputs}
    if op.axis != 0 or table.shape[:1] != (256,) or written.get(source.name) != "POSITIONS":
        return "TABLE must read positions of 256 codes"
    return (*source.shape, *table.shape[1:])


RULES: Mapping[str, Rule] = {
    "POSITIONS": Rule(same_shape, _positions),
    "TABLE": Rule(_table_shape, _table),
}
