"""Which score of a short training picks the best network of an open space.

    python -m benchmarks.trial_scores RESULTS.jsonl --features kws40.npz --images cifar10/train \
        [--settings kws-24 cifar-32] [--seeds 0 1]
    python -m benchmarks.trial_scores RESULTS.jsonl --table

Settings, data and recipes are those of `benchmarks.open_spaces`. The networks are `NETWORKS` draws
from all families and the textbook networks that fit. Each is trained as a trial is, twice, with
other groups to rank by, and scored after each of `RUNGS`: its weights by cross-entropy, by
cross-entropy at the best temperature and by accuracy, and the mean of its recent weights by the
latter two. It is also trained to the end with each seed, and judged on the validation part. Printed
are Kendall's tau of both orders, of one trial and of the mean of two, and how far the network that
a score picks of `CHOSEN_FROM` ends from the best of them, in the mean of `TURNS` such choices.
RESULTS gets a line for each network; what is there is not done again, and is of trials whose
schedule ended after eight epochs.
"""

import itertools
import random
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import kendalltau
from torch import nn

from benchmarks.open_spaces import BUDGETS, Bench, Record
from benchmarks.quality import RECIPE, TRIAL, command
from benchmarks.rows import append, read
from benchmarks.settings import BOARD
from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Split
from micronas.nas.candidate import Candidate
from micronas.nas.folds import folds_of
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.race import LONGER
from micronas.objectives.classes import CLASSES, temperature_scaled_loss
from micronas.space.space import Space
from micronas.text import table
from micronas.train.loop import evaluate, fit, generator_for, predict
from micronas.train.network import Network

NETWORKS = 20
RUNGS = (1, 2, 4, 8)
SCHEDULE = TRIAL.model_copy(update={"epochs": LONGER * TRIAL.epochs})
SCORES = (
    "cross-entropy",
    "at the best temperature",
    "accuracy",
    "mean weights, temperature",
    "mean weights, accuracy",
)
CHOSEN_FROM = 8
TURNS = 2000


def networks(bench: Bench) -> list[Candidate]:
    """Return the networks of a setting: draws from all families, and textbooks."""
    problem = Problem(bench.space, BOARD, bench.budget)
    return [*problem.draw(NETWORKS, random.Random(0)), *problem.rivals(bench.data)]


def tried(candidate: Candidate, data: DataSet, place: int) -> dict[str, list[float]]:
    """Return the scores after each rung of a trial, the higher the better."""
    (fold,) = folds_of(data, SearchSettings(folds=1), seed=place)
    seen = fold.seen_as(candidate.architecture.input_shape)
    network = candidate.architecture.build(generator_for(place, "initial"))
    checkpoint, found = Checkpoint(), {}
    for epochs in RUNGS:
        fit(network, seen.train, SCHEDULE, seed=place, until=epochs, checkpoint=checkpoint)
        means = _scores(network, seen.validation)[1:]
        network.load_state_dict((checkpoint.load("train") or {})["module"])
        found[str(epochs)] = [*_scores(network, seen.validation), *means]
    return found


def _scores(network: nn.Module, split: Split) -> list[float]:
    logits, labels = predict(network, split), split.labels
    scores = CLASSES.scores(logits, labels)
    return [-scores.loss, -temperature_scaled_loss(logits, labels)[0].item(), scores.accuracy]


def trained(candidate: Candidate, data: DataSet, seed: int) -> float:
    """Return the accuracy after a training with the whole recipe."""
    found = candidate.architecture
    assert isinstance(found, Space)
    seen = data.seen_as(found.input)
    network = Network(found.graph(), generator=generator_for(seed, "initial weights"))
    fit(network, seen.train, RECIPE, seed=seed)
    return evaluate(network, seen.validation).accuracy


def summary(records: list[Record]) -> str:
    """Return a table of scores by setting and epochs."""
    rows = []
    for setting in dict.fromkeys(each["setting"] for each in records):
        own = [each for each in records if each["setting"] == setting and each["final"]]
        final = [fmean(each["final"].values()) for each in own]
        turns = _turns(len(own))
        best = 100 * fmean(max(final[place] for place in turn) for turn in turns)
        for epochs, place in itertools.product(map(str, RUNGS), range(len(SCORES))):
            row = [setting, str(len(own)), epochs, SCORES[place]]
            for trials in (1, 2):
                values = [fmean(t[epochs][place] for t in each["trials"][:trials]) for each in own]
                picked = fmean(final[max(turn, key=values.__getitem__)] for turn in turns)
                row += [f"{kendalltau(values, final).statistic:.2f}", f"{100 * picked - best:+.2f}"]
            rows.append(row)
    header = ["setting", "networks", "epochs", "by", "tau", "against the best"]
    return table([*header, "of two trials: tau", "against the best"], rows)


def _turns(count: int) -> list[list[int]]:
    source = random.Random(0)
    return [source.sample(range(count), min(CHOSEN_FROM, count)) for _ in range(TURNS)]


def _run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    for candidate in networks(Bench(setting, data, results)):
        known = [each for each in read(results) if each["network"] == str(candidate)]
        if any(each["setting"] == setting for each in known):
            continue
        record: dict[str, Any] = {"setting": setting, "network": str(candidate)}
        record["trials"] = [tried(candidate, data, place) for place in range(2)]
        record["final"] = {str(seed): trained(candidate, data, seed) for seed in seeds}
        append(results, record)


if __name__ == "__main__":
    command(__doc__, BUDGETS, ["trials"], ["trials"], show=summary, run=_run)
