"""Running mean of a network's weights, which scores its training while the rate is still high.

Late steps of a schedule with a falling learning rate average out the noise of the early ones; the
mean of recent weights does so at any time. It costs little in a step; batch norm's statistics cost
as much as some steps, once per comparison.

Source: P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization",
2018, and S. Sanyal et al., "Early Weight Averaging meets High Learning Rates for LLM Pre-training",
2023.
"""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from micronas.data import Split
from micronas.train.recipe import Recipe
from micronas.train.threads import threads

_RECENT = 0.1
"""Share of the steps so far after which a step weighs a third of the last one."""
_BATCHES = 12
"""Number of batches for new statistics of batch norm."""


def averaged(module: nn.Module) -> AveragedModel:
    """Return a copy of a module whose parameters `update_parameters` moves towards the module's."""
    return AveragedModel(module, multi_avg_fn=_towards)


def recalibrated(
    network: nn.Module, split: Split, recipe: Recipe, generator: torch.Generator
) -> nn.Module:
    """Return the network in eval mode, with batch norm's statistics of some training batches.

    Torch computes on the recipe's number of threads, as in `fit`.
    """
    order = torch.randperm(len(split.labels), generator=generator)
    batches = (
        split.batch(order[step * recipe.batch_size :][: recipe.batch_size], generator)
        for step in range(min(recipe.steps(len(order)), _BATCHES))
    )
    with threads(recipe.threads):
        update_bn(batches, network)
    return network.eval()


def _towards(
    means: tuple[Tensor, ...] | list[Tensor],
    weights: tuple[Tensor, ...] | list[Tensor],
    count: Tensor | int,
) -> None:
    torch._foreach_lerp_(means, weights, 1 / (1 + _RECENT * (int(count) + 1)))
