"""Convolutions and linear layers."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.export.from_torch.layout import Value, canonical, in_order
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.padding import placed, with_pad, without_pad
from micronas.export.from_torch.tracer import Pair, Tracer, pair
from micronas.graph.ir import Kind, Op, extent
from micronas.graph.transposing import of_torch


def convolution(tracer: Tracer, arguments: Arguments) -> Value:
    """Convolve a map, or a sequence as a map of width 1."""
    value, ahead = without_pad(tracer, arguments["input"])
    weight, dilation = tracer.constant(arguments["weight"]), pair(arguments["dilation"], 1)
    if weight.ndim == 3:
        weight = weight.unsqueeze(-1)
    out, depth, *size = weight.shape
    groups = arguments["groups"]
    window = extent(size[0], dilation[0]), extent(size[1], dilation[1])
    stride, padding = pair(arguments["stride"], 1), (0, 0)
    if arguments["padding"] == "same":
        padding = (window[0] - 1) // 2, (window[1] - 1) // 2
    elif arguments["padding"] != "valid":
        padding = pair(arguments["padding"], 0)
    before = ahead[0] + padding[0], ahead[1] + padding[1]
    is_depthwise = groups == value.shape[1] and depth == 1 and groups > 1
    name = tracer.name()
    source, order = tracer.as_map(value)
    if groups == 1:
        inner = _ordered(weight, order, 1)
    elif is_depthwise and out == groups:
        inner = _ordered(weight, order, 0)
    else:  # groups are of neighbouring channels
        source, inner, order = tracer.materialised(value), weight, torch.arange(len(order))
    source, placement = placed(tracer, name, source, window, stride, before)
    kind: Kind = "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D"
    layout = (1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1)
    outputs = order if is_depthwise and out == groups else torch.arange(out)
    constants = _weights(tracer, name, inner.permute(layout), arguments["bias"], outputs)
    op = Op(kind, name, (source, *constants), (name,), stride, padding=placement, dilation=dilation)
    stored = tracer.append(op, (1, *tracer.map_shape[2:], out))
    return tracer.result(stored.tensor, outputs)


def transposed_convolution(tracer: Tracer, arguments: Arguments) -> Value:
    """Convolve backwards; taps of zero make torch's padding and TFLite's agree.

    Dilated taps get zeros between them. Where TFLite cannot cut off torch's padding, the whole map
    is computed and cut. Groups, which TFLite lacks, become convolutions of a map enlarged by zeros.
    """
    value, weight = tracer.map_value(arguments["input"]), tracer.constant(arguments["weight"])
    if weight.ndim == 3:
        weight = weight.unsqueeze(-1)
    weight = _spread_taps(weight, pair(arguments["dilation"], 1))
    stride, padding = pair(arguments["stride"], 1), pair(arguments["padding"], 0)
    if arguments["groups"] != 1:
        return _enlarged(tracer, value, weight, stride, padding, arguments)
    source, order = tracer.as_map(value)
    size, kernel = pair(tracer.shape_of(source)[1:3], 1), pair(weight.shape[2:], 1)
    more = pair(arguments["output_padding"], 0)
    written = of_torch(size, kernel, stride, padding, more, len(order))
    cut = (0, 0)
    if written is None:
        ends = [max(s - k, 0) for s, k in zip(stride, kernel, strict=True)]
        weight = F.pad(weight, (0, ends[1], 0, ends[0]))
        written = of_torch(size, pair(weight.shape[2:], 1), stride, (0, 0), more, len(order))
        assert written is not None, "always possible without padding"
        cut = padding
    (top, bottom), (left, right) = written.zeros
    weight = F.pad(weight, (left, right, top, bottom))
    name = tracer.name()
    inner = _ordered(weight, order, 0)  # [in, out, height, width]
    channels = weight.shape[1]
    constants = _weights(
        tracer, name, inner.permute(1, 2, 3, 0), arguments["bias"], torch.arange(channels)
    )
    sides = zip(size, stride, written.reach, strict=True)
    area = tuple((n - 1) * s + last for n, s, last in sides)
    shape = (1, *area, channels)
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
    whole = tracer.append(op, shape)
    height, width = tracer.map_shape[2:]
    part = whole.positions[:, :, cut[0] : cut[0] + height, cut[1] : cut[1] + width]
    return Value(whole.tensor, tracer.shaped(part))


def _spread_taps(weight: Tensor, dilation: Pair) -> Tensor:
    """Return filters with zeros between taps."""
    taps = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True)]
    spread = weight.new_zeros(*weight.shape[:2], *taps)
    spread[:, :, :: dilation[0], :: dilation[1]] = weight
    return spread


def _enlarged(
    tracer: Tracer, value: Value, weight: Tensor, stride: Pair, padding: Pair, arguments: Arguments
) -> Value:
    """Transpose a grouped convolution by zeros between pixels, and reversed filters."""
    groups, (kernel, name) = arguments["groups"], (pair(weight.shape[2:], 1), tracer.name())
    source = tracer.materialised(value)
    _, height, width, depth = tracer.shape_of(source)
    area = height * stride[0], width * stride[1]
    rows = (stride[0] - 1) * width * depth, (1, height, width * depth)
    columns = (stride[1] - 1) * depth, (1, area[0] * width, depth)
    for zeros, split in (rows, columns):
        if zeros:  # after each row, and after each pixel
            table = np.array([(0, 0), (0, 0), (0, zeros)], np.int32)
            part = tracer.reshaped(source, split)
            source = with_pad(tracer, tracer.unused(f"{name}/zeros"), part, table)
    source = tracer.reshaped(source, (1, *area, depth))
    # the input of a plain convolution is padded by the filters' extent, or cut
    edges = []
    for n, taps, cut, out in zip(area, kernel, padding, tracer.map_shape[2:], strict=True):
        first = taps - 1 - cut
        edges.append((first, out + taps - 1 - n - first))
    grown = np.array([(0, 0), *((max(a, 0), max(b, 0)) for a, b in edges), (0, 0)], np.int32)
    if grown.any():
        source = with_pad(tracer, f"{name}/pad", source, grown)
    shape = tracer.shape_of(source)
    (up, down), (left, right) = ((max(-a, 0), max(-b, 0)) for a, b in edges)
    whole = canonical(shape)[:, :, up : shape[1] - down, left : shape[2] - right]
    source = tracer.materialised(Value(source, whole))
    filters = weight.flip(2, 3).reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
    filters = filters.flatten(0, 1)  # [out, in of a group, height, width]
    out = len(filters)
    is_depthwise = filters.shape[1] == 1
    layout = (1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1)
    constants = _weights(
        tracer, name, filters.permute(layout), arguments["bias"], torch.arange(out)
    )
    kind: Kind = "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D"
    op = Op(kind, name, (source, *constants), (name,), padding="VALID")
    return tracer.result(tracer.append(op, (1, *tracer.map_shape[2:], out)).tensor)


def linear(tracer: Tracer, arguments: Arguments) -> Value:
    """Multiply the last dimension by weights, in whatever order it is stored."""
    value, weight = tracer.value(arguments["input"]), tracer.constant(arguments["weight"])
    found = multiplied(tracer, value, weight.reshape(-1, weight.shape[-1]), arguments["bias"])
    return Value(found.tensor, found.positions.reshape(tracer.shape))


def multiplied(tracer: Tracer, value: Value, weight: Tensor, bias: object) -> Value:
    """Multiply a value's last dimension by `weight`, [out, in].

    Several rows become the pixels of a map, and the weights a 1x1 convolution: it has a scale per
    channel, and does not fail a debug check of TFLM as FULLY_CONNECTED would.
    """
    name = tracer.name()
    source, rows, order = tracer.ending(value, -1, flat=True)
    features = len(weight)
    ordered = _ordered(weight, order, 1)
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


def _ordered(weight: Tensor, order: Tensor, axis: int) -> Tensor:
    """Return weights with an axis in the stored order of torch's channels."""
    return weight if in_order(order, len(order)) else weight.index_select(axis, order.argsort())


def _weights(
    tracer: Tracer, name: str, weight: Tensor, bias: object, outputs: Tensor
) -> tuple[str, str]:
    """Store weights, and the bias of each of torch's output channels at its place."""
    shift = torch.zeros(len(outputs))
    if bias is not None:
        shift[outputs] = tracer.constant(bias)
    weights = tracer.filled(f"{name}/weights", weight.numpy())
    return weights, tracer.filled(f"{name}/bias", shift.numpy())
