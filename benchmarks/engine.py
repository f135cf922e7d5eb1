"""The engine beside TFLM with CMSIS-NN, on emulated cores: code, SRAM, instructions, cycles.

    TFLM_SOURCE=<checkout> TFLM_LIBRARY=<libtensorflow-microlite.a> TFLM_LIBRARY_M0PLUS=<another> \
        python -m benchmarks.engine [--rows] [--optimize -Os] [NETWORK ...]

Libraries are for a Cortex-M4 and, to count instructions alone, for a Cortex-M0+, where CMSIS-NN
takes its plain C; what TFLM takes is kept in results/engine.jsonl, and measured where it is not
known and a library is given. Networks are the paper's, two textbook ones and three draws of open
spaces, with random weights; a path is a .tflite file. Both are compiled by gcc at -O2, the engine
at another level by ``--optimize``. Code is what of the program is neither constants of the network
nor the program around; SRAM is the arena and the stack. ``--rows`` lets first operators run row by
row wherever that takes less. Cycles are modelled, see `testing.m4_cycles`; for each kernel the MACs
per cycle are printed beside what SMLAD allows.
Outputs are compared with integer execution.
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
from zlib import crc32

from micronas.engine.generate import generate
from micronas.export.examples import random_inputs
from micronas.export.firmware.board import CORTEX_M4, Emulated
from micronas.export.firmware.project import write_project
from micronas.files import write_atomically
from micronas.graph.counts import count
from micronas.graph.ir import DataType, Graph
from micronas.hardware.board import Board
from micronas.space.space import Space
from micronas.text import table
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.budgets import fitting
from testing.engine import THUMB_1, build, examples, on_core, sections, wanted
from testing.graphs import quantize_randomly
from testing.m4_cycles import Cost, cost_of, costs_by_function
from testing.usage import given

_RESULTS = Path(__file__).with_name("results") / "engine.jsonl"
_CORES: Mapping[str, tuple[Emulated, str, tuple[str, ...]]] = {
    "tflm": (CORTEX_M4, "TFLM_LIBRARY", ("code", "sram", "instructions", "cycles", "flash")),
    "tflm_m0plus": (THUMB_1, "TFLM_LIBRARY_M0PLUS", ("instructions",)),
}
"""Where TFLM is measured: with which library, and what is kept of it."""
_FUNCTIONS = {
    "tiles": (r"(three|one)_\d", ("widen", "column", "convolution", "pointwise")),
    "depthwise": (r"depthwise_\d", ("take_channel", "depthwise")),
}
"""Of each kernel the functions that multiply, and those that bring codes to them."""
_PEAK = 2.0
"""MACs of SMLAD, which takes a cycle."""
_TILE = 12 / (2 + 4 + 2 + 6)
"""MACs per cycle of 3 pixels and 2 channels: LDR, LDM of three words, two SXTB16, six SMLAD."""
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
    **{f"draw {seed}": lambda seed=seed: _drawn(seed) for seed in (1, 2, 3)},
}


def main(names: list[str], *, rows: bool, optimize: str = "-O2") -> None:
    lines = _RESULTS.read_text(encoding="utf-8").splitlines() if _RESULTS.is_file() else []
    known = {(row["network"], row["rows"], row["optimize"]): row for row in map(json.loads, lines)}
    found = []
    for name in names:
        graph = NETWORKS[name]() if name in NETWORKS else read(Path(name).read_bytes())
        stem = Path(name).stem
        model = crc32(to_flatbuffer(graph))
        kept: dict[str, Any] = {}
        for each in known.values():
            kept |= each if each["model"] == model else {}
        row = {"network": stem, "model": model, "rows": rows, "optimize": optimize}
        row["engine"] = _engine(graph, rows, optimize)
        for core, (board, variable, keys) in _CORES.items():
            if core in kept:
                row[core] = kept[core]
            elif variable in os.environ:
                took = _tflm(graph, board, os.environ[variable])
                row[core] = {key: took[key] for key in keys}
        known[stem, rows, optimize] = row
        found.append(row)
        print(json.dumps(row), flush=True)
        text = "".join(json.dumps(each) + "\n" for each in known.values())
        write_atomically(_RESULTS, text.encode())
    _print(found)
    _print_ceiling(found)


def _engine(graph: Graph, rows: bool, optimize: str) -> dict[str, Any]:
    given = examples(graph, 2)
    most = 0 if rows else None
    files = generate(graph, "net", most=most)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program = build(graph, folder, optimize=optimize, most=most)
        ran = on_core(program, given, graph)
        differing = sum(a != b for a, b in zip(ran.outputs, wanted(graph, given), strict=True))
        costs = costs_by_function(program, "net_invoke", [folder / "examples"])
        text, constants = sections(folder / "net.o")
        program = build(graph, folder, THUMB_1, optimize=optimize, most=most)
        small = on_core(program, given, graph, THUMB_1)
        differing += sum(a != b for a, b in zip(small.outputs, ran.outputs, strict=True))
    return {
        "code": text,
        "flash": text + constants,
        "arena": files.arena,
        "arena_bound": files.bound,
        "sram": files.arena + files.state + ran.stack,
        "instructions": sum(each.instructions for each in costs.values()),
        "cycles": sum(each.cycles for each in costs.values()),
        "m0plus_instructions": small.instructions,
        "kernels": _kernels(graph, costs),
        "differing": differing,
    }


def _kernels(graph: Graph, costs: Mapping[str, Cost]) -> dict[str, dict[str, int]]:
    """Return MACs of kernels that multiply, their cycles, and those of their inner functions."""
    counts = count(graph)
    macs = {"tiles": counts.conv_macs + counts.fc_macs, "depthwise": counts.depthwise_macs}
    found = {}
    for kernel, (inner, around) in _FUNCTIONS.items():
        cycles = {name: each.cycles for name, each in costs.items() if re.match(inner, name)}
        others = sum(costs[name].cycles for name in around if name in costs)
        total = sum(cycles.values())
        found[kernel] = {"macs": macs[kernel], "cycles": total + others, "inner": total}
    return found


def _tflm(graph: Graph, board: Emulated, library: str) -> dict[str, int]:
    model = to_flatbuffer(graph)
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "firmware"
        write_project(model, project, golden_input=random_inputs(graph, 1, seed=0), board=board)
        command = [
            *("make", "-C", f"{project}/qemu", f"TFLM_DIR={os.environ['TFLM_SOURCE']}"),
            *(f"TFLM_LIBRARY={library}", "check"),
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
    header = ["network", *keys, "instructions, Cortex-M0+", "differing bytes"]
    lines: list[list[str]] = []
    ratios: dict[str, list[float]] = {}
    for row in found:
        engine, cells = row["engine"], []
        pairs = {key: (engine[key], row.get("tflm", {}).get(key)) for key in keys}
        theirs = row.get("tflm_m0plus", {}).get("instructions")
        pairs["instructions, Cortex-M0+"] = engine["m0plus_instructions"], theirs
        for key, (ours, other) in pairs.items():
            if other is None:
                cells.append(f"{ours:,}")
            else:
                cells.append(f"{ours:,} / {other:,} ({ours / other:.2f})")
                ratios.setdefault(key, []).append(ours / other)
        lines.append([row["network"], *cells, str(engine["differing"])])
    print(table(header, lines))
    for key, each in ratios.items():
        print(f"{key}: {mean(each):.2f} of TFLM's in the mean, {max(each):.2f} at most")


def _print_ceiling(found: list[dict[str, Any]]) -> None:
    """Print MACs per modelled cycle of each kernel."""
    print(f"SMLAD alone: {_PEAK:.2f} MACs per cycle; with the loads of a tile: {_TILE:.2f}")
    lines = []
    for row in found:
        cells = []
        for kernel in row["engine"]["kernels"].values():
            for cycles in (kernel["inner"], kernel["cycles"]):
                cells.append(f"{kernel['macs'] / cycles:.2f}" if cycles else "-")
        lines.append([row["network"], *cells])
    parts = [f"{kernel}, {part}" for kernel in _FUNCTIONS for part in ("products", "whole")]
    print(table(["MACs per cycle", *parts], lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=[*NETWORKS])
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--optimize", default="-O2")
    arguments = parser.parse_args()
    if any(variable in os.environ for _, variable, _ in _CORES.values()):
        given(__doc__, 0, "TFLM_SOURCE")
    main(arguments.networks, rows=arguments.rows, optimize=arguments.optimize)
