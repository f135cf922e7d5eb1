"""Time convolutions of one layer by two ways, in alternation.

    OMP_NUM_THREADS=1 python -m benchmarks.convolutions [ROUNDS]

Times forward and both gradients, channels stored last, ROUNDS (7) times each. Prints medians and
their ratio: depthwise convolutions in bfloat16 against float32, with a 1x1 convolution for
comparison, batch 64; and convolutions over a map of one column against those over its transpose,
batch 128.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.text import table
from micronas.train.convolutions import same_conv2d
from micronas.train.memory import keep_freed_memory

DEPTHWISE = [
    (size, channels, kernel, stride)
    for size, channels in (((25, 5), 276), ((49, 10), 64), ((24, 24), 144))
    for kernel, stride in ((1, 1), (3, 1), (3, 2), (5, 1), (5, 2))
]
COLUMNS = [
    (49, 28, 44, 9, 2),
    (25, 44, 44, 9, 1),
    (13, 56, 84, 9, 2),
    (49, 72, 144, 5, 2),
    (25, 144, 144, 5, 1),
    (13, 304, 304, 5, 1),
]
"""Lengths, channels before and after, kernels and strides, as in TC-ResNet8 and in `kws_open`."""


def main(rounds: int = 7) -> None:
    keep_freed_memory()
    half, columns = [], []
    for size, channels, kernel, stride in DEPTHWISE:
        groups = 1 if kernel == 1 else channels
        shapes = (64, channels, *size), (channels, channels // groups, kernel, kernel)
        plain = partial(F.conv2d, stride=stride, padding=kernel // 2, groups=groups)
        made = tensors(*shapes, torch.float32)
        kind = "1x1" if kernel == 1 else f"depthwise {kernel}x{kernel}, stride {stride}"
        name = [kind, f"{size[0]}x{size[1]}x{channels}"]
        narrow = (plain, *tensors(*shapes, torch.bfloat16))
        half.append([*name, *compared((plain, *made), narrow, rounds)])
    for length, before, after, kernel, stride in COLUMNS:
        made = tensors((128, before, length, 1), (after, before, kernel, 1), torch.float32)
        plain = partial(F.conv2d, stride=(stride, 1), padding=(kernel // 2, 0))
        ours = partial(same_conv2d, stride=(stride, 1))
        name = [f"{kernel}x1, stride {stride}: {after}", f"{length}x1x{before}"]
        columns.append([*name, *compared((plain, *made), (ours, *made), rounds)])
    print(table(["layer", "input", "float32 ms", "bfloat16 ms", "ratio"], half), end="\n\n")
    print(table(["layer", "input", "column ms", "row ms", "ratio"], columns))


Way = tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]
"""A convolution, its input and its weights."""


def compared(first: Way, second: Way, rounds: int) -> list[str]:
    """Return the median milliseconds of CPU of each way, and the ratio of the second's."""
    times: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for (convolve, x, weight), own in zip((first, second), times, strict=True):
            began = time.process_time()
            y = convolve(x, weight)
            torch.autograd.grad(y, [x, weight], torch.ones_like(y))
            if number:
                own.append(1000 * (time.process_time() - began))
    one, other = map(median, times)
    return [f"{one:.1f}", f"{other:.1f}", f"{other / one:.2f}"]


def tensors(
    inputs: Sequence[int], weights: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return an input and weights that want gradients."""
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.randn(*shape, generator=generator)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
        for shape in (inputs, weights)
    ]
    return made[0], made[1]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
