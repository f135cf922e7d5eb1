"""Predictions against what TFLM does, on random networks of shipped spaces."""

import random
from dataclasses import dataclass

from micronas.export.verify import verify_and_measure
from micronas.graph.counts import count
from micronas.hardware.targets import CMSIS_NN, HOST, plan
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates
from micronas.space.open_space import load_space
from micronas.space.space import Space
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly, random_inputs

SPACES = ("kws", "vww", "ad", "kws_open", "images_open", "ad_open", "series")


@dataclass
class Exactness:
    """Disagreements over some networks; all but `networks` and `bytes` should be 0."""

    networks: int = 0
    bytes: int = 0
    mismatches: int = 0
    wrong_macs: int = 0
    wrong_weights: int = 0
    wrong_heads: int = 0
    worst_total: int = 0
    """Largest difference of the predicted arena from TFLM's, bytes."""


def measure(name: str, networks: int, seed: int) -> Exactness:
    """Compare on this many random networks of a space, two random inputs each.

    Of a space of several families each network is of a member drawn at random.
    """
    loaded, source, found = load_space(name), random.Random(seed), Exactness()
    members = [loaded] if isinstance(loaded, Space) else list(loaded.members())
    for number in range(networks):
        space = source.choice(members)
        gates, choice = Gates(space.decisions), space.random(source)
        model = to_flatbuffer(quantize_randomly(space.architecture(choice).graph(), number))
        graph = read(model)
        counts = count(graph)
        costs = expected(space, gates.one_hot(choice), target=CMSIS_NN).features
        checked, arena = verify_and_measure(model, random_inputs(graph, 2, number))
        predicted = plan(graph, HOST)
        found.networks += 1
        found.bytes += checked.bytes_compared
        found.mismatches += checked.mismatches
        found.wrong_macs += float(costs["macs"]) != counts.macs
        found.wrong_weights += float(costs["weights"]) != counts.weights
        found.wrong_heads += predicted.head != arena.head
        found.worst_total = max(found.worst_total, abs(predicted.total - arena.total))
    return found
