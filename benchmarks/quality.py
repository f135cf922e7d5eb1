"""The default search beside uniform networks and other strategies, under budgets that bind.

    python -m benchmarks.quality RESULTS.jsonl --features kws40.npz --images cifar10/train \
        --settings kws-24 cifar-32 --methods default uniform [--seeds 0 1 2 3 4]
    python -m benchmarks.quality RESULTS.jsonl --table

FEATURES are those of `benchmarks.kws40`; IMAGES is a folder of 32x32 pictures, one folder a class,
of which the first half of each class by name is trained on and the other judged on. All networks of
a setting come from one space (`benchmarks.settings`), get one recipe and are priced on an
STM32F446RE. RESULTS gets a line for each finished network; what is there is not done again, so that
the command can be killed and repeated, and several may write to one file.

Methods, each run with every seed, which is that of its search and of its final training:

default    `micronas.search`, as it comes
halving, ranked, evolution, dnas
           the same with this strategy
space      ranked by weights that are trained on networks of any size (`search.supernet=space`)
depths     in the results only: ranked while its finalists were of different depths, too
blind      in the results only: the default without the limit on SRAM, its network narrowed to fit
patient    the default with trials as long as the final training, and half as many draws
random     networks of independent widths, moved into the budget, each with a whole trial; of them
           `RANDOM`, and the best by loss on the ranking part
uniform    the widest network of every depth: all with the first seed, the best three with the
           second, the best two with the others; the best of them is known with hindsight only
"""

import argparse
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean

import torch

from benchmarks.clock import cpu_seconds
from benchmarks.kws40 import load
from benchmarks.quality_tables import SEEDS, Record, summary
from benchmarks.rows import append, read
from benchmarks.settings import (
    BOARD,
    BUDGETS,
    GRAY,
    LADDER,
    independent,
    machines,
    people,
    pictures,
    space_of,
    voices,
)
from micronas.checkpoint import Checkpoint
from micronas.data import DataSet
from micronas.hardware.costs import measure
from micronas.nas.member import Member
from micronas.nas.problem import Problem
from micronas.nas.search import search
from micronas.nas.settings import (
    DnasSettings,
    HalvingSettings,
    RankedSettings,
    SearchSettings,
    StrategySettings,
)
from micronas.nas.strategies.base import Context, Training
from micronas.nas.trials import Trials
from micronas.space.space import Space
from micronas.train.finetune import finetune
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from testing.scores import accuracy

RECIPE = Recipe(epochs=15, mean=False)
"""Final training of most rows of the results, made before a training ended with mean weights."""
QUANTIZE = Recipe(epochs=2, learning_rate=1e-3, warmup=0.1, mean=False)
TRIAL = Recipe(epochs=8, batch_size=64, warmup=0.05)
DRAWS = 16
"""Networks that halving drew by default, when most rows of the results were made."""
SEARCHES: dict[str, StrategySettings] = {
    "default": SearchSettings(draws=DRAWS, trial=TRIAL),
    "halving": HalvingSettings(draws=DRAWS, trial=TRIAL),
    "ranked": RankedSettings(trial=TRIAL),
    "dnas": DnasSettings(trial=TRIAL),
    "space": RankedSettings(supernet="space", trial=TRIAL),
    "patient": SearchSettings(draws=8, trial=TRIAL.model_copy(update={"epochs": RECIPE.epochs})),
}
METHODS = (*SEARCHES, "random", "uniform")
RANDOM = 8
"""Networks of the random search: 64 epochs of trials, where the default's trials take 78."""
RACE = (9, 3, 2, 2, 2)
"""Depths of uniform networks that are trained with each seed."""

FOLDERS = ("images", "machines", "voices", "people")


