"""The counts of a network that latency models may be linear in."""

from collections.abc import Sequence
from typing import Final

from micronas.graph.counts import FEATURES as COUNTS
from micronas.graph.counts import count
from micronas.graph.ir import Graph
from micronas.graph.operators import OPERATORS
from micronas.hardware.instructions import Price
from micronas.hardware.targets.cmsis_nn import price

INSTRUCTIONS: Final = "instructions"
OTHER_INSTRUCTIONS: Final = "other_instructions"
COVERED = tuple(kind for kind, row in OPERATORS.items() if row.counted)
"""Kinds whose cost the counts of `graph.counts` carry."""
FEATURES = (*COUNTS, INSTRUCTIONS, OTHER_INSTRUCTIONS)
"""Names of all features.

``instructions`` are those of the whole network on a Cortex-M4 with CMSIS-NN;
``other_instructions`` are those of operators that no count stands for, so that a model of counts
alone does not take them to be free.
"""


def prices(graph: Graph) -> list[Price | None]:
    """Return the instructions of each operator, in the order they run; None where unknown."""
    return [price(graph, op) for op in graph.ops]


def features(graph: Graph, priced: Sequence[Price | None] | None = None) -> dict[str, float]:
    """Return the features of a network by name; operators of unknown cost are left out.

    `priced` is what `prices` returns, where it is known.
    """
    known = [
        (op.kind in COVERED, each.instructions)
        for op, each in zip(graph.ops, prices(graph) if priced is None else priced, strict=True)
        if each is not None
    ]
    return {
        **count(graph).features,
        INSTRUCTIONS: sum(cost for _, cost in known),
        OTHER_INSTRUCTIONS: sum(cost for covered, cost in known if not covered),
    }
