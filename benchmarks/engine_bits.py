"""Generated C beside integer execution on many random networks of all operators.

    python -m benchmarks.engine_bits NETWORKS [--first SEED] [--core]

On the host each network is compiled four ways in turn (gcc and clang at -O0 and -O3, with address
and undefined-behaviour sanitizers), whole maps and row by row, with several inputs and outputs;
with ``--core`` for an emulated Cortex-M4, and in Thumb instructions of a Cortex-M0+.
"""

import argparse
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from micronas.errors import MicronasError
from micronas.export.firmware.board import CORTEX_M4, Emulated
from micronas.graph.ir import Graph
from testing.engine import SANITIZED, THUMB_1, build, examples, on_core, on_host, wanted
from testing.graphs import random_int8_graph
from testing.interfaces import opened
from testing.networks import random_network

_WAYS = [(compiler, level) for compiler in ("gcc", "clang") for level in ("-O0", "-O3")]
_FAMILIES = ("ds_cnn", "mobilenet", "maps", "series")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--core", action="store_true")
    arguments = parser.parse_args()
    found: Counter[str] = Counter()
    kinds: set[str] = set()
    for seed in range(arguments.first, arguments.first + arguments.networks):
        graph = _network(seed)
        kinds |= {op.kind for op in graph.ops}
        try:
            with tempfile.TemporaryDirectory() as folder:
                _compare(graph, seed, Path(folder), found, core=arguments.core)
        except MicronasError as error:
            found["refused"] += 1
            print(seed, "refused:", error)
        except subprocess.CalledProcessError as error:
            found["failed"] += 1
            print(seed, "failed:", (error.stderr or b"")[:500])
    print(", ".join(f"{key}: {count:,}" for key, count in found.items()))
    print(f"{len(kinds)} kinds of operators")


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
    found["networks"] += 1
    found["bytes"] += len(expected)
    found["differing bytes"] += differing
    if differing:
        print(seed, "differs in", differing, "of", len(expected))


if __name__ == "__main__":
    main()
