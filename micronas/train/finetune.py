"""Quantisation-aware training from a trained float network."""

from collections.abc import Callable

import torch

from micronas.checkpoint import Checkpoint
from micronas.errors import ConfigError
from micronas.graph.builder import Bits
from micronas.graph.ir import Graph
from micronas.objectives.base import Objective
from micronas.objectives.classes import CLASSES
from micronas.splits import Split, check_split
from micronas.train.loop import Epoch, Loss, fit, generator_for
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork, Ranges
from micronas.train.recipe import FINETUNE, Recipe

_CALIBRATION_BATCHES = 8


def finetune(
    network: Network | Graph,
    split: Split,
    recipe: Recipe = FINETUNE,
    *,
    seed: int,
    bits: Bits = 8,
    ranges: Ranges = "gradient",
    section: str = "quantize",
    checkpoint: Checkpoint | None = None,
    progress: Callable[[Epoch], None] | None = None,
    objective: Objective = CLASSES,
    loss: Loss | None = None,
    validation: Split | None = None,
    device: torch.device | None = None,
) -> QuantizedNetwork:
    """Fold batch norm, calibrate on augmented training batches and train with rounding.

    The network is a trained one, or its float32 graph, weights included. Batch norm stays folded
    with its running statistics. See `fit` for the other parameters; a resumed run ends in the same
    weights here too. Raises ConfigError if the recipe asks for mixed precision.
    """
    if recipe.amp is not None:
        raise ConfigError(
            "quantization-aware training must compute in float32, as bfloat16 cannot hold its "
            f"grids, but got amp={recipe.amp}; leave quantize.amp out"
        )
    graph = network if isinstance(network, Graph) else network.graph()
    quantized = QuantizedNetwork(graph, bits=bits, ranges=ranges)
    check_split(split)
    generator = generator_for(seed, section, "calibration")
    order = torch.randperm(len(split.labels), generator=generator)
    parts = torch.split(order, recipe.batch_size)[:_CALIBRATION_BATCHES]
    quantized.calibrate((split.batch(index, generator) for index in parts), method="average")
    return fit(
        quantized,
        split,
        recipe,
        seed=seed,
        section=section,
        checkpoint=checkpoint,
        progress=progress,
        objective=objective,
        loss=loss,
        validation=validation,
        device=device,
    )
