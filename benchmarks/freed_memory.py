"""Time and peak memory of training, with freed memory kept and returned.

    OMP_NUM_THREADS=1 python -m benchmarks.freed_memory [ROUNDS] [SPACE ...]

Trains the largest network of each SPACE (kws_small, vww_small, kws, vww) for some steps of batch
64, in processes of their own, ROUNDS (3) times as the C library is and with `keep_freed_memory`,
in alternation. Prints medians: CPU time of a step, page faults of a step, memory at the peak.
"""

import json
import resource
import subprocess
import sys
import time
from statistics import median

from benchmarks.search_step import training_step
from micronas.space.space import Space
from micronas.text import table
from micronas.train.memory import keep_freed_memory

STEPS = 8
SPACES = ("kws_small", "vww_small", "kws", "vww")
MODES = ("returned", "kept")
Figures = tuple[float, int, float]
"""Milliseconds, page faults, MiB."""


def main(rounds: str = "3", *names: str) -> None:
    rows = []
    for name in names or SPACES:
        runs: dict[str, list[Figures]] = {mode: [] for mode in MODES}
        for _ in range(int(rounds)):
            for mode in MODES:
                command = [sys.executable, "-m", "benchmarks.freed_memory", name, mode]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                runs[mode].append(json.loads(output))
        for mode in MODES:
            milliseconds, faults, peak = (median(each) for each in zip(*runs[mode], strict=True))
            rows.append([name, mode, f"{milliseconds:.0f}", f"{faults:.0f}", f"{peak:.0f}"])
    print(table(["space", "freed memory", "ms a step", "page faults a step", "peak MiB"], rows))


def train(name: str, mode: str) -> Figures:
    if mode == "kept":
        keep_freed_memory()
    space = Space.load(name)
    step = training_step(space, space.architecture(space.largest()).build())
    for _ in range(2):  # allocators and kernels settle
        step()
    faults, began = _usage().ru_minflt, time.process_time()
    for _ in range(STEPS):
        step()
    milliseconds = 1000 * (time.process_time() - began) / STEPS
    return milliseconds, (_usage().ru_minflt - faults) // STEPS, _usage().ru_maxrss / 1024


def _usage() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_SELF)


if __name__ == "__main__":
    if sys.argv[2:3] and sys.argv[2] in MODES:
        print(json.dumps(train(*sys.argv[1:3])))
    else:
        main(*sys.argv[1:])
