"""PLiNIO's channel pruning (PIT) beside searches, on one backbone and under limits on MACs.

    python -m benchmarks.plinio RESULTS.jsonl CHECKOUT kws40.npz [--settings macs-1 macs-3]
        [--ways constraint strength] [--kernels 3 5] [--seeds 0 1 2]

CHECKOUT is one of github.com/eml-eda/plinio, whose requirements are installed. The backbone is the
largest network of `benchmarks.quality`'s settings, with kernels of 3x3 or of 5x5: PIT narrows
layers, kernels of two dimensions it leaves, so that each counts as a method. It is trained first
(`WARM` epochs), then with masks (`SEARCHED` epochs) on the whole training part, by one Adam as its
README has it. A network over the limit is no result, and one far below is none of PIT's best: the
search is repeated from the warm-up with another strength (`next_strength`), up to `TRIES` times;
all count as CPU. The widest within the limit gets the final training of `benchmarks.quality`.
RESULTS may be those of `benchmarks.quality`, beside whose methods the table is printed at the end;
what is there is not done again.

constraint  the regularizer DUCCIO, with the task's loss after warm-up, as its README has it
strength    task + strength * cost, at first with both terms alike, as its notebook has it
"""

import argparse
import copy
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.clock import cpu_seconds
from benchmarks.kws40 import load
from benchmarks.quality import QUANTIZE, RECIPE
from benchmarks.quality_tables import summary
from benchmarks.rows import append, read
from benchmarks.settings import BOARD, BUDGETS, space_of
from micronas.data import DataSet, Split
from micronas.hardware.costs import measure
from micronas.nas.strategies.weights import batches
from micronas.objectives.classes import CLASSES
from micronas.space.space import Space
from micronas.train.finetune import finetune
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.network import Network
from testing.scores import accuracy

SETTINGS = ("macs-1", "macs-3")
WARM, SEARCHED, TRIES = 4, 8, 4
AIM = 0.97
"""Share of the limit that tries are for."""
BATCH = 64
RATE, MASK_RATE = 1e-3, 3e-3
"""That of weights is its notebook's. Its masks move at 5e-4 for 25,000 steps, and here for 900: at
that rate none would come from 1 to 0.5, where channels go."""
KERNELS = (3, 5)
WAYS = ("constraint", "strength")
Cost = Callable[[Tensor], Tensor]
"""What is added to the loss of the task."""


