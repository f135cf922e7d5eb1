"""Forty keywords: searched networks beside published and uniform ones, trained by one recipe.

    python -m benchmarks.kws40 FEATURES.npz RESULTS.jsonl [--only searched-0.5 published/kws_s ...]
    python -m benchmarks.kws40 FEATURES.npz RESULTS.jsonl --table

FEATURES holds MFCCs [49, 10]: `x_train` [copies, N, 49, 10], of which an epoch takes one copy of
each clip at random, `y_train`, `speaker_train` [N], and `x_val`, `y_val` of other speakers.
RESULTS gets one line for each finished search and each finished training; what is there is not
done again, so that the command can be killed and repeated. A search, one for each budget, uses the
training part alone. Beside it stand the widest uniform networks of three depths that fit, all of
them, so that the best of them is chosen with hindsight.
"""

import argparse
import copy
import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.clock import cpu_seconds
from benchmarks.rows import Record, append, read
from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, TensorSplit
from micronas.graph.counts import count
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.member import Member
from micronas.nas.prior import uniform_networks
from micronas.nas.search import search
from micronas.nas.settings import DnasSettings
from micronas.space.decisions import GRID
from micronas.space.space import Space
from micronas.tasks.keywords.settings import KeywordSettings
from micronas.tasks.keywords.spec_augment import other_channel
from micronas.text import table
from micronas.train.finetune import finetune
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from micronas.views import Frames
from testing.scores import accuracy

RECIPE = Recipe(epochs=15, mean=False)
QUANTIZE = Recipe(epochs=2, learning_rate=1e-3, warmup=0.1, mean=False)
SEARCH = DnasSettings(trial=Recipe(epochs=12, batch_size=64))
SEEDS = (0, 1, 2)
NOISE = 0.3
"""Standard deviation of the noise added to standardised features."""
BOARD = "stm32f446re"
SPACES = {"0.5": "kws_small", "1.5": "kws_small", "5": "kws"}
"""The space searched for each budget in MMACs."""
WIDEST = {"kws_small": 64, "kws": 128}
"""The largest width of a space, from 16; no budget here pays for the shipped 276 channels."""
STEP = {"kws_small": 4, "kws": 8}
"""Between the widths searched; uniform networks take steps of 4, to come close to their budget."""
DEPTHS = (1, 2, 3)
"""Of uniform networks: all optional blocks, two thirds of them, one third."""
PUBLISHED = ("published/ds_cnn_s", "published/kws_s", "published/kws_m")


class CopiesSplit(TensorSplit):
    """Examples in several copies; training takes one at random and adds noise.

    Parameters
    ----------
    inputs
        float32 [copies, N, 1, 49, 10], the first copy being the clean one.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, groups: Tensor | None = None) -> None:
        super().__init__(inputs[0], labels, groups=groups)
        self._copies = inputs
        self._channel = 0.0

    def for_final(self) -> "CopiesSplit":
        """Return the same examples for final training, which has other channels as those of
        `KeywordSettings` by default."""
        split = copy.copy(self)
        split._channel = KeywordSettings.model_fields["channel"].default
        return split

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return self.inputs[index]
        drawn = torch.randint(len(self._copies), index.shape, generator=generator)
        inputs = self._copies[drawn, index]
        inputs = inputs + NOISE * torch.randn(inputs.shape, generator=generator)
        if self._channel > 0:
            inputs = other_channel(inputs, generator, spread=self._channel, limit=math.inf)
        return inputs


def load(path: Path) -> DataSet:
    """Read the features and standardise them, each coefficient by its training statistics."""
    with np.load(path) as arrays:
        parts: dict[str, npt.NDArray[Any]] = {name: arrays[name] for name in arrays.files}
    train = torch.from_numpy(parts["x_train"].astype(np.float32)).unsqueeze(2)
    validation = torch.from_numpy(parts["x_val"].astype(np.float32))[None].unsqueeze(2)
    over = (0, 1, 2, 3)
    mean, deviation = train.mean(over), train.std(over)
    training = CopiesSplit(
        (train - mean) / deviation,
        torch.from_numpy(parts["y_train"].astype(np.int64)),
        torch.from_numpy(parts["speaker_train"].astype(np.int64)),
    )
    return DataSet(
        train=training,
        final=training.for_final(),
        validation=CopiesSplit(
            (validation - mean) / deviation, torch.from_numpy(parts["y_val"].astype(np.int64))
        ),
        test=None,
        classes=tuple(map(str, parts["words"])),
        input=(49, 10, 1),
        view=Frames(),
    )


def space_for(budget: str, classes: int, *, step: int) -> Space:
    """The shipped space for a budget, with other widths."""
    name = SPACES[budget]
    space = Space.load(name)
    width = {"width": tuple(range(16, WIDEST[name] + 1, step))}
    return space.model_copy(
        update={
            "classes": classes,
            "stem": space.stem.model_copy(update=width),
            "blocks": tuple(block.model_copy(update=width) for block in space.blocks),
        }
    )


def uniform(budget: str, depth: int, classes: int) -> Space:
    """The widest uniform network of one of the `DEPTHS` within a budget."""
    space = space_for(budget, classes, step=GRID)
    member = Member(space, Board.load(BOARD), Budget(macs=float(budget) * 1e6))
    return space.architecture(uniform_networks(member)[depth - 1])


def found(results: Path, budget: str, data: DataSet) -> Record:
    """The search's record under a budget, from the results or by searching."""
    for record in read(results):
        if record.get("budget") == budget:
            return record
    started = cpu_seconds()
    space = space_for(budget, len(data.classes), step=STEP[SPACES[budget]])
    result = search(
        space,
        data,
        board=Board.load(BOARD),
        budget=Budget(macs=float(budget) * 1e6),
        settings=SEARCH,
        checkpoint=Checkpoint(results.with_suffix(f".search-{budget}.pt")),
    )
    best = next(each for each in result.candidates if each.origin == "search")
    record = {
        "budget": budget,
        "winner": result.winner.origin,
        "seconds": round(cpu_seconds() - started),
        "search": {"architecture": space.architecture(best.choice).model_dump(mode="json")},
    }
    append(results, record)
    return record


