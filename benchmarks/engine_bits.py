"""Generated C beside integer execution on many random networks of all operators.

    python -m benchmarks.engine_bits NETWORKS [--core]

On the host each network is compiled one of four ways in turn (gcc and clang at -O0 and -O3, with
address and undefined-behaviour sanitizers), whole maps and row by row, with several inputs and
outputs; with ``--core`` for an emulated Cortex-M4, and in Thumb instructions of a Cortex-M0+. A
line for every ten goes to results/engine_bits.jsonl, behind whose last seed the next run begins.
"""

import argparse
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.rows import append, read
from micronas.errors import MicronasError
from micronas.export.firmware.board import CORTEX_M4, Emulated
from micronas.graph.ir import Graph
from testing.engine import SANITIZED, THUMB_1, build, examples, on_core, on_host, wanted
from testing.graphs import random_int8_graph
from testing.interfaces import opened
from testing.networks import random_network

_WAYS = [(compiler, level) for compiler in ("gcc", "clang") for level in ("-O0", "-O3")]
_TOGETHER = 10
_RESULTS = Path(__file__).with_name("results") / "engine_bits.jsonl"
_FAMILIES = ("ds_cnn", "mobilenet", "maps", "series")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", type=int)
    parser.add_argument("--core", action="store_true")
    arguments = parser.parse_args()
    name, rows = "core" if arguments.core else "host", read(_RESULTS)
    first = max((row["first"] + row["networks"] for row in rows if row["on"] == name), default=0)
    for seed in range(first, first + arguments.networks, _TOGETHER):
        row = {"on": name, "first": seed, "networks": _TOGETHER, **_compared(seed, arguments.core)}
        append(_RESULTS, row)
    for name in ("host", "core"):
        total = {key: sum(row[key] for row in read(_RESULTS) if row["on"] == name) for key in _KEYS}
        kinds = {kind for row in read(_RESULTS) if row["on"] == name for kind in row["kinds"]}
        counts = ", ".join(f"{key}: {value:,}" for key, value in total.items())
        print(f"{name}: {counts}; {len(kinds)} kinds of operators")


_KEYS = ("networks", "refused", "failed", "bytes", "differing")


def _compared(first: int, core: bool) -> dict[str, Any]:
    """Return what some networks gave."""
    found: Counter[str] = Counter()
    kinds: set[str] = set()
    for seed in range(first, first + _TOGETHER):
        graph = _network(seed)
        kinds |= {op.kind for op in graph.ops}
        try:
            with tempfile.TemporaryDirectory() as folder:
                _compare(graph, seed, Path(folder), found, core=core)
        except MicronasError as error:
            found["refused"] += 1
            print(seed, "refused:", error)
        except subprocess.CalledProcessError as error:
            found["failed"] += 1
            print(seed, "failed:", (error.stderr or b"")[:500])
    return {**{key: found[key] for key in _KEYS[1:]}, "kinds": sorted(kinds)}


def _network(seed: int) -> Graph:
    if seed % 4 == 3:
        return random_int8_graph(seed, family=_FAMILIES[seed // 4 % len(_FAMILIES)])
    graph = random_network(seed)
    return opened(graph, seed) if seed % 4 == 2 else graph


def _compare(graph: Graph, seed: int, folder: Path, found: Counter[str], *, core: bool) -> None:
    given = examples(graph, 4)
    most = 0 if seed % 2 else None
    if core:
        board: Emulated = THUMB_1 if seed % 2 else CORTEX_M4
        ran = on_core(build(graph, folder, board, most=most), given, graph, board).outputs
    else:
        compiler, level = _WAYS[seed % len(_WAYS)]
        flags = (level, *SANITIZED)
        ran = on_host(
            graph, given, folder, compiler=compiler, flags=flags, in_arena=seed % 3 == 0, most=most
        ).outputs
    expected = wanted(graph, given)
    differing = sum(a != b for a, b in zip(ran, expected, strict=True))
    found["bytes"] += len(expected)
    found["differing"] += differing
    if differing:
        print(seed, "differs in", differing, "of", len(expected))


if __name__ == "__main__":
    main()
