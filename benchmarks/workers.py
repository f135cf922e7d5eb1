"""Time the trials of a search one after another and side by side, in alternation.

    python -m benchmarks.workers FEATURES.npz [--counts 1 2] [--repeats 3] [--busy PROCESSES]

FEATURES are those of `benchmarks.kws40`. The default search of `kws_open` under 24 KB and 60 ms
runs on half of the clips, trials of three epochs; what it finds must be the same each time.
Printed are seconds of the clock, and the ratio of each count to one process. With --busy the last
count runs as well beside that many processes that compute all the while; its time is compared with
the fair share: what it took alone, times processes for each CPU.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from benchmarks.estimate import others
from benchmarks.kws40 import load
from benchmarks.settings import BOARD
from micronas.data import Subset
from micronas.hardware.costs import Budget
from micronas.nas.search import search
from micronas.nas.settings import SearchSettings
from micronas.space.open_space import load_space
from micronas.text import table
from micronas.train.recipe import Recipe
from micronas.train.side_by_side import processors

BUDGET = Budget(sram="24 KB", latency="60 ms", counts="network")
SETTINGS = SearchSettings(trial=Recipe(epochs=3, batch_size=64))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0)
    arguments = parser.parse_args()
    data = load(arguments.features)
    few = Subset(data.train, torch.arange(0, len(data.train.labels), 2))
    data = replace(data, train=few)
    space = load_space("kws_open").model_copy(update={"classes": len(data.classes)})
    seconds: dict[int, list[float]] = {count: [] for count in arguments.counts}
    busy: list[float] = []
    found = set()

    def timed(count: int) -> float:
        start = time.perf_counter()
        result = search(space, data, board=BOARD, budget=BUDGET, settings=SETTINGS, workers=count)
        took = time.perf_counter() - start
        found.add(str([(str(each), each.trial_loss) for each in result.candidates]))
        return took

    last = arguments.counts[-1]
    for _ in range(arguments.repeats):
        for count in arguments.counts:
            seconds[count].append(timed(count))
        if arguments.busy:
            with others(arguments.busy):
                busy.append(timed(last))
    assert len(found) == 1, "results differ"
    one = median(seconds[arguments.counts[0]])
    rows = [
        [str(count), f"{median(each):.1f}", f"{median(each) / one:.2f}"]
        for count, each in seconds.items()
    ]
    print(table(["processes", "seconds", "ratio"], rows))
    if busy:
        share = median(seconds[last]) * (last + arguments.busy) / processors()
        print(
            f"{last} beside {arguments.busy} others: {median(busy):.1f} s, "
            f"{median(busy) / share:.2f} times the fair share of {share:.1f} s"
        )


if __name__ == "__main__":
    main()
