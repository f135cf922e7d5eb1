"""What each operation of torch becomes: operators appended to a trace, and the value they give."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from micronas.export.from_torch.tracer import Pair, Tracer, Value, canonical, nhwc, pair
from micronas.graph.ir import Activation, Array, Kind, Op
from micronas.graph.operators import OPERATORS, WEIGHTED

Arguments = Mapping[str, Any]
"""Of the operation, by the names of its ATen schema."""

_FUSES = tuple(kind for kind, row in OPERATORS.items() if row.fuses)


def convolution(tracer: Tracer, arguments: Arguments) -> Value:
    value, ahead = tracer.without_pad(arguments["input"])
    weight = tracer.constant(arguments["weight"])
    depth, groups = value.shape[1], arguments["groups"]
    if any(step != 1 for step in arguments["dilation"]):
        raise tracer.refusal(
            f"a convolution must have dilation 1, but has {list(arguments['dilation'])}",
            "use a larger kernel",
        )
    depthwise = groups == depth > 1
    if groups > 1 and not depthwise:
        weight = _ungrouped(weight, groups)
    kernel, stride, padding = pair(weight.shape[2:]), pair(arguments["stride"]), (0, 0)
    if arguments["padding"] == "same":
        padding = (kernel[0] - 1) // 2, (kernel[1] - 1) // 2
    elif arguments["padding"] != "valid":
        padding = pair(arguments["padding"])
    before = ahead[0] + padding[0], ahead[1] + padding[1]
    name = tracer.name()
    source, placement = tracer.placed(name, value, kernel, stride, before)
    kind: Kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    layout = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    constants = _weights(tracer, name, weight.permute(layout), arguments["bias"], len(weight))
    op = Op(kind, name, (source, *constants), (name,), stride, padding=placement)
    return tracer.append(op, nhwc(tracer.shape))


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """The dense filter [out, in, h, w] of a grouped one: blocks on a diagonal, zeros beside them.

    CMSIS-NN has no kernel for groups of several channels; the zeros are stored and multiplied.
    """
    out, depth = weight.shape[:2]
    dense = weight.new_zeros(out, groups * depth, *weight.shape[2:])
    for group, rows in enumerate(torch.arange(out).chunk(groups)):
        dense[rows, group * depth : (group + 1) * depth] = weight[rows]
    return dense


def linear(tracer: Tracer, arguments: Arguments) -> Value:
    value, weight = tracer.value(arguments["input"]), tracer.constant(arguments["weight"])
    if len(value.shape) != 2 or value.shape[0] != 1:
        raise tracer.refusal(
            f"a linear layer must read [N, features], but reads {list(value.shape)}",
            "flatten in front of it, or use a 1x1 convolution",
        )
    name = tracer.name()
    ordered = torch.empty_like(weight)
    ordered[:, value.positions[0]] = weight
    constants = _weights(tracer, name, ordered, arguments["bias"], len(weight))
    op = Op("FULLY_CONNECTED", name, (value.tensor, *constants), (name,))
    return tracer.append(op, (1, len(weight)))


def _weights(
    tracer: Tracer, name: str, weight: Tensor, bias: object, channels: int
) -> tuple[str, str]:
    shift = torch.zeros(channels) if bias is None else tracer.constant(bias)
    weights = tracer.filled(f"{name}/weights", weight.contiguous().numpy())
    return weights, tracer.filled(f"{name}/bias", shift.numpy())


def batch_norm(tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.value(arguments["input"])
    mean = tracer.constant(arguments["running_mean"]).double()
    factor = (tracer.constant(arguments["running_var"]).double() + arguments["eps"]).rsqrt()
    if arguments["weight"] is not None:
        factor = factor * tracer.constant(arguments["weight"])
    shift = -mean * factor
    if arguments["bias"] is not None:
        shift = shift + tracer.constant(arguments["bias"])
    op = tracer.producer(arguments["input"], WEIGHTED)
    if op is not None and torch.equal(
        value.positions, canonical(tracer.tensors[value.tensor].shape)
    ):
        tracer.scale_weights(op, factor.numpy(), shift.numpy())
        return value
    # On its own it is a depthwise 1x1 convolution; features are the channels of one pixel.
    shape = (*value.shape, 1, 1) if len(value.shape) == 2 else value.shape
    source = tracer.materialised(Value(value.tensor, value.positions.reshape(shape)))
    name = tracer.name()
    taps = tracer.filled(f"{name}/weights", factor.float().reshape(1, 1, 1, -1).numpy())
    bias = tracer.filled(f"{name}/bias", shift.float().numpy())
    alone = Op("DEPTHWISE_CONV_2D", name, (source, taps, bias), (name,))
    result = tracer.append(alone, nhwc(shape))
    return Value(result.tensor, result.positions.reshape(value.shape))


def relu(tracer: Tracer, arguments: Arguments) -> Value:
    return _activation(tracer, arguments["self"], "RELU")


def relu6(tracer: Tracer, arguments: Arguments) -> Value:
    return _activation(tracer, arguments["self"], "RELU6")


def hardtanh(tracer: Tracer, arguments: Arguments) -> Value:
    return _clamped(tracer, arguments["self"], arguments["min_val"], arguments["max_val"])


def clamp(tracer: Tracer, arguments: Arguments) -> Value:
    return _clamped(tracer, arguments["self"], arguments["min"], arguments.get("max"))


def _clamped(tracer: Tracer, node: object, low: object, high: object) -> Value:
    if low != 0 or high not in (None, 6):
        raise tracer.refusal(
            f"a clamp must be from 0 up, or to 0..6, but is to {low}..{high}", "use ReLU or ReLU6"
        )
    return _activation(tracer, node, "RELU" if high is None else "RELU6")


def _activation(tracer: Tracer, node: object, kind: Activation) -> Value:
    op = tracer.producer(node, _FUSES)
    if op is None:
        return _elementwise(tracer, node, "RELU" if kind == "RELU" else "RELU6")
    tracer.ops[op.outputs[0]] = replace(op, activation=kind)
    return tracer.value(node)


def hardswish(tracer: Tracer, arguments: Arguments) -> Value:
    return _elementwise(tracer, arguments["self"], "HARD_SWISH")


def sigmoid(tracer: Tracer, arguments: Arguments) -> Value:
    return _elementwise(tracer, arguments["self"], "LOGISTIC")


def _elementwise(tracer: Tracer, node: object, kind: Kind) -> Value:
    value = tracer.value(node)
    result = tracer.plain(kind, (value.tensor,), tracer.tensors[value.tensor].shape)
    return Value(result.tensor, value.positions)


def softmax(tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.value(arguments["self"])
    if arguments["dim"] % len(value.shape) != 1:
        raise tracer.refusal(
            f"softmax must be over dimension 1, but is over {arguments['dim']} of "
            f"{list(value.shape)}",
            "use dim=1",
        )
    return tracer.plain("SOFTMAX", (tracer.materialised(value),), nhwc(value.shape))


def add(tracer: Tracer, arguments: Arguments) -> Value:
    left, right = (tracer.value(arguments[side]) for side in ("self", "other"))
    if left.shape != right.shape or arguments["alpha"] != 1:
        raise tracer.refusal(
            f"the sides of a sum must have one shape and alpha 1, but are {list(left.shape)} and "
            f"{list(right.shape)} with alpha {arguments['alpha']}",
            "bring both to one shape with convolutions; there is no broadcasting",
        )
    return _combined(tracer, "ADD", left, right)


def multiply(tracer: Tracer, arguments: Arguments) -> Value:
    sides = [arguments[side] for side in ("self", "other")]
    if any(side not in tracer.values for side in sides):
        raise tracer.refusal("both sides of a product must follow from the input, but one does not")
    left, right = (tracer.value(side) for side in sides)
    pairs = zip(left.shape, right.shape, strict=False)
    if len(left.shape) != len(right.shape) or any(a != b and 1 not in (a, b) for a, b in pairs):
        raise tracer.refusal(
            "the sides of a product must have one number of dimensions, and sizes that are equal "
            f"or 1, but are {list(left.shape)} and {list(right.shape)}",
            "reshape factors of channels to [N, channels, 1, 1]",
        )
    return _combined(tracer, "MUL", left, right)


def _combined(tracer: Tracer, kind: Kind, left: Value, right: Value) -> Value:
    """Append an operator on two values element by element."""
    shape = tracer.tensors[left.tensor].shape
    alike = shape == tracer.tensors[right.tensor].shape
    if alike and torch.equal(left.positions, right.positions):
        total = tracer.plain(kind, (left.tensor, right.tensor), shape)
        return Value(total.tensor, left.positions)
    sources = tracer.materialised(left), tracer.materialised(right)
    return tracer.plain(kind, sources, nhwc(tracer.shape))


def concatenation(tracer: Tracer, arguments: Arguments) -> Value:
    values = [tracer.value(node) for node in arguments["tensors"]]
    rank = len(values[0].shape)
    axis = arguments["dim"] % rank
    if axis == 0 or rank not in (2, 4):
        raise tracer.refusal(
            f"parts must be [N, C] or [N, C, H, W] and joined behind N, but dim is {axis} for "
            f"{[list(value.shape) for value in values]}",
            "use torch.cat with dim=1",
        )
    _, most = OPERATORS["CONCATENATION"].inputs
    if len(values) > most:
        raise tracer.refusal(
            f"at most {most} parts can be joined at once, but these are {len(values)}",
            "join them in groups",
        )
    if len(values) == 1:
        return values[0]
    if rank == 4:
        sources = tuple(tracer.materialised(value) for value in values)
        inner = {1: 3, 2: 1, 3: 2}[axis]
        return tracer.plain("CONCATENATION", sources, nhwc(tracer.shape), axis=inner)
    # Features are joined in the order in which they are stored; the reader's weights adapt.
    flat, positions, start = [], [], 0
    for value in values:
        count = value.positions.numel()
        flat.append(tracer.materialised(Value(value.tensor, torch.arange(count)[None])))
        positions.append(value.positions + start)
        start += count
    joined = tracer.plain("CONCATENATION", tuple(flat), (1, start), axis=1)
    return Value(joined.tensor, torch.cat(positions, 1))


def pad(tracer: Tracer, arguments: Arguments) -> Value:
    value, amounts = tracer.value(arguments["self"]), list(arguments["pad"])
    mode = arguments.get("mode", "constant")
    if mode != "constant" or (arguments["value"] or 0) != 0 or min(amounts, default=0) < 0:
        raise tracer.refusal(
            f"padding must add zeros, but is {amounts}, mode {mode!r}, value {arguments['value']}",
            "use torch.nn.ZeroPad2d",
        )
    table = np.zeros((len(value.shape), 2), np.int32)
    for dim in range(len(amounts) // 2):
        table[-1 - dim] = amounts[2 * dim : 2 * dim + 2]
    if not table.any():
        return value
    source = tracer.materialised(value)
    if table[0].any():
        raise tracer.refusal("the batch must not be padded, but is", "pad rows and columns only")
    ordered: Array = table if len(table) == 2 else table[[0, 2, 3, 1]]
    name = tracer.padded(tracer.name(), source, ordered)
    return Value(name, canonical(tracer.tensors[name].shape))


def average_pool(tracer: Tracer, arguments: Arguments) -> Value:
    if arguments["divisor_override"] is not None:
        raise tracer.refusal(
            f"averages must divide by the window, but divide by {arguments['divisor_override']}",
            "leave divisor_override out",
        )
    counted = bool(arguments["count_include_pad"])
    return _pool(tracer, arguments, "AVERAGE_POOL_2D", same=not counted, zeros=counted)


def max_pool(tracer: Tracer, arguments: Arguments) -> Value:
    if pair(arguments["dilation"]) != (1, 1):
        raise tracer.refusal(
            f"pools must have dilation 1, but have {arguments['dilation']}", "leave it out"
        )
    zeros = tracer.nonnegative(tracer.value(arguments["self"]).tensor)
    return _pool(tracer, arguments, "MAX_POOL_2D", same=True, zeros=zeros)


def _pool(tracer: Tracer, arguments: Arguments, kind: Kind, *, same: bool, zeros: bool) -> Value:
    value, window = tracer.map_value(arguments["self"]), pair(arguments["kernel_size"])
    stride, before = pair(arguments["stride"] or window), pair(arguments["padding"])
    if arguments["ceil_mode"]:
        raise tracer.refusal("pools must have whole windows, but use ceil_mode", "leave it out")
    name = tracer.name()
    source, padding = tracer.placed(name, value, window, stride, before, same=same, zeros=zeros)
    op = Op(kind, name, (source,), (name,), stride, window, padding)
    return tracer.append(op, nhwc(tracer.shape))


def adaptive_average_pool(tracer: Tracer, arguments: Arguments) -> Value:
    return _adaptive_pool(tracer, arguments, "AVERAGE_POOL_2D")


def adaptive_max_pool(tracer: Tracer, arguments: Arguments) -> Value:
    return _adaptive_pool(tracer, arguments, "MAX_POOL_2D")


def _adaptive_pool(tracer: Tracer, arguments: Arguments, kind: Kind) -> Value:
    value = tracer.map_value(arguments["self"])
    (height, width), (rows, columns) = value.shape[2:], tracer.shape[2:]
    if height % rows or width % columns:
        raise tracer.refusal(
            f"an adaptive pool must divide the map evenly, but makes {rows}x{columns} of "
            f"{height}x{width}",
            "use output size 1",
        )
    return _windows(tracer, kind, value, (height // rows, width // columns))


def _windows(tracer: Tracer, kind: Kind, value: Value, window: Pair) -> Value:
    """Pool windows that stand side by side."""
    if window == (1, 1):
        return value
    _, channels, height, width = value.shape
    shape = (1, height // window[0], width // window[1], channels)
    source = tracer.materialised(value)
    return tracer.plain(kind, (source,), shape, stride=window, window=window, padding="VALID")


def mean(tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.value(arguments["self"])
    rank = len(value.shape)
    axes = {axis % rank for axis in arguments["dim"] or range(rank)}
    if rank != 4 or axes != {2, 3}:
        raise tracer.refusal(
            f"a mean must be over rows and columns, but is over {sorted(axes)} of "
            f"{list(value.shape)}",
            "use x.mean((2, 3)) on [N, channels, height, width]",
        )
    # An average pool rather than MEAN: 20 times cheaper on Cortex-M.
    pooled = _windows(tracer, "AVERAGE_POOL_2D", value, pair(value.shape[2:]))
    return Value(pooled.tensor, pooled.positions.reshape(tracer.shape))


def moved(tracer: Tracer, arguments: Arguments) -> Value:
    """Do to the positions what torch does to the elements."""
    node = tracer.node
    value = tracer.value(node.args[0])
    moved: Tensor = node.target(value.positions.contiguous(), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    if moved.numel() != value.positions.numel():
        raise tracer.refusal(
            f"reshaping must keep every element, but {list(value.shape)} becomes "
            f"{list(moved.shape)}"
        )
    return Value(value.tensor, moved)


def kept(tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.value(tracer.node.args[0])
    if tracer.node.meta["val"].dtype != torch.float32:
        raise tracer.refusal(
            f"values must stay float32, but become {tracer.node.meta['val'].dtype}",
            "leave the conversion out; export chooses the integers",
        )
    return value
