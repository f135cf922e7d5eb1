"""Counts of a network in which latency models may be linear."""

from collections.abc import Sequence
from typing import Final

from micronas.graph.counts import FEATURES as COUNTS
from micronas.graph.counts import count
from micronas.graph.ir import Graph, Op
from micronas.graph.operators import OPERATORS
from micronas.hardware.instructions import Price

INSTRUCTIONS: Final = "instructions"
OTHER_INSTRUCTIONS: Final = "other_instructions"
CYCLES: Final = "cycles"
COVERED = tuple(kind for kind, row in OPERATORS.items() if row.counted)
"""Kinds whose cost the counts of `graph.counts` cover."""
FEATURES = (*COUNTS, INSTRUCTIONS, OTHER_INSTRUCTIONS, CYCLES)
"""Names of all features.

``instructions`` are those of the whole network on a Cortex-M4, as counted by the board's target;
``other_instructions`` are those of operators without a count, which would be free in a model of
counts alone; ``cycles`` are 0 where the target models none.
"""


def features(
    graph: Graph, priced: Sequence[Price | None], ops: Sequence[Op] | None = None
) -> dict[str, float]:
    """Return the features of a network, or of some of its operators, by name.

    `priced` are their `Target.prices`; operators of unknown cost are left out.
    """
    ops = graph.ops if ops is None else ops
    return {**count(graph, ops).features, **of_instructions(ops, priced)}


def of_instructions(ops: Sequence[Op], priced: Sequence[Price | None]) -> dict[str, float]:
    """Return the features that are prices, not counts."""
    known = [
        (op.kind in COVERED, each) for op, each in zip(ops, priced, strict=True) if each is not None
    ]
    return {
        INSTRUCTIONS: sum(each.instructions for _, each in known),
        OTHER_INSTRUCTIONS: sum(each.instructions for covered, each in known if not covered),
        CYCLES: sum(each.cycles for _, each in known),
    }
