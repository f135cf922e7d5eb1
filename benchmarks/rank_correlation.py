"""What shared weights know: their order of networks against that of trainings of their own.

    python -m benchmarks.rank_correlation FEATURES.npz RESULTS.jsonl [--seeds 0 1 2]
        [--judges alone trials supernets]

FEATURES are those of `benchmarks.kws40`. Networks are those of `kws-24` of `benchmarks.quality`: 20
whose widths are drawn independently and moved into the budget, and 20 from the prior of halving.
Each is trained alone on the training part and judged on the validation speakers. Supernets are
trained for as many steps as a search takes, on networks of either kind, and judge the networks on
the ranking part: by cross-entropy, by cross-entropy at the best temperature, and by accuracy.
Printed is Kendall's tau, by the seed of the supernet; beside it that of trials, two to eight epochs
of a training of its own, which cost more. RESULTS keeps all values for the next call; processes
may share it if each has other judges.
"""

import argparse
import itertools
import random
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
RUNGS = (2, 4, 8)
JUDGES = ("alone", "trials", "supernets")
ALONE, TRIED, SHARED = "alone", "trial, {} epochs", "supernet on {}, {}"
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


Known = dict[tuple[str, int], dict[str, float]]
KINDS: dict[str, Callable[[random.Random, int], list[Choice]]] = {
    "anything": anything,
    "independent": independent,
    "smooth": smooth,
}


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


def alone(choice: Choice) -> dict[str, float]:
    """Accuracy on the validation speakers after a training of its own."""
    network = _untrained(choice)
    fit(network, DATA.train, RECIPE, seed=0)
    return {ALONE: evaluate(network, DATA.validation).accuracy}


def trial(choice: Choice, training: Split, ranking: Split) -> dict[str, float]:
    """How well a trial does on the ranking part, where halving looks at it."""
    network, checkpoint = _untrained(choice), Checkpoint()
    found = {}
    for epochs in RUNGS:
        fit(network, training, TRIAL, seed=0, checkpoint=checkpoint, until=epochs)
        found[TRIED.format(epochs)] = -evaluate(network, ranking).loss
    return found


def _untrained(choice: Choice) -> Network:
    graph = SPACE.architecture(choice).graph()
    return Network(graph, generator=generator_for(0, "initial weights"))


def known(results: Path) -> Known:
    """All that the results say: of a judge and a seed, each network's value."""
    found: Known = {}
    for record in read(results):
        found.setdefault((record["judge"], record["seed"]), {}).update(record["values"])
    return found


def learn(networks: dict[str, Choice], judges: list[str], seeds: list[int], results: Path) -> None:
    """Add what is missing, a line at a time."""
    training, gating, ranking = divide(DATA.train, PARTS, generator_for(0, "parts"))
    both = Subset(DATA.train, torch.cat([training.index, gating.index]))
    by_training = {
        "alone": (ALONE, alone),
        "trials": (TRIED.format(TRIAL.epochs), lambda choice: trial(choice, both, ranking)),
    }
    for judge in [each for each in by_training if each in judges]:
        last, values_of = by_training[judge]
        for name, choice in networks.items():
            if name not in known(results).get((last, 0), {}):
                for label, value in values_of(choice).items():
                    append(results, {"judge": label, "seed": 0, "values": {name: value}})
    for seed, kind in itertools.product(seeds, KINDS if "supernets" in judges else ()):
        labels = {score: SHARED.format(kind, score) for score in SCORES}
        if all((label, seed) in known(results) for label in labels.values()):
            continue
        weights = supernet(KINDS[kind](random.Random(seed + 1), POOL), both, seed)
        for score, values in scores(weights, list(networks.values()), ranking).items():
            record = dict(zip(networks, values, strict=True))
            append(results, {"judge": labels[score], "seed": seed, "values": record})


def summary(judged: dict[str, list[str]], found: Known) -> str:
    """Kendall's tau of each judge with training alone; one value a seed."""
    truth = found[ALONE, 0]
    lines = []
    for kind, names in judged.items():
        shown = " ".join(f"{100 * value:.0f}" for value in sorted(truth[name] for name in names))
        lines.append(f"{kind} networks, trained alone, accuracy in %: {shown}")
    rows = []
    labels = [SHARED.format(kind, score) for kind in KINDS for score in SCORES]
    for label in [*labels, *(TRIED.format(epochs) for epochs in RUNGS)]:
        seeds = sorted(seed for judge, seed in found if judge == label)
        cells = [
            " ".join(
                _tau([(found[label, seed][name], truth[name]) for name in names]) for seed in seeds
            )
            for names in judged.values()
        ]
        rows.append([label, *cells])
    return "\n".join([*lines, table(["judge", *(f"tau, {kind}" for kind in judged)], rows)])


def _tau(pairs: list[tuple[float, float]]) -> str:
    return f"{kendalltau(*zip(*pairs, strict=True)).statistic:+.2f}"


def main() -> None:
    judged = {
        kind: {
            str(SPACE.architecture(each)): each for each in KINDS[kind](random.Random(0), NETWORKS)
        }
        for kind in ("independent", "smooth")
    }
    networks = {name: choice for each in judged.values() for name, choice in each.items()}
    learn(networks, ARGUMENTS.judges, ARGUMENTS.seeds, ARGUMENTS.results)
    if set(ARGUMENTS.judges) == set(JUDGES):
        print(
            summary({kind: list(each) for kind, each in judged.items()}, known(ARGUMENTS.results))
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of supernets")
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=list(JUDGES))
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    ARGUMENTS = _arguments()
    DATA = load(ARGUMENTS.features)
    SPACE = space_of(SETTING, len(DATA.classes))
    METER, LIMITS = Meter(BOARD, SPACE.task or SPACE.name), BUDGETS[SETTING].on(BOARD)
    main()
