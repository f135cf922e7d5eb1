"""The input as a decision: what it gains at a small and at a larger budget.

    python -m benchmarks.input_choice RESULTS.jsonl --features kws40.npz --images cifar10/train
        [--settings kws-6 cifar-10] [--methods fixed chosen] [--seeds 0 1 2]
    python -m benchmarks.input_choice RESULTS.jsonl --table

Data, board, recipe and trials are those of `benchmarks.open_spaces`. RESULTS gets a line for each
finished network; what is there is not done again.

fixed    the default search of `kws_open`, whose networks see 49 frames of 20 ms, or of
         `images_open`, whose networks see 32x32 pixels in colours
chosen   the same where each family leaves open whether it sees all frames or every second one; all
         pixels, a quarter of them, or gray
"""

import re
from pathlib import Path
from statistics import fmean

from benchmarks.open_spaces import BUDGETS, Bench, Record
from benchmarks.quality import command
from benchmarks.quality_tables import against
from micronas.data import DataSet
from micronas.hardware.costs import Budget
from micronas.space.open_space import OpenSpace
from micronas.text import table

SETTINGS = {
    "kws-6": Budget(sram="6 KB", latency="8 ms", counts="network"),
    "kws-24": BUDGETS["kws-24"],
    "cifar-10": Budget(sram="10 KB", latency="7 ms", counts="network"),
    "cifar-12": Budget(sram="12 KB", latency="15 ms", counts="network"),
    "cifar-32": BUDGETS["cifar-32"],
}


def opened(space: OpenSpace) -> OpenSpace:
    """Let every family choose between its input and smaller ones."""

    def inputs(height: int, width: int, channels: int) -> list[list[int]]:
        whole = [height, width, channels]
        if space.kind == "kws":
            return [whole, [-(-height // 2), width, channels]]
        return [whole, [height // 2, width // 2, channels], [height, width, 1]]

    families = {
        name: family | {"input": {"any": inputs(*family.get("input", space.input))}}
        for name, family in space.families.items()
    }
    return OpenSpace.model_validate(space.model_dump(mode="json") | {"families": families})


def _seen(network: str) -> str:
    """The input in the text of a network, which a textbook network's does not have."""
    found = re.search(r" (\d+x\d+x\d+) ", network)
    return found.group(1) if found else network.split()[0]


def summary(records: list[Record]) -> str:
    rows = []
    for setting in SETTINGS:
        own = [each for each in records if each["setting"] == setting]
        fixed, chosen = (
            {each["seed"]: each for each in own if each["method"] == method}
            for method in ("fixed", "chosen")
        )
        for method, seeds in (("fixed", fixed), ("chosen", chosen)):
            if seeds:
                rows.append(
                    [
                        setting,
                        method,
                        " ".join(_seen(seeds[seed]["network"]) for seed in sorted(seeds)),
                        " ".join(f"{100 * seeds[seed]['int8']:.1f}" for seed in sorted(seeds)),
                        f"{100 * fmean(each['int8'] for each in seeds.values()):.1f}",
                        "" if method == "fixed" else against(seeds, fixed),
                    ]
                )
    return table(["setting", "input", "seen, by seed", "int8 % by seed", "mean", "gain"], rows)


def _run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    bench = Bench(setting, data, results, SETTINGS[setting])
    if method == "chosen":
        bench.space = opened(bench.space)
    bench.run(method, seeds)


if __name__ == "__main__":
    methods = ["fixed", "chosen"]
    command(__doc__, SETTINGS, methods, methods, show=summary, run=_run)
