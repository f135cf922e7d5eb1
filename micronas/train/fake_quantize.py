"""Integer arithmetic imitated in float32: rounding that lets gradients through.

The scheme is TensorFlow Lite's (Krishnamoorthi 2018, arXiv 1806.08342): weights symmetric, one
scale per output channel (FULLY_CONNECTED: one in all by default); activations affine, one scale per
tensor, zero exactly representable; biases int32. Rounding passes its gradient straight through, and
logarithms of activation scales are learnt as in LSQ (Esser et al. 2020, arXiv 1902.08153).
"""

import math
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from micronas.graph import ir
from micronas.graph.fixed_point import agreeing_scale
from micronas.graph.ir import Graph, Op, Quantization
from micronas.train.convolutions import linear
from micronas.train.network import from_tflite, to_tflite, weights_of

LinearScales = Literal["tensor", "output"]
"""Scales of FULLY_CONNECTED: one for all weights, or one for each output."""

LOWEST, HIGHEST = -128, 127
LARGEST_BIAS, _LARGEST_WIDE_BIAS = 2.0**30, 2.0**45
"""Half of int32, so that the products added to a bias have room; and half of what TFLM rescales of
sums of int16."""
_WIDE = 32767
"""Largest code of int16; with a zero point of 0 the smallest is its negative."""


