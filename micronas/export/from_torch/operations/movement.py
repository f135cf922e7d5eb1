"""Operations that only move elements: views, permutations, slices and joins."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from micronas.export.from_torch.layout import (
    Stack,
    Value,
    canonical,
    in_order,
    nhwc,
    permutes,
    rows_of,
)
from micronas.export.from_torch.operations import Arguments, named
from micronas.export.from_torch.operations.affine import once
from micronas.export.from_torch.operations.elementwise import tabled
from micronas.export.from_torch.tracer import Tracer, led
from micronas.graph.operators import OPERATORS
from micronas.train import operators

_FEWEST_MOVED = 2
"""Fewest parts of a join to be moved one by one for which they are joined as they are stored."""
_STORED = {1: 3, 2: 1, 3: 2}
"""Places of a map's dimensions on the device."""
MOVING = named(
    "view _unsafe_view reshape flatten.using_ints unflatten.int squeeze squeeze.dim squeeze.dims "
    "unsqueeze permute transpose.int movedim.int t expand repeat slice.Tensor select.int narrow "
    "channel_shuffle pixel_shuffle pixel_unshuffle roll flip rot90 unfold index_select "
    "index.Tensor repeat_interleave.self_int repeat_interleave.self_Tensor"
)
"""Operations that `moved` lowers."""


def moved(tracer: Tracer, arguments: Arguments) -> Value | None:
    """Apply the operation to positions in place of elements."""
    stack = tracer.stacks.get(tracer.node.args[0])  # type: ignore[arg-type]
    is_pick = tracer.node.target is torch.ops.aten.select.int
    if stack is not None and is_pick and arguments["dim"] in (0, -1 - len(tracer.shape)):
        return stack.values[arguments["index"]]
    is_spread = tracer.node.target is torch.ops.aten.expand.default
    if is_spread and _is_length(tracer, tracer.node.args[0]):
        tracer.deferred[tracer.node] = lambda: moved_now(tracer)
        return None
    return moved_now(tracer)


def moved_now(tracer: Tracer) -> Value:
    """Run the node on positions."""
    value = tracer.value(tracer.node.args[0])
    result = _run(tracer, value.positions)
    assert isinstance(result, Tensor)
    found = Value(value.tensor, result.round().to(torch.int64))
    return _settled(tracer, found)


def _settled(tracer: Tracer, value: Value) -> Value:
    """Move the pixels of a map here rather than before each of its readers."""
    is_only_moved = all(user.target in MOVING for user in tracer.node.users)
    if len(value.shape) != 4 or value.shape[0] != 1 or is_only_moved:
        return value
    rows = rows_of(value.positions.movedim(1, -1), tracer.elements_of(value.tensor))
    if rows is None or in_order(rows[0], rows[0].numel()):
        return value
    source, order = tracer.as_map(value)
    return Value(source, canonical(tracer.shape_of(source), order))


def moved_like(tracer: Tracer, arguments: Arguments) -> Value | None:
    """Expand a value to the shape in torch."""

    def expanded() -> Value:
        value = tracer.value(arguments["self"])
        return Value(value.tensor, value.positions.expand(tracer.shape))

    if _is_length(tracer, arguments["self"]):
        tracer.deferred[tracer.node] = expanded
        return None
    return expanded()


def _is_length(tracer: Tracer, node: object) -> bool:
    """Return whether a node is a vector's length, and mark this one too; see `norms.length`."""
    if node in tracer.lengths:
        tracer.lengths[tracer.node] = tracer.lengths[node]
    return node in tracer.lengths


def divided(tracer: Tracer, arguments: Arguments) -> Sequence[Value]:
    """Apply an operation of several results to positions."""
    value = tracer.value(tracer.node.args[0])
    results = _run(tracer, value.positions)
    return [Value(value.tensor, part.round().to(torch.int64)) for part in results]


def _run(tracer: Tracer, positions: Tensor) -> Tensor | Sequence[Tensor]:
    # float64 holds every position exactly, and all operations take it
    node = tracer.node
    args, kwargs = map_arg((node.args[1:], node.kwargs), tracer.constant)
    result: Tensor | Sequence[Tensor] = node.target(  # type: ignore[operator]
        positions.contiguous().double(), *args, **kwargs
    )
    return result