class Bench:
    """One setting: its data, space and budget."""

    shared: Checkpoint | None = None
    """Where searches of several budgets share what they have in common."""

    def __init__(self, setting: str, data: DataSet, results: Path) -> None:
        self.setting, self.data, self.results = setting, data, results
        self.space = space_of(setting, len(data.classes))
        self.budget = (BUDGETS | LADDER)[setting]
        self.member = Member(self.space, BOARD, self.budget)
        self.limits = self.member.limits
        most = max(each.repeat for each in self.space.blocks)
        self.depths = [number / most for number in range(most + 1)]

    def run(self, method: str, seeds: list[int]) -> None:
        jobs = self._race(seeds) if method == "uniform" else self._searched(method, seeds)
        for name, seed, architecture in jobs:
            if self._done(name, seed):
                continue
            started = cpu_seconds()
            network = architecture()
            searched = cpu_seconds() - started
            append(self.results, self._judge(name, seed, network, searched))

    def _searched(self, method: str, seeds: list[int]) -> "Iterator[Job]":
        for seed in seeds:
            find = self._random if method == "random" else partial(self._search, method)
            yield method, seed, partial(find, seed)

    def _race(self, seeds: list[int]) -> "Iterator[Job]":
        """All depths with the first seed, fewer with each other: `RACE`; who goes on is read from
        the results."""
        named = [f"uniform {depth:.2f}" for depth in self.depths]
        names = [name for name in named if self._widest(name) is not None]
        for seed in seeds:
            means = {name: fmean(self._scores(name) or [0.0]) for name in names}
            ranked = sorted(names, key=lambda name: -means[name])
            for name in ranked[: RACE[seed]]:
                yield name, seed, lambda name=name: self._widest(name)

    def _widest(self, name: str) -> Space | None:
        """Of a depth, as the results name it."""
        widths, depth = self.space.stem.width, float(name.split()[1])
        shaped = [self.space.shaped([each / widths[-1]], depth=depth) for each in widths]
        fitting = [each for each in shaped if self.member.fits(each)]
        return self.space.architecture(fitting[-1]) if fitting else None

    def _search(self, method: str, seed: int) -> Space:
        path = self.results.with_suffix(f".{self.setting}-{method}-{seed}.pt")
        found = search(
            self.space,
            self.data,
            board=BOARD,
            budget=self.budget,
            settings=SEARCHES[method],
            seed=seed,
            checkpoint=Checkpoint(path),
            shared=self.shared,
        )
        path.unlink(missing_ok=True)
        return self.space.architecture(found.winner.choice)

    def _random(self, seed: int) -> Space:
        problem = Problem(self.space, BOARD, self.budget)
        context = Context(problem, self.data, SearchSettings(trial=TRIAL, folds=1), seed)
        drawn = independent(self.member, random.Random(seed), RANDOM)
        tried, _ = Trials(context, planned=RANDOM)(
            [
                Training(problem.candidate("random", "", (), choice), TRIAL, TRIAL.epochs)
                for choice in drawn
            ]
        )
        best = min(tried, key=lambda each: each.trial_loss or math.inf)
        return self.space.architecture(best.choice)

    def _judge(self, name: str, seed: int, architecture: Space, searched: float) -> Record:
        started = cpu_seconds()
        network = Network(architecture.graph(), generator=generator_for(seed, "initial weights"))
        fit(network, self.data.train, RECIPE, seed=seed)
        quantized = finetune(network, self.data.train, QUANTIZE, seed=seed)
        costs = measure(architecture.graph(), BOARD, kind=self.space.kind)
        return {
            "setting": self.setting,
            "method": name,
            "seed": seed,
            "network": str(architecture),
            "macs": costs.macs,
            "used": {key: round(share, 3) for key, share in self.limits.used(costs).items()},
            "float": evaluate(network, self.data.validation).accuracy,
            "int8": accuracy(quantized.graph(), self.data.validation)[0],
            "search_seconds": round(searched),
            "train_seconds": round(cpu_seconds() - started),
        }

    def _scores(self, name: str) -> list[float]:
        return [each["int8"] for each in self._records() if each["method"] == name]

    def _done(self, name: str, seed: int) -> bool:
        return any((each["method"], each["seed"]) == (name, seed) for each in self._records())

    def _records(self) -> list[Record]:
        return [each for each in read(self.results) if each["setting"] == self.setting]


Job = tuple[str, int, Callable[[], Space]]


def _command_line(
    doc: str | None, settings: Iterable[str], methods: Sequence[str], default: list[str]
) -> argparse.Namespace:
    """Read what the tables of quality have in common; settings and methods are in order."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--features", type=Path)
    for folder in FOLDERS:
        parser.add_argument(f"--{folder}", type=Path)
    every = list(settings)
    parser.add_argument("--settings", nargs="+", choices=every, default=every)
    parser.add_argument("--methods", nargs="+", choices=methods, default=default)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--table", action="store_true", help="print tables and train nothing")
    return parser.parse_args()


def _data_of(arguments: argparse.Namespace) -> Callable[[str], DataSet]:
    """Return what loads the data of a setting, once each."""

    @cache
    def loaded(kind: str) -> DataSet:
        match kind:
            case "cifar":
                return pictures(arguments.images)
            case "vww":
                return pictures(arguments.images, gray=GRAY)
            case "ad":
                return machines(arguments.machines)
            case "voices":
                return voices(arguments.voices)
            case "people":
                return people(arguments.people)
        return load(arguments.features)

    return lambda setting: loaded(setting.partition("-")[0].partition("_")[0])


def command(
    doc: str | None,
    settings: Iterable[str],
    methods: Sequence[str],
    default: list[str],
    *,
    show: Callable[[list[Record]], str],
    run: Callable[[str, DataSet, Path, str, list[int]], object],
) -> None:
    """Show the table, or run every method in every setting: data, results, method and seeds."""
    arguments = _command_line(doc, settings, methods, default)
    if arguments.table:
        print(show(read(arguments.results)))
        return
    torch.set_num_threads(1)
    data = _data_of(arguments)
    for setting in arguments.settings:
        for method in arguments.methods:
            run(setting, data(setting), arguments.results, method, arguments.seeds)


def _run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    Bench(setting, data, results).run(method, seeds)


if __name__ == "__main__":
    command(__doc__, BUDGETS, METHODS, ["default", "uniform"], show=summary, run=_run)
