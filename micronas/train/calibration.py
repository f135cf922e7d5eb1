"""Choose activation ranges from observed values: the part of the tails that a range covers."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.errors import ExportError

Method = Literal["average", "minmax", "percentile", "mse"]
"""Rule by which a range follows from observed values.

``average``: the mean of the batches' extremes, a steady start where training goes on to learn the
range. ``minmax``: all values. ``percentile``: all but the outermost 0.01 % on either side. ``mse``:
the range with the smallest squared rounding and clipping error, of values seen or, where these are
few, of those to be expected beyond them.
"""

EXAMPLES = 128
"""Inputs that calibration should have; as many correct biases."""

_Histogram = npt.NDArray[np.float64]

_BINS = 2048
_COUNTED = 2**18
"""Approximate number of a batch's values in a histogram, which takes whole rows of maps."""
_ROWS = 8
"""Rows of a map that are counted at least."""
_TAIL = 1e-4
_CUTS = np.linspace(1, 0.2, 33)
"""Parts of each extreme that ``mse`` tries; 1 comes first, so that it wins ties."""
_WIDER = np.linspace(1, 2, 33)
"""Multiples of each extreme that it tries where few values were seen."""
_TAIL_SHARE, _FEWEST, _REPEATED = 8, 64, 2
"""One value in so many is of a tail, of at least so many; one that occurs more often is a bound."""


def check_method(method: object) -> None:
    """Raise ExportError if there is no such rule."""
    if method not in get_args(Method):
        raise ExportError(
            f"method must be one of {', '.join(get_args(Method))}, but is {method!r}; choose one"
        )


@dataclass
class Observer:
    """Statistics of one activation tensor, batch by batch."""

    low: Tensor
    high: Tensor
    batches: int
    sums: Tensor
    counts: _Histogram
    ends: tuple[float, float] = (0.0, 0.0)
    """Ends of the histogram."""

    @classmethod
    def empty(cls) -> "Observer":
        extremes = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        return cls(*extremes, 0, torch.zeros(2), np.zeros(_BINS))

    def see(self, span: Tensor) -> None:
        """Add the lowest and highest value of a batch, [2]."""
        self.low, self.high = self.low.minimum(span[0]), self.high.maximum(span[1])
        self.sums = self.sums + span
        self.batches += 1

    def count(self, values: Tensor, span: Tensor, *, parts: int = 1) -> None:
        """Add values of any shape, whose extremes are `span`, to the histogram and widen it.

        Only some rows of large maps [N, channels, height, width], or of batches in many `parts`,
        are counted: of some examples where there would be too few, as the first row may be a
        picture's frame or the silence before a word.
        """
        low, high = span.tolist()
        if not np.isfinite([low, high]).all():
            return  # refused after the last batch
        if self.counts.any():
            low, high = min(low, self.ends[0]), max(high, self.ends[1])
            if (low, high) != self.ends:
                centres = np.linspace(*self.ends, 2 * _BINS + 1)[1::2]
                self.counts, _ = np.histogram(centres, _BINS, (low, high), weights=self.counts)
        if values.ndim == 4:
            share = -(-values.numel() * parts // _COUNTED)
            apart = min(share, max(values.shape[2] // _ROWS, 1))
            values = values[:: -(-share // apart), :, ::apart]
        if low < high:
            self.counts = self.counts + torch.histc(values.detach(), _BINS, low, high).cpu().numpy()
            self.ends = low, high

    def span(self, method: Method) -> Tensor:
        """Return the lowest and highest value of the range by a method, [2]."""
        extremes = torch.stack((self.low, self.high))
        if method == "average":
            return self.sums / self.batches
        seen = self.counts.sum()
        if method == "minmax" or seen < (_FEWEST if method == "mse" else _BINS):
            return extremes
        edges = np.linspace(*self.ends, _BINS + 1)
        pick = _percentiles if method == "percentile" else _least_error
        found = torch.tensor(pick(self.counts, edges), dtype=torch.float32)
        if seen < _BINS:  # too few to cut tails
            found = torch.stack((self.low.minimum(found[0]), self.high.maximum(found[1])))
        return found


def _percentiles(counts: _Histogram, edges: _Histogram) -> tuple[float, float]:
    share = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(share, _TAIL, side="right"))
    last = int(np.searchsorted(share, 1 - _TAIL))
    return float(edges[first]), float(edges[min(last, _BINS - 1) + 1])


def _least_error(counts: _Histogram, edges: _Histogram) -> tuple[float, float]:
    """Return the best of ranges of 256 steps that contain zero, from the extremes inwards.

    Values outside are clipped, others are off by a twelfth of a squared step; zeros, of which ReLU
    leaves many, are exact. Few values leave others unseen, so that ends are tried outwards.
    """
    values = (edges[:-1] + edges[1:]) / 2
    lost = _clipped if counts.sum() >= _BINS else _unseen
    lows, lost_below = lost(-values[::-1], counts[::-1])
    highs, lost_above = lost(values, counts)
    rounded = counts[1:].sum() if edges[0] == 0 else counts.sum()
    steps = (highs[None, :] + lows[:, None]) / 255
    errors = rounded * steps**2 / 12 + lost_below[:, None] + lost_above[None, :]
    low, high = np.unravel_index(errors.argmin(), errors.shape)
    return -float(lows[low]), float(highs[high])


def _clipped(values: _Histogram, counts: _Histogram) -> tuple[_Histogram, _Histogram]:
    """Return upper ends at which values are clipped, and the squared error of each."""
    ends = max(values[-1], 0.0) * _CUTS
    beyond = np.maximum(values[None, :] - ends[:, None], 0)
    return ends, (beyond**2) @ counts


def _unseen(values: _Histogram, counts: _Histogram) -> tuple[_Histogram, _Histogram]:
    """Return upper ends beyond the values, and the squared error to expect of each.

    Excesses over the tail's start follow a generalised Pareto distribution, fitted by moments
    weighted with probability (Hosking and Wallis 1987), with a tail at most exponential.
    """
    ends = max(values[-1], 0.0) * _WIDER
    ordered = np.repeat(values, counts.astype(np.int64))
    count = len(ordered) // _TAIL_SHARE
    start = ordered[-count - 1]
    excess = ordered[-count:] - start
    mean = excess.mean()
    spread = mean - 2 * (excess * (1 - (np.arange(count) + 0.65) / count)).mean()
    if counts[-1] > _REPEATED or spread <= 0:  # the highest value is a bound
        return ends, np.zeros_like(ends)
    shape = max(mean / spread - 2, 1e-3)
    scale = mean * (1 + shape)
    left = np.maximum(1 - shape * (ends - start) / scale, 0)
    errors = 2 * (scale * left) ** 2 / ((1 + shape) * (1 + 2 * shape))
    return ends, count * left ** (1 / shape) * errors
