"""Cost of a report: time and size of a page, and of what training records for it.

    python -m benchmarks.report RUN...      finished run folders; the times are medians of 9

The second part trains one network with its validation examples watched and not, in alternation.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from micronas.data import DataSet, TensorSplit
from micronas.report.write import write_report
from micronas.runs.history import watched
from micronas.space.space import Space
from micronas.train.loop import fit
from micronas.train.network import Network
from micronas.train.recipe import Recipe

_ROUNDS = 9


def main(runs: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        single = [[Path(run)] for run in runs]
        together = [list(map(Path, runs))] if len(runs) > 1 else []
        for paths in single + together:
            out = Path(folder) / "report.html"
            seconds = [timed(partial(write_report, paths, out)) for _ in range(_ROUNDS)]
            size = out.stat().st_size
            print(
                f"{' '.join(path.name for path in paths)}: {statistics.median(seconds):.3f} s, "
                f"{size / 1000:.1f} KB"
            )
    space = Space.load("kws_small")
    data = DataSet(parts(2000, 0), parts(4000, 1), None, tuple(map(str, range(12))), space.input)
    plain, seen = [], []
    for _ in range(_ROUNDS):
        plain.append(timed(partial(train, space, data, watch=False)))
        seen.append(timed(partial(train, space, data, watch=True)))
    ratio = statistics.median(b / a for a, b in zip(plain, seen, strict=True))
    print(f"training of 2,000 examples while 1,000 of 4,000 are watched: {ratio:.3f} of the time")


def parts(count: int, seed: int) -> TensorSplit:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 1, 49, 10, generator=generator)
    return TensorSplit(inputs, torch.randint(12, (count,), generator=generator))


def train(space: Space, data: DataSet, *, watch: bool) -> None:
    network = Network(space.architecture(space.uniform(0.5)).graph())
    shown = watched(data) if watch else None
    fit(network, data.train, Recipe(epochs=2, batch_size=64), seed=0, validation=shown)


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(sys.argv[1:])
