"""How far the estimate of a run is off: told before it starts, against a stopwatch.

    python -m benchmarks.estimate [--runs 5] [--busy PROCESSES]

A run is one of `series` on made gestures with a seed of its own. With --busy, as many other
processes compute all the while.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.clock import cpu_seconds
from micronas.runs.estimate import estimate_search
from micronas.runs.run import run_search
from micronas.runs.settings import load_run
from micronas.tasks.registry import load
from micronas.tasks.series.synth import synthesise

SETTINGS = (
    *("board=stm32f446re", "budget.latency=20 ms", "data.group=prefix", "search.draws=4"),
    *("search.trial={epochs: 8, batch_size: 32}", "train={epochs: 12, batch_size: 32}"),
    "quantize={epochs: 3, batch_size: 32}",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0)
    given = parser.parse_args()
    with others(given.busy):
        measure(given.runs)


@contextmanager
def others(count: int) -> Iterator[None]:
    """Keep as many processes busy, each as a training is: with a convolution at a time."""
    context = get_context("spawn")
    processes = [context.Process(target=compute, daemon=True) for _ in range(count)]
    for each in processes:
        each.start()
    try:
        yield
    finally:
        for each in processes:
            each.kill()


def compute() -> None:
    torch.set_num_threads(1)
    convolution, inputs = torch.nn.Conv2d(32, 32, 3), torch.zeros(32, 32, 24, 24)
    while True:
        convolution(inputs).sum().backward()


def measure(runs: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        synthesise(folder / "gestures")
        for run in range(runs):
            settings = load_run(
                "series", [*SETTINGS, f"data.path={folder / 'gestures'}", f"seed={run}"]
            )
            data = load(settings.data)
            space = settings.load_space().model_copy(update={"classes": len(data.classes)})
            start = time.perf_counter()
            estimate = estimate_search(space, data, settings)
            told, begun = time.perf_counter() - start, cpu_seconds()
            start = time.perf_counter()
            times: dict[str, list[float]] = {}

            def progress(phase: str, *_: object, times: dict[str, list[float]] = times) -> None:
                times.setdefault(phase, []).append(time.perf_counter())

            run_search(settings, folder / str(run), progress=progress, data=data)
            took, used = time.perf_counter() - start, cpu_seconds() - begun
            phases = ", ".join(
                f"{phase} {estimate.phases[phase]:.0f} / {seen[-1] - seen[0]:.0f} s"
                for phase, seen in times.items()
            )
            print(
                f"run {run}: told after {told:.1f} s: {estimate.seconds:.0f} s; took {took:.0f} s "
                f"({used:.0f} s of CPU), {estimate.seconds / took - 1:+.0%}; {phases}",
                flush=True,
            )


if __name__ == "__main__":
    main()
