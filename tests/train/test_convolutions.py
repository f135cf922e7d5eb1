import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.train.convolutions import same_conv2d

Pair = tuple[int, int]
THREE = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    stride=THREE,
    dilation=THREE,
    groups=st.sampled_from([1, 2]),
    seed=st.integers(0, 1000),
)
def test_a_convolution_equals_a_loop_over_windows(
    size: Pair, kernel: Pair, stride: Pair, dilation: Pair, groups: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 10, (2, 4, *size)).astype(np.float64)
    weight = rng.integers(-9, 10, (6, 4 // groups, *kernel)).astype(np.float64)
    rows, columns = (-(-n // s) for n, s in zip(size, stride, strict=True))
    # Window (i, j) starts at i * stride minus half of what "SAME" lacks, rounded down.
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    top = max((rows - 1) * stride[0] + reach[0] - size[0], 0) // 2
    left = max((columns - 1) * stride[1] + reach[1] - size[1], 0) // 2
    expected = np.zeros((2, 6, rows, columns))
    for out, i, j, dy, dx in np.ndindex(6, rows, columns, *kernel):
        y = i * stride[0] - top + dy * dilation[0]
        z = j * stride[1] - left + dx * dilation[1]
        if 0 <= y < size[0] and 0 <= z < size[1]:
            first = out // (6 // groups) * (4 // groups)
            part = x[:, first : first + 4 // groups, y, z]
            expected[:, out, i, j] += part @ weight[out, :, dy, dx]
    result = same_conv2d(
        torch.tensor(x), torch.tensor(weight), stride=stride, dilation=dilation, groups=groups
    ).numpy()
    assert (result == expected).all()


def test_channels_of_one_column_stay_stored_last() -> None:
    """To the strides of dimensions of one element, by which torch picks its kernels."""
    last = {"memory_format": torch.channels_last}
    y = same_conv2d(torch.rand(8, 4, 20, 1).contiguous(**last), torch.rand(6, 4, 9, 1))
    assert y.stride() == torch.empty(8, 6, 20, 1, **last).stride()


@pytest.mark.long
def test_strided_1x1_convolutions_of_few_channels_survive_their_backward_pass() -> None:
    """In a process of its own: torch's own writes beyond its buffers, and ends it."""
    code = """
import torch
from micronas.train.convolutions import same_conv2d

weight = torch.randn(12, 4, 1, 1, requires_grad=True)
for _ in range(30):
    x = torch.randn(64, 4, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = same_conv2d(x, weight, stride=(2, 2))
    y.relu().sum().backward()
kept = x.detach()[:, :, ::2, ::2]
torch.testing.assert_close(y, torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], kept))
"""
    environment = os.environ | {"MALLOC_CHECK_": "3"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()
