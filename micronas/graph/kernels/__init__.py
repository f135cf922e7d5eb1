"""Rules and integer kernels of the operators, with TFLM's arithmetic, one module per family."""

from collections.abc import Callable, Mapping

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


def places(graph: Graph, op: Op) -> npt.NDArray[np.int64]:
    """Return the place in its flat input of each value that an operator writes.

    The operator's row has `moves` set. The array has the output's shape.
    """
    assert op.kind != "UNKNOWN", op
    source = graph.input_of(op)
    numbers = np.arange(source.elements).reshape(1, *source.shape)
    kernel: Callable[..., npt.NDArray[np.int64]] = RULES[op.kind].kernel(graph, op)  # type: ignore[assignment]
    return np.asarray(kernel(numbers)[0])