def architecture_of(name: str, results: Path, data: DataSet) -> Space:
    """The network a row of the table is about."""
    if name in PUBLISHED:
        return Space.load(name).model_copy(update={"classes": len(data.classes)})
    origin, budget, *depth = name.split("-")
    if origin == "uniform":
        return uniform(budget, int(depth[0]), len(data.classes))
    return Space.model_validate(found(results, budget, data)["search"]["architecture"])


def train(name: str, seed: int, results: Path, data: DataSet) -> Record:
    """Train, quantise and judge one network on the validation speakers."""
    architecture = architecture_of(name, results, data)
    graph = architecture.graph()
    started = cpu_seconds()
    network = Network(graph, generator=generator_for(seed, "initial weights"))
    fit(network, data.train, RECIPE, seed=seed)
    quantized = finetune(network, data.train, QUANTIZE, seed=seed)
    return {
        "network": name,
        "seed": seed,
        "epochs": RECIPE.epochs,
        "shape": str(architecture),
        "macs": count(graph).macs,
        "float": evaluate(network, data.validation).accuracy,
        "int8": accuracy(quantized.graph(), data.validation)[0],
        "seconds": round(cpu_seconds() - started),
    }


def summary(records: list[Record]) -> str:
    """Mean and standard deviation over seeds, by multiply-accumulates."""
    trained: dict[str, list[Record]] = {}
    for record in records:
        if "network" in record:
            trained.setdefault(record["network"], []).append(record)
    rows = [
        [
            name,
            seeds[0]["shape"],
            f"{seeds[0]['macs'] / 1e6:.2f}",
            *(_spread([record[key] for record in seeds]) for key in ("float", "int8")),
            str(len(seeds)),
            f"{fmean(record['seconds'] for record in seeds):.0f}",
        ]
        for name, seeds in sorted(trained.items(), key=lambda item: item[1][0]["macs"])
    ]
    winners = [
        f"{record['budget']} MMACs: the search took {record['seconds']} s of CPU, its trials "
        f"preferred the network of origin {record['winner']}"
        for record in records
        if "budget" in record
    ]
    header = ["network", "widths", "MMACs", "float %", "int8 %", "seeds", "CPU s"]
    return "\n".join([table(header, rows), "", *winners])


def _spread(values: list[float]) -> str:
    mean = f"{100 * fmean(values):.2f}"
    return f"{mean} +- {100 * stdev(values):.2f}" if len(values) > 1 else mean


def main() -> None:
    searched = [f"searched-{budget}" for budget in SPACES]
    names = [*searched, *(f"uniform-{b}-{d}" for b in SPACES for d in DEPTHS), *PUBLISHED]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NETWORK")
    parser.add_argument("--table", action="store_true", help="print the table and train nothing")
    arguments = parser.parse_args()
    if arguments.table:
        print(summary(read(arguments.results)))
        return
    torch.set_num_threads(1)
    data = load(arguments.features)
    for seed in SEEDS:
        for name in arguments.only:
            done = {
                (record.get("network"), record.get("seed")) for record in read(arguments.results)
            }
            if (name, seed) not in done:
                append(arguments.results, train(name, seed, arguments.results, data))


if __name__ == "__main__":
    main()
