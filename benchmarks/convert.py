"""torchvision's MobileNetV2 (width 0.35, 96x96) narrowed to a board, and the cost of a step.

    python -m benchmarks.convert [--steps 150]

Prints the time of a search step beside a plain training step of the same module, in alternation;
then the costs of the largest, the smallest and the found network, the budget, and the bytes in
which the exported file differs from TFLM. The data are stripes in noise: this shows that a budget
is reached, and nothing about accuracy on pictures.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

import micronas
from micronas.export.verify import tflm_arena, verify
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs

SIDE, BATCH, ROUNDS = 96, 32, 7


def stripes(count: int) -> tuple[Tensor, Tensor]:
    """Two classes: rows or columns of period 4, in noise."""
    labels = torch.randint(2, (count,))
    wave = (torch.arange(SIDE) % 4 < 2).float() * 2 - 1
    patterns = torch.stack([wave[:, None].expand(SIDE, SIDE), wave[None].expand(SIDE, SIDE)])
    return patterns[labels][:, None] + torch.randn(count, 3, SIDE, SIDE), labels


def step(
    module: nn.Module, optimizer: torch.optim.Optimizer, penalty: Callable[[], Tensor | float]
) -> None:
    inputs, labels = stripes(BATCH)
    optimizer.zero_grad()
    (F.cross_entropy(module(inputs), labels) + penalty()).backward()
    optimizer.step()


def seconds(function: Callable[[], None]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = mobilenet_v2(width_mult=0.35, num_classes=2)
    example = torch.randn(1, 3, SIDE, SIDE)
    supernet = micronas.Supernet(micronas.convert(module, example))
    board = micronas.Board.load("stm32f446re")
    limits = micronas.Budget(sram="112 KB", latency="200 ms")
    budget = micronas.SearchBudget(limits, board, steps=steps)

    plain = torch.optim.Adam(module.parameters(), lr=1e-3)
    searching = torch.optim.Adam(supernet.parameter_groups(), lr=1e-3)
    ratios = []
    for _ in range(ROUNDS):
        alone = seconds(lambda: step(module, plain, lambda: 0.0))
        search = seconds(lambda: step(supernet, searching, lambda: budget.penalty(supernet)))
        ratios.append(search / alone)
    print(
        f"search step / plain step, CPU time, median of {ROUNDS}: {statistics.median(ratios):.2f}"
    )

    while budget.step < steps:
        step(supernet, searching, lambda: budget.penalty(supernet))
    found, choice, space = supernet.choose(), supernet.choice(), supernet.space
    rows = {
        "largest": space.largest(),
        "smallest": space.smallest(),
        "most likely": supernet.gates.most_likely(),
        "found": choice,
    }
    print(f"{len(space.decisions)} decisions, {steps} steps")
    for name, each in rows.items():
        costs, used = budget.costs(supernet, each), budget.used(supernet, each)
        shares = ", ".join(f"{limit} {share:.1%}" for limit, share in used.items())
        print(f"{name}: {costs.macs} MACs, {costs.latency_ms:.1f} ms; of the budget: {shares}")
    inputs = stripes(8)[0]
    model = micronas.to_tflite(found, example, calibration=[inputs])
    checked = verify(model, quantize_inputs(read(model), inputs))
    arena, costs = tflm_arena(model).total, budget.costs(supernet, choice)
    print(f"TFLM: {checked.mismatches} of {checked.bytes_compared} bytes differ")
    print(f"arena on the host: {arena} bytes, predicted {costs.host_arena_bytes}")


if __name__ == "__main__":
    main()
