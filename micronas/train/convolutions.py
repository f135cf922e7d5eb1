"""Weighted operators in torch, by the ways that take oneDNN the least time.

Maps are NCHW, as in `micronas.train.network`.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.graph import ir
from micronas.graph.ir import Op
from micronas.graph.transposing import before
from micronas.train.operators import nhwc

if TYPE_CHECKING:  # settings take 18 MB and .2 s that export does without
    from micronas.train.recipe import Amp


def mixed_precision(amp: "Amp", device: str = "cpu") -> torch.autocast:
    """Return a context for a forward pass: convolutions in bfloat16 if `amp` is ``bf16``."""
    return torch.autocast(device if amp else "cpu", torch.bfloat16, enabled=amp == "bf16")


def linear(op: Op, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a weighted operator without its activation; `weight` is in torch's layout."""
    if op.kind == "FULLY_CONNECTED":
        rows = nhwc(x).reshape(len(x), -1, weight.shape[1])  # `interpret` restores the shape
        return F.linear(rows.flatten(1) if rows.shape[1] == 1 else rows, weight, bias)
    if op.kind == "TRANSPOSE_CONV":
        return _transposed_conv2d(op, x, weight, bias)
    groups = x.shape[1] // weight.shape[1]  # one per channel in a depthwise convolution
    if op.padding == "SAME":
        return same_conv2d(x, weight, bias, stride=op.stride, dilation=op.dilation, groups=groups)
    return _conv2d(x, weight, bias, (0, 0), op.stride, op.dilation, groups)


def same_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve [N, C, H, W] with TF "SAME" padding to ceil(H / stride) rows; odd zeros go after."""
    reach = map(ir.extent, weight.shape[2:], dilation)
    (top, bottom), (left, right) = map(ir.same_padding, x.shape[2:], reach, stride)
    sweep = stride, dilation, groups
    if top == bottom and left == right:
        return _conv2d(x, weight, bias, (top, left), *sweep)
    return _conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, (0, 0), *sweep)


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    height, width = weight.shape[2:]
    if height == width == 1 and stride != (1, 1):
        # Positions are selected first: torch 2.13's backward pass of a strided 1x1 convolution of
        # fewer than eight channels, stored last, writes beyond its buffers and ends the process.
        x, stride = x[:, :, :: stride[0], :: stride[1]], (1, 1)
    # In bfloat16 these take 4 to 19 times as long (benchmarks/convolutions.py); others gain.
    is_slow = groups > 1 and (width >= 5 or stride != (1, 1))
    if is_slow and torch.is_autocast_enabled("cpu"):
        with mixed_precision(None):
            return _conv2d(x.float(), weight, bias, padding, stride, dilation, groups)
    if x.is_cpu and x.shape[3] == width == groups == 1 < height:
        # oneDNN sweeps along the width: a column takes 1.3 to 3.7 times as long as a row.
        rows = _turned(x), _turned(weight)
        return _turned(F.conv2d(*rows, bias, stride[::-1], padding[::-1], dilation[::-1]))
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _turned(x: Tensor) -> Tensor:
    """Transpose maps of one column, or of one row, into views with channels stored last.

    The strides of `Tensor.mT` would make batch norm copy its input.
    """
    number, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(number, width, height, channels).permute(0, 3, 1, 2)


def _transposed_conv2d(op: Op, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve backwards to a map of the size by `op.reach`; `weight` is [out, in, ...]."""
    whole = F.conv_transpose2d(x, weight.transpose(0, 1), None, op.stride)
    cuts = []
    for axis in (1, 0):  # torch pads the last side first
        size = (x.shape[2 + axis] - 1) * op.stride[axis] + op.reach[axis]
        cut = before(weight.shape[2 + axis], op.reach[axis])
        cuts += [-cut, size + cut - whole.shape[2 + axis]]
    y = F.pad(whole, cuts)
    return y if bias is None else y + bias.view(-1, 1, 1)
