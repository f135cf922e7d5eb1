"""Predictions of the engine's arena, flash, instructions and cycles beside an emulated Cortex-M4.

    python -m benchmarks.engine_predictions [NETWORKS]

Networks are drawn by turns from spaces under budgets, as a search draws them, from blocks of random
sizes, and from all operators, a few small ones each. Predictions are made from shapes alone, and
with scales and weights: random scales of ReLU6 may ask for clipping, which those of training do
not. Measured are the generated arena, sections of the object file, and counts of
`testing.m4_cycles`. Lines of results/engine_predictions.jsonl are kept: what is there is not
measured again.
"""

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.rows import append, read
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.text import table
from testing.budgets import fitting
from testing.engine_costs import measured, predicted, shapes_of
from testing.graphs import random_int8_graph
from testing.networks import random_network

RESULTS = Path(__file__).with_name("results") / "engine_predictions.jsonl"
_COSTS = ("arena", "flash", "instructions", "cycles")
_KINDS: Mapping[str, Callable[[int], Graph]] = {
    "spaces": lambda seed: fitting(Board.load("stm32f446re"), random.Random(seed)).graph,
    "blocks": lambda seed: random_int8_graph(seed, family=("ds_cnn", "mobilenet")[seed % 2]),
    "operators": random_network,
}


def main(networks: int) -> None:
    rows = read(RESULTS)
    known = {(row["kind"], row["seed"]) for row in rows}
    for place in range(networks):
        kind, seed = list(_KINDS)[place % len(_KINDS)], place // len(_KINDS)
        if (kind, seed) in known:
            continue
        rows.append({"kind": kind, "seed": seed, **measured(_KINDS[kind](seed))})
        append(RESULTS, rows[-1])
    _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    errors: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        graph = _KINDS[row["kind"]](row["seed"])
        for by, known in (("shapes", shapes_of(graph)), ("file", graph)):
            if row["kind"] == "operators" and by == "shapes":
                continue
            ours = predicted(known)
            errors.setdefault(f"{row['kind']}, by {by}", []).append(
                {name: 100 * (ours[name] / row[name] - 1) for name in _COSTS}
            )
    lines = []
    for kind, found in errors.items():
        for name in _COSTS:
            sizes = [abs(each[name]) for each in found]
            within = sum(size <= 2 for size in sizes)
            cells = [f"{fmean(sizes):.2f} %", f"{max(sizes):.2f} %", f"{within} of {len(sizes)}"]
            lines.append([kind, name, *cells])
    print(table(["networks", "cost", "mean error", "worst", "within 2 %"], lines))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
