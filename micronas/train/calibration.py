"""From observed values to activation ranges: how much of the tails a range covers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.graph.interface import Given, by_name
from micronas.graph.ir import Graph

Method = Literal["average", "minmax", "percentile", "mse"]
"""How a range follows from observed values.

``average``: the mean of the batches' extremes, which is steady where a training loop goes on to
learn the range. ``minmax``: everything seen. ``percentile``: all but the outermost 0.01 % on either
side. ``mse``: the range with the smallest squared rounding and clipping error.
"""

Histogram = npt.NDArray[np.float64]

_BINS = 2048
_TAIL = 1e-4
_CUTS = np.linspace(1, 0.2, 33)
"""Parts of each extreme that ``mse`` tries; 1 first, which stays where nothing is better."""
_NUMBERS = 2**18
"""Of inputs: enough to count values and to mean errors, which a map has at all its positions."""


def thinned(graph: Graph, batches: Iterable[Given[Tensor]]) -> list[dict[str, Tensor]]:
    """Take every so-many-th example, so that about 2**18 numbers are left in all.

    Extremes need every example; what is averaged does not.
    """
    given = [by_name(graph, batch) for batch in batches]
    numbers = sum(value.numel() for batch in given for value in batch.values())
    step = -(-numbers // _NUMBERS)
    return [{name: value[::step] for name, value in batch.items()} for batch in given]


@dataclass
class Observer:
    """Values of one activation tensor, seen batch by batch, in two rounds.

    The first round finds the extremes, the second one, in which there may be fewer values, fills a
    histogram between them.
    """

    low: Tensor
    high: Tensor
    batches: int
    sums: Tensor
    counts: Histogram

    @classmethod
    def empty(cls) -> "Observer":
        extremes = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        return cls(*extremes, 0, torch.zeros(2), np.zeros(_BINS))

    def see(self, span: Tensor) -> None:
        """First round: the lowest and highest value of a batch, [2]."""
        self.low, self.high = self.low.minimum(span[0]), self.high.maximum(span[1])
        self.sums = self.sums + span
        self.batches += 1

    def count(self, values: Tensor) -> None:
        """Second round: the values of a batch, of any shape."""
        low, high = self.low.item(), self.high.item()
        if low < high:
            self.counts += torch.histc(values.detach(), _BINS, low, high).numpy()

    def span(self, method: Method) -> Tensor:
        """Return the lowest and highest value that the range shall hold, [2]."""
        extremes = torch.stack((self.low, self.high))
        if method == "average":
            return self.sums / self.batches
        if method == "minmax" or not self.low < self.high:
            return extremes
        edges = np.linspace(self.low.item(), self.high.item(), _BINS + 1)
        pick = _percentiles if method == "percentile" else _least_error
        return torch.tensor(pick(self.counts, edges), dtype=torch.float32)


def _percentiles(counts: Histogram, edges: Histogram) -> tuple[float, float]:
    share = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(share, _TAIL, side="right"))
    last = int(np.searchsorted(share, 1 - _TAIL))
    return float(edges[first]), float(edges[min(last, _BINS - 1) + 1])


def _least_error(counts: Histogram, edges: Histogram) -> tuple[float, float]:
    """Try ranges of 256 steps that hold zero, from the extremes inwards.

    What lies outside is clipped, and the rest is off by a twelfth of a squared step; zeros, which
    ReLU leaves many of, are exact.
    """
    values = (edges[:-1] + edges[1:]) / 2
    lows, lost_below = _clipped(-values[::-1], counts[::-1])
    highs, lost_above = _clipped(values, counts)
    rounded = counts[1:].sum() if edges[0] == 0 else counts.sum()
    steps = (highs[None, :] + lows[:, None]) / 255
    errors = rounded * steps**2 / 12 + lost_below[:, None] + lost_above[None, :]
    low, high = np.unravel_index(errors.argmin(), errors.shape)
    return -float(lows[low]), float(highs[high])


def _clipped(values: Histogram, counts: Histogram) -> tuple[Histogram, Histogram]:
    """Ends that positive values are clipped at, and the squared error of each."""
    ends = max(values[-1], 0.0) * _CUTS
    beyond = np.maximum(values[None, :] - ends[:, None], 0)
    return ends, (beyond**2) @ counts
