"""What computation buys: networks found and trained beside the best textbook network, at equal CPU.

    python -m benchmarks.answer RESULTS.jsonl --features kws40.npz --images cifar10/train \
        [--voices FOLDER] [--settings kws-24 cifar-32] [--methods single_stage textbook] \
        [--seeds 0 1]
    python -m benchmarks.answer RESULTS.jsonl --table

Data, spaces, budgets and the board are those of `benchmarks.open_spaces`. The computation of a
setting is `EFFORT` epochs, search and training together, of the networks that the prior draws,
which is about what the search by halving and 15 epochs take there. RESULTS gets a line for each
finished network; what is there is not done again.

single_stage   a fifth of the epochs train the winner alone, the rest all networks of the pool
halving        the search by halving, and 15 epochs from random weights
default        the same of half as many draws, and the epochs that are left
third          a third of the epochs, half of it for halving, whose trials are as short as that asks
usual          the search and the final training of `micronas search`, without any setting
as_usual       the textbook network by the same final training, for as long as both take
fourfold       `usual` with four times its epochs as the effort of a run, half of it for the search
as_fourfold    the textbook network by the same final training, for as long as both take
first          in the results only: `usual` while the first draws had trials, and not the largest of
               four times as many
before, as_before
               in the results only: `first` and `as_usual` while final trainings changed no channels
               of keywords (`data.channel`), as in all other rows of keywords
textbook       the textbook network that is best there in hindsight (`benchmarks.open_spaces`), for
               as many epochs as the CPU seconds of its steps allow, down to a rate of zero
mean           the same, ending in mean weights, as all other trainings do now
cutmix         the same with CutMix, as all long trainings on pictures have now
four           the same with weights of 4 bits in its blocks, and so wider where flash binds
"""

import math
import random
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

import torch

from benchmarks.clock import cpu_seconds
from benchmarks.open_spaces import BUDGETS, REPEATED, Bench, Record, of_four_bits
from benchmarks.quality import DRAWS, TRIAL, command
from benchmarks.quality_tables import against, by_setting
from benchmarks.rows import append
from micronas.checkpoint import Checkpoint
from micronas.data import DataSet
from micronas.nas.candidate import Candidate
from micronas.nas.problem import Problem
from micronas.nas.search import SearchResult, search
from micronas.nas.settings import (
    HalvingSettings,
    SearchSettings,
    SingleStageSettings,
    StrategySettings,
)
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.registry import strategy
from micronas.nas.textbook import shipped
from micronas.runs.settings import TrainSettings
from micronas.space.space import Space
from micronas.splits import Subset
from micronas.text import table
from micronas.train.finetune import finetune
from micronas.train.loop import fit, generator_for
from micronas.train.network import Network
from micronas.train.recipe import FINETUNE, Recipe, going_on
from micronas.train.timing import seconds_of
from testing.scores import scores

EFFORT = {"kws": 200, "cifar": 165, "voices": 200 * REPEATED}
"""Epochs of computation, by kind of data: halving takes so many there."""
ALONE = 0.2
"""Share of the epochs in which the winner trains alone."""
RIVAL = {
    "kws": "tc_resnet8",
    "cifar": "convolutions",
    "voices": "tc_resnet8",
    "voices-24": "matchboxnet",
}
"""Textbook network that is best in hindsight, by kind of data or setting."""
METHODS = (
    "single_stage",
    "halving",
    "default",
    "third",
    "usual",
    "as_usual",
    "fourfold",
    "as_fourfold",
    "first",
    "before",
    "as_before",
    "textbook",
    "mean",
    "cutmix",
    "four",
)
RECIPE = Recipe(epochs=15)
_WITHOUT = {"cutmix_from": 10_000}
"""Trainings without CutMix."""
_TO_ZERO = RECIPE.model_copy(update={"mean": False, **_WITHOUT})
"""Training down to a rate of zero."""
TRAIN: Recipe = TrainSettings.model_fields["train"].default
"""Final training of `micronas search`."""
_RIVALS = {
    **dict.fromkeys(("usual", "as_usual", "first"), "as_usual"),
    **dict.fromkeys(("fourfold", "as_fourfold"), "as_fourfold"),
    **dict.fromkeys(("before", "as_before"), "as_before"),
}
"""Methods that are compared with another than ``textbook``."""
_DRAWN = 12
"""Networks whose steps are timed."""
_TIMED = 4
"""Steps that are timed."""


