"""From observed values to activation ranges: how much of the tails a range covers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Method = Literal["average", "minmax", "percentile", "mse"]
"""Rule by which a range follows from observed values.

``average``: the mean of the batches' extremes, which is steady where a training loop goes on to
learn the range. ``minmax``: everything seen. ``percentile``: all but the outermost 0.01 % on either
side. ``mse``: the range with the smallest squared rounding and clipping error.
"""

EXAMPLES = 128
"""Inputs that calibration should have: biases are corrected by so many."""

_Histogram = npt.NDArray[np.float64]

_BINS = 2048
_COUNTED = 2**18
"""Values of a batch that go into a histogram; of some more, as whole rows do."""
_TAIL = 1e-4
_CUTS = np.linspace(1, 0.2, 33)
"""Parts of each extreme that ``mse`` tries; 1 first, which stays where nothing is better."""


@dataclass
class Observer:
    """Values of one activation tensor, seen batch by batch."""

    low: Tensor
    high: Tensor
    batches: int
    sums: Tensor
    counts: _Histogram
    ends: tuple[float, float] = (0.0, 0.0)
    """Bins of the histogram."""

    @classmethod
    def empty(cls) -> "Observer":
        extremes = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        return cls(*extremes, 0, torch.zeros(2), np.zeros(_BINS))

    def see(self, span: Tensor) -> None:
        """Take the lowest and highest value of a batch, [2]."""
        self.low, self.high = self.low.minimum(span[0]), self.high.maximum(span[1])
        self.sums = self.sums + span
        self.batches += 1

    def count(self, values: Tensor, span: Tensor, *, parts: int = 1) -> None:
        """Add values of any shape, whose extremes are `span`, to the histogram, which widens.

        Of large maps [N, channels, height, width], or batches in so many `parts`, some rows are
        enough.
        """
        low, high = span.tolist()
        if not np.isfinite([low, high]).all():
            return  # which is refused when all is seen
        if self.counts.any():
            low, high = min(low, self.ends[0]), max(high, self.ends[1])
            if (low, high) != self.ends:
                centres = np.linspace(*self.ends, 2 * _BINS + 1)[1::2]
                self.counts, _ = np.histogram(centres, _BINS, (low, high), weights=self.counts)
        if values.ndim == 4:
            values = values[:, :, :: -(-values.numel() * parts // _COUNTED)]
        if low < high:
            self.counts = self.counts + torch.histc(values.detach(), _BINS, low, high).cpu().numpy()
            self.ends = low, high

    def span(self, method: Method) -> Tensor:
        """Return the lowest and highest value that the range shall hold, [2]."""
        extremes = torch.stack((self.low, self.high))
        if method == "average":
            return self.sums / self.batches
        if method == "minmax" or self.counts.sum() < _BINS:  # so few say nothing of tails
            return extremes
        edges = np.linspace(*self.ends, _BINS + 1)
        pick = _percentiles if method == "percentile" else _least_error
        return torch.tensor(pick(self.counts, edges), dtype=torch.float32)


def _percentiles(counts: _Histogram, edges: _Histogram) -> tuple[float, float]:
    share = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(share, _TAIL, side="right"))
    last = int(np.searchsorted(share, 1 - _TAIL))
    return float(edges[first]), float(edges[min(last, _BINS - 1) + 1])


def _least_error(counts: _Histogram, edges: _Histogram) -> tuple[float, float]:
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


def _clipped(values: _Histogram, counts: _Histogram) -> tuple[_Histogram, _Histogram]:
    """Ends that positive values are clipped at, and the squared error of each."""
    ends = max(values[-1], 0.0) * _CUTS
    beyond = np.maximum(values[None, :] - ends[:, None], 0)
    return ends, (beyond**2) @ counts
