"""Keywords' augmentation: versions made once (`data.versions`) beside new ones in each epoch, and
masks (SpecAugment), and these with other channels (`data.channel`).

    python -m benchmarks.augmentation RESULTS.jsonl --words WORDS [--seeds 0 1 2]
    python -m benchmarks.augmentation RESULTS.jsonl --table

WORDS is the folder of ten recorded words, see `benchmarks.listening`. Textbook networks, as
published, are trained by the default recipe and with int8 rounding; other speakers' words, which
choose nothing, judge them. CPU is that of versions and both trainings; rows with channels are of a
faster machine. RESULTS gets a line for each training; what is there is not done again.
"""

import argparse
from itertools import product
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from benchmarks.clock import cpu_seconds
from benchmarks.rows import Record, append, read
from micronas.space.space import Space
from micronas.tasks.keywords.load import load
from micronas.tasks.keywords.settings import KeywordSettings
from micronas.text import table
from micronas.train.finetune import finetune
from micronas.train.loop import fit, generator_for
from micronas.train.network import Network
from micronas.train.recipe import FINETUNE, Recipe
from testing.scores import scores

NETWORKS = ("tc_resnet8", "matchboxnet")
WAYS = (
    *product(((0, 30), (16, 30), (16, 60)), ((0, 0, 0.0), (10, 2, 0.0))),
    ((16, 60), (10, 2, 0.3)),
)
"""Versions and epochs; most hidden frames and coefficients, and the spread of channels."""


def trained(words: Path, key: Record) -> Record:
    with TemporaryDirectory() as folder:
        started = cpu_seconds()
        space = Space.load(f"textbook/{key['network']}")
        data = load(
            KeywordSettings(
                path=words,
                versions=key["versions"],
                time_mask=key["masks"][0],
                frequency_mask=key["masks"][1],
                channel=key["channel"],
                seed=key["seed"],
                cache=Path(folder),
            )
        ).seen_as(space.input_shape)
        built = Network(space.graph(), generator=generator_for(key["seed"], "initial weights"))
        recipe = Recipe(epochs=key["epochs"], batch_size=64)
        split = data.final_train
        fit(built, split, recipe, seed=key["seed"])
        quantized = finetune(built, split, FINETUNE, seed=key["seed"])
        cpu = cpu_seconds() - started
        judged = scores(built, quantized.graph(), data)
    accuracies = {kind: judged[f"{kind}_accuracy"] for kind in ("float", "int8")}
    return {**key, **accuracies, "cpu": round(cpu)}


def keys(seeds: list[int]) -> list[Record]:
    return [
        {
            **{"network": network, "versions": versions, "epochs": epochs},
            **{"masks": [*masks], "channel": channel, "seed": seed},
        }
        for seed, network, ((versions, epochs), (*masks, channel)) in product(seeds, NETWORKS, WAYS)
    ]


def summary(records: list[Record]) -> str:
    """A row for each network and way: accuracy by seed, and seconds of CPU."""
    rows = []
    for key in keys([0]):
        del key["seed"]
        found = [each for each in records if key.items() <= each.items()]
        found.sort(key=lambda each: each["seed"])
        if found:
            int8 = [100 * each["int8"] for each in found]
            rows.append(
                [
                    *(key["network"], str(key["versions"] or "each epoch"), str(key["epochs"])),
                    *(" ".join(map(str, key["masks"])), str(key["channel"] or "")),
                    *(" ".join(f"{each:.1f}" for each in int8), f"{fmean(int8):.1f}"),
                    f"{fmean(each['cpu'] for each in found):.0f}",
                ]
            )
    header = ["network", "versions", "epochs", "masks", "channel", "int8 % by seed", "mean"]
    return table([*header, "CPU s"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--words", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        for key in keys(given.seeds):
            if not any(key.items() <= each.items() for each in read(given.results)):
                append(given.results, trained(given.words, key))
    print(summary(read(given.results)))


if __name__ == "__main__":
    main()
