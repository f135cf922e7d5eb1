"""Activations, sums and products, element by element."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from micronas.export.from_torch.layout import (
    Value,
    broadcast_shape,
    canonical,
    in_order,
    nhwc,
    permutes,
    places,
)
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.operations.affine import (
    ONE,
    affine,
    narrowed,
    once,
    scaled,
    with_constant,
)
from micronas.export.from_torch.tracer import Tracer, led
from micronas.graph.ir import Activation, Kind, Op, Tensor
from micronas.graph.operators import OPERATORS, WEIGHTED
from micronas.train import operators
from micronas.train.clamps import HIDES
from micronas.train.functions import ROWS

_FUSES = tuple(kind for kind, row in OPERATORS.items() if row.fuses and kind != "TRANSPOSE_CONV")
"""Kinds that can fuse an activation; CMSIS-NN ignores that of a transposed convolution."""
_MOST_ROWS = 256
_LEAST_LENGTH = 1e-4
"""Largest bound from below that keeps lengths from zero without changing others."""
_LEAST_THRESHOLD = 8
"""Smallest threshold of softplus whose step, 0.0003 on 8, is below that of the codes."""


def unary(kind: Kind, tracer: Tracer, arguments: Arguments) -> Value:
    """Append an activation as an operator of its own."""
    return applied(tracer, kind, tracer.value(arguments["self"]))


def applied(tracer: Tracer, kind: Kind, value: Value, suffix: str = "", **fields: Any) -> Value:
    """Append an operator of one operand, in whatever order that is stored."""
    value = tracer.complete(value)
    shape = tracer.shape_of(value.tensor)
    found = tracer.plain(kind, (value.tensor,), shape, suffix, **fields)
    return Value(found.tensor, value.positions)


def clipped(kind: Activation, tracer: Tracer, arguments: Arguments) -> Value:
    """Append an activation that the preceding operator may have."""
    return _activated(tracer, arguments["self"], kind)


def clamp(tracer: Tracer, arguments: Arguments) -> Value | None:
    """Clamp by ReLU or ReLU6 where possible, otherwise by MINIMUM and MAXIMUM."""
    node = arguments["self"]
    low = arguments.get("min", arguments.get("min_val"))
    high = arguments.get("max", arguments.get("max_val"))
    if node in tracer.lengths and high is None and low <= _LEAST_LENGTH:  # as L2_NORMALIZATION does
        tracer.lengths[tracer.node] = tracer.lengths[node]
        tracer.deferred[tracer.node] = lambda: tracer.value(node)
        return None
    value = tracer.value(node)
    if low == 0 and high in (None, 6, math.inf):
        return _activated(tracer, node, "RELU6" if high == 6 else "RELU")
    if (low, high) == (-1, 1):
        return _activated(tracer, node, "RELU_N1_TO_1")
    bounds: tuple[tuple[Kind, Any], ...] = (("MAXIMUM", low), ("MINIMUM", high))
    for kind, bound in bounds:
        if bound is not None and math.isfinite(bound):
            value = with_constant(tracer, kind, value, torch.tensor(float(bound)))
    return value


def _activated(tracer: Tracer, node: object, kind: Activation) -> Value:
    """Fuse an activation into the preceding operator, or append it."""
    op = tracer.producer(node, _FUSES)
    if op is not None:
        tracer.ops[op.outputs[0]] = replace(op, activation=kind)
        return tracer.value(node)
    value = tracer.value(node)
    if kind == "RELU_N1_TO_1":  # without an operator of its own
        return with_constant(tracer, "ADD", value, torch.zeros(()), activation=kind)
    return applied(tracer, "RELU" if kind == "RELU" else "RELU6", value)


def leaky_relu(tracer: Tracer, arguments: Arguments) -> Value:
    alpha = float(np.float32(arguments["negative_slope"]))  # as stored in the file
    if alpha < 0:
        raise tracer.refusal(f"a slope must not be negative, but is {alpha}", "use torch.nn.PReLU")
    return applied(tracer, "LEAKY_RELU", tracer.value(arguments["self"]), alpha=alpha)


def prelu(tracer: Tracer, arguments: Arguments) -> Value:
    value, slope = tracer.value(arguments["self"]), tracer.constant(arguments["weight"])
    if slope.numel() == 1 and float(slope) >= 0:
        return applied(tracer, "LEAKY_RELU", value, alpha=float(slope))
    shape = [1] * len(value.shape)
    shape[1] = len(slope)
    return with_constant(tracer, "PRELU", value, slope.reshape(shape))


def silu(tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.complete(tracer.value(arguments["self"]))
    gate = applied(tracer, "LOGISTIC", value, "sigmoid")
    return combined(tracer, "MUL", value, gate)


def looked_up(
    function: str, tracer: Tracer, arguments: Arguments, *, number: str | None = None
) -> Value:
    """Compute one of `train.functions`, of the argument `number` too, by a table of 256 codes.

    While it runs the device holds a position of four bytes per element.
    """
    alpha = float(arguments[number]) if number else 0.0
    return tabled(tracer, tracer.value(arguments["self"]), function, alpha)


def tabled(tracer: Tracer, value: Value, function: str, alpha: float = 0.0) -> Value:
    """Append POSITIONS and TABLE."""
    places = _places(tracer, tracer.complete(value))
    name = tracer.name()
    table = f"{name}/table"
    tracer.tensors[table] = Tensor(table, (256,), constant=True)
    op = Op("TABLE", name, (places.tensor, table), (name,), function=function, alpha=alpha)
    found = tracer.append(op, tracer.shape_of(places.tensor))
    return Value(found.tensor, places.positions)


def _places(tracer: Tracer, value: Value) -> Value:
    """Append POSITIONS, int32 places in a table."""
    places = applied(tracer, "POSITIONS", value, "positions")
    tracer.tensors[places.tensor] = replace(tracer.tensors[places.tensor], dtype="int32")
    return places


def embedding(tracer: Tracer, arguments: Arguments) -> Value:
    """Look up the rows of a table that the input numbers."""
    table, numbers = tracer.constant(arguments["weight"]), tracer.value(arguments["indices"])
    if len(table) > _MOST_ROWS:
        raise tracer.refusal(
            f"an embedding must have at most {_MOST_ROWS} rows, as inputs are int8, but has "
            f"{len(table)}",
            "use a smaller vocabulary, such as bytes, or hash words to so many numbers",
        )
    numbers = once(tracer, numbers)
    rest = table[-1:].expand(_MOST_ROWS - len(table), -1)  # so that every position is valid
    rows = tracer.filled(f"{tracer.name('rows')}/table", torch.cat([table, rest]).numpy())
    places, size = _places(tracer, numbers), table.shape[1]
    shape = (*tracer.shape_of(places.tensor), size)
    found = tracer.plain("TABLE", (places.tensor, rows), shape, function=ROWS)
    return Value(found.tensor, places.positions.unsqueeze(-1) * size + torch.arange(size))


def exponential(tracer: Tracer, arguments: Arguments) -> Value:
    """Raise a constant to the power of a value."""
    value = tracer.value(arguments["exponent"])
    return tabled(tracer, value, "exponential", float(arguments["self"]))


def compared(function: str, tracer: Tracer, arguments: Arguments) -> Value:
    """Compare two values by comparing their difference with zero."""
    return tabled(tracer, _added(tracer, {**arguments, "alpha": 1}, -1.0), function)


def hardsigmoid(tracer: Tracer, arguments: Arguments) -> Value:
    """Compute relu6(x + 3) / 6; the shift is folded into preceding weights without other reader."""
    node = arguments["self"]
    op = tracer.producer(node, WEIGHTED)
    if op is not None and len(op.learnt) == 2:
        channels = tracer.shape_of(op.outputs[0])[-1]
        tracer.folding.scale(tracer.tensors, op, np.ones(channels), np.full(channels, 3.0))
        value = _activated(tracer, node, "RELU6")
    else:
        value = with_constant(
            tracer, "ADD", tracer.value(node), torch.tensor(3.0), "shifted", activation="RELU6"
        )
    return with_constant(tracer, "MUL", value, torch.tensor(1 / 6))


def softplus(tracer: Tracer, arguments: Arguments) -> Value:
    if arguments["threshold"] < _LEAST_THRESHOLD:
        raise tracer.refusal(
            f"a softplus must have a threshold of {_LEAST_THRESHOLD} or more, as its table has no "
            f"step, but has {arguments['threshold']}",
            "leave the threshold out",
        )
    return looked_up("softplus", tracer, arguments, number="beta")


def gelu(tracer: Tracer, arguments: Arguments) -> Value:
    function = "gelu" if arguments["approximate"] == "none" else "gelu_tanh"
    return tabled(tracer, tracer.value(arguments["self"]), function)


def elu(tracer: Tracer, arguments: Arguments) -> Value:
    value, alpha = tracer.value(arguments["self"]), float(arguments["alpha"])
    if arguments["input_scale"] != 1 or arguments["scale"] != 1:
        raise tracer.refusal("an ELU must have scales of 1, but has others", "multiply by them")
    return applied(tracer, "ELU", value) if alpha == 1 else tabled(tracer, value, "elu", alpha)


def power(tracer: Tracer, arguments: Arguments) -> Value:
    """Compute a square by a product, other powers by a table."""
    exponent = float(arguments.get("exponent", 2))
    value = tracer.value(arguments["self"])
    if exponent == 2:
        return combined(tracer, "MUL", value, value)
    return tabled(tracer, value, "power", exponent)


def reversed_subtract(tracer: Tracer, arguments: Arguments) -> Value:
    swapped = {**arguments, "self": arguments["other"], "other": arguments["self"]}
    return subtract(tracer, swapped)


def _check_wide(tracer: Tracer, narrow: Sequence[torch.dtype]) -> None:
    """Check that a result is of no type in which torch would wrap it."""
    dtype = tracer.node.meta["val"].dtype
    if dtype in narrow:
        raise tracer.refusal(
            f"sums and products must be of wider numbers, but are of {dtype}, which torch wraps",
            "call .float() on the operands first",
        )


def _sum(tracer: Tracer, arguments: Arguments, *, sign: float) -> Value:
    _check_wide(tracer, (torch.bool, torch.uint8, torch.int8))
    return _added(tracer, arguments, sign)


def _added(tracer: Tracer, arguments: Arguments, sign: float) -> Value:
    left, right, alpha = arguments["self"], arguments["other"], sign * float(arguments["alpha"])
    if tracer.is_constant(right):
        shift = alpha * tracer.constant(right)
        return _shifted(tracer, left, ONE, shift)
    if tracer.is_constant(left):
        return _shifted(tracer, right, torch.tensor(alpha), tracer.constant(left))
    other = tracer.value(right)
    if abs(alpha) != 1:
        other = scaled(tracer, other, torch.tensor(abs(alpha)))
    kind: Kind = "ADD" if alpha > 0 else "SUB"
    return combined(tracer, kind, tracer.value(left), other)


add, subtract = (partial(_sum, sign=sign) for sign in (1.0, -1.0))


def _shifted(tracer: Tracer, node: object, factor: torch.Tensor, shift: torch.Tensor) -> Value:
    """Add a constant; where it is minus infinity, hide the value from a softmax."""
    low = shift <= HIDES
    if not bool(low.any()) or bool(low.all()):
        return affine(tracer, node, factor, shift)
    value = affine(tracer, node, factor, torch.where(low, 0.0, shift.float()))
    return hidden(tracer, Value(value.tensor, value.positions.expand(tracer.shape)), low, "hidden")


def hidden(tracer: Tracer, value: Value, mask: torch.Tensor, suffix: str = "") -> Value:
    """Hide values from a softmax where a constant mask is true.

    MINIMUM with bounds stands for minus infinity; calibration finds a bound that is low enough.
    """
    bounds = torch.where(mask, 2 * HIDES, -2 * HIDES)
    return with_constant(tracer, "MINIMUM", value, bounds, suffix)


def multiply(tracer: Tracer, arguments: Arguments) -> Value:
    _check_wide(tracer, (torch.uint8, torch.int8))
    left, right = arguments["self"], arguments["other"]
    if tracer.is_constant(left):
        left, right = right, left
    if tracer.is_constant(right):
        return affine(tracer, left, tracer.constant(right))
    return combined(tracer, "MUL", tracer.value(left), tracer.value(right))


def _check_masks(tracer: Tracer) -> None:
    """Check that bits are those of masks, which are 0 or 1 on the device."""
    dtype = tracer.node.meta["val"].dtype
    if dtype != torch.bool:
        raise tracer.refusal(
            f"bits must be those of masks, but are of {dtype}", "compare them first"
        )


def inverted(tracer: Tracer, arguments: Arguments) -> Value:
    _check_masks(tracer)
    return affine(tracer, arguments["self"], -ONE, ONE)


def both(tracer: Tracer, arguments: Arguments) -> Value:
    _check_masks(tracer)
    return multiply(tracer, arguments)


def divide(tracer: Tracer, arguments: Arguments) -> Value:
    """Multiply by the reciprocal, by a table unless the divisor is constant."""
    if not tracer.is_constant(arguments["other"]):
        inverse = tabled(tracer, tracer.value(arguments["other"]), "reciprocal")
        dividend = arguments["self"]
        if not tracer.is_constant(dividend):
            return combined(tracer, "MUL", tracer.value(dividend), inverse, "quotient")
        wide = Value(inverse.tensor, inverse.positions.expand(tracer.shape))
        return scaled(tracer, wide, tracer.constant(dividend))
    factor = tracer.constant(arguments["other"]).double().reciprocal()
    return affine(tracer, arguments["self"], factor)


def negate(tracer: Tracer, arguments: Arguments) -> Value:
    return affine(tracer, arguments["self"], torch.tensor(-1.0))


def of_two(kind: Kind, tracer: Tracer, arguments: Arguments) -> Value:
    """Append an operator whose operands may change places, the second a constant."""
    left, right = arguments["self"], arguments["other"]
    if tracer.is_constant(left):
        left, right = right, left
    if tracer.is_constant(right):
        return with_constant(tracer, kind, tracer.value(left), tracer.constant(right))
    return combined(tracer, kind, tracer.value(left), tracer.value(right))


def combined(tracer: Tracer, kind: Kind, left: Value, right: Value, suffix: str = "") -> Value:
    """Append an operator on two values, the smaller broadcast.

    The result is stored in the order of the larger one, in which the other is arranged.
    """
    shape = np.broadcast_shapes(left.shape, right.shape)
    wide = [Value(side.tensor, side.positions.expand(shape)) for side in (left, right)]
    lead = _lead(tracer, wide, (left, right))
    if lead is None:
        return _crossed(tracer, kind, left, right, shape)
    chosen, position = lead
    other = wide[1 - position]
    order = torch.empty(chosen.positions.numel(), dtype=torch.int64)
    order[chosen.positions.flatten()] = other.positions.flatten()
    stored = tracer.shape_of(chosen.tensor)
    reduced = narrowed(order.reshape(stored), kind)
    finer = broadcast_shape(order.numpy())
    elements = tracer.elements_of(other.tensor)
    is_repeated = len(places(reduced, elements)) < reduced.numel()
    is_there = tracer.is_reshaped(chosen.tensor, finer) and not in_order(reduced, elements)
    if finer is not None and (is_repeated or is_there):
        stored = finer
        reduced = narrowed(order.reshape(stored), kind)
    sources = [
        tracer.reshaped(chosen.tensor, stored),
        tracer.arrange(other.tensor, reduced, tuple(reduced.shape)),
    ]
    result = tracer.plain(kind, tuple(sources if position == 0 else sources[::-1]), stored, suffix)
    return Value(result.tensor, chosen.positions)


def _lead(
    tracer: Tracer, wide: list[Value], narrow: tuple[Value, Value]
) -> tuple[Value, int] | None:
    """Return the side whose order the result takes, one with every element, and its position."""
    full = [
        k for k, side in enumerate(narrow) if side.positions.numel() == wide[k].positions.numel()
    ]
    whole = [k for k in full if permutes(wide[k].positions, tracer.elements_of(wide[k].tensor))]
    rising = [k for k in full if _rises(wide[k])]
    for k in whole:
        if k in rising or not rising:
            return wide[k], k
    full = rising or full
    return (once(tracer, wide[full[0]]), full[0]) if full else None


def _rises(value: Value) -> bool:
    """Return whether elements are stored in the usual order, possibly among others."""
    flat = operators.nhwc(value.positions).flatten()
    return bool((flat[1:] > flat[:-1]).all())


def _crossed(
    tracer: Tracer, kind: Kind, left: Value, right: Value, shape: tuple[int, ...]
) -> Value:
    """Append an operator on two broadcast values; all are stored in the usual order."""
    sources = []
    for side in (left, right):
        padded = (1,) * (len(shape) - len(side.shape)) + side.shape
        sources.append(tracer.materialised(Value(side.tensor, side.positions.reshape(padded))))
    result = tracer.plain(kind, tuple(sources), led(nhwc(shape)))
    return Value(result.tensor, canonical(nhwc(shape)))
