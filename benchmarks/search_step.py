"""Cost of a search step, as a multiple of a plain training step.

    OMP_NUM_THREADS=1 python -m benchmarks.search_step [ROUNDS] [--spaces SPACE ...] [--bf16]

`plain` trains the largest network of the space by itself, the way `micronas train` does: forward,
backward and AdamW on a batch of the same size, channels_last. `nn.Module` is the same network as
one would write it in torch, in both layouts. The steps of the search are the search's own, with
the default settings. In each of ROUNDS (7) rounds every kind of step runs once, in turn, and its
time is divided by that of the plain step of the same round. Times are CPU times of the process,
which others on the machine disturb less than they do the clock on the wall. Every fifth gate step
also compares costs with exact ones, as in a search. Ratios printed are the
median over rounds, the tenth and ninetieth percentile, and the mean.

`alternation` is a weight step and a gate step, two batches. `search` is what the default schedule
takes for a weight step, with all of the warm-up it may have: (warmup x warm-up + steps x
alternation) / (warmup + steps). Gates are uniform, as at the start of a search; with gates certain
of the largest network, weight and gate steps cost the most they can. Measured is the state that a
search is in after some fifty steps, when oneDNN has met most shapes of layers.

With --bf16 the same steps in bfloat16 are measured as well; on a processor without its instructions
they take several times as long.

Last come the bytes that autograd keeps for the backward pass, as multiples of the plain step's:
distinct storages without the parameters'.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import fmean, quantiles
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.data import DataSet, TensorSplit
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.problem import Problem
from micronas.nas.settings import DnasSettings
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.dnas import Dnas
from micronas.space.blocks import Bottleneck, Separable
from micronas.space.decisions import Choice
from micronas.space.space import Space
from micronas.text import table
from micronas.train.convolutions import mixed_precision
from micronas.train.memory import keep_freed_memory
from micronas.train.recipe import Amp

BATCH = 64
SETTLING = 50
"""Steps before measuring."""
DRAWS = 10
"""Random networks whose saved bytes are averaged."""
WIDTHS: dict[str, Any] = {"skip": False, "kernel": 3}
"""Changes to the blocks of a shipped space that leave widths alone to decide on."""
ALL: dict[str, Any] = {"kernel": ["3x3", "5x5"]}
"""Those that add a choice of kernels to widths and depth."""
SPACES: dict[str, tuple[str, dict[str, Any]]] = {
    "kws:width": ("kws", WIDTHS),
    "kws:all": ("kws", ALL),
    "vww:width": ("vww", WIDTHS),
    "vww:all": ("vww", ALL),
    "kws_small": ("kws_small", {}),
    "vww_small": ("vww_small", {}),
}
LARGEST = ", gates at the largest"
BF16 = ", bf16"
Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rounds", type=int, nargs="?", default=7)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    names, rounds = arguments.spaces, arguments.rounds
    if rounds < 2:
        parser.error(f"percentiles need at least two rounds: ROUNDS={rounds}")
    if len(names) > 1:
        for name in names:  # in processes of their own, as searches are
            command = [sys.executable, "-m", "benchmarks.search_step", str(rounds)]
            command += ["--spaces", name, *["--bf16"] * arguments.bf16]
            subprocess.run(command, check=True)
        return
    keep_freed_memory()  # as `fit` and `search` do
    space = load(*SPACES[names[0]])
    threads = torch.get_num_threads()
    print(f"\n{names[0]}, torch {torch.__version__}, threads: {threads}, batch {BATCH}")
    print(time_table(space, rounds, bf16=arguments.bf16))
    print()
    print(memory_table(space), flush=True)


def load(name: str, changes: dict[str, object]) -> Space:
    values = Space.load(name).model_dump()
    values["blocks"] = [block | changes for block in values["blocks"]]
    return Space.model_validate(values)


def time_table(space: Space, rounds: int, *, bf16: bool) -> str:
    network = space.architecture(space.largest())
    last, first = torch.channels_last, torch.contiguous_format
    steps = {
        "plain": training_step(space, network.build()),
        "nn.Module, channels_last": training_step(space, module(network), layout=last),
        "nn.Module, NCHW": training_step(space, module(network), layout=first),
        **search_steps(space),
        **search_steps(space, LARGEST, certain=True),
    }
    if bf16:
        steps[f"plain{BF16}"] = training_step(space, network.build(), amp="bf16")
        steps |= search_steps(space, BF16, amp="bf16")
    uniform = ("", BF16) if bf16 else ("",)
    for where in uniform:
        for kind in ("warm-up", "gate"):
            for _ in range(SETTLING):
                steps[f"{kind}{where}"]()
    ratios = measure(steps, rounds)
    default = DnasSettings()
    for where in (*uniform, LARGEST):
        both = zip(ratios[f"weight{where}"], ratios[f"gate{where}"], strict=True)
        ratios[f"alternation{where}"] = [weight + gate for weight, gate in both]
    for where in uniform:
        both = zip(ratios[f"warm-up{where}"], ratios[f"alternation{where}"], strict=True)
        ratios[f"search{where}"] = [
            (default.warmup * warm + default.steps * pair) / (default.warmup + default.steps)
            for warm, pair in both
        ]
    rows = [[kind, *_spread(values)] for kind, values in ratios.items()]
    return table(["step", "median", "10 %", "90 %", "mean"], rows)


def measure(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Times of each step, as multiples of the first one's, round by round."""
    seconds: dict[str, list[float]] = {kind: [] for kind in steps}
    for number in range(rounds + 1):
        for kind, step in steps.items():
            began = time.process_time()
            step()
            if number:  # the first round is for allocators and kernels
                seconds[kind].append(time.process_time() - began)
    plain = next(iter(seconds.values()))
    return {
        kind: [own / whole for own, whole in zip(values, plain, strict=True)]
        for kind, values in seconds.items()
    }


