"""How one forward pass goes through the supernet: along a choice, or along gates.

A `SlicedPath` cuts the shared weights to the chosen widths and kernels: it costs what the chosen
network costs and is what weights train on. A `MaskedPath` computes everything at the largest
width and multiplies by masks: it is what gates train on, since every option then has a gradient.
For gates that are one-hot, `one_hot.OneHotPath` gives the same output and the same gradients
without the work that the zeros in the masks make needless. All give the same output for the same
choice.

Where the mask stands decides whether gates can grow (measured, with one-hot samples): folded
into batch norm or put on both sides of a ReLU, wider options get a gradient of zero. So a width
is masked once, just before its channels are mixed: after the following depthwise convolution's
ReLU, on a linear projection, or after the pool. `Path.mix` is called at those places only.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from micronas.nas.gates import Sample
from micronas.space.search_space import Choice, SearchSpace
from micronas.train.network import round_weights


class Feature(NamedTuple):
    """A feature map, and which of its channels exist."""

    values: Tensor
    mask: Tensor | None = None
    """[channels]; None where channels are sliced."""
    waits: bool = False
    """The mask was not applied yet."""
    hidden: Tensor | None = None
    """The channels behind those of `values`, if they are kept apart: see `one_hot`."""

    @property
    def channels(self) -> int:
        return self.values.shape[1] + (0 if self.hidden is None else self.hidden.shape[1])

    def each(self, function: Callable[[Tensor, slice], Tensor]) -> "Feature":
        """Apply a function that treats channels alike; it is told which ones it is given."""
        shown = self.values.shape[1]
        values = function(self.values, slice(0, shown))
        if self.hidden is None:
            return self._replace(values=values)
        with torch.no_grad():
            hidden = function(self.hidden, slice(shown, self.channels))
        return self._replace(values=values, hidden=hidden)


class Path(Protocol):
    """What the supernet asks at each decision."""

    def width(self, name: str) -> int:
        """Channels to compute."""

    def shown(self, name: str) -> int:
        """How many of them, the first ones, a gradient passes; the others become `hidden`."""

    def kernel(self, name: str, weights: Tensor) -> Tensor:
        """Depthwise weights [channels, 1, k, k] of the largest kernel, cut or masked."""

    def rounded(self, name: str, weights: Tensor, present: Tensor | None) -> Tensor:
        """Weights [out, in, h, w] with the bits decided on; `present` masks the inputs."""

    def width_mask(self, name: str) -> Tensor | None:
        """Mask [channels] to apply before the channels are mixed; None where they are sliced."""

    def mix(self, feature: Feature) -> Feature:
        """Apply a waiting mask: what follows mixes channels."""

    def prefix(
        self, name: str, depth: int, block: Callable[[int, Feature], Feature], start: Feature
    ) -> Feature:
        """Run up to `depth` blocks in a row and return the feature after the chosen number."""

    def residual(self, name: str | None, skip: Feature, branch: Callable[[], Feature]) -> Feature:
        """Skip + branch, both mixed, where the decision keeps the block, otherwise skip."""


class SlicedPath:
    """Along one choice, at the cost of the chosen network."""

    def __init__(self, space: SearchSpace, choice: Choice) -> None:
        self._value = space.values(choice)

    def width(self, name: str) -> int:
        return self._value[name]

    def shown(self, name: str) -> int:
        return self._value[name]

    def kernel(self, name: str, weights: Tensor) -> Tensor:
        margin = (weights.shape[-1] - self._value[name]) // 2
        inner = slice(margin, weights.shape[-1] - margin)
        return weights[:, :, inner, inner]

    def rounded(self, name: str, weights: Tensor, present: Tensor | None) -> Tensor:
        return round_weights(weights, 4) if self._value.get(name) == 4 else weights

    def width_mask(self, name: str) -> None:
        return None

    def mix(self, feature: Feature) -> Feature:
        return feature

    def prefix(
        self, name: str, depth: int, block: Callable[[int, Feature], Feature], start: Feature
    ) -> Feature:
        feature = start
        for position in range(self._value.get(name, depth)):
            feature = block(position, feature)
        return feature

    def residual(self, name: str | None, skip: Feature, branch: Callable[[], Feature]) -> Feature:
        if name is not None and not self._value[name]:
            return skip
        return Feature(add_padded(skip.values, branch().values))


class MaskedPath:
    """Along gates, at the largest width; every option of every decision gets a gradient."""

    def __init__(self, space: SearchSpace, gates: Sample) -> None:
        self.options = {decision.name: decision.options for decision in space.decisions}
        self.gates = gates

    def width(self, name: str) -> int:
        return self.options[name][-1]

    def shown(self, name: str) -> int:
        return self.width(name)

    def kernel(self, name: str, weights: Tensor) -> Tensor:
        if len(self.options[name]) == 1:
            return weights
        return weights * kernel_mask(self.gates[name], self.options[name])

    def rounded(self, name: str, weights: Tensor, present: Tensor | None) -> Tensor:
        if name not in self.gates:
            return weights
        versions = [
            round_weights(weights, 4, present=present) if bits == 4 else weights
            for bits in self.options[name]
        ]
        return weighted_sum(self.gates[name], versions)

    def width_mask(self, name: str) -> Tensor:
        return width_mask(self.gates[name], self.options[name])

    def mix(self, feature: Feature) -> Feature:
        if feature.mask is None or not feature.waits:
            return feature
        mask = feature.mask.view(1, -1, 1, 1).to(feature.values.dtype)
        return Feature(feature.values * mask, feature.mask)

    def prefix(
        self, name: str, depth: int, block: Callable[[int, Feature], Feature], start: Feature
    ) -> Feature:
        features = [start]
        for position in range(depth):
            features.append(block(position, features[-1]))
        if name not in self.gates:
            return features[-1]
        weights = self.gates[name]
        return Feature(
            weighted_sum(weights, [feature.values for feature in features]),
            sum_of_masks(weights, features),
            features[-1].waits,
        )

    def residual(self, name: str | None, skip: Feature, branch: Callable[[], Feature]) -> Feature:
        kept = branch()
        assert skip.mask is not None, "a masked path masks every feature map"
        assert kept.mask is not None, "a masked path masks every feature map"
        values, mask = kept.values, kept.mask
        if name is not None:
            values, mask = self.gates[name][1] * values, self.gates[name][1] * mask
        return Feature(add_padded(skip.values, values), union_mask(skip.mask, mask))


def width_mask(gates: Tensor, options: tuple[int, ...]) -> Tensor:
    """Expected prefix mask [largest width]: entry c is the probability of more than c channels."""
    return gates @ _prefixes(options).to(gates.dtype)


def kernel_mask(gates: Tensor, options: tuple[int, ...]) -> Tensor:
    """Expected centred mask [largest kernel, largest kernel] of a superkernel."""
    distance = (torch.arange(options[-1]) - options[-1] // 2).abs()
    radius = torch.maximum(distance[:, None], distance[None, :])
    table = (radius <= (torch.tensor(options) // 2)[:, None, None]).to(gates.dtype)
    return torch.einsum("o,okl->kl", gates, table)


@lru_cache
@torch.inference_mode(False)
def _prefixes(options: tuple[int, ...]) -> Tensor:
    """Which channels each width has, float64 [options, largest width]."""
    return (torch.arange(options[-1]) < torch.tensor(options)[:, None]).double()


def weighted_sum(weights: Tensor, values: list[Tensor]) -> Tensor:
    """Sum of values, each times its weight; shorter channel axes are padded with zeros."""
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = add_padded(total, weight * value)
    return total


def sum_of_masks(weights: Tensor, features: list[Feature]) -> Tensor:
    """Mask of the feature that is drawn from some."""
    return weighted_sum(weights, [each.mask for each in features if each.mask is not None])


def add_padded(left: Tensor, right: Tensor) -> Tensor:
    """Add feature maps [N, C, H, W] or masks [C]; the narrower is padded with zero channels."""
    axis = 0 if left.ndim == 1 else 1
    width = max(left.shape[axis], right.shape[axis])
    return widened(left, width) + widened(right, width)


def union_mask(left: Tensor, right: Tensor) -> Tensor:
    """Mask of the larger of two independent widths: 1 - (1 - left)(1 - right)."""
    both = torch.zeros_like(left if len(left) >= len(right) else right)
    shared = min(len(left), len(right))
    both[:shared] = left[:shared] * right[:shared]
    return add_padded(left, right) - both


def widened(value: Tensor, width: int) -> Tensor:
    """A feature map or mask with zero channels behind its own, `width` in all."""
    axis = 0 if value.ndim == 1 else 1
    missing = width - value.shape[axis]
    if not missing:
        return value
    trailing = [0, 0] * (value.ndim - 1 - axis)
    return torch.nn.functional.pad(value, [*trailing, 0, missing])
