"""Ranges by ``mse`` of few values, against values from the same source that were not seen."""

import numpy as np
import pytest
import torch
from torch import Tensor

from micronas.train.calibration import Observer

_SEEDS = range(20)


def spans(values: Tensor) -> tuple[list[float], list[float]]:
    """Ranges by extremes and by least error."""
    observer, span = Observer.empty(), torch.stack((values.min(), values.max()))
    observer.see(span)
    observer.count(values, span)
    return observer.span("minmax").tolist(), observer.span("mse").tolist()


def noise(values: Tensor, span: list[float]) -> float:
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    step = (high - low) / 255
    codes = torch.clamp(torch.round((values - low) / step), 0, 255)
    return float(((codes * step + low - values) ** 2).mean())


@pytest.mark.parametrize("count", [64, 256, 1024])
@pytest.mark.parametrize("relu", [False, True])
def test_few_normal_values_have_a_range_for_those_to_come(count: int, relu: bool) -> None:
    source = torch.Generator().manual_seed(0)
    unseen = torch.randn(100_000, generator=source)
    gains = []
    for seed in _SEEDS:
        seen = torch.randn(count, generator=source.manual_seed(seed + 1))
        few, many = (seen.relu(), unseen.relu()) if relu else (seen, unseen)
        extremes, least = spans(few)
        assert least[0] <= extremes[0]
        assert least[1] >= extremes[1]
        gains.append(10 * np.log10(noise(many, extremes) / noise(many, least)))
    assert np.mean(gains) > 3
    assert min(gains) > -6  # no range is more than doubled


@pytest.mark.parametrize("count", [64, 256, 1024])
def test_bounds_of_values_stay_those_of_the_range(count: int) -> None:
    source = torch.Generator().manual_seed(0)
    clamped = torch.randn(count, generator=source).clamp(0, 1)
    assert spans(clamped)[1] == [0, 1]
    widths = []
    for seed in _SEEDS:
        even = torch.rand(count, generator=source.manual_seed(seed)) * 2 - 1
        low, high = spans(even)[1]
        widths.append((high - low) / 2)
    assert np.mean(widths) == pytest.approx(1, abs=0.05)


def test_two_values_have_no_others_beyond() -> None:
    assert spans(torch.tensor([-1.0, 2.0]).repeat(50))[1] == [-1, 2]
    assert spans(torch.arange(40.0))[1] == [0, 39]  # too few to have a tail


def test_ranges_of_large_maps_are_not_those_of_their_first_row() -> None:
    """Of 96x96 maps of 512 pictures with a dark frame, `mse` lost 10 dB against all values."""
    values = torch.randn(64, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    values[:, :, 0] *= 0.01
    observer, span = Observer.empty(), torch.stack((values.min(), values.max()))
    observer.see(span)
    observer.count(values, span, parts=64)  # as of a batch 64 times as large
    least = noise(values, observer.span("mse").tolist())
    assert least < 1.5 * noise(values, spans(values)[1])
