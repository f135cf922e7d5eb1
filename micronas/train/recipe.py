"""Settings of one training: epochs, batch size, learning rate and the like. Imports no torch."""

import math
from typing import Literal

from pydantic import Field

from micronas.settings import Settings

Device = Literal["auto", "cpu", "cuda", "mps"]
Amp = Literal["bf16"] | None
"""Automatic mixed precision: type of convolutions, None for float32."""


class Recipe(Settings):
    """Training of a network: AdamW, linear warm-up, then half a cosine down to half of the rate,
    and the mean of recent weights."""

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=128, ge=2)  # batch norm takes no single position
    learning_rate: float = Field(default=6e-3, gt=0)
    """Highest learning rate of the schedule."""
    warmup: float = Field(default=0.3, ge=0, lt=1)
    """Fraction of all steps in which the learning rate rises."""
    mean: bool = True
    """Whether the trained network is the mean of recent weights. Without, it is the last weights,
    and the rate falls to zero: up to 1.4 points worse (docs/results/search.md)."""
    weight_decay: float = Field(default=1e-3, ge=0)
    """Decay of weights; biases, norms and quantisation ranges have none."""
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    cutmix_from: int = Field(default=90, ge=1)
    """Fewest epochs of a training with CutMix, where ``data.augment`` names it; shorter ones gain
    nothing by it (docs/results/search.md)."""
    amp: Amp = None
    """``bf16`` computes convolutions in bfloat16, except depthwise and grouped ones with strides or
    with kernels of 5x5 and more, which would be slower; weights and exports stay float32. A
    processor without bfloat16 instructions takes several times as long with it."""
    threads: int = Field(default=1, ge=1)
    """Threads of a training, on a CPU; the last bits of weights depend on it. Two take 0.6 to 0.9
    of the time of one (benchmarks/threads.py), so that trainings side by side use cores better."""

    def steps(self, examples: int) -> int:
        """Return the steps of an epoch, without a short last batch, which would disturb batch
        norm; shuffling uses every example in time."""
        return max(examples // self.batch_size, 1)

    def rate(self, progress: float) -> float:
        """Return the learning rate after this fraction (0 to 1) of the steps."""
        if progress < self.warmup:
            return self.learning_rate * (0.04 + 0.96 * progress / self.warmup)
        done = (progress - self.warmup) / (1 - self.warmup) / (1 + self.mean)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


FINETUNE = Recipe(epochs=1, learning_rate=1e-4, warmup=0.1, mean=False)
"""Recipe for fine-tuning a trained network with rounding. With 1e-3, networks that had trained for
60 epochs and more lost up to a point of what they had learnt (benchmarks/rounding.py)."""


def going_on(recipe: Recipe) -> Recipe:
    """Return the recipe of a training from trained weights: its rate rises in a twentieth of the
    steps at most."""
    return recipe.model_copy(update={"warmup": min(recipe.warmup, 0.05)})