class _FakeQuantize(torch.autograd.Function):
    """Round to a grid of integers; gradients for the input and for log2 of the scale."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, log2_scale: Tensor, zero_point: Tensor, lowest: int, highest: int
    ) -> Tensor:
        scale = log2_scale.exp2()
        # a number is faster where the device need not be waited for
        zero: Any = int(zero_point) if zero_point.device.type == "cpu" else zero_point
        y = (x / scale).round_().clamp_(lowest - zero, highest - zero).mul_(scale)
        ctx.save_for_backward(x, y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, y, scale = ctx.saved_tensors
        (gradient,) = gradients
        error = y - x
        outside = error.abs() > 0.5001 * scale
        # dy/dscale is (y - x) / scale inside the range, and y / scale outside.
        slope = torch.where(outside, y, error).mul_(gradient).sum() * math.log(2)
        return torch.where(outside, 0.0, gradient), slope, None, None, None


class Range(nn.Module):
    """Scale and zero point of one activation tensor, or of several that share them.

    If `learnt`, the scale is a parameter; the zero point never is one. It is -128 where values are
    `nonnegative`, and 0 for codes of int16 (`is_wide`).
    """

    span: Tensor
    finest: Tensor
    zero_point: Tensor

    def __init__(self, *, learnt: bool, nonnegative: bool, is_wide: bool = False) -> None:
        super().__init__()
        self.is_wide = is_wide
        self.largest_bias = _LARGEST_WIDE_BIAS if is_wide else LARGEST_BIAS
        self.lowest, self.highest = (-_WIDE, _WIDE) if is_wide else (LOWEST, HIGHEST)
        self.nonnegative = nonnegative
        self.log2_scale = nn.Parameter(torch.tensor(0.0), requires_grad=learnt)
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))
        self.register_buffer("span", torch.zeros(2))
        self.register_buffer("finest", torch.tensor(2.0**-24))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _FakeQuantize.apply(  # type: ignore[no-untyped-call]
            x, self.log2_scale, self.zero_point, self.lowest, self.highest
        )
        return y

    @torch.no_grad()
    def cover(self, span: Tensor) -> None:
        """Make [low, high] and zero representable, with steps no finer than `finest`.

        For zero alone the steps span 1: ones far from others' could not be added to them.
        """
        self.span.copy_(span)
        low = torch.zeros(()) if self.nonnegative else span[0].clamp(max=0)
        high = span[1].clamp(min=0)
        if self.is_wide:
            high = high.maximum(-low)
            low = -high
        extent = high - low
        steps = self.highest - self.lowest
        scale = (torch.where(extent == 0, 1.0, extent) / steps).maximum(self.finest)
        self.log2_scale.copy_(scale.log2())
        self.zero_point.copy_(torch.zeros(()) if self.is_wide else (LOWEST - low / scale).round())

    @property
    def scale(self) -> Tensor:
        return self.log2_scale.detach().exp2()

    def quantization(self) -> Quantization:
        """Return scale and zero point for the integer graph."""
        return Quantization(self.scale.reshape(1).numpy(), int(self.zero_point))

    def extra_repr(self) -> str:
        return f"scale {self.scale.item():.4g}, zero point {int(self.zero_point)}"


def span_of(x: Tensor) -> Tensor:
    return torch.stack(torch.aminmax(x.detach()))


class QuantizedUnit(nn.Module):
    """Weights and bias of one operator; the weights are rounded at each use.

    `scales` of FULLY_CONNECTED are one for all weights, or one for each output, where the weights
    are int8 and there are several outputs. `copy` is that of `QuantizedNetwork`.
    """

    def __init__(
        self,
        op: Op,
        weight: ir.Array,
        bias: ir.Array | None,
        bits: int,
        scales: LinearScales = "tensor",
        *,
        copy: bool = True,
    ) -> None:
        super().__init__()
        self.op = op
        self.bits = bits
        row = weights_of(op)
        can_be = row.per_channel_version is not None and bits == 8 and len(weight) > 1
        self.per_channel = row.per_channel or (scales == "output" and can_be)
        self.largest = 2 ** (bits - 1) - 1
        self._hold(weight, copy)
        self.bias = None if bias is None else nn.Parameter(torch.tensor(bias))

    def _hold(self, weight: ir.Array, copy: bool) -> None:
        self.weight = nn.Parameter(from_tflite(self.op, np.asarray(weight), copy=copy))

    def scale(self, source: Range) -> Tensor:
        """Return the weight scale of each output channel, [out], given the range of the input."""
        largest = self._largest()
        floor = torch.full_like(largest, 2.0**-40)
        if self.bias is not None:
            floor = floor.maximum(self.bias.detach().abs() / (source.scale * source.largest_bias))
        scale = torch.maximum(largest / self.largest, floor)
        if not self.per_channel:
            scale = scale.max().expand_as(scale)
        return scale

    def _largest(self) -> Tensor:
        """Return the largest weight of each output channel, [out]."""
        weight = self.weight.detach()
        return weight.abs().amax(tuple(range(1, weight.ndim)))

    def final_scale(self, source: Range, output: Range) -> Tensor:
        """Return the scale, [out], that is written: one for all weights is larger by millionths.

        `agreeing_scale` explains it. Training does without, as it would wait for the device.
        """
        scale = self.scale(source)
        if self.per_channel:
            return scale
        ends = (np.float32(each.item()) for each in (scale[0], source.scale, output.scale))
        return torch.full_like(scale, float(agreeing_scale(*ends)))

    def forward(self, x: Tensor, source: Range, output: Range) -> Tensor:
        if self.training:
            scale = self.scale(source)
            zeros = torch.zeros_like(scale, dtype=torch.int32)
            weight = torch.fake_quantize_per_channel_affine(
                self.weight, scale, zeros, 0, -self.largest, self.largest
            )
        else:  # no gradient, in a tenth of the time
            weight = self._steps(source)
            weight.mul_(_by_channel(self.final_scale(source, output), weight))
        y: Tensor = linear(self.op, x, weight, self.bias)
        return y

    def _steps(self, source: Range) -> Tensor:
        """Return the weights as integers, equal in all steps of an unrolled layer."""
        weight = self.weight.detach()
        scale = _by_channel(self.scale(source), weight)
        return (weight / scale).round_().clamp_(-self.largest, self.largest)

    def exact(self, x: Tensor) -> Tensor:
        """Return the output without rounding."""
        return linear(self.op, x, self.weight, self.bias)

    def constants(self, graph: Graph, source: Range, output: Range) -> dict[str, ir.Tensor]:
        """Return the operator's integer weights and bias, with their scales."""
        scale = self.final_scale(source, output)
        data = self._steps(source).to(torch.int8)
        weight = graph.constant_of(self.op)
        scales = (scale if self.per_channel else scale[:1]).numpy()
        axis = weights_of(self.op).axis if self.per_channel else None
        constants = {
            weight.name: replace(
                weight,
                dtype="int4" if self.bits == 4 else "int8",
                quantization=Quantization(scales, axis=axis),
                data=to_tflite(self.op, data),
            )
        }
        if self.bias is not None:
            bias = graph.constant_of(self.op, 2)
            product = source.quantization().scale * scales
            exact = np.rint(self.bias.detach().numpy().astype(np.float64) / product)
            constants[bias.name] = replace(
                bias,
                dtype="int64" if source.is_wide else "int32",
                quantization=Quantization(product, axis=0 if self.per_channel else None),
                data=exact.astype(np.int64 if source.is_wide else np.int32),
            )
        return constants

    def extra_repr(self) -> str:
        size = "x".join(str(size) for size in self.weight.shape)
        return f"{self.op.kind}, {size}, {self.bits} bits, activation {self.op.activation}"


class ScaledUnit(QuantizedUnit):
    """Unit whose weights are a product, computed at each use; it cannot be trained."""

    def _hold(self, weight: ir.Array, copy: bool) -> None:
        self._scaled = weight

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return from_tflite(self.op, np.asarray(self._scaled), copy=False)

    @cached_property
    def _kept(self) -> Tensor:
        return super()._largest()

    def _largest(self) -> Tensor:
        return self._kept


def _by_channel(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (weight.ndim - 1))
