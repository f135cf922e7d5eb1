"""Constant factors and shifts, folded into preceding weights where possible."""

import math

import numpy as np
import torch
from torch import Tensor

from micronas.arrays import Shape
from micronas.export.from_torch.layout import Value, in_order, permutes
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.tracer import Tracer
from micronas.graph.ir import Kind, Op
from micronas.graph.operators import WEIGHTED

_MOST_CROSSED = 4
"""Most dimensions of two operands that broadcast each other."""


def batch_norm(tracer: Tracer, arguments: Arguments) -> Value:
    if arguments.get("training") or arguments["running_mean"] is None:
        raise tracer.refusal("a norm must have running statistics, but this has those of its batch")
    mean = tracer.constant(arguments["running_mean"]).double()
    factor = (tracer.constant(arguments["running_var"]).double() + arguments["eps"]).rsqrt()
    if arguments["weight"] is not None:
        factor = factor * tracer.constant(arguments["weight"])
    shift = -mean * factor
    if arguments["bias"] is not None:
        shift = shift + tracer.constant(arguments["bias"])
    shape = (-1, *(1,) * (len(tracer.shape) - 2))
    return affine(tracer, arguments["input"], factor.reshape(shape), shift.reshape(shape))


_ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)


def affine(tracer: Tracer, node: object, factor: Tensor, shift: Tensor = _ZERO) -> Value:
    """Multiply the value of a node by a constant and add another, both broadcast to its shape.

    If they differ only by stored channel, they are folded into the preceding operator where it has
    weights and no other reader, or become a depthwise 1x1 convolution.
    """
    value = tracer.value(node)
    shape = np.broadcast_shapes(value.shape, factor.shape, shift.shape)
    factor, shift = factor.double(), shift.double()
    if shape != value.shape:
        crossed = _crossed(tracer, value, factor, shift, shape)
        return crossed or scaled(
            tracer, Value(value.tensor, value.positions.expand(shape)), factor, shift
        )
    if bool((factor == 1).all()) and bool((shift == 0).all()):
        return value
    by_channel = _by_channel(tracer, value, factor, shift)
    op = tracer.producer(node, WEIGHTED)
    if by_channel is not None and op is not None and len(op.learnt) == 2:
        tracer.folding.scale(tracer.tensors, op, by_channel[0].numpy(), by_channel[1].numpy())
        return value
    return scaled(tracer, value, factor, shift)


def _crossed(
    tracer: Tracer, value: Value, factor: Tensor, shift: Tensor, shape: Shape
) -> Value | None:
    """Append an operator that broadcasts a value and a constant; None where it takes two.

    Elements that are not stored in torch's order would have to be moved: repeated instead, they are
    in an order of their own.
    """
    kind: Kind = "ADD" if bool((factor == 1).all()) else "MUL"
    constant = shift if kind == "ADD" else factor
    is_single = kind == "ADD" or bool((shift == 0).all())
    in_place = in_order(value.positions, tracer.elements_of(value.tensor))
    if not is_single or not in_place or len(shape) > _MOST_CROSSED or shape[0] != 1:
        return None
    sides = (value.positions, constant)
    wide, narrow = ((1,) * (len(shape) - x.ndim) + tuple(x.shape) for x in sides)
    name = tracer.name()
    other = tracer.filled(f"{name}/constant", constant.float().reshape(narrow).numpy())
    op = Op(kind, name, (tracer.reshaped(value.tensor, wide), other), (name,))
    found = tracer.append(op, shape).tensor
    return Value(found, torch.arange(math.prod(shape)).reshape(shape))


def scaled(tracer: Tracer, value: Value, factor: Tensor, shift: Tensor = _ZERO) -> Value:
    """Append operators that multiply a value by a constant and add another."""
    factor, shift = factor.double(), shift.double()
    value = once(tracer, value)
    by_channel = _by_channel(tracer, value, factor, shift)
    is_map = len(tracer.shape_of(value.tensor)) == 4
    is_single = bool((factor == 1).all()) or bool((shift == 0).all())
    if by_channel is not None and (is_map or not is_single):
        return _depthwise(tracer, value, *by_channel)
    if not bool((factor == 1).all()):
        value = with_constant(tracer, "MUL", value, factor, suffix="factor")
    return with_constant(tracer, "ADD", value, shift) if bool((shift != 0).any()) else value


def _by_channel(
    tracer: Tracer, value: Value, factor: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Return both constants with one number per stored channel; None if they differ otherwise."""
    if not permutes(value.positions, tracer.elements_of(value.tensor)):
        return None
    channels = tracer.shape_of(value.tensor)[-1]
    rows = [_spread(value, constant).reshape(-1, channels) for constant in (factor, shift)]
    if any(not torch.equal(part, part[:1].expand_as(part)) for part in rows):
        return None
    return rows[0][0], rows[1][0]


def _depthwise(tracer: Tracer, value: Value, factor: Tensor, shift: Tensor) -> Value:
    """Append a depthwise 1x1 convolution; features are the channels of one pixel."""
    shape = tracer.shape_of(value.tensor)
    name = tracer.name()
    if len(shape) != 4:
        shape = (1, tracer.elements_of(value.tensor) // len(factor), 1, len(factor))
    source = tracer.reshaped(value.tensor, shape)
    weights = tracer.filled(f"{name}/weights", factor.float().reshape(1, 1, 1, -1).numpy())
    bias = tracer.filled(f"{name}/bias", shift.float().numpy())
    op = Op("DEPTHWISE_CONV_2D", name, (source, weights, bias), (name,))
    return Value(tracer.append(op, shape).tensor, value.positions)


def with_constant(
    tracer: Tracer, kind: Kind, value: Value, constant: Tensor, suffix: str = "", **fields: object
) -> Value:
    """Append an operator on a value and a constant that is broadcast to its shape."""
    value = once(tracer, value)
    shape = tracer.shape_of(value.tensor)
    reduced = narrowed(_spread(value, constant).reshape(shape), kind)
    name = tracer.name(suffix)
    other = tracer.filled(f"{name}/constant", reduced.float().numpy())
    op = Op(kind, name, (value.tensor, other), (name,), **fields)  # type: ignore[arg-type]
    return Value(tracer.append(op, shape).tensor, value.positions)


def _spread(value: Value, constant: Tensor) -> Tensor:
    """Return a constant for each stored element of a value that has each of them once."""
    stored = torch.empty(value.positions.numel(), dtype=constant.dtype)
    stored[value.positions.flatten()] = constant.expand(value.shape).flatten()
    return stored


def once(tracer: Tracer, value: Value) -> Value:
    """Return a value whose stored tensor holds each of its elements once and no other."""
    ordered = value.positions.flatten().sort().values
    if in_order(ordered, tracer.elements_of(value.tensor)):
        return value
    if bool((ordered.diff() > 0).all()):
        return tracer.part(value)
    return tracer.moved(value)


def narrowed(stored: Tensor, kind: Kind) -> Tensor:
    """Return a constant without dimensions along which it is constant, which broadcast.

    The last two stay where MAXIMUM or MINIMUM would broadcast single elements to rows.
    """
    narrow = stored
    for axis in range(stored.ndim):
        first = narrow.narrow(axis, 0, 1)
        if torch.equal(first.expand_as(narrow), narrow):
            narrow = first
    is_thin = math.prod(narrow.shape[-2:]) == 1 < narrow.numel()
    if kind in ("MAXIMUM", "MINIMUM") and is_thin:
        return narrow.expand(*narrow.shape[:-2], *stored.shape[-2:])
    return narrow
