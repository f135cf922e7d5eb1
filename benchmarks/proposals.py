"""Ways to propose networks by one and the same shared weights: what does a gradient add to draws?

    python -m benchmarks.proposals RESULTS.jsonl --features kws40.npz --images cifar10/train \
        [--settings macs-1 kws-24] [--methods draws centre gates] [--seeds 0 1]
    python -m benchmarks.proposals RESULTS.jsonl --table

Settings, board and recipes are those of `benchmarks.quality`. For each setting and seed a supernet
is trained on 200 networks of the prior within the budget, which is the control. Every way proposes
networks within the budget, with the part of the data that is for gates; the same weights rank them
on the ranking part, and the best two of small and of large kernels have the final training. A
search would return one of these: the first by the supernet, the best after two epochs that begin
with its weights (which differences are of), or the best of trials of eight epochs that begin anew,
shown for the draws. RESULTS gets a line for each way; what is there is not done again.

draws    the control: the networks that weights were trained on
more     600 others of the prior, for about the CPU of the ways below
centre   a centre and a spread for each of the six numbers of a profile, moved by natural evolution
         strategies: ten networks on the same batch, weighted by rank
policy   for each of the six a softmax over five bins, moved by the score function: eight networks
         on the same batch, whose mean is the baseline; a step of at most 0.02 nats
fitted   losses of the draws, fitted by a quadratic form of the six numbers; its gradient is
         followed from the best of them, and what is found there is ranked and fitted, three times
gates    for each width, kernel and depth a centre and a spread that shrinks; at a sample within the
         budget the gradient of the task by all options moves the centres, along what costs nothing
steps    around the best of the draws: moves by one or two options that the gradient prefers,
         paired so that they cost nothing, if they lower the loss on the same batch
"""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.clock import cpu_seconds
from benchmarks.kws40 import append, read
from benchmarks.quality import QUANTIZE, RECIPE, TRIAL, command
from benchmarks.quality_tables import against
from benchmarks.settings import BUDGETS
from benchmarks.ways import WAYS, Judge
from micronas.data import DataSet, Subset
from micronas.objectives.classes import temperature_scaled_loss
from micronas.space.decisions import Choice
from micronas.text import table
from micronas.train.finetune import finetune
from micronas.train.loop import fit, generator_for, predict
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from testing.scores import accuracy

FINALISTS = 4
INHERITED = TRIAL.model_copy(update={"epochs": 2})
Record = dict[str, Any]


class Bench:
    """One setting and seed."""

    def __init__(self, setting: str, data: DataSet, results: Path, seed: int) -> None:
        self.setting, self.results, self.seed = setting, results, seed
        started = cpu_seconds()
        self.judge = Judge(setting, data, seed)
        self._supernet = cpu_seconds() - started
        self._finals: dict[Choice, float] = {}

    def run(self, way: str) -> None:
        """Propose, rank, try and train, and add the line."""
        started, judge = cpu_seconds(), self.judge
        ranked = judge.ranked(WAYS[way](judge))
        proposing = cpu_seconds() - started
        best = judge.finalists(ranked)[:FINALISTS]
        finals = [self._final(each) for each in best]
        picked = {"first": 0, "inherited": _least([self._inherited(each) for each in best])}
        if way == "draws":
            picked["trials"] = _least([self._tried(each) for each in best])
        record = {
            "setting": self.setting,
            "method": way,
            "seed": self.seed,
            "networks": len(ranked),
            "losses": [round(ranked[each], 4) for each in best],
            "network": str(judge.member.space.architecture(best[picked["inherited"]])),
            "finals": finals,
            "picked": picked,
            "int8": finals[picked["inherited"]],
            "search_seconds": round(self._supernet + proposing),
        }
        append(self.results, record)

    def _inherited(self, choice: Choice) -> float:
        """Loss on the ranking part after a short training that begins with shared weights."""
        network = self._untrained(choice)
        self.judge.net.hand_down(network, choice)
        return self._trained_loss(network, INHERITED)

    def _tried(self, choice: Choice) -> float:
        """The same after a trial."""
        return self._trained_loss(self._untrained(choice), TRIAL)

    def _trained_loss(self, network: Network, recipe: Recipe) -> float:
        training, gating, ranking = self.judge.parts
        together = Subset(self.judge.data.train, torch.cat([training.index, gating.index]))
        fit(network, together, recipe, seed=self.seed)
        return temperature_scaled_loss(predict(network, ranking), ranking.labels)[0].item()

    def _untrained(self, choice: Choice) -> Network:
        graph = self.judge.member.space.architecture(choice).graph()
        return Network(graph, generator=generator_for(self.seed, "initial weights"))

    def _final(self, choice: Choice) -> float:
        data, name = self.judge.data, self.judge.member.space.canonical(choice)
        if name not in self._finals:
            network = self._untrained(choice)
            fit(network, data.train, RECIPE, seed=self.seed)
            quantized = finetune(network, data.train, QUANTIZE, seed=self.seed)
            self._finals[name] = accuracy(quantized.graph(), data.validation)[0]
        return self._finals[name]


