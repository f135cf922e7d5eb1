"""A network of the zoo: how it is built, what it reads, and the random numbers in it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_SETTLING = 16
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_NORMS = (*_BATCH_NORMS, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One network."""

    name: str
    build: Callable[[], nn.Module]
    shapes: tuple[Shape, ...]
    """Of one example of each input, as the module reads it."""
    vocabulary: int = 0
    """Of inputs that are whole numbers below it."""

    def module(self) -> nn.Module:
        """Build the network in eval mode; the same weights at every call.

        Biases, the factors of norms and the scales of residual branches are random where a
        library starts them at zero or one. Batch norms hold the statistics of normal inputs, each
        a little off: a deep network of drawn statistics would answer the same to all inputs.
        """
        torch.manual_seed(0)
        module = self.build().eval()
        with torch.no_grad():
            _draw(module, torch.Generator().manual_seed(1))
            _settle(module, self.inputs(_SETTLING, seed=2), torch.Generator().manual_seed(3))
        return module

    def inputs(self, count: int, *, seed: int) -> tuple[Tensor, ...]:
        """Draw normal inputs, or whole numbers, [count, ...] each."""
        generator = torch.Generator().manual_seed(seed)
        if self.vocabulary:
            return tuple(
                torch.randint(self.vocabulary, (count, *shape), generator=generator)
                for shape in self.shapes
            )
        return tuple(torch.randn(count, *shape, generator=generator) for shape in self.shapes)


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    """Replace what starts at zero or one."""
    factors = {id(each.weight) for each in module.modules() if isinstance(each, _NORMS)}
    for name, parameter in module.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if id(parameter) in factors or last == "gamma":
            parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
        elif "bias" in last:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def _settle(module: nn.Module, inputs: tuple[Tensor, ...], generator: torch.Generator) -> None:
    """Give batch norms the statistics of some inputs, then move each a little."""
    norms = [each for each in module.modules() if isinstance(each, _BATCH_NORMS)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    module(*inputs)
    for norm in norms:
        norm.eval()
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        mean += 0.1 * variance.sqrt() * torch.randn(mean.shape, generator=generator)
        variance *= 0.75 + 0.5 * torch.rand(variance.shape, generator=generator)
