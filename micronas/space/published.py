"""Figures of the MicroNets paper for the networks whose architectures ship with micronas.

Source: arXiv 2010.11267, Table 4 (``search_spaces/published/paper.csv``). It counts operations as
if strides divided feature maps exactly: a keyword network's blocks have 49 x 10 / 4 positions
instead of 25 x 5. KB are 1000 bytes; a ``*`` marks the paper's own estimates.
"""

import csv
import math
from pathlib import Path

from micronas import resources
from micronas.graph.counts import per_op
from micronas.graph.ir import Graph

Row = dict[str, str]


def table() -> dict[str, Row]:
    """Return the paper's figures by the name of the architecture file, as the paper writes them."""
    path = resources.folder("search_spaces/published") / "paper.csv"
    with path.open(newline="") as file:
        return {row["network"]: row for row in csv.DictReader(file)}


def paper_figures(source: Path, board: str) -> Row | None:
    """Return the paper's figures for ``published/NAME`` on a board; None for any other network."""
    if source.parts[:-1] != ("published",) or source.exists():
        return None
    row = table()[source.stem]
    figures = {key: row[key] for key in ("mops", "sram_kb", "flash_kb")}
    return figures | {"latency_ms": row.get(f"{board}_ms", "")}


def paper_ops(graph: Graph) -> float:
    """Return the operations of a network if strides divided its maps without rounding up."""
    positions = {name: float(math.prod(graph.tensors[name].shape[1:3])) for name in graph.inputs}
    total = 0.0
    for op, counted in zip(graph.ops, per_op(graph), strict=True):
        area = positions[op.inputs[0]]
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            area /= math.prod(op.stride)
            total += 2 * counted.macs * area / math.prod(counted.output_shape[1:3])
        elif op.kind == "AVERAGE_POOL_2D":
            area = 1.0
        positions[op.outputs[0]] = area
    return total
