"""Each operator's price and arena against TFLM with CMSIS-NN on an emulated Cortex-M4.

    TFLM_SOURCE=<checkout> TFLM_LIBRARY=<libtensorflow-microlite.a> \
        python -m benchmarks.operator_prices [--seed 0] [--networks 20] [--only KIND ...] \
        [--any-scale --results FILE]
    python -m benchmarks.operator_prices [--seed 0] --table

Draws networks of one operator (`testing.priced_operators`), runs each 32 times on QEMU's
mps2-an386, an instruction being a nanosecond, and takes what TFLM's profiler sees of the operator.
The library must be built with BUILD_TYPE=release_with_logs, as that of the census was: assertions,
which TFLM's usual build keeps, multiply what plain C kernels take. Outputs are compared with
integer execution, and that with the TFLM wheel. A network that is in the results already, in
benchmarks/results/operator_prices.jsonl, is not run again.
"""

import argparse
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import append, read
from micronas.export.firmware.application import sources_of
from micronas.export.firmware.board import board_files
from micronas.export.firmware.tflm import build_values
from micronas.export.verify import verify
from micronas.graph import integer
from micronas.graph.ir import Array, Graph
from micronas.graph.operators import OPERATORS
from micronas.hardware.targets import CMSIS_NN, plan
from micronas.resources import filled
from micronas.text import table
from micronas.tflite.writer import to_flatbuffer
from testing.emulator import emulate
from testing.lone_operators import described
from testing.priced_operators import priced_operator
from testing.usage import given

_RESULTS = Path(__file__).parent / "results" / "operator_prices.jsonl"
_PROGRAM = Path(__file__).with_suffix(".cc")
_SHARED = ("resolver.h", "clock.h", "console.h", "console.cc", "qemu/tflm.mk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=int, default=20, help="of each kind")
    parser.add_argument("--only", nargs="+", metavar="KIND", choices=OPERATORS, default=OPERATORS)
    parser.add_argument("--results", type=Path, default=_RESULTS)
    parser.add_argument("--any-scale", action="store_true", help="values beyond what layers write")
    parser.add_argument("--table", action="store_true", help="print what was measured")
    arguments = parser.parse_args()
    if not arguments.table:
        given(__doc__, 0, "TFLM_SOURCE", "TFLM_LIBRARY")
        _measure(arguments)
    recorded = read(arguments.results)
    found = [row for row in recorded if row["seed"] == arguments.seed]
    if not found:
        seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in recorded}))
        parser.error(f"no row has seed {arguments.seed}; --seed takes one that has: {seeds}")
    print(_table([row for row in found if row["number"] < arguments.networks]))


def _measure(arguments: argparse.Namespace) -> None:
    results, seed = arguments.results, arguments.seed
    known = {(row["op"], row["number"]) for row in read(results) if row["seed"] == seed}
    with tempfile.TemporaryDirectory() as scratch:
        program = _built(Path(scratch))
        for kind in arguments.only:
            numbers = [each for each in range(arguments.networks) if (kind, each) not in known]
            graphs = [
                priced_operator(kind, seed, number, any_scale=arguments.any_scale)
                for number in numbers
            ]
            paths = [Path(scratch) / str(number) for number in numbers]
            for number, graph, path in zip(numbers, graphs, paths, strict=True):
                path.write_bytes(_with_example(graph, number))
            lines = emulate(program, paths) if paths else []
            for number, graph, line in zip(numbers, graphs, lines, strict=True):
                append(results, {"seed": seed, "number": number, **_compared(graph, line)})


def _built(folder: Path) -> Path:
    """Compile a program that runs operators of every kind, with the firmware's own Makefile."""
    registers = dict.fromkeys(row.register for row in OPERATORS.values())
    calls = [f"resolver.{name}() == kTfLiteOk" for name in registers]
    values = {
        **build_values(),
        "COUNT": str(len(calls)),
        "RESOLVE": " && ".join(calls),
        **sources_of(None, _PROGRAM.stem),
    }
    files = {name: filled(f"{Path(name).name}.in", values) for name in _SHARED}
    files |= board_files(values)
    for name, content in {**files, _PROGRAM.name: _PROGRAM.read_text(encoding="utf-8")}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    target = f"build/{_PROGRAM.stem}.elf"
    command = [
        *("make", "-C", f"{folder}/qemu", "BUILD=build", f"TFLM_DIR={os.environ['TFLM_SOURCE']}"),
        *(f"TFLM_LIBRARY={os.environ['TFLM_LIBRARY']}", target),
    ]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return folder / "qemu" / target


def _with_example(graph: Graph, seed: int) -> bytes:
    """Return what the program reads: a model, its inputs, and what they must become."""
    model = to_flatbuffer(graph)
    (op,) = graph.ops
    rng = np.random.default_rng(seed)
    codes = tuple(
        rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8) for name in graph.inputs
    )
    inputs: Iterable[Array] = codes
    outputs: Iterable[Array]
    if op.kind == "POSITIONS":
        outputs = [codes[0].astype(np.int32) + 128]
    elif op.kind == "TABLE":
        looked_up = graph.constant_of(op).data
        assert looked_up is not None
        inputs = [codes[0].astype(np.int32) + 128]
        outputs = [looked_up[inputs[0]]]
    else:
        checked = verify(model, codes)
        assert checked.mismatches == 0, described(graph)
        outputs = integer.run_outputs(graph, codes).values()
    values = b"".join(each.tobytes() for each in (*inputs, *outputs))
    return len(model).to_bytes(4, "little") + model + values


def _compared(graph: Graph, line: str) -> dict[str, Any]:
    counted, runs, head, tail, different = map(int, line.split())
    planned = plan(graph)
    return {
        **described(graph),
        "predicted": round(CMSIS_NN.features(graph)["instructions"], 1),
        "measured": counted / runs,
        "head_predicted": planned.head,
        "head": head,
        "total_predicted": planned.total,
        "tail": tail,
        "differing_bytes": different,
    }


def _table(found: list[dict[str, Any]]) -> str:
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        by_kind[row["op"]].append(row)
    rows = []
    for kind, of_kind in by_kind.items():
        errors = [100 * (row["predicted"] / row["measured"] - 1) for row in of_kind]
        measured = [row["measured"] for row in of_kind]
        rows.append(
            [
                kind,
                str(len(of_kind)),
                f"{min(measured):,.0f}",
                f"{max(measured):,.0f}",
                f"{np.abs(errors).mean():.2f} %",
                f"{max(errors, key=abs):+.1f} %",
                str(sum(row["head_predicted"] != row["head"] for row in of_kind)),
                str(sum(row["differing_bytes"] for row in of_kind)),
            ]
        )
    header = ["operator", "networks", "fewest", "most instructions", "mean error", "worst"]
    return table([*header, "wrong heads", "differing bytes"], rows)


if __name__ == "__main__":
    main()
