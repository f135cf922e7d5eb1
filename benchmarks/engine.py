"""The engine beside TFLM with CMSIS-NN, on an emulated Cortex-M4: code, SRAM, instructions, cycles.

    TFLM_SOURCE=<checkout> TFLM_LIBRARY=<libtensorflow-microlite.a> \
        python -m benchmarks.engine [--rows] [NETWORK ...]

Without these variables the engine is measured alone. Networks are the paper's, two textbook ones
and three draws of open spaces, with random weights; a path is a .tflite file. Both are compiled by
gcc at -O2. Code is what of the program is neither constants of the network nor the program around;
SRAM is the arena and the stack. ``--rows`` lets first operators run row by row wherever that takes
less. Cycles are modelled, see `testing.m4_cycles`. Outputs are compared with integer execution;
a line of JSON for each network goes to results/engine.jsonl.
"""

import argparse
import json
import os
import random
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from micronas.engine.generate import generate
from micronas.export.examples import random_inputs
from micronas.export.firmware.project import write_project
from micronas.graph.ir import DataType, Graph
from micronas.hardware.board import Board
from micronas.space.space import Space
from micronas.text import table
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.budgets import fitting
from testing.engine import build, examples, on_core, sections, wanted
from testing.graphs import quantize_randomly
from testing.m4_cycles import cost_of

_RESULTS = Path(__file__).with_name("results") / "engine.jsonl"
_INVOKE = "_ZN6tflite16MicroInterpreter6InvokeEv"


def _shipped(name: str, filters: DataType = "int8") -> Graph:
    return quantize_randomly(Space.load(name).graph(), 1, filters=filters)


def _drawn(seed: int) -> Graph:
    return fitting(Board.load("stm32f446re"), random.Random(seed)).graph


NETWORKS: Mapping[str, Callable[[], Graph]] = {
    "ds_cnn_s": lambda: _shipped("published/ds_cnn_s"),
    "ds_cnn_s, 4 bits": lambda: _shipped("published/ds_cnn_s", "int4"),
    "vww_2": lambda: _shipped("published/vww_2"),
    "kws_s": lambda: _shipped("published/kws_s"),
    "ad_s": lambda: _shipped("published/ad_s"),
    "resnet8": lambda: _shipped("textbook/resnet8"),
    "tc_resnet8": lambda: _shipped("textbook/tc_resnet8"),
    **{f"draw {seed}": lambda seed=seed: _drawn(seed) for seed in (1, 2, 3)},  # type: ignore[misc]
}


def main(names: list[str], *, rows: bool) -> None:
    found = []
    for name in names:
        graph = NETWORKS[name]() if name in NETWORKS else read(Path(name).read_bytes())
        row = {"network": Path(name).stem, "rows": rows, "engine": _engine(graph, rows)}
        if "TFLM_LIBRARY" in os.environ:
            row["tflm"] = _tflm(graph)
        found.append(row)
        with _RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    _print(found)


def _engine(graph: Graph, rows: bool) -> dict[str, int]:
    given = examples(graph, 2)
    most = 0 if rows else None
    files = generate(graph, "net", most=most)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program = build(graph, folder, most=most)
        ran = on_core(program, given, graph)
        differing = sum(a != b for a, b in zip(ran.outputs, wanted(graph, given), strict=True))
        cost = cost_of(program, "net_invoke", [folder / "examples"])
        text, constants = sections(folder / "net.o")
    return {
        "code": text,
        "flash": text + constants,
        "arena": files.arena,
        "arena_bound": files.bound,
        "sram": files.arena + files.state + ran.stack,
        "instructions": cost.instructions,
        "cycles": cost.cycles,
        "differing": differing,
    }


def _tflm(graph: Graph) -> dict[str, int]:
    model = to_flatbuffer(graph)
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "firmware"
        write_project(model, project, golden_input=random_inputs(graph, 1, seed=0))
        command = [
            *("make", "-C", f"{project}/qemu", f"TFLM_DIR={os.environ['TFLM_SOURCE']}"),
            *(f"TFLM_LIBRARY={os.environ['TFLM_LIBRARY']}", "check"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        (arena,) = re.findall(r"arena: \d+ of (\d+) bytes used", said)
        stack = re.findall(r"stack: (\d+) of", said)[-1]
        assert "PASS" in said, said
        built = project / "qemu" / "build"
        cost = cost_of(built / "main.elf", _INVOKE)
        around = sum(sum(sections(path)) for path in built.glob("*.o"))
        code = sum(sections(built / "main.elf")) - around
    return {
        "code": code,
        "flash": code + len(model),
        "sram": int(arena) + int(stack),
        "instructions": cost.instructions,
        "cycles": cost.cycles,
    }


def _print(found: list[dict[str, Any]]) -> None:
    keys = ("code", "sram", "instructions", "cycles", "flash")
    header = ["network", *keys, "differing bytes"]
    lines = []
    for row in found:
        engine, other = row["engine"], row.get("tflm")
        cells = [
            f"{engine[key]:,} / {other[key]:,} ({engine[key] / other[key]:.2f})"
            if other
            else f"{engine[key]:,}"
            for key in keys
        ]
        lines.append([row["network"], *cells, str(engine["differing"])])
    print(table(header, lines))
    both = [row for row in found if "tflm" in row]
    for key in keys if both else ():
        ratios = [row["engine"][key] / row["tflm"][key] for row in both]
        print(f"{key}: {mean(ratios):.2f} of TFLM's in the mean, {max(ratios):.2f} at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=[*NETWORKS])
    parser.add_argument("--rows", action="store_true")
    arguments = parser.parse_args()
    main(arguments.networks, rows=arguments.rows)
