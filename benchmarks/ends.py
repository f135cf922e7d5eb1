"""How a training ends: at a rate of zero, or with the mean of recent weights at half of the rate.

    python -m benchmarks.ends RESULTS.jsonl --features kws40.npz --images cifar10/train \
        [--settings kws-24 cifar-32] [--seeds 0 1]
    python -m benchmarks.ends RESULTS.jsonl --table

Data, budgets and networks, the textbook network that is best with hindsight, are those of
`benchmarks.answer`. Both ways take as many epochs, `EPOCHS`, and as many of warm-up: `zero` is a
recipe without `Recipe.mean`, `mean` one with it. Validation, which chooses nothing, judges. RESULTS
gets a line for each setting and seed; what is there is not done again.
"""

from pathlib import Path
from statistics import fmean

from benchmarks.answer import RECIPE, RIVAL, Answer
from benchmarks.open_spaces import BUDGETS, Record
from benchmarks.quality import command
from benchmarks.quality_tables import by_setting
from benchmarks.rows import append
from micronas.data import DataSet
from micronas.nas.candidate import Candidate
from micronas.nas.textbook import shipped
from micronas.text import table
from micronas.train.loop import evaluate, fit

EPOCHS = (30, 60)
WAYS = ("zero", "mean")


class Ends(Answer):
    """One setting."""

    def run(self, method: str, seeds: list[int]) -> None:
        (rival,) = self._widest(shipped([RIVAL[self.setting.partition("-")[0]]]))
        for seed in seeds:
            if any(each["seed"] == seed for each in self._records()):
                continue
            record: Record = {"setting": self.setting, "network": str(rival), "seed": seed}
            for epochs in EPOCHS:
                for way in WAYS:
                    record[f"{way} {epochs}"] = self._ended(rival, way, epochs, seed)
            append(self.results, {**record, "method": method})

    def _ended(self, candidate: Candidate, way: str, epochs: int, seed: int) -> float:
        data = self.data.seen_as(candidate.architecture.input_shape)
        recipe = RECIPE.model_copy(update={"epochs": epochs, "mean": way == "mean"})
        network = fit(self._built(candidate, seed), data.train, recipe, seed=seed)
        return evaluate(network, data.validation).accuracy


def summary(records: list[Record]) -> str:
    """A row for each setting and number of epochs: float accuracy by seed, of both ways."""
    rows = []
    for setting, methods in by_setting(records).items():
        (found,) = methods.values()
        for epochs in EPOCHS:
            ways = [
                [100 * found[seed][f"{way} {epochs}"] for seed in sorted(found)] for way in WAYS
            ]
            cells = [" ".join(f"{each:.1f}" for each in way) for way in ways]
            gain = fmean(ways[1]) - fmean(ways[0])
            network = next(iter(found.values()))["network"]
            rows.append([setting, network, str(epochs), *cells, f"{gain:+.1f}"])
    return table(["setting", "network", "epochs", *WAYS, "mean - zero"], rows)


def _run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    Ends(setting, data, results).run(method, seeds)


if __name__ == "__main__":
    command(__doc__, BUDGETS, ["ends"], ["ends"], show=summary, run=_run)
