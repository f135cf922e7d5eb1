"""Pooling of any size, padding and rounding: what torch computes, or a refusal."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from micronas.errors import ExportError
from micronas.export.from_torch.trace import trace
from tests.export.from_torch.cases import check_exact, check_float, quantize


@pytest.mark.long
@settings(max_examples=60)
@given(
    before=st.sampled_from([nn.ReLU, nn.Identity]),
    pool=st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    ceil=st.booleans(),
)
def test_whatever_pool_is_taken_is_that_of_torch(
    before: Callable[[], nn.Module],
    pool: Callable[..., nn.Module],
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    ceil: bool,
) -> None:
    padding = min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2)
    if any(n + 2 * p < k for n, k, p in zip(size, kernel, padding, strict=True)):
        return
    module = nn.Sequential(before(), pool(kernel, stride, padding, ceil_mode=ceil)).eval()
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0))
    try:
        graph = trace(module, x[:1])
    except ExportError:
        assert any(padding) or pool is nn.AvgPool2d
        return
    check_float(graph, x, [module(x)])
    check_exact(quantize(graph, [x]), x)
