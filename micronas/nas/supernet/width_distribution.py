"""Probabilities of a choice graph's widths under gates; decisions are independent."""

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from micronas.nas.supernet.gates import Sample
from micronas.space.channels import Channels, Either, Union, Units
from micronas.space.choice_graph import ChoiceGraph, When


class WidthDistribution:
    """Probabilities (float64) under gates, each computed once.

    `gates` are probabilities, or a sample, of each decision by name.
    """

    def __init__(self, choices: ChoiceGraph, gates: Sample) -> None:
        self._gates = [gates[each.name].double() for each in choices.decisions]
        self._known: dict[Channels, Tensor] = {}
        self._one = torch.ones(1, dtype=torch.float64)

    def option(self, decision: int) -> Tensor:
        """Return the probability of each option [options]."""
        return self._gates[decision]

    def probability(self, condition: When) -> Tensor:
        """Return the probability that a condition holds (scalar)."""
        found = self._one[0]
        for decision, options in condition.items():
            found = found * self._gates[decision][sorted(options)].sum()
        return found

    def widths(self, channels: Channels) -> Tensor:
        """Return the probability of each width in `channels.values`."""
        if channels not in self._known:
            self._known[channels] = self._worked_out(channels)
        return self._known[channels]

    def mean(self, channels: Channels) -> Tensor:
        """Return the expected width (scalar)."""
        mean: Tensor = self.widths(channels) @ numbers(channels.values)
        return mean

    def given(self, decision: int, option: int) -> "WidthDistribution":
        """Return the distribution given one option of a decision."""
        certain = copy(self)
        certain._gates, certain._known = list(self._gates), {}
        certain._gates[decision] = torch.zeros_like(self._gates[decision])
        certain._gates[decision][option] = 1.0
        return certain

    def _worked_out(self, channels: Channels) -> Tensor:
        values = numbers(channels.values)
        if isinstance(channels, Either):
            weights, parts = self._gates[channels.decision], channels.branches
            likely = [weights[number] * self.widths(each) for number, each in enumerate(parts)]
            widths = torch.cat([numbers(each.values) for each in parts])
            return _added(values, widths, torch.cat(likely))
        if isinstance(channels, Union):
            sides = channels.left, channels.right
            left, right = (numbers(each.values) for each in sides)
            likely_both = self.widths(sides[0])[:, None] * self.widths(sides[1])
            return _added(values, torch.maximum(left[:, None], right), likely_both)
        assert isinstance(channels, Units), "there are three kinds of channels"
        known, probability = numbers((channels.fixed,)), self._one
        for owner, counts in channels.counts.items():
            widths = known[:, None] + numbers(counts)
            known = torch.unique(widths)  # in rising order
            probability = _added(known, widths, probability[..., None] * self._gates[owner])
        return probability


def _added(values: Tensor, widths: Tensor, likely: Tensor) -> Tensor:
    """Sum the probabilities of equal widths; `values` are all widths, in rising order."""
    place = torch.searchsorted(values, widths.flatten())
    return likely.new_zeros(len(values)).index_add(0, place, likely.flatten())


Axis = Channels | int
"""A width, or the number of a decision on kernels or bits."""


def joint(
    distribution: WidthDistribution, axes: Sequence[Axis]
) -> list[tuple[Tensor, list[Tensor]]]:
    """Return distributions of several axes, as if independent, with the weight of each case.

    There is one case where no two axes share a decision; otherwise one per option of the shared
    decisions.
    """
    shared = _shared(tuple(axes))
    cases = []
    for picked in product(*(range(len(distribution.option(each))) for each in shared)):
        weight, certain = torch.ones((), dtype=torch.float64), distribution
        for decision, option in zip(shared, picked, strict=True):
            weight = weight * distribution.option(decision)[option]
            certain = certain.given(decision, option)
        cases.append((weight, [_of(certain, axis) for axis in axes]))
    return cases


def _of(distribution: WidthDistribution, axis: Axis) -> Tensor:
    return distribution.option(axis) if isinstance(axis, int) else distribution.widths(axis)


@lru_cache(maxsize=10_000)
def _shared(axes: tuple[Axis, ...]) -> tuple[int, ...]:
    """Return decisions that more than one axis depends on."""
    seen: set[int] = set()
    twice: set[int] = set()
    for axis in axes:
        own = {axis} if isinstance(axis, int) else axis.decisions
        twice |= seen & own
        seen |= own
    return tuple(sorted(twice))


@lru_cache(maxsize=10_000)
@torch.inference_mode(False)
def numbers(values: tuple[int, ...]) -> Tensor:
    """Return widths as float64; the same tensor each time."""
    return torch.tensor(values, dtype=torch.float64)
