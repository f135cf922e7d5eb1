"""Time export: our writer against TensorFlow's converter on the same networks.

    python -m benchmarks.export_time [ROUNDS]

Both start from the same int8 graph in memory. In one process the two alternate after a warm-up of
each; "fresh" is a process of its own for each export, from its start to its end: imports, reading
the pickled graph, export. Medians. Needs tensorflow (2.21 was used).
"""

import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from micronas.tflite.writer import to_flatbuffer
from testing.export_networks import NETWORKS

_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def main(rounds: int = 5) -> None:
    from micronas.text import table
    from testing.tensorflow_export import convert, with_snapped_scales

    os.environ.update(_ENVIRONMENT)
    rows = []
    for name, build in NETWORKS.items():
        graph = with_snapped_scales(build())
        ours, theirs = to_flatbuffer(graph), convert(graph)
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        fresh: dict[str, list[float]] = {"ours": [], "theirs": []}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.pickle"
            path.write_bytes(pickle.dumps(graph))
            for _ in range(rounds):
                times["ours"].append(_seconds(partial(to_flatbuffer, graph)))
                times["theirs"].append(_seconds(partial(convert, graph)))
                for side, values in fresh.items():
                    values.append(_seconds(partial(_fresh, side, path)))
        for label, found in (("in process", times), ("fresh", fresh)):
            mine, other = (statistics.median(found[side]) for side in ("ours", "theirs"))
            ratios = sorted(b / a for a, b in zip(found["ours"], found["theirs"], strict=True))
            rows.append(
                [
                    name,
                    label,
                    f"{1000 * mine:.1f} ms",
                    f"{1000 * other:.1f} ms",
                    f"{statistics.median(ratios):.1f}",
                    f"{ratios[0]:.1f}",
                    f"{len(ours)} B",
                    f"{len(theirs)} B",
                ]
            )
    header = ["network", "measured", "micronas", "TensorFlow", "ratio", "worst ratio"]
    print(table([*header, "our file", "their file"], rows))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _fresh(side: str, path: Path) -> None:
    arguments = [sys.executable, "-m", "benchmarks.export_time", side, str(path)]
    subprocess.run(
        arguments, check=True, env={**os.environ, **_ENVIRONMENT}, stderr=subprocess.DEVNULL
    )


def export(side: str, path: str) -> None:
    """Export once, importing what this side needs and no more."""
    graph = pickle.loads(Path(path).read_bytes())
    if side == "ours":
        model = to_flatbuffer(graph)
    else:
        from testing.tensorflow_export import convert

        model = convert(graph)
    Path(path).with_suffix(".tflite").write_bytes(model)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        export(*sys.argv[1:])
    else:
        main(*map(int, sys.argv[1:]))
