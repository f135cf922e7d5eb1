"""The masked pass for one-hot gates, without the work that the masks' zeros make needless.

No gradient passes through a zero. A layer's channels within the sampled width are an ordinary
feature map. Channels beyond it are computed outside of autograd, only because the gradient of their
masks needs their values; they add nothing to the next layer. The cut lies at a multiple of 16
channels, a vector of the processor: a depthwise convolution of two odd parts would take longer than
one of the whole. Steps that the sample leaves out are computed outside of autograd, too. Output and
gradients equal those of the plain masked pass, as a test checks.

A mixed feature map has zeros for `hidden`: one number in memory, expanded. They serve to receive
the gradient of the masks.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd import Function

from micronas.nas.supernet.masks import along_channels, widened

_VECTOR = 16
"""Channels that a processor with 512-bit registers computes at once."""


def shown_of(chosen: int, size: int) -> int:
    """Return the number of a layer's channels with a gradient, where `chosen` are in use."""
    return min(-(-chosen // _VECTOR) * _VECTOR, size)


def mix_shown(
    values: Tensor, hidden: Tensor | None, mask: Tensor, *, kept: int
) -> tuple[Tensor, Tensor | None]:
    """Apply a mask [channels] of `kept` ones, then zeros, to a feature map in two parts."""
    found: tuple[Tensor, Tensor | None] = _Mix.apply(values, hidden, mask, kept)  # type: ignore[no-untyped-call]
    return found


def choose(
    weights: Tensor, chosen: int, parts: Sequence[tuple[Tensor, Tensor | None]], size: int
) -> tuple[Tensor, Tensor | None]:
    """Return one of several feature maps in two parts, padded to `size` channels.

    The weight of each map gets a gradient.
    """
    values, hidden = parts[chosen]
    shown = values.shape[1]
    if size > shown:
        nothing = values[:, :0].detach()
        hidden = widened(nothing if hidden is None else hidden, size - shown)
    flat = [part for each in parts for part in each]
    return _Choose.apply(weights, chosen, *flat), hidden  # type: ignore[no-untyped-call]


def convolve_shown(values: Tensor, zeros: Tensor, weight: Tensor) -> Tensor:
    """Return the 1x1 convolution of a mixed feature map in two parts, weights [out, in, 1, 1]."""
    result: Tensor = _Convolve.apply(values, zeros, weight)  # type: ignore[no-untyped-call]
    return result


class _Mix(Function):
    """Product with a mask of ones and zeros."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, hidden: Tensor | None, mask: Tensor, kept: int
    ) -> tuple[Tensor, Tensor | None]:
        own = along_channels(mask[: values.shape[1]], values)
        ctx.ones = kept >= values.shape[1]
        ctx.save_for_backward(values, hidden, own)
        zeros = None if hidden is None else values.new_zeros(()).expand_as(hidden)
        return values.view_as(values) if ctx.ones else values * own, zeros

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, None]:
        values, hidden, own = ctx.saved_tensors
        to_mask = [_by_channel(gradients[0], values)]
        if hidden is not None:
            to_mask.append(_by_channel(gradients[1], hidden))
        return gradients[0] if ctx.ones else gradients[0] * own, None, torch.cat(to_mask), None


class _Convolve(Function):
    """A 1x1 convolution whose last inputs are zero, with gradients that are not."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, zeros: Tensor, weight: Tensor) -> Tensor:
        ctx.shown = values.shape[1]
        ctx.save_for_backward(values if ctx.needs_input_grad[2] else None, weight)
        return F.conv2d(values, weight[:, : ctx.shown])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        values, weight = ctx.saved_tensors
        back = weight.transpose(0, 1).to(gradient.dtype)
        to_weight = None
        if values is not None:
            own = torch.einsum("nohw,nihw->oi", gradient, values.to(gradient.dtype))
            to_weight = widened(own, weight.shape[1]).view_as(weight)
        # two convolutions: readers would copy halves of one tensor
        to_values = F.conv2d(gradient, back[: ctx.shown])
        return to_values, F.conv2d(gradient, back[ctx.shown :]), to_weight


class _Choose(Function):
    """Choice of one of several feature maps in two parts; each weight gets its gradient."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, chosen: int, *parts: Tensor | None) -> Tensor:
        ctx.chosen = chosen
        ctx.save_for_backward(*parts)
        values = parts[2 * chosen]
        assert values is not None
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parts = ctx.saved_tensors
        to_weights = [
            _common(gradient, values) + _common(gradient[:, values.shape[1] :], hidden)
            for values, hidden in zip(parts[::2], parts[1::2], strict=True)
        ]
        to_parts: list[Tensor | None] = [None] * len(parts)
        to_parts[2 * ctx.chosen] = gradient
        return torch.stack(to_weights), None, *to_parts


def _by_channel(gradient: Tensor, values: Tensor) -> Tensor:
    axes = [0, *range(2, values.ndim)]
    return (gradient * values).sum(axes, dtype=torch.float32)


def _common(gradient: Tensor, values: Tensor | None) -> Tensor:
    """Return the inner product over the channels that both have."""
    if values is None:
        return gradient.new_zeros((), dtype=torch.float32)
    shared = min(gradient.shape[1], values.shape[1])
    return (gradient[:, :shared] * values[:, :shared]).sum(dtype=torch.float32)
