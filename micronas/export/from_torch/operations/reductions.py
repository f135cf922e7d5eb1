"""Reductions over any dimensions: means, sums, maxima and their places."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from micronas.arrays import Shape
from micronas.export.from_torch.layout import (
    Value,
    broadcast_shape,
    canonical,
    in_order,
    reduced_axes,
)
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.operations.affine import once, scaled, with_constant
from micronas.export.from_torch.operations.elementwise import combined, tabled
from micronas.export.from_torch.operations.maps import windows
from micronas.export.from_torch.tracer import Part, Tracer, led
from micronas.graph.ir import Kind
from micronas.train.functions import HIT, PLACE

_MOST_AXES = 4
"""Most dimensions of MEAN and SUM."""
_MOST_PLACES = 255


_POOLS: Mapping[Kind, Kind] = {"MEAN": "AVERAGE_POOL_2D", "REDUCE_MAX": "MAX_POOL_2D"}


def reduction(kind: Kind, tracer: Tracer, arguments: Arguments) -> Value:
    """Reduce dimensions; rows and columns by a pool, 20 times cheaper on Cortex-M than MEAN."""
    value = tracer.value(arguments["self"])
    dims = dimensions(arguments["dim"], value.shape)
    if kind in _POOLS and dims == [2, 3] and len(value.shape) == 4 and value.shape[0] == 1:
        return windows(tracer, _POOLS[kind], value, (value.shape[2], value.shape[3]))
    if kind == "MEAN" and dims == [2] and tracer.is_sequence(value):
        sequence = tracer.map_value(arguments["self"])
        return windows(tracer, _POOLS[kind], sequence, (value.shape[2], 1))
    return reduced(tracer, kind, value, dims)


def extreme(sign: float, tracer: Tracer, arguments: Arguments) -> Sequence[Part]:
    """Return the ``max`` along a dimension, or ``min`` for a sign of -1: values, places if read."""
    return [
        lambda: _of_sign(tracer, _largest_of(tracer, arguments, sign), sign),
        lambda: place(sign, tracer, arguments),
    ]


def _of_sign(tracer: Tracer, value: Value, sign: float) -> Value:
    return value if sign > 0 else scaled(tracer, value, torch.tensor(sign))


def _largest_of(tracer: Tracer, arguments: Arguments, sign: float) -> Value:
    value = _of_sign(tracer, tracer.value(arguments["self"]), sign)
    return reduced(tracer, "REDUCE_MAX", value, dimensions(arguments["dim"], value.shape))


def place(sign: float, tracer: Tracer, arguments: Arguments) -> Value:
    """Compute ``argmax``, or ``argmin`` for a sign of -1, as codes of place - 128.

    TFLM's ARG_MAX writes int32, which no other operator here reads. Instead, 255 where a value is
    the largest is limited to 255 less its place, so that the maximum belongs to the first of them.
    """
    value = _of_sign(tracer, tracer.value(arguments["self"]), sign)
    if arguments["dim"] is None:
        raise tracer.refusal("the place of a largest value must be along a dim", "pass a dim")
    dim = int(arguments["dim"]) % len(value.shape)
    count = value.shape[dim]
    if dim == 0 or count > _MOST_PLACES:
        raise tracer.refusal(
            f"places must be along another dimension than the batch, {_MOST_PLACES} at most, "
            f"but are {count} along {dim}",
            "return the values, and take the place of the largest where they are used",
        )
    kept = tuple(1 if axis == dim else size for axis, size in enumerate(value.shape))
    most = reduced(tracer, "REDUCE_MAX", value, [dim], kept)
    hits = tabled(tracer, combined(tracer, "SUB", value, most, "less"), HIT)
    shape = [1] * len(kept)
    shape[dim] = count
    places = 255.0 - torch.arange(count).reshape(shape)
    numbered = with_constant(tracer, "MINIMUM", hits, places, "places")
    return tabled(tracer, reduced(tracer, "REDUCE_MAX", numbered, [dim]), PLACE)


def reduced(
    tracer: Tracer, kind: Kind, value: Value, dims: list[int], shape: tuple[int, ...] | None = None
) -> Value:
    """Reduce dimensions of torch, which stay with size 1 on the device."""
    shape = tracer.shape if shape is None else shape
    if all(value.shape[dim] == 1 for dim in dims):
        return Value(value.tensor, value.positions.reshape(shape))
    placed, axes = _placed(tracer, once(tracer, value), dims)
    sizes = tracer.shape_of(placed.tensor)
    stored = tuple(1 if axis in axes else size for axis, size in enumerate(sizes))
    result = tracer.tabled(kind, placed.tensor, {"axes": axes}, stored)
    first = placed.positions
    for dim in dims:
        first = first.narrow(dim, 0, 1)
    index = np.array(np.unravel_index(first.flatten().numpy(), sizes))
    index[axes] = 0
    positions = torch.from_numpy(np.ravel_multi_index(tuple(index), stored))
    return Value(result, positions.reshape(shape))


def _placed(tracer: Tracer, value: Value, dims: list[int]) -> tuple[Value, list[int]]:
    """Return a value stored so that `dims` are whole axes, and these axes."""
    kept = [1 if dim in dims else size for dim, size in enumerate(value.shape)]
    groups = torch.empty(value.positions.numel(), dtype=torch.int64)
    groups[value.positions.flatten()] = (
        torch.arange(math.prod(kept)).reshape(kept).expand(value.shape).flatten()
    )
    shape = tracer.shape_of(value.tensor)
    plain = led(value.shape)
    is_plain = len(plain) <= _MOST_AXES and in_order(value.positions, len(groups))
    for view in (shape, plain if is_plain else None, broadcast_shape(groups.numpy())):
        axes = None if view is None else reduced_axes(groups.reshape(view))
        if view is not None and axes is not None:
            return Value(tracer.reshaped(value.tensor, view), value.positions), axes
    is_sequence = tracer.is_sequence(value)
    wide = Value(value.tensor, value.positions.unsqueeze(-1)) if is_sequence else value
    if len(wide.shape) == 4 and wide.shape[0] == 1:
        source, order = tracer.as_map(wide)
        positions = canonical(tracer.shape_of(source), order).reshape(value.shape)
        return Value(source, positions), sorted({1: 3, 2: 1, 3: 2}[dim] for dim in dims)
    source = tracer.arrange(value.tensor, value.positions, plain)
    positions = torch.arange(value.positions.numel()).reshape(value.shape)
    return Value(source, positions), [dim + len(plain) - len(value.shape) for dim in dims]


def dimensions(dims: object, shape: Shape) -> list[int]:
    """Return dimensions in order, counted from the front; all but the batch if none are given."""
    if dims is None or dims == []:
        return [dim for dim, size in enumerate(shape) if dim or size > 1]
    listed: Sequence[int] = dims if isinstance(dims, list | tuple) else [dims]  # type: ignore[list-item]
    return sorted({dim % len(shape) for dim in listed})