def picked(tracer: Tracer) -> Value | None:
    """Return one of several results, or defer it until it is read."""
    source, index = tracer.node.args
    assert isinstance(source, Node)
    assert isinstance(index, int)
    parts = tracer.parts.get(source) or [tracer.value(source)]
    if index >= len(parts):
        tracer.node = source
        raise tracer.refusal(
            f"only the first {len(parts)} of its results can be used, but number {index + 1} is",
            "leave it out",
        )
    part, node = parts[index], tracer.node
    if isinstance(part, Value):
        return part
    if isinstance(part, Stack):
        tracer.stacks[node] = part
        tracer.deferred[node] = partial(_stacked, tracer, part)
    else:
        tracer.deferred[node] = part
    return None


def _stacked(tracer: Tracer, stack: Stack) -> Value:
    """Join values [1, size] to [count, 1, size]."""
    joined = joined_rows(tracer, stack.values)
    return Value(joined.tensor, joined.positions.transpose(0, 1))


def joined_rows(tracer: Tracer, rows: Sequence[Value]) -> Value:
    """Join values [1, size] to [1, count, size]."""
    size = rows[0].positions.numel()
    tensors = [tracer.arrange(row.tensor, row.positions, (1, size)) for row in rows]
    joined = tensors[0] if len(tensors) == 1 else _join(tracer, tensors, 1)
    return Value(joined, torch.arange(len(rows) * size).reshape(1, len(rows), size))


def joined_ends(tracer: Tracer, values: Sequence[Value]) -> Value:
    """Join values along their last dimension."""
    tensors = [tracer.materialised(value) for value in values]
    joined = _join(tracer, tensors, len(tracer.shape_of(tensors[0])) - 1)
    shape = *values[0].shape[:-1], sum(value.shape[-1] for value in values)
    return Value(joined, torch.arange(tracer.elements_of(joined)).reshape(shape))


def dropout(tracer: Tracer, arguments: Arguments) -> Value:
    if arguments["train"]:
        raise tracer.refusal(
            "dropout must do nothing in eval mode, but this drops",
            "pass training=self.training to torch.nn.functional.dropout",
        )
    return tracer.value(arguments["input"])


def kept(tracer: Tracer, arguments: Arguments) -> Value:
    given = tracer.node.args[0].meta["val"].dtype  # type: ignore[union-attr]
    value, dtype = tracer.value(tracer.node.args[0]), tracer.node.meta["val"].dtype
    if dtype == torch.bool != given:
        return tabled(tracer, value, "ne")
    was_float = given.is_floating_point
    if dtype != torch.float32 and (was_float or dtype.is_floating_point):
        raise tracer.refusal(
            f"values must stay float32 or whole numbers, but become {dtype}",
            "leave the conversion out; export chooses the integers",
        )
    return value


def concatenation(tracer: Tracer, arguments: Arguments) -> Value:
    """Join values along a dimension, with channels and features in their stored order."""
    values = [_constant_or_value(tracer, node) for node in arguments["tensors"]]
    values = [value for value in values if value.positions.numel()]
    rank = len(tracer.shape)
    axis = arguments["dim"] % rank
    if axis == 0 and tracer.shape[0] > 1:
        raise tracer.refusal(
            "parts must be joined behind the batch, but dim is 0", "use another dim"
        )
    if len(values) == 1:
        return values[0]
    if rank == 2 and axis == 1 and tracer.shape[0] == 1:
        return _joined_features(tracer, values)
    is_map = rank == 4 or (rank == 3 and all(tracer.is_sequence(value) for value in values))
    if is_map and tracer.shape[0] == 1 and axis > 0:
        return _joined_maps(tracer, values, axis)
    if (whole := _joined_rows_of_any(tracer, values, axis)) is not None:
        return whole
    sources = [tracer.materialised(value) for value in values]
    skipped = len(tracer.shape_of(sources[0])) - rank
    joined = _join(tracer, sources, (_STORED[axis] if rank == 4 else axis) + skipped)
    return Value(joined, canonical(nhwc(tracer.shape)))


