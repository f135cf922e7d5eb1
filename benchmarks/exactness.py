"""Are predictions equal to what TFLM does? Random networks of the three MicroNets spaces.

    python -m benchmarks.exactness [NETWORKS]
    python -m benchmarks.exactness ops [NETWORKS]

For each network: the costs the search expects with certain gates against the counts on the
exported file, the predicted arena against TFLM's, and the output bytes of integer execution
against TFLM's on random inputs. With `ops`: the same arenas and bytes for random networks that mix
every kind of operator, int4 weights among them. Needs the wheel `tflite-micro` (Linux, x86-64).
"""

import random
import sys
from dataclasses import dataclass

from micronas.export.verify import tflm_arena, verify
from micronas.graph.counts import count
from micronas.hardware.targets import HOST, plan
from micronas.nas.cost import expected
from micronas.nas.gates import Gates
from micronas.space.search_space import SearchSpace
from micronas.text import table
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from tests.graphs import quantize_randomly, random_inputs
from tests.networks import agreement

SPACES = ("kws", "vww", "ad")


@dataclass
class Exactness:
    """Disagreements over the networks of one space; all but `networks` and `bytes` should be 0."""

    networks: int = 0
    bytes: int = 0
    mismatches: int = 0
    wrong_macs: int = 0
    wrong_weights: int = 0
    wrong_heads: int = 0
    worst_total: int = 0
    """Largest difference of the predicted arena from TFLM's, bytes."""


def measure(name: str, networks: int, seed: int) -> Exactness:
    """Compare on this many random networks of a space, two random inputs each."""
    space, source, found = SearchSpace.load(name), random.Random(seed), Exactness()
    gates = Gates(space.decisions)
    for number in range(networks):
        choice = space.random(source)
        model = to_flatbuffer(quantize_randomly(space.architecture(choice).graph(), number))
        graph = read(model)
        counts, costs = count(graph), expected(space, gates.one_hot(choice)).features
        arena, predicted = tflm_arena(model), plan(graph, HOST)
        checked = verify(model, random_inputs(graph, 2, number))
        found.networks += 1
        found.bytes += checked.bytes_compared
        found.mismatches += checked.mismatches
        found.wrong_macs += float(costs["macs"]) != counts.macs
        found.wrong_weights += float(costs["weights"]) != counts.weights
        found.wrong_heads += predicted.head != arena.head
        found.worst_total = max(found.worst_total, abs(predicted.total - arena.total))
    return found


def main(networks: int) -> None:
    rows = []
    for name in SPACES:
        found = measure(name, networks, seed=1)
        rows.append([name, *(str(value) for value in vars(found).values())])
    header = ["space", "networks", "bytes", "bytes wrong", "MACs wrong", "weights wrong"]
    print(table([*header, "heads wrong", "worst total, B"], rows))


def all_operators(networks: int) -> None:
    found = agreement(range(networks))
    counted = (found.networks, len(found.kinds), found.bytes, found.mismatches)
    row = [str(value) for value in (*counted, found.wrong_heads, found.worst_total)]
    header = ["networks", "kinds", "bytes", "bytes wrong", "heads wrong", "worst total, B"]
    print(table(header, [row]))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    run = main
    if arguments[:1] == ["ops"]:
        run, arguments = all_operators, arguments[1:]
    run(int(arguments[0]) if arguments else 200)
