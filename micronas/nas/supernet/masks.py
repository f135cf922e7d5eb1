"""Masks of gates: expected presence of channels and taps, with a gradient."""

from functools import lru_cache

import torch
from torch import Tensor

from micronas.nas.supernet.gates import Sample
from micronas.space.channels import Channels, Either, Union, Units
from micronas.space.choice_graph import ChoiceGraph
from micronas.space.decisions import Size, bounding


class Masks:
    """Masks [channels] of the tensors of a graph under gates, each computed once.

    Entry c is the probability that channel c exists.
    """

    def __init__(self, choices: ChoiceGraph, gates: Sample, device: torch.device) -> None:
        self._choices = choices
        self._gates = [gates[each.name].to(device) for each in choices.decisions]
        self._known: dict[Channels, Tensor] = {}
        self._device, self._is_training = device, torch.is_grad_enabled()

    def of(self, name: str) -> Tensor:
        """Return the mask of a tensor."""
        return self._of(self._choices.channels[name])

    def gates(self, decision: int) -> Tensor:
        return self._gates[decision]

    def kernel(self, decision: int) -> Tensor:
        """Return the mask [height, width] of a superkernel; smaller kernels are its centre."""
        table = _rectangles(self._choices.decisions[decision].options)
        gates = self._gates[decision]
        return torch.einsum("o,okl->kl", gates, table.to(gates))

    def _of(self, channels: Channels) -> Tensor:
        if channels not in self._known:  # whichever reader is first, others need its gradient
            with torch.set_grad_enabled(self._is_training):
                self._known[channels] = self._worked_out(channels)
        return self._known[channels]

    def _worked_out(self, channels: Channels) -> Tensor:
        if isinstance(channels, Either):
            weights = self._gates[channels.decision]
            return weighted_sum(weights, [self._of(each) for each in channels.branches])
        if isinstance(channels, Union):
            return _union_mask(self._of(channels.left), self._of(channels.right))
        assert isinstance(channels, Units), "there are three kinds of channels"
        if channels.is_prefix and channels.owned:
            (owner,) = channels.owned
            return _width_mask(self._gates[owner], self._choices.decisions[owner].options)
        mask = torch.ones(channels.size, device=self._device)
        for owner in channels.owned:
            prefix = _width_mask(self._gates[owner], self._choices.decisions[owner].options)
            mine = torch.from_numpy(channels.owners == owner).to(self._device)
            ranks = torch.from_numpy(channels.ranks).to(self._device)
            mask = torch.where(mine, prefix[ranks.clamp(max=len(prefix) - 1)], mask)
        return mask


def _width_mask(gates: Tensor, options: tuple[int, ...]) -> Tensor:
    """Return the expected prefix mask [largest width]: probabilities of more than c channels."""
    return gates @ _prefixes(options).to(gates)


@lru_cache
@torch.inference_mode(False)
def _prefixes(options: tuple[int, ...]) -> Tensor:
    """Return the channels of each width as 0 or 1, float64 [options, largest width]."""
    return (torch.arange(options[-1]) < torch.tensor(options)[:, None]).double()


@lru_cache
@torch.inference_mode(False)
def _rectangles(options: tuple[Size, ...]) -> Tensor:
    """Return the taps of each kernel as 0 or 1, float64 [options, largest height, largest
    width]."""
    largest = bounding(options)
    sides = []
    for axis in (0, 1):
        distance = (torch.arange(largest[axis]) - largest[axis] // 2).abs()
        reach = torch.tensor([option[axis] // 2 for option in options])
        sides.append(distance[None] <= reach[:, None])
    return (sides[0][:, :, None] & sides[1][:, None, :]).double()


def along_channels(mask: Tensor, values: Tensor) -> Tensor:
    """Return a mask [C] shaped as a factor of feature maps or vectors [N, C, ...]."""
    return mask.view(1, -1, *[1] * (values.ndim - 2)).to(values.dtype)


def weighted_sum(weights: Tensor, values: list[Tensor]) -> Tensor:
    """Return the weighted sum of values; shorter channel axes are padded with zeros."""
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = add_padded(total, weight * value)
    return total


def add_padded(left: Tensor, right: Tensor) -> Tensor:
    """Add feature maps [N, C, ...] or masks [C]; the narrower is padded with zero channels."""
    axis = 0 if left.ndim == 1 else 1
    width = max(left.shape[axis], right.shape[axis])
    return widened(left, width) + widened(right, width)


def _union_mask(left: Tensor, right: Tensor) -> Tensor:
    """Return the mask of the larger of two independent widths: 1 - (1 - left)(1 - right)."""
    shared = min(len(left), len(right))
    both = left[:shared] * right[:shared]
    return add_padded(left, right) - widened(both, max(len(left), len(right)))


def widened(value: Tensor, width: int) -> Tensor:
    """Return a feature map or mask padded with zero channels to `width`."""
    axis = 0 if value.ndim == 1 else 1
    missing = width - value.shape[axis]
    if not missing:
        return value
    trailing = [0, 0] * (value.ndim - 1 - axis)
    return torch.nn.functional.pad(value, [*trailing, 0, missing])
