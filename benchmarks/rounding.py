"""How long, and with which learning rate, int8 rounding should train a trained network.

    python -m benchmarks.rounding RESULTS.jsonl --features kws40.npz --images cifar10/train \
        [--settings kws-24-64] [--methods tc_resnet8] [--seeds 0 1]
    python -m benchmarks.rounding RESULTS.jsonl --table

Data, budgets and the board are those of `benchmarks.open_spaces`; methods are its textbook
networks, at the widest that fit, and those with weights of 4 bits in their blocks. Each is trained
for 15 and for 60 epochs, and its float weights are rounded in every way: by calibration alone, and
by training with rounding, for so many epochs with such a highest learning rate. Validation, which
chose none of them, judges all. RESULTS gets a line for each float training.
"""

from collections import defaultdict
from pathlib import Path
from statistics import fmean

from benchmarks.answer import Answer
from benchmarks.open_spaces import BUDGETS, Record, of_four_bits
from benchmarks.quality import RECIPE, command
from benchmarks.rows import append
from micronas.data import DataSet
from micronas.nas.textbook import shipped
from micronas.runs.rounding import rounded_alone
from micronas.text import table
from micronas.train.finetune import finetune
from micronas.train.loop import evaluate, fit
from micronas.train.network import Network
from micronas.train.recipe import FINETUNE
from testing.scores import accuracy

EPOCHS = (15, 60)
WAYS = ((4, 1e-3), (2, 1e-3), (4, 5e-4), (4, 1e-4), (2, 1e-4), (1, 1e-4))
"""Epochs and highest learning rate."""
_FOUR = ", 4 bits"
METHODS = ("tc_resnet8", "matchboxnet", f"tc_resnet8{_FOUR}", "convolutions", "resnet8_stem2")


class Rounding(Answer):
    """One setting."""

    def run(self, method: str, seeds: list[int]) -> None:
        name, is_four, _ = method.partition(_FOUR)
        if name not in self.space.textbook:
            return
        networks = shipped([name])
        (found,) = self._widest(map(of_four_bits, networks) if is_four else networks)
        for seed in seeds:
            for epochs in EPOCHS:
                key = {"setting": self.setting, "method": method, "seed": seed, "epochs": epochs}
                if any(key.items() <= each.items() for each in self._records()):
                    continue
                network = self._built(found, seed)
                data = self.data.seen_as(found.architecture.input_shape)
                recipe = RECIPE.model_copy(update={"epochs": epochs})
                fit(network, data.train, recipe, seed=seed)
                append(
                    self.results, {**key, "network": str(found), **_rounded(network, data, seed)}
                )


def _rounded(network: Network, data: DataSet, seed: int) -> Record:
    """Return the accuracy of the float network, and of each way of rounding it."""
    graph = network.eval().graph()
    alone = rounded_alone(graph, data.train)
    found = {"float": evaluate(network, data.validation).accuracy}
    found["alone"] = accuracy(alone.graph(), data.validation)[0]
    for epochs, rate in WAYS:
        recipe = FINETUNE.model_copy(update={"epochs": epochs, "learning_rate": rate})
        quantized = finetune(graph, data.train, recipe, seed=seed)
        found[_way(epochs, rate)] = accuracy(quantized.graph(), data.validation)[0]
    return found


def _way(epochs: int, rate: float) -> str:
    return f"{epochs} x {rate:g}"


def summary(records: list[Record]) -> str:
    """A row for each network and number of float epochs: means over seeds, and over all."""
    ways = ("float", "alone", *(_way(*way) for way in WAYS))
    by_network = defaultdict(list)
    for each in records:
        row = each["setting"], each["network"], each["epochs"]
        by_network[row].append(each)
        by_network["all", "four bits" if _FOUR in each["method"] else "8 bits", ""].append(each)
    rows = [
        [
            *(setting, network, str(epochs), str(len(found))),
            *(f"{100 * fmean(each[way] for each in found):.2f}" for way in ways),
        ]
        for (setting, network, epochs), found in sorted(
            by_network.items(), key=lambda pair: (pair[0][0] == "all", *map(str, pair[0]))
        )
    ]
    return table(["setting", "network", "epochs", "trainings", *ways], rows)


def _run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    Rounding(setting, data, results).run(method, seeds)


if __name__ == "__main__":
    command(__doc__, BUDGETS, METHODS, list(METHODS), show=summary, run=_run)
