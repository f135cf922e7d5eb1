"""Cycles of the engine on a Cortex-M0+, M33 and M7 by models of the cores, over a Cortex-M4's.

    CMSIS_NN=<checkout> python -m benchmarks.engine_cores [--write]

Networks of one operator are compiled for the M4 and for the M0+ and traced on QEMU
(`testing.core_cycles`). Of each kernel the ratio of sums is kept; networks of several kernels are
predicted by it. Those run by CMSIS-NN, too, which stands for TFLM: its modelled cycles, over its
instructions on an M4, are the core's part of a board's measured time; the rest is waiting. Lines of
results/engine_cores.jsonl are kept. ``--write`` writes latency_models/kernels/micronas_cores.yaml.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from benchmarks.engine_kernels import networks as single
from benchmarks.engine_kernels import rows
from micronas import resources
from micronas.engine.cmsis_nn import makers
from micronas.engine.layout import best_layout
from micronas.export.firmware.board import CORTEX_M4, Emulated
from micronas.files import write_atomically
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from micronas.hardware.targets import CMSIS_NN
from micronas.hardware.targets.micronas import MICRONAS, Core
from micronas.text import table
from testing.cmsis_nn import library
from testing.core_cycles import CORES, cycles_on
from testing.engine import THUMB_1, build, examples, on_core
from testing.graphs import quantize_randomly, random_int8_graph
from testing.m4_cycles import cost_of

RESULTS = Path(__file__).with_name("results") / "engine_cores.jsonl"
_KINDS: Mapping[str, int] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), 8),
    **dict.fromkeys(("FULLY_CONNECTED", "ADD", "MEAN", "CONCATENATION", "TRANSPOSE_CONV"), 3),
    **dict.fromkeys(("grouped", "vanishing"), 3),
    **dict.fromkeys(("SOFTMAX", "LOGISTIC", "MUL", "PAD", "RELU"), 2),
}
_OTHERS = 3
_SEVERAL = 6
_BUILDS: Mapping[str, tuple[Emulated, tuple[str, ...]]] = {
    "Cortex-M4": (CORTEX_M4, ("Cortex-M33", "Cortex-M7")),
    "Cortex-M0+": (THUMB_1, ("Cortex-M0+",)),
}
"""What is compiled, and for which further cores its instructions are counted."""


def networks() -> Iterator[tuple[str, Callable[[], Graph]]]:
    """Yield names and what makes each: of one operator, then of several."""
    seen: dict[str, int] = {}
    for name, make in single():
        kind = name.partition(" ")[0]
        if kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "pointwise") or kind in _KINDS:
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] <= _KINDS.get(kind, _OTHERS):
                yield name, make
    for kernel in _LARGE:
        yield f"large {kernel}", lambda kernel=kernel: _large(kernel)
    for seed in range(_SEVERAL):
        family = ("ds_cnn", "mobilenet")[seed % 2]
        yield f"several {seed}", lambda s=seed, f=family: random_int8_graph(s, family=f)


_LARGE = ("convolution", "pointwise", "depthwise")


def _large(kernel: str) -> Graph:
    """One layer whose inner loops are most of what it takes, as in networks."""
    builder = Builder((12, 10, 32))
    if kernel == "depthwise":
        value = builder.depthwise(builder.input, "y", (3, 3))
    else:
        side = 3 if kernel == "convolution" else 1
        value = builder.conv(builder.input, "y", 32, (side, side))
    return quantize_randomly(builder.finish(value), 1)


def measured(graph: Graph, libraries: Mapping[str, Path] | None = None) -> dict[str, float]:
    """Return instructions on an M4 and cycles by core, of the engine's kernels or of CMSIS-NN's."""
    found: dict[str, float] = {}
    for core, (board, cores) in _BUILDS.items():
        more: Any = {}
        if libraries is not None:
            more = {
                "makers": makers(CMSIS_NN.scratch),
                "include": [f"{os.environ['CMSIS_NN']}/Include"],
                "libraries": [str(libraries[core])],
            }
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            program = build(graph, folder, board, **more)
            on_core(program, examples(graph, 2), graph, board)
            files = [folder / "examples"]
            if board is CORTEX_M4:
                cost = cost_of(program, "net_invoke", files)
                found |= {"instructions": cost.instructions, "Cortex-M4": cost.cycles}
            found |= cycles_on(cores, program, files)
    return found


def fitted(known: Mapping[str, Mapping[str, Any]]) -> dict[str, Core]:
    """Return how each core does beside an M4."""
    found = {}
    for core in ("Cortex-M4", *CORES):
        sums: dict[str, list[float]] = {}
        for row in known.values():
            if len(row["kernels"]) == 1:
                total = sums.setdefault(row["kernels"][0], [0.0, 0.0])
                total[0] += row["engine"][core]
                total[1] += row["engine"]["Cortex-M4"]
        beside = [row["cmsis_nn"] for row in known.values() if "cmsis_nn" in row]
        found[core] = Core(
            cycles_per_instruction=round(fmean(e[core] / e["instructions"] for e in beside), 3),
            kernels={kernel: round(own / m4, 3) for kernel, (own, m4) in sorted(sums.items())},
        )
    return found


def main(*, write: bool) -> None:
    known, several = rows(RESULTS), 0
    with tempfile.TemporaryDirectory() as scratch:
        libraries: dict[str, Path] = {}
        for name, make in networks():
            several += name.startswith("several")
            if name in known:
                continue
            graph = make()
            calls = [call for each in best_layout(graph, None).calls for call in each]
            kernels = sorted({call.function for call in calls})
            row: dict[str, Any] = {"network": name, "kernels": kernels, "engine": measured(graph)}
            if name.startswith("several") and "CMSIS_NN" in os.environ:
                for core, (board, _) in _BUILDS.items():
                    if core not in libraries:
                        folder = Path(scratch) / core
                        folder.mkdir()
                        libraries[core] = library(Path(os.environ["CMSIS_NN"]), board, folder)
                row["cmsis_nn"] = measured(graph, libraries)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    known = rows(RESULTS)
    found = fitted(known)
    _print(found, known)
    if write:
        text = _HEADER + yaml.safe_dump(
            {"cores": {n: each.model_dump() for n, each in found.items()}}, sort_keys=False
        )
        path = resources.folder("latency_models") / "kernels" / "micronas_cores.yaml"
        write_atomically(path, text.encode())


def _print(found: Mapping[str, Core], known: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what networks of several kernels take on each core, predicted from a Cortex-M4's."""
    made, lines = dict(networks()), []
    for core in CORES:
        target = MICRONAS.chosen(core).target
        errors, ratios = [], []
        for name, row in known.items():
            if not name.startswith("several"):
                continue
            graph, taken = made[name](), row["engine"]
            predicted = target.features(graph)["cycles"] / MICRONAS.features(graph)["cycles"]
            errors.append(100 * abs(predicted / (taken[core] / taken["Cortex-M4"]) - 1))
            ratios.append(taken[core] / row["cmsis_nn"][core])
        lines.append(
            [
                core,
                str(found[core].cycles_per_instruction),
                f"{fmean(errors):.1f} %",
                f"{max(errors):.1f} %",
                f"{fmean(ratios):.2f}",
            ]
        )
    header = ["core", "CMSIS-NN's cycles an M4 instruction", "mean error", "worst", "of CMSIS-NN's"]
    print(table(header, lines))


_HEADER = """\
# Written by benchmarks/engine_cores.py. Modelled cycles of the engine's kernels over those of a
# Cortex-M4, and cycles of CMSIS-NN for each instruction that it takes on an M4.
"""


if __name__ == "__main__":
    main(write="--write" in sys.argv[1:])
