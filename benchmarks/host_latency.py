"""How well does a linear latency model predict this machine, from how few networks?

    python -m benchmarks.host_latency [SEEDS] [NETWORKS]

Draws random networks of the shipped spaces kws, ad and vww in turn, gives them random int8
weights, times them on each engine, fits the NETWORKS first ones (12) and predicts 20 others, once
for each of SEEDS (3) draws. Prints mean and worst error of the prediction in percent.
"""

import random
import sys
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import get_args

from micronas.calibration.host import Engine, measure_all
from micronas.graph.ir import Graph
from micronas.hardware.features import INSTRUCTIONS, features
from micronas.hardware.forms import FIVE_TERMS, OPS, THREE_TERMS, TWO_TERMS
from micronas.hardware.latency import Terms, fit, mean_worst_percent
from micronas.space.space import Space
from micronas.text import table
from micronas.tflite.writer import to_flatbuffer
from tests.graphs import quantize_randomly

SPACES = ("kws", "ad", "vww")
UNSEEN = 20
FORMS: Mapping[str, Terms] = {
    "ops": OPS,
    "2 terms": TWO_TERMS,
    "3 terms": THREE_TERMS,
    "5 terms": FIVE_TERMS,
    "instructions": {INSTRUCTIONS: {INSTRUCTIONS: 1.0}},
}


def main(seeds: int = 3, networks: int = 12) -> None:
    rows = []
    for seed in range(seeds):
        graphs = draw(networks + UNSEEN, seed)
        models = {name: to_flatbuffer(graph) for name, graph in graphs.items()}
        counts = [features(graph) for graph in graphs.values()]
        for engine in get_args(Engine):
            timings = list(measure_all(models, engine=engine).values())
            times = [timing.median_ms for timing in timings]
            spread = fmean(timing.spread for timing in timings)
            for form, terms in FORMS.items():
                mean, worst = errors(counts, times, terms, fitted=networks)
                figures = [f"{mean:.1f} %", f"{worst:.1f} %", f"{100 * spread:.1f} %"]
                rows.append([str(seed), engine, form, *figures])
    print(f"{networks} networks fitted, {UNSEEN} predicted")
    print(table(["draw", "engine", "form", "mean error", "worst error", "timing spread"], rows))


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
    counts: Sequence[Mapping[str, float]],
    times: Sequence[float],
    terms: Terms,
    *,
    fitted: int,
) -> tuple[float, float]:
    """Fit the first networks; return mean and worst error on the others, in percent."""
    model = fit(counts[:fitted], times[:fitted], terms=terms).model
    return mean_worst_percent(
        [
            float(model.predict(row)) / latency - 1
            for row, latency in zip(counts[fitted:], times[fitted:], strict=True)
        ]
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
