"""Running mean of a network's weights, which is the trained network at any time of its training.

With the last weights, the noise of steps goes only as the learning rate falls to zero; the mean of
recent weights is without it while the rate is high. It costs little in a step; batch norm's
statistics cost as much as some steps, each time that the network is evaluated.

Source: P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization",
2018, and S. Sanyal et al., "Early Weight Averaging meets High Learning Rates for LLM Pre-training",
2023.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from micronas.checkpoint import State
from micronas.data import Split
from micronas.train.devices import device_of
from micronas.train.recipe import Recipe
from micronas.train.threads import threads

_RECENT = 0.1
"""Share of the steps so far after which a step weighs a third of the last one."""
_BATCHES = 12
"""Number of batches for new statistics of batch norm."""


class Mean:
    """Mean of a module's recent weights; unlike torch's `AveragedModel`, a step waits for no
    device."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._means = [each.detach().clone() for each in module.parameters()]
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        weights: list[Tensor] = [*self._module.parameters()]
        pull = 1 / (1 + _RECENT * (self._steps + 1)) if self._steps else 1.0
        torch._foreach_lerp_(self._means, weights, pull)
        self._steps += 1

    @torch.no_grad()
    def apply(self) -> None:
        """Set the module's weights to their mean."""
        torch._foreach_copy_(list(self._module.parameters()), self._means)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply the mean within the context; afterwards the module is as before."""
        own = copy.deepcopy(self._module.state_dict())
        self.apply()
        try:
            yield
        finally:
            self._module.load_state_dict(own)

    def state(self) -> State:
        return {"means": [each.clone() for each in self._means], "steps": self._steps}

    def restore(self, state: State) -> None:
        torch._foreach_copy_(self._means, state["means"])
        self._steps = state["steps"]


def recalibrate(
    network: nn.Module, split: Split, recipe: Recipe, generator: torch.Generator
) -> None:
    """Give batch norm the statistics of some training batches, and set eval mode.

    Torch computes on the recipe's number of threads, as in `fit`.
    """
    device = device_of(network)
    order = torch.randperm(len(split.labels), generator=generator)
    batches = (
        split.batch(order[step * recipe.batch_size :][: recipe.batch_size], generator)
        for step in range(min(recipe.steps(len(order)), _BATCHES))
    )
    with threads(recipe.threads), torch.random.fork_rng([]):
        torch.manual_seed(generator.initial_seed())  # of dropout
        update_bn(batches, network, device)
    network.eval()
