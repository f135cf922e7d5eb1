"""Time a sweep against separate searches, and one search on one process and two.

    python -m benchmarks.sweep CORPUS [REPEATS]

CORPUS is a folder of words. One search of kws_small (320 steps after a warm-up of at most 400, the
settings of examples/kws.yaml) is timed by phase, on one thread: the warm-up's share is what every
further point of a sweep does not do. Then its rounds are run by one process and by two under
torchrun, of one thread each, in alternation (REPEATS times, 3), and the ratio of their times is
printed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import torch

from micronas.nas.distributed import joined
from micronas.runs.run import run_search
from micronas.runs.settings import load_run
from micronas.text import table

EXAMPLE = Path(__file__).parents[1] / "examples/kws.yaml"
ROUNDS = ("search.steps=100", "search.warmup=100", "search.candidates=1", "search.finalists=0")
BRIEF = tuple(
    f"{key}={{epochs: 1, batch_size: 128}}" for key in ("search.trial", "train", "quantize")
)


def phases(corpus: str, *overrides: str) -> dict[str, float]:
    """Seconds of each phase of a search, from the end of its first round on."""
    spent: dict[str, float] = defaultdict(float)
    last: float | None = None

    def progress(phase: str, *_: object) -> None:
        nonlocal last
        now = time.perf_counter()
        if last is not None:
            spent[phase] += now - last
        last = now

    torch.set_num_threads(1)
    settings = load_run(EXAMPLE, [f"data.path={corpus}", *overrides])
    with tempfile.TemporaryDirectory() as folder:
        run_search(settings, Path(folder) / str(os.getpid()), progress=progress)
    return dict(spent)


def rounds(corpus: str, processes: int) -> float:
    """Seconds of the supernet's rounds, by this many processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "benchmarks.sweep", corpus, "rounds"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(corpus: str, repeats: int = 3) -> None:
    spent = phases(corpus)
    total = sum(spent.values())
    rows = [[name, f"{100 * seconds / total:.0f} %"] for name, seconds in spent.items()]
    print(table(["phase", "share of a point"], rows))
    ratios = []
    for _ in range(repeats):
        one, two = rounds(corpus, 1), rounds(corpus, 2)
        ratios.append(one / two)
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"rounds by one process / by two: {median(ratios):.2f} (runs: {shown})")


if __name__ == "__main__":
    if sys.argv[2:] == ["rounds"]:
        with joined() as everyone:
            found = phases(sys.argv[1], *ROUNDS, *BRIEF)
            if everyone.first:
                print(json.dumps(found.get("warm-up", 0.0) + found["search"]))
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))
