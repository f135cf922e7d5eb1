"""Measured bytes of code of a set of operators in firmware. Imports no torch."""

import csv
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from micronas.graph.ir import Graph
from micronas.resources import folder

FULL = "/all"
"""Suffix of an operator with weights of 4 bits, whose kernel is that for all types."""
_TABLE = "cmsis_nn_code.csv"


def operators_of(graph: Graph) -> frozenset[str]:
    """Return the operators that firmware registers for a graph; `FULL` marks int4 weights."""
    return frozenset(
        op.kind
        + FULL * any(graph.tensors[n].dtype == "int4" for n in op.inputs if n in graph.tensors)
        for op in graph.ops
        if op.kind != "UNKNOWN"
    )


Level = Literal["-O2", "-Os"]
_COLUMNS: dict[Level, str] = {"-O2": "bytes", "-Os": "bytes_at_os"}


def code_bytes(operators: Iterable[str], *, kernels: Level = "-O2") -> int:
    """Return the flash of start-up, interpreter, libraries and kernels in bytes.

    Measured on a Cortex-M4 with CMSIS-NN, the interpreter at -Os, unused sections left out; see
    ``benchmarks/code_size.py``. The result is never below the linked size, and at most 1 % above in
    nine networks' firmware: sections are counted as aligned to four bytes. An unmeasured operator
    adds as much as the largest measured one. Kernels at ``-O2`` are TFLM's default, for which
    instructions are priced; at ``-Os`` they were 13 to 30 % more.
    """
    rows, wanted = _rows(kernels), frozenset(operators)
    largest: dict[str, int] = {}
    for size, names in rows:
        for name in names:
            largest[name] = largest.get(name, 0) + size
    unmeasured = len(wanted - largest.keys()) * max(largest.values())
    return unmeasured + sum(size for size, names in rows if not names or names & wanted)


@lru_cache
def _rows(kernels: Level) -> tuple[tuple[int, frozenset[str]], ...]:
    path = folder("latency_models") / _TABLE
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple((int(row[_COLUMNS[kernels]]), frozenset(row["operators"].split())) for row in rows)
