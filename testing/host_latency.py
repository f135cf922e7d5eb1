"""Linear latency models of random networks, fitted to some and tried on others."""

import random
from collections.abc import Mapping, Sequence

from micronas.graph.ir import Graph
from micronas.hardware.features import INSTRUCTIONS
from micronas.hardware.forms import FIVE_TERMS, OPS, THREE_TERMS, TWO_TERMS
from micronas.hardware.latency import Terms, fit, mean_worst_percent
from micronas.space.space import Space
from testing.graphs import quantize_randomly

SPACES = ("kws", "ad", "vww")
UNSEEN = 20
FORMS: Mapping[str, Terms] = {
    "ops": OPS,
    "2 terms": TWO_TERMS,
    "3 terms": THREE_TERMS,
    "5 terms": FIVE_TERMS,
    "instructions": {INSTRUCTIONS: {INSTRUCTIONS: 1.0}},
}


def draw(count: int, seed: int) -> dict[str, Graph]:
    """Return random int8 networks of the spaces in turn, by name."""
    generator = random.Random(seed)
    spaces = [Space.load(name) for name in SPACES]
    graphs = {}
    for number in range(count):
        space = spaces[number % len(spaces)]
        shapes = space.architecture(space.random(generator)).graph()
        graphs[f"{space.name}-{number}"] = quantize_randomly(shapes, number)
    return graphs


def errors(
    counts: Sequence[Mapping[str, float]], times: Sequence[float], terms: Terms, *, fitted: int
) -> tuple[float, float]:
    """Fit the first networks; return mean and worst error on the others, in percent."""
    model = fit(counts[:fitted], times[:fitted], terms=terms).model
    return mean_worst_percent(
        [
            float(model.predict(row)) / latency - 1
            for row, latency in zip(counts[fitted:], times[fitted:], strict=True)
        ]
    )
