"""Bytes of code that a set of operators takes in firmware, as measured. Imports no torch."""

import csv
from collections.abc import Iterable
from functools import lru_cache

from micronas.graph.ir import Graph
from micronas.resources import folder

FULL = "/all"
"""Ends the name of an operator whose kernel is that for all types: with weights of 4 bits."""
_TABLE = "cmsis_nn_code.csv"


def operators_of(graph: Graph) -> frozenset[str]:
    """Return the operators that firmware registers for a graph, those with int4 weights marked."""
    return frozenset(
        op.kind
        + FULL * any(graph.tensors[n].dtype == "int4" for n in op.inputs if n in graph.tensors)
        for op in graph.ops
        if op.kind != "UNKNOWN"
    )


def code_bytes(operators: Iterable[str]) -> int:
    """Return the flash that start-up, interpreter, libraries and kernels take.

    Measured on a Cortex-M4 with CMSIS-NN, kernels at -O2 and the rest at -Os, unused sections left
    out; see ``benchmarks/code_size.py``. Never below what is linked: strings that occur twice are
    counted twice. An operator that was not measured adds nothing.
    """
    wanted = frozenset(operators)
    return sum(size for size, names in _rows() if not names or names & wanted)


@lru_cache
def _rows() -> tuple[tuple[int, frozenset[str]], ...]:
    path = folder("latency_models") / _TABLE
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            (int(row["bytes"]), frozenset(row["operators"].split())) for row in csv.DictReader(file)
        )
