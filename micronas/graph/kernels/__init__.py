"""Rules and integer kernels of the operators, with TFLM's arithmetic, one module per family."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import Graph, Op
from micronas.graph.kernels import (
    elements,
    maps,
    movement,
    products,
    recurrent,
    rows,
    tables,
    weighted,
)
from micronas.graph.kernels.codes import Kernel
from micronas.graph.kernels.rule import Rule as Rule
from micronas.graph.operators import Kind, each_kind

RULES: Mapping[Kind, Rule] = each_kind(
    "graph.kernels",
    {
        **weighted.RULES,
        **elements.RULES,
        **tables.RULES,
        **maps.RULES,
        **movement.RULES,
        **rows.RULES,
        **products.RULES,
        **recurrent.RULES,
    },
)


def kernel_of(graph: Graph, op: Op) -> Kernel:
    """Return the integer kernel of an operator of a graph that passed `check_int8`."""
    assert op.kind != "UNKNOWN", op
    return RULES[op.kind].kernel(graph, op)


def places(graph: Graph, op: Op) -> npt.NDArray[np.int64]:
    """Return the place in its flat input of each value that an operator writes.

    The operator's row has `moves` set. The array has the output's shape.
    """
    source = graph.input_of(op)
    numbers = np.arange(source.elements).reshape(1, *source.shape)
    return np.asarray(kernel_of(graph, op)(numbers)[0], np.int64)
