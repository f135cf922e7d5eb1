"""Time a supernet step, a trial and a whole search on the CPU and on each accelerator that is here.

    python -m benchmarks.devices [--examples 4096] [--repeats 5]

Random examples in the shape of keywords; the spaces are kws_small (dnas) and kws_open (halving).
Devices take turns in each repetition, the CPU on one thread and with one process. Printed are
medians in seconds and the ratio to the CPU; where torch finds no accelerator, that it was not run.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from micronas.data import DataSet, TensorSplit
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.search import search
from micronas.nas.settings import RankedSettings, SearchSettings
from micronas.nas.strategies.weights import SharedWeights
from micronas.space.open_space import load_space
from micronas.space.space import Space
from micronas.text import table
from micronas.train.loop import fit, generator_for
from micronas.train.recipe import Device, Recipe
from micronas.views import Frames

BOARD = Board.load("stm32f446re")
BUDGET = Budget(sram="24 KB", latency="60 ms", counts="network")
STEPS, CLASSES = 40, 12
TRIAL = Recipe(epochs=1, batch_size=64)


def data_of(examples: int) -> DataSet:
    def split(count: int, seed: int) -> TensorSplit:
        generator = generator_for(seed, "devices")
        inputs = torch.randn(count, 1, 49, 10, generator=generator)
        return TensorSplit(inputs, torch.arange(count) % CLASSES)

    classes = tuple(map(str, range(CLASSES)))
    return DataSet(
        split(examples, 0), split(examples // 4, 1), None, classes, (49, 10, 1), view=Frames()
    )


def jobs(data: DataSet, device: Device) -> dict[str, Callable[[], object]]:
    where = torch.device(device)
    space = Space.load("kws_small").model_copy(update={"classes": CLASSES})
    weights = SharedWeights(space, RankedSettings(), 0)
    weights.supernet.to(where)
    network = space.architecture(space.uniform(0.3)).build(generator_for(0, "devices"))
    families = load_space("kws_open").model_copy(update={"classes": CLASSES})

    def steps() -> None:
        generator = generator_for(0, "steps")
        for _ in range(STEPS):
            index = torch.randperm(len(data.train.labels), generator=generator)[:64]
            weights.train(data.train, index, weights.random(generator), generator)
        weights.settle()

    def whole() -> None:
        search(
            families,
            data,
            board=BOARD,
            budget=BUDGET,
            settings=SearchSettings(draws=4, trial=TRIAL),
            workers=1,
            device=device,
        )

    return {
        f"{STEPS} supernet steps": steps,
        "a trial of one epoch": lambda: fit(network, data.train, TRIAL, seed=0, device=where),
        "a search of an open space": whole,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    here: list[Device] = ["cpu"]
    here += ["cuda"] if torch.cuda.is_available() else []
    here += ["mps"] if torch.backends.mps.is_available() else []
    data = data_of(arguments.examples)
    work = {device: jobs(data, device) for device in here}
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.repeats):
        for name in work["cpu"]:
            for device in here:
                start = time.perf_counter()
                work[device][name]()
                if device == "cuda":
                    torch.cuda.synchronize()
                seconds.setdefault((name, device), []).append(time.perf_counter() - start)
    rows = [
        [name, device, f"{median(each):.2f}", f"{median(each) / median(seconds[name, 'cpu']):.2f}"]
        for (name, device), each in seconds.items()
    ]
    print(table(["work", "device", "seconds", "ratio to the CPU"], rows))
    if len(here) == 1:
        print("accelerators: not run, since torch finds none here")


if __name__ == "__main__":
    main()
