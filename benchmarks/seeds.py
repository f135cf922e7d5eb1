"""Train the network of a run again with other seeds.

    python -m benchmarks.seeds RUN [SEEDS]

Trains RUN's architecture under RUN's settings with seeds 0, 1, ... (3), in folders beside it that
are continued when the command is repeated, and prints accuracies (and AUC where there is one) of
each, their mean and standard deviation.
"""

from pathlib import Path
from statistics import fmean, stdev

from micronas.progress import Bars
from micronas.runs.run import run_training
from micronas.runs.settings import load_training
from micronas.space.space import Space
from micronas.tasks.registry import load
from micronas.text import table
from testing.usage import given

_SCORES = ("float_accuracy", "int8_accuracy", "float_auc", "int8_auc", "float_pauc", "pauc")


def main(run: Path, seeds: int = 3) -> None:
    architecture = Space.load(run / "architecture.yaml")
    data = load(load_training(run / "config.yaml").data)
    results = []
    with Bars() as bars:
        for seed in range(seeds):
            settings = load_training(run / "config.yaml", [f"seed={seed}"])
            folder = run.with_name(f"{run.name}_seed{seed}")
            results.append(run_training(architecture, settings, folder, progress=bars, data=data))
    names = [name for name in _SCORES if name in results[0].metrics]
    values = {name: [100 * each.metrics[name] for each in results] for name in names}
    rows = [
        [str(seed), *(f"{values[name][seed]:.1f} %" for name in names), str(mismatches)]
        for seed, mismatches in enumerate(each.metrics["tflm_mismatches"] for each in results)
    ]
    rows.append(["mean", *(f"{fmean(values[name]):.1f} %" for name in names), ""])
    if seeds > 1:
        rows.append(["sd", *(f"{stdev(values[name]):.1f}" for name in names), ""])
    print(f"{architecture}, {results[0].metrics['macs'] / 1e6:.2f} MMACs")
    print(table(["seed", *(name.replace("_", " ") for name in names), "mismatches"], rows))


if __name__ == "__main__":
    run, *count = given(__doc__, 1)
    main(Path(run), *map(int, count))
