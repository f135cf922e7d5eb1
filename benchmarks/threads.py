"""Time a training on one thread and on two, in alternation, by the size of the network.

    python -m benchmarks.threads [--repeats 3]

Random examples; four batches of 64 a training. Printed is the ratio of the medians.
"""

import argparse
import time
from statistics import median

import torch

from micronas.data import TensorSplit
from micronas.graph.counts import count
from micronas.space.space import Space
from micronas.text import table
from micronas.train.loop import fit, generator_for
from micronas.train.recipe import Recipe

NETWORKS = (
    *("textbook/matchboxnet", "published/vww_2", "published/kws_s", "textbook/resnet8"),
    *("published/kws_m", "published/kws_l"),
)
EXAMPLES, CLASSES = 256, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats, generator, rows = parser.parse_args().repeats, generator_for(0, "threads"), []
    for name in NETWORKS:
        space = Space.load(name).model_copy(update={"classes": CLASSES})
        network = space.build(generator_for(0, "weights"))
        height, width, channels = space.input
        inputs = torch.randn((EXAMPLES, channels, height, width), generator=generator)
        split = TensorSplit(inputs, torch.arange(EXAMPLES) % CLASSES)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(repeats):
            for threads, taken in seconds.items():
                start = time.perf_counter()
                fit(network, split, Recipe(epochs=1, batch_size=64, threads=threads), seed=0)
                taken.append(time.perf_counter() - start)
        macs = count(space.graph()).macs / 1e6
        ratio = median(seconds[2]) / median(seconds[1])
        rows.append([name, f"{macs:.1f}", f"{ratio:.2f}"])
    print(table(["network", "MMACs", "time on two threads, of one's"], rows))


if __name__ == "__main__":
    main()