class Answer(Bench):
    """One setting; each method ends in a trained network."""

    def run(self, method: str, seeds: list[int]) -> None:
        kind = self.setting.partition("-")[0]
        self.effort = EFFORT[kind]
        self.rival = RIVAL.get(self.setting, RIVAL[kind])
        for seed in seeds:
            if any((e["method"], e["seed"]) == (method, seed) for e in self._records()):
                continue
            started = cpu_seconds()
            record = getattr(self, f"_{method}")(seed)
            append(
                self.results, {**record, "method": method, "cpu": round(cpu_seconds() - started)}
            )

    def _single_stage(self, seed: int) -> Record:
        alone = round(ALONE * self.effort)
        settings = SingleStageSettings(epochs=self.effort - alone, trial=RECIPE)
        recipe = RECIPE.model_copy(update={"epochs": alone})
        return self._trained_out(self._searched(settings, seed), recipe, seed)

    def _halving(self, seed: int) -> Record:
        return self._trained_out(
            self._searched(HalvingSettings(trial=TRIAL, draws=DRAWS), seed), RECIPE, seed
        )

    def _default(self, seed: int) -> Record:
        return self._halved(HalvingSettings(trial=TRIAL), self.effort, seed)

    def _third(self, seed: int) -> Record:
        settings = HalvingSettings(trial=TRIAL, epochs=self.effort // 6)
        return self._halved(settings, self.effort // 3, seed)

    def _halved(self, settings: HalvingSettings, effort: int, seed: int) -> Record:
        found = self._searched(settings, seed)
        left = effort - found.epochs
        return self._trained_out(found, RECIPE.model_copy(update={"epochs": left}), seed)

    def _searched(self, settings: StrategySettings, seed: int) -> SearchResult:
        path = self.results.with_suffix(f".{self.setting}-{settings.strategy}-{seed}.pt")
        found = search(
            self.space,
            self.data,
            board=self.board,
            budget=self.budget,
            settings=settings,
            seed=seed,
            checkpoint=Checkpoint(path),
        )
        path.unlink(missing_ok=True)
        return found

    def _trained_out(self, found: SearchResult, recipe: Recipe, seed: int) -> Record:
        network = self._built(found.winner, seed)
        if (begin := found.begin(recipe)) is not None:
            network.load_state_dict(begin)
            recipe = going_on(recipe)
        return self._trained(found.winner, network, recipe, seed)

    def _usual(self, seed: int) -> Record:
        return self._trained_out(self._searched(self._settings, seed), self._recipe(TRAIN), seed)

    def _as_usual(self, seed: int) -> Record:
        return self._as_rival(self._spent(seed), seed)

    def _fourfold(self, seed: int) -> Record:
        epochs = 4 * self._spent(seed)
        alone = round(SearchSettings.alone * epochs)
        settings = self._settings.model_copy(update={"epochs": epochs - alone})
        found = self._searched(settings, seed)
        return self._trained_out(found, TRAIN.model_copy(update={"epochs": alone}), seed)

    def _as_fourfold(self, seed: int) -> Record:
        return self._as_rival(4 * self._spent(seed), seed)

    def _spent(self, seed: int) -> int:
        """Return the epochs of `usual`."""
        problem = Problem(self.space, self.board, self.budget)
        plan = strategy(Context(problem, self.data, self._settings, seed)).plan()
        return plan.epochs + self._recipe(TRAIN).epochs

    def _as_rival(self, effort: int, seed: int) -> Record:
        return self._as_long(shipped([self.rival]), self._recipe(TRAIN), seed, effort)

    @property
    def _settings(self) -> SearchSettings:
        """Return those of `micronas search`, with as many steps for few examples as for many."""
        given = SearchSettings()
        return given.model_copy(update={"trial": self._recipe(given.trial)})

    def _textbook(self, seed: int) -> Record:
        return self._as_long(shipped([self.rival]), _TO_ZERO, seed)

    def _mean(self, seed: int) -> Record:
        return self._as_long(shipped([self.rival]), RECIPE.model_copy(update=_WITHOUT), seed)

    def _cutmix(self, seed: int) -> Record:
        return self._as_long(shipped([self.rival]), RECIPE, seed)

    def _four(self, seed: int) -> Record:
        return self._as_long(map(of_four_bits, shipped([self.rival])), _TO_ZERO, seed)

    def _as_long(
        self, networks: Iterable[Space], recipe: Recipe, seed: int, effort: int | None = None
    ) -> Record:
        (rival,) = self._widest(networks)
        problem = Problem(self.space, self.board, self.budget)
        drawn = problem.draw(_DRAWN, random.Random(f"{seed} timed"))
        ratio = fmean(map(self._seconds, drawn)) / self._seconds(rival)
        recipe = recipe.model_copy(update={"epochs": math.ceil((effort or self.effort) * ratio)})
        return self._trained(rival, self._built(rival, seed), recipe, seed)

    def _seconds(self, candidate: Candidate) -> float:
        """Return seconds of CPU of a few steps of training, augmentation included."""
        data = self.data.seen_as(candidate.architecture.input_shape)
        network = self._built(candidate, 0)
        few = Subset(data.final_train, torch.arange(_TIMED * RECIPE.batch_size))
        once = _TO_ZERO.model_copy(update={"epochs": 1})
        return min(seconds_of(lambda: fit(network, few, once, seed=0)) for _ in range(3))

    def _built(self, candidate: Candidate, seed: int) -> Network:
        network_of = candidate.architecture
        assert isinstance(network_of, Space)
        return Network(network_of.graph(), generator=generator_for(seed, "initial weights"))

    def _trained(self, found: Candidate, network: Network, recipe: Recipe, seed: int) -> Record:
        data = self.data.seen_as(found.architecture.input_shape)
        train = data.final_train
        fit(network, train, recipe, seed=seed)
        quantized = finetune(network, train, FINETUNE, seed=seed)
        judged = scores(network, quantized.graph(), data)
        return {
            "setting": self.setting,
            "seed": seed,
            "network": str(found),
            "macs": found.costs.macs,
            "epochs": recipe.epochs,
            "float": judged["float_accuracy"],
            "int8": judged["int8_accuracy"],
            "rounding": [FINETUNE.epochs, FINETUNE.learning_rate],
        }


def summary(records: list[Record]) -> str:
    """A row for each setting and method: float accuracy by seed, its lead over the textbook network
    that trained as long, of the same seeds, int8 accuracy (see `_rounded`), and seconds of CPU."""
    rows = []
    for setting, methods in by_setting(records).items():
        for method in filter(methods.__contains__, METHODS):
            found = methods[method]
            rival = _RIVALS.get(method, "textbook")
            seeds = sorted(found)
            floats = [100 * found[seed]["float"] for seed in seeds]
            rows.append(
                [
                    setting,
                    method,
                    found[seeds[0]]["network"],
                    " ".join(f"{each:.1f}" for each in floats),
                    f"{fmean(floats):.1f}",
                    "" if method == rival else against(found, methods.get(rival, {}), "float"),
                    _rounded(found.values()),
                    f"{fmean(found[seed]['cpu'] for seed in seeds):.0f}",
                ]
            )
    rows.sort(key=lambda row: [*BUDGETS].index(row[0]))
    header = ["setting", "method", "network of the first seed", "float % by seed", "mean", "lead"]
    return table([*header, "int8 (seeds)", "CPU s"], rows)


def _rounded(found: Iterable[Record]) -> str:
    """Return the mean int8 accuracy of the rows that today's recipe rounded; if there are none, of
    those that the former one did."""
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for each in found:
        kinds["rounding" in each].append(100 * each["int8"])
    own, former = kinds[True], kinds[False]
    return (
        f"{fmean(own):.1f} ({len(own)})" if own else f"{fmean(former):.1f} ({len(former)}, former)"
    )


def _run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    Answer(setting, data, results).run(method, seeds)


if __name__ == "__main__":
    settings = [each for each in BUDGETS if each.startswith(tuple(EFFORT))]
    command(__doc__, settings, METHODS, ["single_stage", "textbook"], show=summary, run=_run)