def training_step(
    space: Space,
    net: nn.Module,
    *,
    layout: torch.memory_format = torch.channels_last,
    amp: Amp = None,
) -> Step:
    """What `fit` does for a batch."""
    net = net.train().to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-3, fused=True)
    data = split(space)
    inputs = data.inputs.contiguous(memory_format=layout)

    def step() -> None:
        with mixed_precision(amp):
            logits = net(inputs)
        loss = F.cross_entropy(logits.float(), data.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def module(network: Space) -> nn.Module:
    """A network in plain torch, for the layout of memory to be free."""
    active: Callable[[], nn.Module] = nn.ReLU if network.activation == "relu" else nn.ReLU6
    stem = network.stem
    depth = stem.width[0]
    layers = [*_layer(network.input[2], depth, stem.kernel[0], stem.stride), active()]
    for block in network.blocks:
        hidden = block.expansion[0] if isinstance(block, Bottleneck) else depth
        assert isinstance(block, Bottleneck | Separable), "of the spaces above"
        assert block.width, "of the spaces above"
        width = block.width[0]
        inner = [*_layer(depth, hidden), active()] if isinstance(block, Bottleneck) else []
        inner += [*_layer(hidden, hidden, block.kernel[0], block.stride, groups=hidden), active()]
        inner += _layer(hidden, width)
        if not isinstance(block, Bottleneck):
            inner.append(active())
        layers += [Residual(*inner)] if block.has_residual else inner
        depth = width
    if network.head.width is not None:
        layers += [*_layer(depth, network.head.width[0]), active()]
        depth = network.head.width[0]
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(depth, network.classes))


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return x + y


def _layer(
    depth: int,
    width: int,
    kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> list[nn.Module]:
    height, length = kernel
    around = ((length - 1) // 2, length // 2, (height - 1) // 2, height // 2)
    if height % 2 and length % 2:
        padding, pad = (height // 2, length // 2), []
    else:
        padding, pad = (0, 0), [nn.ZeroPad2d(around)]
    conv = nn.Conv2d(depth, width, kernel, stride, padding, groups=groups, bias=False)
    return [*pad, conv, nn.BatchNorm2d(width)]


def search_steps(
    space: Space, where: str = "", *, certain: bool = False, amp: Amp = None
) -> dict[str, Step]:
    search, data = a_search(space, certain=certain, amp=amp), split(space)
    index, generator = torch.arange(BATCH), torch.Generator().manual_seed(1)

    def train(draw: Callable[[torch.Generator], Choice]) -> Step:
        return lambda: search.weights.train(data, index, draw(generator), generator)

    def gate() -> None:
        search.move_gates(data, index, generator)
        search.weights.step += 1

    steps: dict[str, Step] = {"weight": train(search.gates.draw), "gate": gate}
    if not certain:  # warm-up does not look at the gates
        steps = {"warm-up": train(search.weights.random), **steps}
    return {f"{kind}{where}": step for kind, step in steps.items()}


def a_search(space: Space, *, certain: bool, amp: Amp = None) -> Dnas:
    """A search whose gates hardly move, so that every round measures the same."""
    problem = Problem(space, Board.load("stm32f746zg"), Budget(latency="1 s"))
    data = DataSet(
        split(space), split(space), None, tuple(map(str, range(space.classes))), space.input_shape
    )
    search = Dnas(Context(problem, data, DnasSettings(gate_learning_rate=1e-9, amp=amp)))
    if certain:
        for logits in search.gates.logits:
            logits.data[-1] = 50.0
    return search


def memory_table(space: Space) -> str:
    inputs = split(space).inputs
    network = space.architecture(space.largest()).build().train()
    plain = saved_bytes(network, lambda: network(inputs))
    rows = []
    for label, certain, draws in (("at the largest", True, 1), ("uniform, mean", False, DRAWS)):
        search, generator = a_search(space, certain=certain), torch.Generator().manual_seed(2)
        net, gates = search.weights.supernet, search.gates
        weight = [_saved_by_weights(search, inputs, generator) for _ in range(draws)]
        net.requires_grad_(False)
        gate = [
            saved_bytes(net, lambda: net.masked(inputs, gates.sample(1.0, generator)))  # noqa: B023
            for _ in range(draws)
        ]
        rows.append([label, *(f"{fmean(each) / plain:.2f}" for each in (weight, gate))])
    heading = f"kept for backward (plain: {plain / 2**20:.0f} MiB), gates"
    return table([heading, "weight", "gate"], rows)


def _saved_by_weights(search: Dnas, inputs: Tensor, generator: torch.Generator) -> int:
    choice = search.gates.draw(generator)
    return saved_bytes(
        search.weights.supernet, lambda: search.weights.supernet.sliced(inputs, choice)
    )


def saved_bytes(net: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes of distinct storages that autograd keeps, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    sizes: dict[int, int] = {}

    def pack(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        kept = forward()  # holds the graph, so that no address is used twice
    assert kept.requires_grad
    return sum(size for address, size in sizes.items() if address not in own)


def split(space: Space) -> TensorSplit:
    height, width, channels = space.input
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH, channels, height, width, generator=generator)
    return TensorSplit(inputs, torch.randint(space.classes, (BATCH,), generator=generator))


def _spread(values: list[float]) -> list[str]:
    tenths = quantiles(values, n=10, method="inclusive")
    return [f"{each:.2f}" for each in (tenths[4], tenths[0], tenths[8], fmean(values))]


if __name__ == "__main__":
    main()
