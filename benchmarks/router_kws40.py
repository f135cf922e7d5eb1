"""Forty keywords: a composition of int8 experts beside single networks and a cascade.

    python -m benchmarks.router_kws40 FEATURES.npz RESULTS.jsonl [--only composition ...]
    python -m benchmarks.router_kws40 FEATURES.npz RESULTS.jsonl --table

FEATURES and RESULTS are as in `benchmarks.kws40`: what RESULTS holds is not done again. All
networks are DS-CNNs of four equally wide blocks, trained by the recipe of `benchmarks.kws40` on
four fifths of the training speakers; the other fifth chooses categories and thresholds. Judged in
int8 on the validation speakers. For each seed the rivals get the costs its composition has: one
network of the nearest mean MACs, one of the nearest flash, and a cascade (a small network, and a
large one where it is unsure) whose threshold keeps to its mean MACs on the held-out speakers. An
expert has seen two trainings, that of all classes and its own; `2x` marks a rival that has too.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from benchmarks.kws40 import BOARD, QUANTIZE, RECIPE, append, load, read
from micronas.data import DataSet, Split
from micronas.graph.counts import count
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.targets import plan
from micronas.router.device import scores, with_softmax
from micronas.router.device.compose import Outputs, compose, input_codes, parts
from micronas.router.device.threshold import Threshold, choose_threshold
from micronas.space.blocks import Separable
from micronas.space.space import Space, Stem
from micronas.text import table
from micronas.tflite.writer import flatbuffer_bytes, to_flatbuffer
from micronas.train.finetune import finetune
from micronas.train.loop import fit, generator_for
from micronas.train.network import Network

SEEDS = (0, 1, 2)
HELD_OUT = 0.2
CATEGORIES = 4
BLOCKS = 4
ROUTER, EXPERT = 20, 36
"""Widths of the composition's networks; a cascade's small network is as its router."""
LARGE = (44, 60, 80)
"""Widths of a cascade's large network, of which the held-out examples choose."""
WIDEST = 160

Record = dict[str, Any]


def uniform(width: int, classes: int) -> Space:
    """A DS-CNN of equally wide blocks, as the uniform networks of `benchmarks.kws40`."""
    return Space(
        name=f"uniform {width}",
        input=(49, 10, 1),
        classes=classes,
        stem=Stem(width=width, kernel=(10, 4), stride=(2, 2)),
        blocks=(Separable(width=width),) * BLOCKS,
    )


def nearest(cost: Callable[[Graph], int], wanted: float, classes: int) -> Space:
    """The uniform network whose cost is nearest to the wanted one."""
    networks = [uniform(width, classes) for width in range(4, WIDEST + 1)]
    return min(networks, key=lambda network: abs(cost(network.graph()) - wanted))


def trained(architecture: Space, split: Split, seed: int, *, epochs: int = RECIPE.epochs) -> Graph:
    """One int8 network by the recipe."""
    network = Network(architecture.graph(), generator=generator_for(seed, "initial weights"))
    fit(network, split, RECIPE.model_copy(update={"epochs": epochs}), seed=seed)
    return finetune(network, split, QUANTIZE, seed=seed).graph()


def composition(data: DataSet, seed: int, outputs: Outputs) -> Record:
    """Train and judge a composition; rivals read its costs."""
    classes = len(data.classes)
    composed = compose(
        data,
        router=uniform(ROUTER, classes),
        expert=uniform(EXPERT, classes),
        categories=CATEGORIES,
        outputs=outputs,
        seed=seed,
        recipe=RECIPE,
        quantize=QUANTIZE,
        held_out=HELD_OUT,
    )
    found, labels = composed.composition, data.validation.labels.numpy()
    codes = input_codes(found.router, data.validation)
    outcome = found.predict(codes)
    shares = found.shares_of(outcome)
    # by what the validation speakers say, as the accuracy
    costs = replace(found, shares=shares).costs(Board.load(BOARD))
    return {
        "shape": f"{ROUTER} + {len(found.experts)} x {EXPERT}",
        "int8": float((outcome.labels == labels).mean()),
        "macs": costs.macs,
        "flash": costs.flash_bytes,
        "arena": costs.arena_bytes,
        "held_out": composed.threshold.accuracy,
        "router": float((outcome.categories == found.category_of[labels]).mean()),
        "general": shares["general"],
        "threshold": found.threshold,
        "sizes": [len(members) for members in found.categories.values()],
    }


def single(data: DataSet, split: Split, seed: int, architecture: Space, epochs: int) -> Record:
    """Train and judge one network."""
    graph = trained(architecture, split, seed, epochs=epochs)
    labels = data.validation.labels.numpy()
    answers = scores(graph, input_codes(graph, data.validation)).argmax(1)
    return {
        "shape": str(architecture.stem.width[0]),
        "int8": float((answers == labels).mean()),
        "macs": count(graph).macs,
        "flash": len(to_flatbuffer(graph)),
        "arena": plan(graph).required,
    }


