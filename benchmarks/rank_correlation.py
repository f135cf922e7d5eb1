"""What shared weights know: their order of networks against that of trainings of their own.

    python -m benchmarks.rank_correlation FEATURES.npz RESULTS.jsonl [SEED ...]

FEATURES are those of `benchmarks.kws40`. Networks are those of `kws-24` of `benchmarks.quality`: 20
whose widths are drawn independently and moved into the budget, and 20 from the prior of halving.
Each is trained alone on the training part and judged on the validation speakers; RESULTS keeps that
for the next call. Supernets are trained for as many steps as a search takes, on networks of either
kind, and judge the networks on the ranking part: by cross-entropy, by cross-entropy at the best
temperature, and by accuracy. Printed is Kendall's tau, by the seed of the supernet; beside it that
of a trial, four and eight epochs of a training of its own, which costs more.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from scipy.stats import kendalltau

from benchmarks.kws40 import append, load, read
from benchmarks.quality import BOARD, BUDGETS, RECIPE, TRIAL, space_of
from micronas.checkpoint import Checkpoint
from micronas.data import Split, Subset, divide
from micronas.layers import Network
from micronas.nas.budget import Meter
from micronas.nas.draw import draw
from micronas.nas.search import PARTS
from micronas.nas.select import USED, moved
from micronas.nas.settings import SearchSettings
from micronas.nas.weights import ROUND, Weights, batches
from micronas.search_space import Choice
from micronas.terminal import table
from micronas.train.loop import evaluate, fit, generator_for, temperature_scaled_loss

SETTING = "kws-24"
NETWORKS = 20
POOL = 200
STEPS = 1400
"""Of a supernet's weights: 600 of warm-up, and two for each of 400 alternations."""
SCORES = ("cross-entropy", "at the best temperature", "accuracy")


def independent(source: random.Random, count: int) -> list[Choice]:
    """Networks within the budget whose widths know nothing of one another."""
    space, meter = SPACE, METER
    found: dict[object, Choice] = {}
    while len(found) < count:
        choice = moved(space, space.random(source), USED, LIMITS, meter, source)
        architecture = space.architecture(choice)
        if USED <= max(LIMITS.used(meter.costs(architecture)).values()) <= 1:
            found.setdefault(architecture, choice)
    return list(found.values())


def smooth(source: random.Random, count: int) -> list[Choice]:
    return draw(SPACE, LIMITS, METER, count=count, source=source)


def anything(source: random.Random, count: int) -> list[Choice]:
    """Networks of the space, whatever they cost: what warm-up trains on."""
    return [SPACE.random(source) for _ in range(count)]


KINDS: dict[str, Callable[[random.Random, int], list[Choice]]] = {
    "anything": anything,
    "independent": independent,
    "smooth": smooth,
}


def alone(choices: list[Choice], results: Path) -> list[float]:
    """Accuracy of each network after a training of its own."""
    known = {record["network"]: record["accuracy"] for record in read(results)}
    found = []
    for choice in choices:
        architecture = SPACE.architecture(choice)
        name = str(architecture)
        if name not in known:
            network = Network(architecture.graph(), generator=generator_for(0, "initial weights"))
            fit(network, DATA.train, RECIPE, seed=0)
            known[name] = evaluate(network, DATA.validation).accuracy
            append(results, {"network": name, "accuracy": known[name]})
        found.append(known[name])
    return found


def supernet(pool: list[Choice], training: Split, seed: int) -> Weights:
    """Shared weights after `STEPS` steps on networks of a pool."""
    weights = Weights(SPACE, SearchSettings(steps=STEPS, warmup=0), seed)
    while not weights.finished:
        generator = weights.generator()
        for index in batches(training, weights.settings.batch_size, ROUND, generator):
            which = int(torch.randint(len(pool), (), generator=generator))
            weights.train(training, index, pool[which], generator)
            weights.step += 1
    return weights


def scores(weights: Weights, choices: list[Choice], ranking: Split) -> dict[str, list[float]]:
    """What shared weights say of each network; more is better."""
    everything = torch.arange(len(ranking.labels))
    inputs, labels = ranking.batch(everything, None), ranking.labels
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    with torch.inference_mode():
        for choice in choices:
            logits = weights.supernet.sliced(inputs, choice)
            found["cross-entropy"].append(-F.cross_entropy(logits, labels).item())
            scaled, _ = temperature_scaled_loss(logits, labels)
            found["at the best temperature"].append(-scaled.item())
            found["accuracy"].append((logits.argmax(1) == labels).float().mean().item())
    return found


def trial(choice: Choice, training: Split, ranking: Split, until: int) -> float:
    network = Network(
        SPACE.architecture(choice).graph(), generator=generator_for(0, "initial weights")
    )
    fit(network, training, TRIAL, seed=0, checkpoint=Checkpoint(), until=until)
    return -evaluate(network, ranking).loss


def tau(first: list[float], second: list[float]) -> str:
    return f"{kendalltau(first, second).statistic:+.2f}"


def main(results: Path, seeds: list[int]) -> None:
    judged = {name: KINDS[name](random.Random(0), NETWORKS) for name in ("independent", "smooth")}
    truth = {name: alone(choices, results) for name, choices in judged.items()}
    for name, values in truth.items():
        shown = " ".join(f"{100 * value:.0f}" for value in sorted(values))
        print(f"{name} networks, trained alone, accuracy in %: {shown}")
    training, gating, ranking = divide(DATA.train, PARTS, generator_for(0, "parts"))
    both = Subset(DATA.train, torch.cat([training.index, gating.index]))
    rows = []
    for kind, make in KINDS.items():
        taus: dict[tuple[str, str], list[str]] = {}
        for seed in seeds:
            weights = supernet(make(random.Random(seed + 1), POOL), both, seed)
            for name, choices in judged.items():
                for score, values in scores(weights, choices, ranking).items():
                    taus.setdefault((score, name), []).append(tau(values, truth[name]))
        rows += [
            [f"supernet on {kind}", score, *(" ".join(taus[score, name]) for name in judged)]
            for score in SCORES
        ]
    for until in (TRIAL.epochs // 2, TRIAL.epochs):
        cells = [
            tau([trial(choice, both, ranking, until) for choice in choices], truth[name])
            for name, choices in judged.items()
        ]
        rows.append([f"trial, {until} of {TRIAL.epochs} epochs", "cross-entropy", *cells])
    print(table(["judge", "by", *(f"tau, {name}" for name in judged)], rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    DATA = load(Path(sys.argv[1]))
    SPACE = space_of(SETTING, len(DATA.classes))
    METER, LIMITS = Meter(BOARD, SPACE.task or SPACE.name), BUDGETS[SETTING].on(BOARD)
    main(Path(sys.argv[2]), [int(seed) for seed in sys.argv[3:]] or [0])
