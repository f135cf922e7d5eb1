"""What shared weights say of small and of large kernels, beside networks trained on their own.

    python -m benchmarks.kernels RESULTS.jsonl --features kws40.npz [--settings macs-1 kws-24]
    python -m benchmarks.kernels RESULTS.jsonl --table

FEATURES, settings and recipe are those of `benchmarks.quality`. Networks of halving's prior, within
the budget, are each trained alone and judged on the validation speakers; three supernets, trained
on these and further draws as `ranked` trains them, rank them. Printed is Kendall's tau between both
orders: of all, of the networks whose kernels are mostly 3x3, and of those mostly 5x5. The offset is
by how much 5x5 networks are more accurate than 3x3 ones of the same loss, in points: the third
coefficient of accuracy = a + b loss + c large, and its standard error. The last columns are the
most accurate of the six networks of least loss, and of the six that a search would take.

Each network is trained with two seeds; the second says what a judge can foresee at best. Printed
is the standard deviation of one network's accuracy over seeds, of all and of the better half,
Kendall's tau between both trainings, the supernets' with the first and with the mean of the two,
and what a judge would have with one training who knew each mean: by simulation, with normal noise
of that deviation. RESULTS keeps all values for the next call.
"""

import argparse
import itertools
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.kws40 import load
from benchmarks.quality import RECIPE, SEARCHES
from benchmarks.rows import append, read
from benchmarks.settings import BOARD, BUDGETS, space_of
from micronas.data import DataSet
from micronas.nas.member import Member
from micronas.nas.prior import draw
from micronas.nas.problem import Problem
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.ranked import Ranked
from micronas.space.decisions import Choice
from micronas.text import table
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.network import Network

NETWORKS = 32
SUPERNETS = (0, 1, 2)
TRAINED = (0, 1)
"""Seeds of the trainings of a network alone, of which the first is the truth of the first table."""
SETTINGS = ("macs-1", "kws-24")
SIMULATED = 2000
Record = dict[str, Any]


class Study:
    """The networks of a setting, and who judges them."""

    def __init__(self, setting: str, data: DataSet, results: Path) -> None:
        self.setting, self.data, self.results = setting, data, results
        self.space = space_of(setting, len(data.classes))
        self.member = Member(self.space, BOARD, BUDGETS[setting])
        self.networks = draw(self.member, count=NETWORKS, source=random.Random("truth"))

    def run(self) -> None:
        known = [each for each in read(self.results) if each["setting"] == self.setting]
        trained = {(each["seed"], each["network"]) for each in known if "accuracy" in each}
        for seed, choice in itertools.product(TRAINED, self.networks):
            if (seed, name := str(self.space.architecture(choice))) not in trained:
                self._keep(network=name, seed=seed, accuracy=self._alone(choice, seed))
        for seed in {*SUPERNETS} - {each["supernet"] for each in known if "supernet" in each}:
            problem = Problem(self.space, BOARD, BUDGETS[self.setting])
            run = Ranked(Context(problem, self.data, SEARCHES["ranked"], seed))
            run.pool[:NETWORKS] = self.networks
            run.train()
            scored = run.score(self.networks)
            finalists = [
                str(self.space.architecture(each))
                for each in run.best(scored, run.settings.finalists)
            ]
            losses = {str(self.space.architecture(each)): loss for each, loss in scored.items()}
            self._keep(supernet=seed, losses=losses, finalists=finalists)

    def _keep(self, **values: object) -> None:
        append(self.results, {"setting": self.setting, **values})

    def _alone(self, choice: Choice, seed: int) -> float:
        graph = self.space.architecture(choice).graph()
        network = Network(graph, generator=generator_for(seed, "initial weights"))
        fit(network, self.data.train, RECIPE, seed=seed)
        return evaluate(network, self.data.validation).accuracy


def summary(records: list[Record]) -> str:
    rows = []
    for setting in SETTINGS:
        accuracy = _accuracy(records, setting, TRAINED[0])
        for judge in _judges(records, setting):
            losses, finalists = judge["losses"], judge["finalists"]
            first = sorted(losses, key=losses.__getitem__)[: len(finalists)]
            best = [max(accuracy[name] for name in names) for names in (first, finalists)]
            compared = _compared(losses, accuracy) + [f"{each:.1f}" for each in best]
            rows.append([setting, str(judge["supernet"]), *compared])
    header = ["setting", "supernet", "3x3", "5x5", "tau", "tau of 3x3", "tau of 5x5", "offset"]
    return table([*header, "best of six", "of finalists"], rows)


def noise(records: list[Record]) -> str:
    """What a second training says of the first, and supernets of the mean of both."""
    rows = []
    for setting in SETTINGS:
        first, second = (_accuracy(records, setting, seed) for seed in TRAINED)
        names = [name for name in first if name in second]
        if not names:
            continue
        pairs = np.array([[first[name], second[name]] for name in names])
        means = pairs.mean(1)
        better = pairs[np.argsort(means)[len(pairs) // 2 :]]
        deviations = [np.sqrt(np.mean(np.diff(some, axis=1) ** 2) / 2) for some in (pairs, better)]
        taus = [
            fmean(
                kendalltau([-judge["losses"][name] for name in names], truth).statistic
                for judge in _judges(records, setting)
            )
            for truth in (pairs[:, 0], means)
        ]
        again = kendalltau(*pairs.T).statistic
        source = np.random.default_rng(0)
        noisy = means + source.normal(0, deviations[0], (SIMULATED, len(means)))
        perfect = fmean(kendalltau(means, each).statistic for each in noisy)
        rows.append(
            [
                setting,
                str(len(names)),
                f"{means.std(ddof=1):.1f}",
                *(f"{each:.1f}" for each in deviations),
                *(f"{tau:.2f}" for tau in (again, perfect, *taus)),
            ]
        )
    header = ["setting", "networks", "sd of networks", "sd of seeds", "of the better half"]
    header += ["tau of two trainings", "of means and one", "of supernets and one", "and means"]
    return table(header, rows)


def _accuracy(records: list[Record], setting: str, seed: int) -> dict[str, float]:
    own = (each for each in records if each["setting"] == setting and "accuracy" in each)
    return {each["network"]: 100 * each["accuracy"] for each in own if each["seed"] == seed}


def _judges(records: list[Record], setting: str) -> list[Record]:
    own = (each for each in records if each["setting"] == setting and "supernet" in each)
    return sorted(own, key=lambda each: each["supernet"])


def _compared(losses: dict[str, float], accuracy: dict[str, float]) -> list[str]:
    names = list(losses)
    large = np.array([2 * name.count("k5") > len(name.split()) - 1 for name in names])
    loss = np.array([losses[name] for name in names])
    alone = np.array([accuracy[name] for name in names])
    form = np.stack([np.ones(len(names)), loss, large], 1)
    found, residue, *_ = np.linalg.lstsq(form, alone, rcond=None)
    variance = residue[0] / (len(names) - 3) * np.linalg.inv(form.T @ form)
    taus = [
        f"{kendalltau(-loss[some], alone[some]).statistic:.2f}"
        for some in (large | ~large, ~large, large)
    ]
    offset = f"{found[2]:+.1f} +- {variance[2, 2] ** 0.5:.1f}"
    return [str((~large).sum()), str(large.sum()), *taus, offset]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        data = load(options.features)
        for setting in options.settings:
            Study(setting, data, options.results).run()
    records = read(options.results)
    print(summary(records) + "\n\n" + noise(records))


if __name__ == "__main__":
    main()
