"""Time depthwise convolutions in bfloat16 against float32.

    OMP_NUM_THREADS=1 python -m benchmarks.depthwise_bf16 [ROUNDS]

Times forward and both gradients of one layer, channels_last, batch 64, in float32 and in bfloat16
by turns, ROUNDS (7) times each. Prints the medians and their ratio; a 1x1 convolution for
comparison.
"""

import sys
import time
from statistics import median

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.text import table
from micronas.train.memory import keep_freed_memory

LAYERS = [
    (size, channels, kernel, stride)
    for size, channels in (((25, 5), 276), ((49, 10), 64), ((24, 24), 144))
    for kernel, stride in ((1, 1), (3, 1), (3, 2), (5, 1), (5, 2))
]


def main(rounds: int = 7) -> None:
    keep_freed_memory()
    rows = []
    for size, channels, kernel, stride in LAYERS:
        groups = 1 if kernel == 1 else channels
        passes = {
            dtype: layer(size, channels, kernel, dtype) for dtype in (torch.float32, torch.bfloat16)
        }
        seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in passes}
        for number in range(rounds + 1):
            for dtype, (x, weight) in passes.items():
                began = time.process_time()
                y = F.conv2d(x, weight, None, stride, kernel // 2, 1, groups)
                torch.autograd.grad(y, [x, weight], torch.ones_like(y))
                if number:
                    seconds[dtype].append(time.process_time() - began)
        single, half = (1000 * median(each) for each in seconds.values())
        kind = "1x1" if kernel == 1 else f"depthwise {kernel}x{kernel}, stride {stride}"
        shape = f"{size[0]}x{size[1]}x{channels}"
        rows.append([kind, shape, f"{single:.1f}", f"{half:.1f}", f"{half / single:.2f}"])
    print(table(["layer", "input", "float32 ms", "bfloat16 ms", "ratio"], rows))


def layer(
    size: tuple[int, int], channels: int, kernel: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Input and weights that want gradients."""
    generator = torch.Generator().manual_seed(0)
    depth = channels if kernel == 1 else 1
    x = torch.randn(64, channels, *size, generator=generator)
    weight = torch.randn(channels, depth, kernel, kernel, generator=generator)
    made = [
        each.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        for each in (x, weight)
    ]
    return made[0], made[1]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
