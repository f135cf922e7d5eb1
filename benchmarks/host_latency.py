"""Errors of linear latency models of this machine, fitted to few networks.

    python -m benchmarks.host_latency [SEEDS] [NETWORKS]

Draws random networks of the shipped spaces kws, ad and vww in turn, gives them random int8
weights, times them on each engine, fits the NETWORKS first ones (12) and predicts 20 others, once
for each of SEEDS (3) draws. Prints mean and worst error of the prediction in percent.
"""

import sys
from statistics import fmean
from typing import get_args

from micronas.calibration.host import Engine, measure_all
from micronas.hardware.targets import CMSIS_NN
from micronas.text import table
from micronas.tflite.writer import to_flatbuffer
from testing.host_latency import FORMS, UNSEEN, draw, errors


def main(seeds: int = 3, networks: int = 12) -> None:
    rows = []
    for seed in range(seeds):
        graphs = draw(networks + UNSEEN, seed)
        models = {name: to_flatbuffer(graph) for name, graph in graphs.items()}
        counts = [CMSIS_NN.features(graph) for graph in graphs.values()]
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


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
