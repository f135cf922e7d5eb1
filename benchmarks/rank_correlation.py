"""Rank correlation of shared weights with networks trained on their own.

    python -m benchmarks.rank_correlation RESULTS.jsonl --features FEATURES.npz [--seeds 0 1 2]
        [--judges alone trials supernets inherited]
    python -m benchmarks.rank_correlation RESULTS.jsonl --table

FEATURES are those of `benchmarks.kws40`, networks those of `kws-24` of `benchmarks.settings`: 20
whose widths are drawn independently and moved into the budget, and 20 from the prior of halving.
Each is trained alone on the training part and judged on the validation speakers. Supernets are
trained for as many steps as a search takes, on networks of either kind, and judge the networks on
the ranking part: by cross-entropy, by cross-entropy at the best temperature, and by accuracy.
Printed is Kendall's tau, by the seed of the supernet; beside it that of trials, two to eight epochs
of a training of its own, which cost more; and that of trainings of one to four epochs which begin
with the weights of the supernet trained on networks of the prior. RESULTS keeps all values for the
next call; processes may share it if each has other judges or seeds.
"""

import argparse
import itertools
import random
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from scipy.stats import kendalltau

from benchmarks.kws40 import load
from benchmarks.quality import RECIPE, TRIAL
from benchmarks.rows import append, read
from benchmarks.settings import BOARD, BUDGETS, independent, space_of
from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Subset, divide
from micronas.nas.folds import PARTS
from micronas.nas.member import Member
from micronas.nas.prior import draw
from micronas.nas.settings import RankedSettings
from micronas.nas.strategies.weights import ROUND, SharedWeights, batches
from micronas.objectives.classes import CLASSES, temperature_scaled_loss
from micronas.space.decisions import Choice
from micronas.text import table
from micronas.train.loop import evaluate, fit, generator_for, predict
from micronas.train.network import Network

SETTING = "kws-24"
NETWORKS = 20
POOL = 200
STEPS = 1400
"""Of a supernet's weights: 600 of warm-up, and two for each of 400 alternations."""
RUNGS = (2, 4, 8)
JUDGES = ("alone", "trials", "supernets", "inherited")
CONTINUED = (1, 2, 4)
"""Epochs of trainings that begin with shared weights."""
ALONE, TRIED, SHARED = "alone", "trial, {} epochs", "supernet on {}, {}"
INHERITED = "inherited, {} epochs"
LAST_TRIED = TRIED.format(RUNGS[-1])
SCORES = ("cross-entropy", "at the best temperature", "accuracy")


Known = dict[tuple[str, int], dict[str, float]]
KINDS = ("anything", "independent", "smooth")
JUDGED = ("independent", "smooth")


def drawn(kind: str, member: Member, source: random.Random, count: int) -> list[Choice]:
    """Networks of a kind; "anything" costs what it may, and is what warm-up trains on."""
    match kind:
        case "independent":
            return independent(member, source, count)
        case "smooth":
            return draw(member, count=count, source=source)
        case _:
            return [member.space.random(source) for _ in range(count)]


def known(results: Path) -> Known:
    """All that the results say: of a judge and a seed, each network's value."""
    found: Known = {}
    for record in read(results):
        found.setdefault((record["judge"], record["seed"]), {}).update(record["values"])
    return found