class Backbone(nn.Module):
    """The largest network of a setting, in torch's own layers, which PIT traces."""

    def __init__(self, classes: int, kernel: int, *, width: int = 128, blocks: int = 9) -> None:
        super().__init__()

        def layer(source: int, window: int | tuple[int, int], **how: Any) -> list[nn.Module]:
            convolution = nn.Conv2d(source, width, window, bias=False, **how)
            return [convolution, nn.BatchNorm2d(width), nn.ReLU()]

        layers = layer(1, (10, 4), padding="same")
        for number in range(blocks):
            sampled = (
                {"stride": 1, "padding": "same"}
                if number
                else {"stride": 2, "padding": kernel // 2}
            )
            layers += [*layer(width, kernel, groups=width, **sampled), *layer(width, 1)]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def _epoch(model: nn.Module, split: Split, optimizer: Any, seed: Any, cost: Cost) -> float:
    """Train for an epoch and return the mean loss of the task."""
    generator = generator_for(*seed)
    steps = len(split.labels) // BATCH
    losses = []
    for index in batches(split, BATCH, steps, generator, CLASSES):
        task = F.cross_entropy(model(split.batch(index, generator)), split.labels[index])
        optimizer.zero_grad()
        (task + cost(task)).backward()
        optimizer.step()
        losses.append(float(task.detach()))
    return sum(losses) / len(losses)


def next_strength(tried: dict[float, float]) -> float:
    """Return what to try after these strengths, of which the shares of the limit are known.

    Between the nearest over and below, by equal ratios of both; beyond all, by what was missed.
    """
    over = max((each for each, share in tried.items() if share > AIM), default=None)
    below = min((each for each, share in tried.items() if share <= AIM), default=None)
    if over is None or below is None:
        (strength, share) = list(tried.items())[-1]
        return strength * share / AIM
    steepness = math.log(below / over) / math.log(tried[over] / tried[below])
    return over * (tried[over] / AIM) ** steepness


class Bench:
    """One setting and seed."""

    def __init__(self, setting: str, data: DataSet, results: Path, seed: int) -> None:
        self.setting, self.data, self.results, self.seed = setting, data, results, seed
        self.space = space_of(setting, len(data.classes))
        self.limit = BUDGETS[setting].on(BOARD).given()["macs"]

    def run(self, way: str, kernel: int) -> None:
        """Add the line of PIT with a regularizer and kernels of a size."""
        method = f"PIT, {way}, {kernel}x{kernel}"
        done = [(each["setting"], each["method"], each["seed"]) for each in read(self.results)]
        if (self.setting, method, self.seed) in done:
            return
        started = cpu_seconds()
        found = self._searched(way, kernel)
        if found is None:
            print(f"{self.setting}, {method}, seed {self.seed}: none of {TRIES} tries fits")
            return
        searched = cpu_seconds() - started
        network = Network(found.graph(), generator=generator_for(self.seed, "initial weights"))
        fit(network, self.data.train, RECIPE, seed=self.seed)
        quantized = finetune(network, self.data.train, QUANTIZE, seed=self.seed)
        record = {
            "setting": self.setting,
            "method": method,
            "seed": self.seed,
            "network": str(found),
            "macs": self._macs(found),
            "used": {"macs": round(self._macs(found) / self.limit, 3)},
            "float": evaluate(network, self.data.validation).accuracy,
            "int8": accuracy(quantized.graph(), self.data.validation)[0],
            "search_seconds": round(searched),
            "train_seconds": round(cpu_seconds() - started - searched),
        }
        append(self.results, record)

    def _searched(self, way: str, kernel: int) -> Space | None:
        """Repeat the search until a network fits, and return the widest that does, if one does."""
        warm, loss = self._warm(kernel)
        found: list[Space] = []
        tried: dict[float, float] = {}
        factor = 1.0
        for turn in range(TRIES):
            masked = self._pruned(way, copy.deepcopy(warm), loss, factor, turn)
            each = self._architecture(masked, kernel)
            share = self._macs(each) / self.limit
            told = f"{self.setting}, {way}: {factor:.3g} leaves {share:.3f} of the limit"
            print(told, flush=True)
            found += [each] if share <= 1 else []
            if 0.9 <= share <= 1:
                break
            tried[factor] = share
            factor = next_strength(tried)
        return max(found, key=self._macs, default=None)

    def _warm(self, kernel: int) -> tuple[nn.Module, float]:
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            model = Backbone(len(self.data.classes), kernel)
        optimizer = torch.optim.Adam(model.parameters(), RATE)
        loss = 0.0
        for epoch in range(WARM):
            seed = (self.seed, "warm-up", epoch)
            loss = _epoch(model, self.data.train, optimizer, seed, torch.zeros_like)
        return model, loss

    def _pruned(self, way: str, model: nn.Module, loss: float, factor: float, turn: int) -> Any:
        from plinio.cost import ops
        from plinio.methods import PIT
        from plinio.regularizers import DUCCIO

        height, width, channels = self.data.input
        shape = (channels, height, width)
        masked = PIT(model, input_shape=shape, cost={"ops": ops}, exclude_names=("classifier",))
        masked.train()
        regularizer = DUCCIO({"ops": self.limit}, task_loss=factor * loss)
        strength = factor * loss / float(masked.get_cost("ops").detach())
        optimizer = torch.optim.Adam(
            [
                {"params": list(masked.net_parameters()), "lr": RATE},
                {"params": list(masked.nas_parameters()), "lr": MASK_RATE},
            ]
        )
        for epoch in range(SEARCHED):

            def cost(task: Tensor, epoch: int = epoch) -> Tensor:
                if way == "constraint":
                    return regularizer(masked, epoch, SEARCHED)
                return strength * masked.get_cost("ops")

            _epoch(masked, self.data.train, optimizer, (self.seed, "masks", turn, epoch), cost)
        return masked

    def _architecture(self, masked: Any, kernel: int) -> Space:
        """The network that is left, as one of the space."""
        layers = [layer for layer in masked.summary().values() if layer["type"] == "PITConv2d"]
        stem, *rest = (int(layer["out_features"]) for layer in layers)
        largest = self.space.architecture(self.space.largest())
        blocks = tuple(
            block.model_copy(update={"width": (width,), "kernel": ((kernel, kernel),)})
            for block, width in zip(largest.blocks, rest[1::2], strict=True)
        )
        update = {"stem": largest.stem.model_copy(update={"width": (stem,)}), "blocks": blocks}
        return largest.model_copy(update=update)

    def _macs(self, network: Space) -> int:
        return measure(network.graph(), BOARD, kind=self.space.kind).macs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--kernels", nargs="+", type=int, choices=KERNELS, default=KERNELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    given = parser.parse_args()
    sys.path.insert(0, str(given.checkout))
    torch.set_num_threads(1)
    data = load(given.features)
    for setting, seed in itertools.product(given.settings, given.seeds):
        bench = Bench(setting, data, given.results, seed)
        for way, kernel in itertools.product(given.ways, given.kernels):
            bench.run(way, kernel)
    print(summary(read(given.results)))


if __name__ == "__main__":
    main()
