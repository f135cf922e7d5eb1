"""Activations, sums and products, element by element."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from micronas.export.from_torch.layout import Value, canonical, in_order
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.operations.weighted import fold, scaled
from micronas.export.from_torch.tracer import Tracer, led, nhwc
from micronas.graph.ir import Activation, Kind, Op
from micronas.graph.operators import OPERATORS

_FUSES = tuple(kind for kind, row in OPERATORS.items() if row.fuses)
_Lowering = Callable[[Tracer, Arguments], Value]


def unary(kind: Kind, operand: str = "self", **fields: Any) -> _Lowering:
    """Lower an activation to an operator of its own."""

    def lower(tracer: Tracer, arguments: Arguments) -> Value:
        return applied(tracer, kind, tracer.value(arguments[operand]), **fields)

    return lower


def applied(tracer: Tracer, kind: Kind, value: Value, suffix: str = "", **fields: Any) -> Value:
    """Append an operator of one operand, whatever the order it is stored in."""
    value = tracer.complete(value)
    shape = tracer.shape_of(value.tensor)
    return Value(
        tracer.plain(kind, (value.tensor,), shape, suffix, **fields).tensor, value.positions
    )


def relu(tracer: Tracer, arguments: Arguments) -> Value:
    return activated(tracer, arguments["self"], "RELU")


def relu6(tracer: Tracer, arguments: Arguments) -> Value:
    return activated(tracer, arguments["self"], "RELU6")


def clamp(tracer: Tracer, arguments: Arguments) -> Value | None:
    """Clamp by ReLU or ReLU6 where that is all, otherwise by MINIMUM and MAXIMUM."""
    node = arguments["self"]
    if node in tracer.lengths:  # kept from zero, as L2_NORMALIZATION does itself
        tracer.lengths[tracer.node] = tracer.lengths[node]
        return None
    low = arguments.get("min", arguments.get("min_val"))
    high = arguments.get("max", arguments.get("max_val"))
    if low == 0 and high in (None, 6, math.inf):
        return activated(tracer, node, "RELU6" if high == 6 else "RELU")
    value = tracer.value(node)
    bounds: tuple[tuple[Kind, Any], ...] = (("MAXIMUM", low), ("MINIMUM", high))
    for kind, bound in bounds:
        if bound is not None and math.isfinite(bound):
            value = with_constant(tracer, kind, value, torch.tensor(float(bound)))
    return value


def activated(tracer: Tracer, node: object, kind: Activation) -> Value:
    """Fuse an activation into the operator in front, or append it."""
    op = tracer.producer(node, _FUSES)
    if op is None:
        return applied(tracer, "RELU" if kind == "RELU" else "RELU6", tracer.value(node))
    tracer.ops[op.outputs[0]] = replace(op, activation=kind)
    return tracer.value(node)


def leaky_relu(tracer: Tracer, arguments: Arguments) -> Value:
    alpha = float(arguments["negative_slope"])
    return applied(tracer, "LEAKY_RELU", tracer.value(arguments["self"]), alpha=alpha)


def prelu(tracer: Tracer, arguments: Arguments) -> Value:
    value, slope = tracer.value(arguments["self"]), tracer.constant(arguments["weight"])
    if slope.numel() == 1:
        return applied(tracer, "LEAKY_RELU", value, alpha=float(slope))
    shape = [1] * len(value.shape)
    shape[1] = -1
    return with_constant(tracer, "PRELU", value, slope.reshape(shape))


def elu(tracer: Tracer, arguments: Arguments) -> Value:
    if (arguments["alpha"], arguments["scale"], arguments["input_scale"]) != (1, 1, 1):
        raise tracer.refusal(
            f"an ELU must have alpha 1, but has {arguments['alpha']}", "use torch.nn.ELU()"
        )
    return applied(tracer, "ELU", tracer.value(arguments["self"]))


def silu(tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.complete(tracer.value(arguments["self"]))
    gate = applied(tracer, "LOGISTIC", value, "sigmoid")
    return combined(tracer, "MUL", value, gate)


def hardsigmoid(tracer: Tracer, arguments: Arguments) -> Value:
    """relu6(x + 3) / 6."""
    shifted = with_constant(
        tracer, "ADD", tracer.value(arguments["self"]), torch.tensor(3.0), activation="RELU6"
    )
    return with_constant(tracer, "MUL", shifted, torch.tensor(1 / 6))


def gelu(tracer: Tracer, arguments: Arguments) -> Value:
    """x sigmoid(1.702 x): within 0.021 of GELU; there is no table of 256 entries in TFLM."""
    value = tracer.complete(tracer.value(arguments["self"]))
    steeper = with_constant(tracer, "MUL", value, torch.tensor(1.702), suffix="steeper")
    return combined(tracer, "MUL", value, applied(tracer, "LOGISTIC", steeper, "sigmoid"))


def add(tracer: Tracer, arguments: Arguments) -> Value:
    return _sum(tracer, arguments, 1.0)


def subtract(tracer: Tracer, arguments: Arguments) -> Value:
    return _sum(tracer, arguments, -1.0)


def reversed_subtract(tracer: Tracer, arguments: Arguments) -> Value:
    swapped = {**arguments, "self": arguments["other"], "other": arguments["self"]}
    return _sum(tracer, swapped, -1.0)


def _sum(tracer: Tracer, arguments: Arguments, sign: float) -> Value:
    left, right, alpha = arguments["self"], arguments["other"], sign * float(arguments["alpha"])
    if tracer.is_constant(right):
        return affine(tracer, left, torch.tensor(1.0), alpha * tracer.constant(right))
    if tracer.is_constant(left):
        return affine(tracer, right, torch.tensor(alpha), tracer.constant(left))
    if abs(alpha) != 1:
        raise tracer.refusal(f"sums must have alpha 1, but this has {alpha}", "multiply by it")
    kind: Kind = "ADD" if alpha == 1 else "SUB"
    return combined(tracer, kind, tracer.value(left), tracer.value(right))


def multiply(tracer: Tracer, arguments: Arguments) -> Value:
    left, right = arguments["self"], arguments["other"]
    if tracer.is_constant(left):
        left, right = right, left
    if tracer.is_constant(right):
        return affine(tracer, left, tracer.constant(right), torch.tensor(0.0))
    return combined(tracer, "MUL", tracer.value(left), tracer.value(right))


def divide(tracer: Tracer, arguments: Arguments) -> Value:
    if not tracer.is_constant(arguments["other"]):
        raise tracer.refusal(
            "divisors must be constant, but one is computed from the input",
            "multiply by torch.rsqrt, or normalise by torch.nn.functional.normalize",
        )
    factor = tracer.constant(arguments["other"]).double().reciprocal()
    return affine(tracer, arguments["self"], factor, torch.tensor(0.0))


def negate(tracer: Tracer, arguments: Arguments) -> Value:
    return affine(tracer, arguments["self"], torch.tensor(-1.0), torch.tensor(0.0))


def square(tracer: Tracer, arguments: Arguments) -> Value:
    exponent = arguments.get("exponent", 2)
    value = tracer.value(arguments["self"])
    if exponent != 2:
        raise tracer.refusal(f"exponents must be 2, but one is {exponent}", "multiply instead")
    return combined(tracer, "MUL", value, value)


def greater(tracer: Tracer, arguments: Arguments) -> Value:
    return _extreme(tracer, arguments, "MAXIMUM")


def smaller(tracer: Tracer, arguments: Arguments) -> Value:
    return _extreme(tracer, arguments, "MINIMUM")


def _extreme(tracer: Tracer, arguments: Arguments, kind: Kind) -> Value:
    left, right = arguments["self"], arguments["other"]
    if tracer.is_constant(left):
        left, right = right, left
    if tracer.is_constant(right):
        return with_constant(tracer, kind, tracer.value(left), tracer.constant(right))
    return combined(tracer, kind, tracer.value(left), tracer.value(right))


def affine(tracer: Tracer, node: object, factor: Tensor, shift: Tensor) -> Value:
    """Multiply a value by a constant and add another, in weights if they can hold them."""
    value = tracer.value(node)
    if value.shape != tracer.shape:
        raise tracer.refusal(
            f"constants must not be larger than what they meet, but {list(value.shape)} becomes "
            f"{list(tracer.shape)}",
            "expand the value first",
        )
    factor, shift = factor.double(), shift.double()
    if bool((factor == 1).all()) and bool((shift == 0).all()):
        return value
    by_channel = [_by_channel(part, value.shape) for part in (factor, shift)]
    if by_channel[0] is not None and by_channel[1] is not None:
        if len(value.shape) in (3, 4) and len(tracer.shape_of(value.tensor)) == 4:
            return scaled(tracer, node, by_channel[0], by_channel[1])
        if fold(tracer, node, by_channel[0], by_channel[1]):
            return value
    if not bool((factor == 1).all()):
        value = with_constant(tracer, "MUL", value, factor, suffix="scaled")
    return with_constant(tracer, "ADD", value, shift) if bool((shift != 0).any()) else value


def _by_channel(constant: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """A constant as one number for each channel, dimension 1; None if it is not that."""
    if len(shape) < 2:
        return None
    wide = constant.expand(shape).movedim(1, 0).reshape(shape[1], -1)
    return wide[:, 0].clone() if torch.equal(wide, wide[:, :1].expand_as(wide)) else None


def with_constant(
    tracer: Tracer, kind: Kind, value: Value, constant: Tensor, suffix: str = "", **fields: Any
) -> Value:
    """Append an operator on a value and a constant that is broadcast to its shape."""
    value = _once(tracer, value)
    shape = tracer.shape_of(value.tensor)
    stored = torch.empty(value.positions.numel(), dtype=constant.dtype)
    stored[value.positions.flatten()] = constant.expand(value.shape).flatten()
    reduced = _narrowed(stored.reshape(shape))
    name = tracer.name(suffix)
    other = tracer.filled(f"{name}/constant", reduced.float().numpy())
    op = Op(kind, name, (value.tensor, other), (name,), **fields)
    result = tracer.append(op, shape)
    return Value(result.tensor, value.positions)


def combined(tracer: Tracer, kind: Kind, left: Value, right: Value, suffix: str = "") -> Value:
    """Append an operator on two values, the smaller broadcast.

    The result is stored in the order of the larger one, to which the other is brought.
    """
    shape = torch.broadcast_shapes(left.shape, right.shape)
    wide = [Value(side.tensor, side.positions.expand(shape)) for side in (left, right)]
    lead = _lead(tracer, wide, (left, right))
    if lead is None:
        return _crossed(tracer, kind, left, right, shape)
    chosen, position = lead
    other = wide[1 - position]
    order = torch.empty(chosen.positions.numel(), dtype=torch.int64)
    order[chosen.positions.flatten()] = other.positions.flatten()
    stored = tracer.shape_of(chosen.tensor)
    reduced = _narrowed(order.reshape(stored))
    sources = [chosen.tensor, tracer.arrange(other.tensor, reduced, tuple(reduced.shape))]
    result = tracer.plain(kind, tuple(sources if position == 0 else sources[::-1]), stored, suffix)
    return Value(result.tensor, chosen.positions)


def _lead(
    tracer: Tracer, wide: list[Value], narrow: tuple[Value, Value]
) -> tuple[Value, int] | None:
    """The side in whose order the result is stored, and which it is: one with every element."""
    full = [
        k for k, side in enumerate(narrow) if side.positions.numel() == wide[k].positions.numel()
    ]
    for k in full:
        elements = tracer.elements_of(wide[k].tensor)
        if in_order(wide[k].positions.flatten().sort().values, elements):
            return wide[k], k
    return (_once(tracer, wide[full[0]]), full[0]) if full else None


def _once(tracer: Tracer, value: Value) -> Value:
    """Return a value whose stored tensor holds each of its elements once and no other."""
    elements = tracer.elements_of(value.tensor)
    if in_order(value.positions.flatten().sort().values, elements):
        return value
    tensor = tracer.materialised(value)
    return Value(tensor, canonical(tracer.shape_of(tensor)).reshape(value.shape))


def _crossed(
    tracer: Tracer, kind: Kind, left: Value, right: Value, shape: tuple[int, ...]
) -> Value:
    """Both sides are broadcast: store both, and the result, in the usual order."""
    sources = []
    for side in (left, right):
        padded = (1,) * (len(shape) - len(side.shape)) + side.shape
        sources.append(tracer.materialised(Value(side.tensor, side.positions.reshape(padded))))
    result = tracer.plain(kind, tuple(sources), led(nhwc(shape)))
    return Value(result.tensor, result.positions.reshape(shape))


def _narrowed(stored: Tensor) -> Tensor:
    """Leave out the dimensions along which nothing changes: broadcasting repeats them."""
    for axis in range(stored.ndim):
        first = stored.narrow(axis, 0, 1)
        if torch.equal(first.expand_as(stored), stored):
            stored = first
    return stored