def stack(tracer: Tracer, arguments: Arguments) -> Value:
    """Join values along a new dimension; on the device they are side by side in each row."""
    values = [once(tracer, tracer.value(node)) for node in arguments["tensors"]]
    row = tracer.shape_of(values[0].tensor)[-1]
    if any(tracer.shape_of(value.tensor)[-1] != row for value in values):
        row = values[0].positions.numel()
    rows = tracer.elements_of(values[0].tensor) // row
    stored = (*tracer.shape_of(values[0].tensor)[:-1], row) if rows > 1 else (1, row)
    joined = _join(
        tracer, [tracer.reshaped(value.tensor, stored) for value in values], len(stored) - 1
    )
    positions = [
        torch.div(value.positions, row, rounding_mode="floor") * row * len(values)
        + value.positions % row
        + row * number
        for number, value in enumerate(values)
    ]
    return Value(joined, torch.stack(positions, arguments["dim"]))


def _constant_or_value(tracer: Tracer, node: object) -> Value:
    if not tracer.is_constant(node):
        return tracer.value(node)
    data = tracer.constant(node)
    stored = operators.nhwc(data)
    shape = led(tuple(stored.shape))
    name = tracer.filled(tracer.name("constant"), stored.float().reshape(shape).numpy())
    return Value(name, operators.nchw(torch.arange(data.numel()).reshape(stored.shape)))


def _joined_features(tracer: Tracer, values: Sequence[Value]) -> Value:
    wholes = [tracer.complete(value) for value in values]
    counts = [tracer.elements_of(whole.tensor) for whole in wholes]
    starts = [sum(counts[:number]) for number in range(len(counts))]
    shapes = [tracer.shape_of(whole.tensor) for whole in wholes]
    is_plain = len({*map(len, shapes)}) == 1 and [shape[-1] for shape in shapes] == counts
    sources = [
        whole.tensor if is_plain else tracer.reshaped(whole.tensor, (1, count))
        for whole, count in zip(wholes, counts, strict=True)
    ]
    joined = _join(tracer, sources, len(tracer.shape_of(sources[0])) - 1)
    places = [whole.positions + start for whole, start in zip(wholes, starts, strict=True)]
    return Value(joined, torch.cat(places, 1))


def _joined_rows_of_any(tracer: Tracer, values: Sequence[Value], axis: int) -> Value | None:
    """Join tensors of equally many rows as they are stored, to be moved once in place of each.

    None if fewer than two would be moved, or one has not every element once.
    """
    shapes = [tracer.shape_of(value.tensor) for value in values]
    pairs = [(value, math.prod(shape)) for value, shape in zip(values, shapes, strict=True)]
    is_moved = [not in_order(value.positions, count) for value, count in pairs]
    fits = len({shape[:-1] for shape in shapes}) == 1 and len(shapes[0]) > 1
    if sum(is_moved) < _FEWEST_MOVED or not fits:
        return None
    if not all(permutes(value.positions, count) for value, count in pairs):
        return None
    joined = _join(tracer, [value.tensor for value in values], len(shapes[0]) - 1)
    starts = [0, *accumulate(shape[-1] for shape in shapes)]
    parts = []
    for value, shape, start in zip(values, shapes, starts, strict=False):
        rows = torch.div(value.positions, shape[-1], rounding_mode="floor")
        parts.append(rows * starts[-1] + value.positions % shape[-1] + start)
    return Value(joined, torch.cat(parts, axis))


def _joined_maps(tracer: Tracer, values: Sequence[Value], axis: int) -> Value:
    if len(values[0].shape) == 3:
        values = [Value(value.tensor, value.positions.unsqueeze(-1)) for value in values]
    inner = _STORED[axis]
    if axis == 1:
        maps = [tracer.as_map(value) for value in values]
        starts = [sum(len(order) for _, order in maps[:k]) for k in range(len(maps))]
        order = torch.cat([order + start for (_, order), start in zip(maps, starts, strict=True)])
        return tracer.result(_join(tracer, [tensor for tensor, _ in maps], inner), order)
    return tracer.result(_join(tracer, [tracer.materialised(value) for value in values], inner))


def _join(tracer: Tracer, sources: Sequence[str], axis: int) -> str:
    """Append CONCATENATION, several in a row for more parts than TFLM takes at once."""
    _, most = OPERATORS["CONCATENATION"].inputs
    while len(sources) > most:
        first = _join(tracer, sources[:most], axis)
        sources = [first, *sources[most:]]
    shape = list(tracer.shape_of(sources[0]))
    shape[axis] = sum(tracer.shape_of(source)[axis] for source in sources)
    return tracer.plain("CONCATENATION", tuple(sources), tuple(shape), axis=axis).tensor