class Study:
    """The networks, and whoever judges them."""

    def __init__(self, data: DataSet, results: Path) -> None:
        self.data, self.results = data, results
        self.space = space_of(SETTING, len(data.classes))
        self.member = Member(self.space, BOARD, BUDGETS[SETTING])
        training, gating, self.ranking = divide(data.train, PARTS, generator_for(0, "parts"))
        self.training = Subset(data.train, torch.cat([training.index, gating.index]))
        self.judged = {
            kind: {
                str(self.space.architecture(each)): each
                for each in drawn(kind, self.member, random.Random(0), NETWORKS)
            }
            for kind in JUDGED
        }
        self.networks = {
            name: each for choices in self.judged.values() for name, each in choices.items()
        }

    def learn(self, judges: list[str], seeds: list[int]) -> None:
        """Add what is missing, a line at a time."""
        by_training = {"alone": (ALONE, self._alone), "trials": (LAST_TRIED, self._trial)}
        for judge in [each for each in by_training if each in judges]:
            last, values_of = by_training[judge]
            for name, choice in self.networks.items():
                if name not in known(self.results).get((last, 0), {}):
                    for label, value in values_of(choice).items():
                        self._append(label, 0, {name: value})
        for seed, kind in itertools.product(seeds, KINDS if "supernets" in judges else ()):
            labels = {score: SHARED.format(kind, score) for score in SCORES}
            if all((label, seed) in known(self.results) for label in labels.values()):
                continue
            pool = drawn(kind, self.member, random.Random(seed + 1), POOL)
            for score, values in self._scores(self._supernet(pool, seed)).items():
                self._append(labels[score], seed, dict(zip(self.networks, values, strict=True)))
        for seed in seeds if "inherited" in judges else ():
            self._inherit(seed)

    def _append(self, judge: str, seed: int, values: dict[str, float]) -> None:
        append(self.results, {"judge": judge, "seed": seed, "values": values})

    def _alone(self, choice: Choice) -> dict[str, float]:
        """Accuracy on the validation speakers after a training of its own."""
        network = self._untrained(choice)
        fit(network, self.data.train, RECIPE, seed=0)
        return {ALONE: evaluate(network, self.data.validation).accuracy}

    def _trial(self, choice: Choice) -> dict[str, float]:
        """How well a trial does on the ranking part, where halving looks at it."""
        network, checkpoint = self._untrained(choice), Checkpoint()
        found = {}
        for epochs in RUNGS:
            fit(network, self.training, TRIAL, seed=0, checkpoint=checkpoint, until=epochs)
            found[TRIED.format(epochs)] = -evaluate(network, self.ranking).loss
        return found

    def _inherit(self, seed: int) -> None:
        """Train on from shared weights, by a schedule of its own for each number of epochs."""
        pool = drawn("smooth", self.member, random.Random(seed + 1), POOL)
        shared = self._supernet(pool, seed).supernet
        for epochs, name in itertools.product(CONTINUED, self.judged["smooth"]):
            judge = INHERITED.format(epochs)
            if name not in known(self.results).get((judge, seed), {}):
                network = self._untrained(self.networks[name])
                shared.hand_down(network, self.networks[name])
                fit(network, self.training, TRIAL.model_copy(update={"epochs": epochs}), seed=seed)
                self._append(judge, seed, {name: -self._scaled_loss(network)})

    def _scaled_loss(self, network: Network) -> float:
        logits = predict(network, self.ranking)
        return temperature_scaled_loss(logits, self.ranking.labels)[0].item()

    def _untrained(self, choice: Choice) -> Network:
        graph = self.space.architecture(choice).graph()
        return Network(graph, generator=generator_for(0, "initial weights"))

    def _supernet(self, pool: list[Choice], seed: int) -> SharedWeights:
        """Shared weights after `STEPS` steps on networks of a pool."""
        weights = SharedWeights(self.space, RankedSettings(steps=STEPS), seed)
        while not weights.finished:
            generator = weights.generator()
            size = weights.settings.batch_size
            for index in batches(self.training, size, ROUND, generator, CLASSES):
                which = int(torch.randint(len(pool), (), generator=generator))
                weights.train(self.training, index, pool[which], generator)
                weights.step += 1
        return weights

    def _scores(self, weights: SharedWeights) -> dict[str, list[float]]:
        """What shared weights say of each network; more is better."""
        everything = torch.arange(len(self.ranking.labels))
        inputs, labels = self.ranking.batch(everything, None), self.ranking.labels
        found: dict[str, list[float]] = {name: [] for name in SCORES}
        with torch.inference_mode():
            for choice in self.networks.values():
                logits = weights.supernet.sliced(inputs, choice)
                found["cross-entropy"].append(-F.cross_entropy(logits, labels).item())
                scaled, _ = temperature_scaled_loss(logits, labels)
                found["at the best temperature"].append(-scaled.item())
                found["accuracy"].append((logits.argmax(1) == labels).float().mean().item())
        return found


def summary(results: Path) -> str:
    """Kendall's tau of each judge with training alone; one value a seed. A supernet's line has all
    networks in the order of `JUDGED`; today's prior draws others."""
    found = known(results)
    names = list(next(values for (judge, _), values in found.items() if judge.startswith("super")))
    judged = {kind: names[i * NETWORKS :][:NETWORKS] for i, kind in enumerate(JUDGED)}
    truth = found[ALONE, 0]
    lines = []
    for kind, names in judged.items():
        values = sorted(truth[name] for name in names)
        shown = " ".join(f"{100 * value:.0f}" for value in values)
        lines.append(f"{kind} networks, trained alone, accuracy in %: {shown}")
    rows = []
    labels = [SHARED.format(kind, score) for kind in KINDS for score in SCORES]
    others = [*map(TRIED.format, RUNGS), *map(INHERITED.format, CONTINUED)]
    for label in [*labels, *others]:
        seeds = sorted(seed for judge, seed in found if judge == label)
        if not seeds:
            continue
        cells = [
            " ".join(
                _tau([(found[label, seed][name], truth[name]) for name in names])
                for seed in seeds
                if found[label, seed].keys() >= set(names)
            )
            for names in judged.values()
        ]
        rows.append([label, *cells])
    return "\n".join([*lines, table(["judge", *(f"tau, {kind}" for kind in JUDGED)], rows)])


def _tau(pairs: list[tuple[float, float]]) -> str:
    return f"{kendalltau(*zip(*pairs, strict=True)).statistic:+.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of supernets")
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=list(JUDGES))
    parser.add_argument("--table", action="store_true", help="print the table and train nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        torch.set_num_threads(1)
        study = Study(load(arguments.features), arguments.results)
        study.learn(arguments.judges, arguments.seeds)
    else:
        print(summary(arguments.results))


if __name__ == "__main__":
    main()
