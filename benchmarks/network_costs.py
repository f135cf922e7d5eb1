"""Time the costs of a network in a search, with the file's size counted or written.

    python -m benchmarks.network_costs [SPACE ...]

Random networks of each space, one after the other: costs as a search asks them, of which the size
of the file is counted; and the same file written. Medians, in parts of all costs of a network.
"""

import random
import sys
from statistics import median
from time import perf_counter

from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.member import Member
from micronas.space.space import Space
from micronas.text import table
from micronas.tflite.metadata import placeholder
from micronas.tflite.writer import flatbuffer_bytes, to_flatbuffer
from testing.graphs import quantize_randomly

NETWORKS = 200
SPACES = ("kws_small", "kws", "vww")


def main(names: list[str]) -> None:
    rows = [measure(Space.load(name)) for name in names or SPACES]
    print(table(["space", "all costs", "size counted", "size written", "networks"], rows))


def measure(space: Space) -> list[str]:
    source, blobs = random.Random(0), placeholder(space.classes)
    member = Member(space, Board.load("stm32f446re"), Budget())
    costs, counted, written = [], [], []
    for number in range(NETWORKS):
        choice = space.random(source)
        graph = space.resolve(choice)
        trained = quantize_randomly(graph, number)

        start = perf_counter()
        member.costs(choice)
        measured = perf_counter()
        size = flatbuffer_bytes(graph, metadata=blobs)
        known = perf_counter()
        file = to_flatbuffer(trained, metadata=blobs)
        end = perf_counter()

        assert size == len(file)
        costs.append(measured - start)
        counted.append(known - measured)
        written.append(end - known)
    all_costs = median(costs)
    shares = (f"{median(each) / all_costs:.2f}" for each in (costs, counted, written))
    return [space.name, *shares, str(NETWORKS)]


if __name__ == "__main__":
    main(sys.argv[1:])