@dataclass(frozen=True)
class Pair:
    """A small network of a cascade and the large one behind it."""

    small: Graph
    large: Graph

    @property
    def macs(self) -> tuple[int, int]:
        """Of an inference that ends with the small network, and of one that goes on."""
        first = count(self.small).macs
        return first, first + count(self.large).macs

    def answers(self, split: Split) -> tuple[Any, Any, Any]:
        """The small network's code of confidence, and whether each network is right; [N] each."""
        codes, labels = scores(self.small, input_codes(self.small, split)), split.labels.numpy()
        better = scores(self.large, input_codes(self.large, split)).argmax(1)
        return codes.max(1), codes.argmax(1) == labels, better == labels

    def threshold(self, held: Split, limit: float) -> Threshold:
        """Choose it on held-out examples, within a limit on the mean MACs."""
        confidence, sure, unsure = self.answers(held)
        first, both = self.macs
        believed = np.full(len(sure), first)
        return choose_threshold(
            confidence, sure, unsure=unsure, sure_macs=believed, unsure_macs=both, limit=limit
        )


def cascade(data: DataSet, seed: int, wanted: Record) -> Record:
    """A small network, and where it is unsure the large one that is best on held-out examples."""
    split, held = parts(data, held_out=HELD_OUT, seed=seed)
    small = with_softmax(trained(uniform(ROUTER, len(data.classes)), split, seed))
    pairs = {
        width: Pair(small, trained(uniform(width, len(data.classes)), split, seed))
        for width in LARGE
    }
    thresholds = {width: pair.threshold(held, wanted["macs"]) for width, pair in pairs.items()}
    width = max(LARGE, key=lambda each: thresholds[each].accuracy)
    pair, chosen = pairs[width], thresholds[width]
    confidence, sure, unsure = pair.answers(data.validation)
    believed = confidence >= chosen.code
    return {
        "shape": f"{ROUTER}, {width}",
        "int8": float(np.where(believed, sure, unsure).mean()),
        "macs": float(np.where(believed, *pair.macs).mean()),
        "flash": sum(len(to_flatbuffer(graph)) for graph in (pair.small, pair.large)),
        "arena": max(plan(graph).required for graph in (pair.small, pair.large)),
        "held_out": chosen.accuracy,
        "threshold": chosen.code,
    }


def macs_of(graph: Graph) -> int:
    return count(graph).macs


def rival(name: str, data: DataSet, seed: int, wanted: Record) -> Record:
    """One network of the composition's mean MACs or flash."""
    cost = flatbuffer_bytes if "flash" in name else macs_of
    target = wanted["flash" if "flash" in name else "macs"]
    split: Split = parts(data, held_out=HELD_OUT, seed=seed)[0]
    if "all speakers" in name:
        split = data.train
    epochs = RECIPE.epochs * (2 if "2x" in name else 1)
    return single(data, split, seed, nearest(cost, target, len(data.classes)), epochs)


ROWS = (
    "composition",
    "composition, all outputs",
    "equal MACs",
    "equal MACs 2x",
    "equal MACs, all speakers",
    "equal flash",
    "cascade",
)


def measured(name: str, data: DataSet, seed: int, results: Path) -> Record:
    """One line of the results."""
    started = time.process_time()
    if name.startswith("composition"):
        record = composition(data, seed, "all" if "all" in name else "category")
    else:
        wanted = next(
            each
            for each in read(results)
            if each["method"] == "composition" and each["seed"] == seed
        )
        if name == "cascade":
            record = cascade(data, seed, wanted)
        else:
            record = rival(name, data, seed, wanted)
    seconds = round(time.process_time() - started)
    return {"method": name, "seed": seed, **record, "seconds": seconds}


def summary(records: list[Record]) -> str:
    """Mean and standard deviation over seeds."""
    rows = []
    for name in ROWS:
        seeds = [record for record in records if record["method"] == name]
        if not seeds:
            continue
        first = [record for record in records if record["method"] == "composition"]
        ahead = [
            record["int8"] - other["int8"]
            for record in seeds
            for other in first
            if other["seed"] == record["seed"]
        ]
        rows.append(
            [
                name,
                seeds[0]["shape"],
                f"{fmean(record['macs'] for record in seeds) / 1e6:.2f}",
                f"{fmean(record['flash'] for record in seeds) / 1024:.1f}",
                f"{fmean(record['arena'] for record in seeds) / 1024:.1f}",
                _spread([record["int8"] for record in seeds]),
                _spread(ahead),
                str(len(seeds)),
                f"{fmean(record['seconds'] for record in seeds):.0f}",
            ]
        )
    header = ["method", "widths", "MMACs", "flash KB", "arena KB", "int8 %"]
    header += ["ahead of composition", "seeds", "CPU s"]
    notes = [
        f"seed {record['seed']}, {record['method']}: categories of {record['sizes']} classes, "
        f"router right on {100 * record['router']:.1f} %, {100 * record['general']:.1f} % sent to "
        f"general (threshold {record['threshold']}), held-out accuracy "
        f"{100 * record['held_out']:.1f} %"
        for record in records
        if "router" in record
    ]
    return "\n".join([table(header, rows), "", *notes])


def _spread(values: list[float]) -> str:
    mean = f"{100 * fmean(values):.2f}"
    return f"{mean} +- {100 * stdev(values):.2f}" if len(values) > 1 else mean


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS, metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, metavar="SEED")
    parser.add_argument("--table", action="store_true", help="print the table and train nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        torch.set_num_threads(1)
        data = load(arguments.features)
        for seed in arguments.seeds:
            for name in arguments.only:
                done = {(each["method"], each["seed"]) for each in read(arguments.results)}
                if (name, seed) not in done:
                    append(arguments.results, measured(name, data, seed, arguments.results))
    print(summary(read(arguments.results)))


if __name__ == "__main__":
    main()