def _least(losses: list[float]) -> int:
    return min(range(len(losses)), key=losses.__getitem__)


def summary(records: list[Record]) -> str:
    """A table a setting, the control first; and mean paired differences to it over all."""
    tables = []
    by: dict[str, dict[str, dict[int, Record]]] = {}
    for each in records:
        by.setdefault(each["setting"], {}).setdefault(each["method"], {})[each["seed"]] = each
    for setting in filter(by.__contains__, BUDGETS):
        rows = []
        for way in filter(by[setting].__contains__, WAYS):
            seeds = by[setting][way]
            rows.append(
                [
                    way,
                    f"{fmean(each['networks'] for each in seeds.values()):.0f}",
                    f"{fmean(each['losses'][0] for each in seeds.values()):.3f}",
                    f"{100 * fmean(fmean(each['finals']) for each in seeds.values()):.1f}",
                    _mean_picked(seeds, "first"),
                    _mean_picked(seeds, "trials"),
                    " ".join(f"{100 * seeds[seed]['int8']:.1f}" for seed in sorted(seeds)),
                    _mean_picked(seeds, "inherited"),
                    "" if way == "draws" else against(seeds, by[setting].get("draws", {})),
                    f"{fmean(each['search_seconds'] for each in seeds.values()):.0f}",
                ]
            )
        header = ["way", "networks", "least loss", "int8 % of four", "first", "by trials"]
        header += ["inherited, by seed", "mean", "against draws", "ranked after, CPU s"]
        tables.append(f"{setting}\n{table(header, rows)}")
    return "\n\n".join([*tables, _over_all(records)])


def _over_all(records: list[Record]) -> str:
    """Differences to the control of the same setting and seed, over all of them."""
    by_way: dict[str, dict[tuple[str, int], Record]] = {}
    for each in records:
        by_way.setdefault(each["method"], {})[each["setting"], each["seed"]] = each
    control = by_way["draws"]
    rows = []
    for way in filter(by_way.__contains__, list(WAYS)[1:]):
        pairs = [(each, control[place]) for place, each in by_way[way].items()]
        loss = fmean(own["losses"][0] - other["losses"][0] for own, other in pairs)
        four = [
            {place: _four(each) for place, each in found.items()}
            for found in (by_way[way], control)
        ]
        rows.append([way, f"{loss:+.3f}", against(*four), against(by_way[way], control)])
    header = ["against draws", "least loss", "int8 of four", "of the one picked"]
    return table(header, rows)


def _four(record: Record) -> Record:
    return {"int8": fmean(record["finals"])}


def _mean_picked(seeds: dict[int, Record], who: str) -> str:
    values = [
        each["finals"][each["picked"][who]] for each in seeds.values() if who in each["picked"]
    ]
    return f"{100 * fmean(values):.1f}" if values else ""


def _runner() -> Callable[[str, DataSet, Path, str, list[int]], None]:
    """Return what runs a way; all ways of a setting and seed share their supernet."""
    benches: dict[tuple[str, int], Bench] = {}

    def run(setting: str, data: DataSet, results: Path, way: str, seeds: list[int]) -> None:
        done = [(each["setting"], each["method"], each["seed"]) for each in read(results)]
        for seed in seeds:
            if (setting, way, seed) not in done:
                if (setting, seed) not in benches:
                    benches[setting, seed] = Bench(setting, data, results, seed)
                benches[setting, seed].run(way)

    return run


if __name__ == "__main__":
    command(__doc__, BUDGETS, list(WAYS), list(WAYS), show=summary, run=_runner())
