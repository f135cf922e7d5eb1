"""Constants that bound or hide values, and their effect on the range that they share."""

from micronas.graph.ir import Graph, Op
from micronas.graph.requantize import shares

HIDES = -1e3
"""Largest constant that stands for minus infinity in float: one of MINIMUM hides values from a
softmax, one of PADV2 is never the largest of a window."""
LEAST = -1e9
"""Constant below the values of any map; its square is finite in float32."""


def hidden(graph: Graph, op: Op) -> list[str]:
    """Return the constants of an operator that stand for minus infinity."""
    if op.kind not in ("MINIMUM", "PADV2"):
        return []
    held = [(name, graph.tensors[name].data) for name in op.operands]
    return [name for name, data in held if data is not None and float(data.min()) <= HIDES]


def unseen(graph: Graph) -> set[str]:
    """Return the tensors that do not determine the range they share.

    Where a constant bounds a tensor, the range must hold only the result: other values saturate.
    """
    found = {op.outputs[0] for op in graph.ops if shares(op)}
    bounding, read_elsewhere = [], {*graph.outputs}
    for op in graph.ops:
        found.update(hidden(graph, op))
        constants = [name for name in op.operands if graph.tensors[name].constant]
        if op.kind in ("MAXIMUM", "MINIMUM") and constants:
            found.update(constants)
            if not hidden(graph, op):
                bounding.append(op)
                continue
        read_elsewhere.update(op.inputs)
    found.difference_update(op.outputs[0] for op in bounding)
    bounded = {name for op in bounding for name in op.operands}
    return found | (bounded - read_elsewhere)
