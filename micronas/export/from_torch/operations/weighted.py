"""Convolutions and linear layers."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.export.from_torch.layout import Value
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.tracer import Pair, Tracer, pair
from micronas.graph.ir import Kind, Op, extent
from micronas.graph.transposing import of_torch


def convolution(tracer: Tracer, arguments: Arguments) -> Value:
    """Convolve a map, or a sequence as a map of width 1."""
    value, ahead = tracer.without_pad(arguments["input"])
    weight, dilation = tracer.constant(arguments["weight"]), _steps(arguments["dilation"])
    if weight.ndim == 3:
        weight = weight.unsqueeze(-1)
    out, depth, *size = weight.shape
    groups = arguments["groups"]
    window = extent(size[0], dilation[0]), extent(size[1], dilation[1])
    stride, padding = _steps(arguments["stride"]), (0, 0)
    if arguments["padding"] == "same":
        padding = (window[0] - 1) // 2, (window[1] - 1) // 2
    elif arguments["padding"] != "valid":
        padding = _pads(arguments["padding"])
    before = ahead[0] + padding[0], ahead[1] + padding[1]
    is_depthwise = groups == value.shape[1] and depth == 1 and groups > 1
    name = tracer.name()
    source, order = tracer.as_map(value)
    inner = torch.empty_like(weight)
    if groups == 1:
        inner[:, order] = weight
    elif is_depthwise and out == groups:
        inner[order] = weight
    else:  # filters belong to channels that stand side by side
        source, inner, order = tracer.materialised(value), weight, torch.arange(len(order))
    source, placement = tracer.placed(name, source, window, stride, before)
    kind: Kind = "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D"
    layout = (1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1)
    outputs = order if is_depthwise and out == groups else torch.arange(out)
    constants = _weights(tracer, name, inner.permute(layout), arguments["bias"], outputs)
    op = Op(kind, name, (source, *constants), (name,), stride, padding=placement, dilation=dilation)
    stored = tracer.append(op, (1, *tracer.map_shape[2:], out))
    return tracer.result(stored.tensor, outputs)


def transposed_convolution(tracer: Tracer, arguments: Arguments) -> Value:
    """Convolve backwards; taps of zero bring torch's padding and TFLite's together."""
    value, weight = tracer.map_value(arguments["input"]), tracer.constant(arguments["weight"])
    if weight.ndim == 3:
        weight = weight.unsqueeze(-1)
    if arguments["groups"] != 1 or _steps(arguments["dilation"]) != (1, 1):
        raise tracer.refusal(
            "a transposed convolution must have one group and dilation 1, but has "
            f"{arguments['groups']} and {arguments['dilation']}",
            "use torch.nn.Upsample and torch.nn.Conv2d",
        )
    source, order = tracer.as_map(value)
    size, stride = pair(tracer.shape_of(source)[1:3]), _steps(arguments["stride"])
    kernel, padding, more = (
        pair(weight.shape[2:]),
        arguments["padding"],
        arguments["output_padding"],
    )
    written = of_torch(size, kernel, stride, _pads(padding), _pads(more), len(order))
    if written is None:
        raise tracer.refusal(
            f"a transposed convolution must be cut as TFLite does it, but has kernel {kernel}, "
            f"stride {stride}, padding {padding} and output_padding {more}",
            "leave padding out and cut the result, or let kernel + output_padding - 2 padding be "
            "at most the stride",
        )
    (top, bottom), (left, right) = written.zeros
    weight = F.pad(weight, (left, right, top, bottom))
    name = tracer.name()
    inner = torch.empty_like(weight)
    inner[order] = weight  # [in, out, height, width]
    channels = weight.shape[1]
    constants = _weights(
        tracer, name, inner.permute(1, 2, 3, 0), arguments["bias"], torch.arange(channels)
    )
    shape = (1, *tracer.map_shape[2:], channels)
    sizes = tracer.filled(f"{name}/shape", np.array(shape, np.int32))
    op = Op(
        "TRANSPOSE_CONV",
        name,
        (source, *constants, sizes),
        (name,),
        stride,
        padding=written.padding,
        reach=written.reach,
    )
    return tracer.result(tracer.append(op, shape).tensor)


def linear(tracer: Tracer, arguments: Arguments) -> Value:
    """Multiply the last dimension by weights, wherever it is stored."""
    value, weight = tracer.value(arguments["input"]), tracer.constant(arguments["weight"])
    return multiplied(tracer, value, weight, arguments["bias"])


def multiplied(tracer: Tracer, value: Value, weight: Tensor, bias: object) -> Value:
    """Multiply a value's last dimension by `weight`, [out, in].

    Several rows are the pixels of a map, and the weights a 1x1 convolution: with a scale for each
    channel, and a kernel that does not stop at a debug check of TFLM's as FULLY_CONNECTED does.
    """
    name = tracer.name()
    source, rows, order = tracer.ending(value, -1, flat=True)
    features = len(weight)
    ordered = torch.empty_like(weight)
    ordered[:, order] = weight
    shape: tuple[int, ...] = (1, features)
    if rows.numel() > 1:
        stored = tracer.shape_of(source)
        pixels = stored[:-1] if len(stored) == 4 else (1, rows.numel(), 1)
        source = tracer.reshaped(source, (*pixels, len(order)))
        ordered = ordered.reshape(features, 1, 1, -1)
        shape = (*pixels, features)
    constants = _weights(tracer, name, ordered, bias, torch.arange(features))
    kind: Kind = "CONV_2D" if rows.numel() > 1 else "FULLY_CONNECTED"
    result = tracer.append(Op(kind, name, (source, *constants), (name,)), shape)
    return Value(result.tensor, rows[..., None] * features + torch.arange(features))


def _weights(
    tracer: Tracer, name: str, weight: Tensor, bias: object, outputs: Tensor
) -> tuple[str, str]:
    """Store weights, and the bias of each of torch's output channels at its place."""
    shift = torch.zeros(len(outputs))
    if bias is not None:
        shift[outputs] = tracer.constant(bias)
    weights = tracer.filled(f"{name}/weights", weight.contiguous().numpy())
    return weights, tracer.filled(f"{name}/bias", shift.numpy())


def _steps(sizes: object) -> Pair:
    """Strides or dilations of a map; along a sequence the width has 1."""
    return _filled(sizes, 1)


def _pads(sizes: object) -> Pair:
    return _filled(sizes, 0)


def _filled(sizes: object, other: int) -> Pair:
    if isinstance(sizes, list | tuple) and len(sizes) == 1:
        return int(sizes[0]), other
    assert isinstance(sizes, int | list | tuple)
    return pair(sizes)
