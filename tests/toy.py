"""A data set and a search space small enough for tests to search in seconds."""

import torch
import yaml
from torch import Tensor

from micronas.data import DataSet, TensorSplit
from micronas.space.space import Space

CLASSES = ("flat", "rows", "columns", "checks")


def space_of(text: str) -> Space:
    """A space as its file has it."""
    return Space.model_validate(yaml.safe_load(text))


SPACE = space_of("""
name: toy
input: [12, 12, 1]
classes: 4
stem: {width: {min: 4, max: 16, step: 4}, kernel: [3, 3], stride: [2, 2]}
blocks:
- {type: separable, width: {min: 4, max: 24, step: 4}, repeat: 3, skip: true, kernel: [3x3, 5x5]}
""")

SMALL = space_of("""
name: toy
input: [12, 12, 1]
classes: 4
stem: {width: [4, 8, 16], kernel: [3, 3], stride: [2, 2]}
blocks:
- {type: separable, width: [8, 16, 24], repeat: 2, skip: true, kernel: [3x3, 5x5]}
""")
"""Of 129 networks, whose costs take no time, for tests of what is done with any space."""


def _noisy(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return inputs + 0.3 * torch.randn(inputs.shape, generator=generator)


def split(count: int, seed: int) -> TensorSplit:
    """Noisy stripes and checks; every fourth example shares a group."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(CLASSES), (count,), generator=generator)
    position = torch.arange(12)
    wave = (position % 4 < 2).float() * 2 - 1
    patterns = torch.stack(
        [
            torch.zeros(12, 12),
            wave[:, None].expand(12, 12),
            wave[None, :].expand(12, 12),
            wave[:, None] * wave[None, :],
        ]
    )
    inputs = patterns[labels] + 0.8 * torch.randn(count, 12, 12, generator=generator)
    groups = torch.arange(count) // 4
    return TensorSplit(inputs[:, None], labels, groups=groups, augment=_noisy)


def data() -> DataSet:
    return DataSet(split(400, 0), split(120, 1), split(120, 2), CLASSES, (12, 12, 1))


def few() -> DataSet:
    """Enough to see that a search runs, not that it learns."""
    return DataSet(split(160, 0), split(40, 1), split(40, 2), CLASSES, (12, 12, 1))
