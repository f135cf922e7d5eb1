"""Ways to propose networks by one and the same shared weights: what does a gradient add to draws?

    python -m benchmarks.proposals RESULTS.jsonl --features kws40.npz --images cifar10/train \
        [--settings macs-1 kws-24] [--methods draws centre gates] [--seeds 0 1]
    python -m benchmarks.proposals RESULTS.jsonl --table

Settings, board and recipes are those of `benchmarks.quality`. For each setting and seed a supernet
is trained on 200 networks of the prior within the budget, which is the control. Every way proposes
networks within the budget, with the part of the data that is for gates; the same weights rank them
on the ranking part, the best four have a trial, and the best of these the final training. RESULTS
gets a line for each way; what is there is not done again.

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

from benchmarks.clock import cpu_seconds
from benchmarks.kws40 import append, read
from benchmarks.quality import QUANTIZE, RECIPE, SEARCHES, against, command
from benchmarks.settings import BUDGETS
from benchmarks.ways import WAYS, Judge
from micronas.checkpoint import Checkpoint
from micronas.data import DataSet
from micronas.evaluation.scores import accuracy
from micronas.nas.search import judged_on
from micronas.nas.trials import Candidate, trials
from micronas.space.decisions import Choice
from micronas.text import table
from micronas.train.finetune import finetune
from micronas.train.loop import fit, generator_for
from micronas.train.network import Network

FINALISTS = 4
Record = dict[str, Any]


class Bench:
    """One setting and seed."""

    def __init__(self, setting: str, data: DataSet, results: Path, seed: int) -> None:
        self.setting, self.results, self.seed = setting, results, seed
        started = cpu_seconds()
        self.judge = Judge(setting, data, seed)
        self._supernet = cpu_seconds() - started
        self._trained: dict[Choice, Record] = {}

    def run(self, way: str) -> None:
        """Propose, rank, try and train, and add the line."""
        started, judge = cpu_seconds(), self.judge
        ranked = judge.ranked(WAYS[way](judge))
        proposing = cpu_seconds() - started
        best = list(ranked)[:FINALISTS]
        winner = self._tried(best)
        record = {
            "setting": self.setting,
            "method": way,
            "seed": self.seed,
            "networks": len(ranked),
            "losses": [round(ranked[each], 4) for each in best],
            "network": str(judge.problem.space.architecture(winner)),
            "search_seconds": round(self._supernet + proposing),
        }
        append(self.results, record | self._final(winner))

    def _tried(self, choices: list[Choice]) -> Choice:
        judge, space = self.judge, self.judge.problem.space
        training, gating, ranking = judge.parts
        found = trials(
            [
                Candidate(
                    "search", each, space.architecture(each), judge.problem.costs(each), space
                )
                for each in choices
            ],
            [judged_on(judge.data, [training, gating], ranking)],
            SEARCHES["control"].trial,
            seed=self.seed,
            checkpoint=Checkpoint(),
            progress=lambda done, total: None,
        )
        return found[0].choice

    def _final(self, choice: Choice) -> Record:
        judge = self.judge
        network_of = judge.problem.space.canonical(choice)
        if network_of not in self._trained:
            graph = judge.problem.space.architecture(choice).graph()
            network = Network(graph, generator=generator_for(self.seed, "initial weights"))
            fit(network, judge.data.train, RECIPE, seed=self.seed)
            quantized = finetune(network, judge.data.train, QUANTIZE, seed=self.seed)
            int8 = accuracy(quantized.graph(), judge.data.validation)[0]
            self._trained[network_of] = {"macs": judge.problem.costs(choice).macs, "int8": int8}
        return self._trained[network_of]


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
                    " ".join(f"{100 * seeds[seed]['int8']:.1f}" for seed in sorted(seeds)),
                    f"{100 * fmean(each['int8'] for each in seeds.values()):.1f}",
                    "" if way == "draws" else against(seeds, by[setting].get("draws", {})),
                    f"{fmean(each['search_seconds'] for each in seeds.values()):.0f}",
                ]
            )
        header = ["way", "networks", "least loss", "int8 % by seed", "mean", "against draws"]
        tables.append(f"{setting}\n{table([*header, 'before trials, CPU s'], rows)}")
    return "\n\n".join(tables)


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
