"""Padding, pooling and resizing of maps, and of sequences as maps of width 1."""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from micronas.export.from_torch.layout import Value, canonical
from micronas.export.from_torch.operations import Arguments, named
from micronas.export.from_torch.operations.affine import scaled
from micronas.export.from_torch.operations.movement import moved, moved_now
from micronas.export.from_torch.operations.weighted import multiplied
from micronas.export.from_torch.padding import margins, placed, with_pad
from micronas.export.from_torch.tracer import Pair, Tracer, pair
from micronas.graph.ir import Array, Kind, Op
from micronas.train.clamps import LEAST

_MOST_PADDED = 4
"""Most dimensions of PAD."""
_MAXIMA = named("max_pool1d max_pool2d max_pool2d_with_indices")


def pad(tracer: Tracer, arguments: Arguments) -> Value | None:
    value, amounts = tracer.value(arguments["self"]), list(arguments["pad"])
    mode = arguments.get("mode", "constant")
    if mode != "constant":
        return moved(tracer, arguments)  # reflected and repeated elements are stored already
    fill = float(arguments["value"] or 0)
    if not math.isfinite(fill):
        fill = _least(tracer, amounts, fill)
    cropped = F.pad(value.positions, [min(amount, 0) for amount in amounts])
    if not cropped.numel():
        raise tracer.refusal("an element must be left, but all are cut off", "cut off fewer")
    value, amounts = Value(value.tensor, cropped), [max(amount, 0) for amount in amounts]
    table = np.zeros((len(value.shape), 2), np.int32)
    for dim in range(len(amounts) // 2):
        table[-1 - dim] = amounts[2 * dim : 2 * dim + 2]
    if not table.any():
        return value
    if table[0].any():
        raise tracer.refusal("the batch must not be padded, but is", "pad other dimensions only")
    if len(value.shape) > _MOST_PADDED or value.shape[0] > 1:
        return _padded_whole(tracer, value, table, fill)
    if tracer.is_sequence(value):
        value = Value(value.tensor, value.positions.unsqueeze(-1))
        table = np.vstack([table, [(0, 0)]]).astype(np.int32)
    if len(value.shape) == 4 and not table[1].any():
        source, order = tracer.as_map(value)
    else:
        source, order = tracer.materialised(value), None
    ordered: Array = table[[0, 2, 3, 1]] if len(table) == 4 else table
    return tracer.result(with_pad(tracer, tracer.name(), source, ordered, fill), order)


def _padded_whole(tracer: Tracer, value: Value, table: Array, fill: float) -> Value:
    """Pad a value of many dimensions as one of fewer, with unpadded neighbours joined."""
    sizes, amounts = [1], [(0, 0)]
    for size, (before, after) in zip(value.shape, np.asarray(table).tolist(), strict=True):
        if (before, after) == amounts[-1] == (0, 0) and len(sizes) > 1:
            sizes[-1] *= size
        elif size > 1 or before or after:
            sizes.append(size)
            amounts.append((before, after))
    source = tracer.arrange(value.tensor, value.positions, tuple(sizes))
    padded = with_pad(tracer, tracer.name(), source, np.array(amounts, np.int32), fill)
    count = tracer.elements_of(padded)
    return Value(padded, torch.arange(count).reshape(tracer.shape))


def _least(tracer: Tracer, amounts: list[int], fill: float) -> float:
    """Return a number in place of minus infinity, which is below all that maximum pools read.

    This requires that only these read the result, and that no window lies in the padding.
    """
    readers = tracer.node.users
    pools = [reader for reader in readers if reader.target in _MAXIMA]
    swept = [pool.args[1] for pool in pools]
    smallest = min((min(window) for window in swept if isinstance(window, list)), default=0)
    if not (
        fill < 0 and len(pools) == len(readers) and max(amounts) < smallest and min(amounts) >= 0
    ):
        raise tracer.refusal(
            f"padding must be finite unless maximum pools alone read it, but is {fill}",
            "pad with a number",
        )
    return LEAST


def average_pool(tracer: Tracer, arguments: Arguments) -> Value:
    """Average windows; where torch divides by other counts than TFLite, a factor corrects it."""
    window, stride, before = _sweep(arguments)
    if _are_many(tracer.value(arguments["self"])):
        return _pool_of_many(tracer, arguments, "AVERAGE_POOL_2D")
    value = tracer.map_value(arguments["self"])
    counts = arguments["count_include_pad"] or not any(before)
    if arguments.get("divisor_override") is None:
        if not any(before) or (not counts and _margins(tracer, arguments)[1]):
            return _pool(tracer, arguments, "AVERAGE_POOL_2D", same=True, zeros=False)
        if counts and not _overhangs(tracer, value, window, stride, before):
            return _pool(tracer, arguments, "AVERAGE_POOL_2D", same=False, zeros=True)
    found = _pool(tracer, arguments, "AVERAGE_POOL_2D", same=False, zeros=True)
    shares = _of_ones(tracer, {**arguments, "divisor_override": None}, counts_all=True)
    return scaled(tracer, found, _of_ones(tracer, arguments) / shares)


def _of_ones(tracer: Tracer, arguments: Arguments, *, counts_all: bool = False) -> torch.Tensor:
    """Return a pool of ones; with `counts_all`, divided by the whole window everywhere."""
    ones = torch.ones(tracer.node.args[0].meta["val"].shape)  # type: ignore[union-attr]
    if not counts_all:
        found: torch.Tensor = tracer.node.target(**{**arguments, "self": ones})  # type: ignore[operator]
        return found
    ones = ones if len(ones.shape) == 4 else ones.unsqueeze(-1)
    window, stride, before = _sweep(arguments)
    sizes = zip(ones.shape[2:], tracer.map_shape[2:], window, stride, before, strict=True)
    after = [max((out - 1) * s + k - n - b, 0) for n, out, k, s, b in sizes]
    padded = F.pad(ones, (before[1], after[1], before[0], after[0]))
    return F.avg_pool2d(padded, window, stride).reshape(tracer.shape)


def _are_many(value: Value) -> bool:
    """Return whether there are several maps; several sequences are columns of one."""
    return len(value.shape) == 4 and value.shape[0] > 1


def _pool_of_many(tracer: Tracer, arguments: Arguments, kind: Kind) -> Value:
    """Pool several maps, such as the windows of a larger one, as one high map."""
    value, (window, stride, before) = tracer.value(arguments["self"]), _sweep(arguments)
    count, depth, height, *width = value.shape
    if window != stride or any(before) or height % window[0] or len(width) != 1:
        raise tracer.refusal(
            f"windows over {count} maps at once must stand side by side, but are {window} of "
            f"stride {stride} and padding {before}",
            "pool the whole map",
        )
    high = value.positions.transpose(0, 1).reshape(1, depth, count * height, width[0])
    source, order = tracer.as_map(Value(value.tensor, high))
    shape = (1, count * height // window[0], width[0] // window[1], depth)
    pooled = tracer.plain(kind, (source,), shape, stride=stride, window=window, padding="VALID")
    found = pooled.positions[:, order].reshape(depth, count, *tracer.shape[2:])
    return Value(pooled.tensor, found.transpose(0, 1))


def max_pool(tracer: Tracer, arguments: Arguments) -> Value:
    if _are_many(tracer.value(arguments["self"])):
        return _pool_of_many(tracer, arguments, "MAX_POOL_2D")
    if any(step != 1 for step in arguments["dilation"]):
        return _dilated_max_pool(tracer, arguments)
    zeros = tracer.nonnegative(tracer.value(arguments["self"]).tensor)
    (rows, columns), fits = _margins(tracer, arguments)
    if zeros or fits or not any((*rows, *columns)):
        return _pool(tracer, arguments, "MAX_POOL_2D", same=True, zeros=zeros)
    source, order = tracer.as_map(tracer.map_value(arguments["self"]))
    table = np.array([(0, 0), rows, columns, (0, 0)], np.int32)
    padded = with_pad(tracer, tracer.name("pad"), source, table, LEAST)
    wide = Value(padded, canonical(tracer.shape_of(padded), order))
    unpadded = {**arguments, "padding": [0, 0]}
    return _pool(tracer, unpadded, "MAX_POOL_2D", same=True, zeros=False, value=wide)


def _dilated_max_pool(tracer: Tracer, arguments: Arguments) -> Value:
    """Pool windows of separate pixels, arranged side by side."""
    value, (window, stride, before) = tracer.map_value(arguments["self"]), _sweep(arguments)
    dilation = pair(arguments["dilation"], 1)
    sides = zip(
        value.shape[2:], tracer.map_shape[2:], window, stride, before, dilation, strict=True
    )
    read = [
        [[p for p in range(k * s - b, k * s - b + taps * d, d) if 0 <= p < n] for k in range(out)]
        for n, out, taps, s, b, d in sides
    ]
    return _maxima(tracer, value, read)


def _maxima(tracer: Tracer, value: Value, read: list[list[list[int]]]) -> Value:
    """Take the maxima of windows, given as the rows and columns that each reads.

    Windows are made equally long by repeating their first pixel.
    """
    size = [max(map(len, side)) for side in read]
    rows, columns = (
        [p for part in side for p in (*part, *[part[0]] * (taps - len(part)))]
        for side, taps in zip(read, size, strict=True)
    )
    wide = Value(value.tensor, value.positions[:, :, rows][..., columns])
    return windows(tracer, "MAX_POOL_2D", wide, (size[0], size[1]))


def _margins(tracer: Tracer, arguments: Arguments) -> tuple[list[Pair], bool]:
    """Return the padding of a pool, and whether SAME means the same."""
    height, width = tracer.map_value(arguments["self"]).shape[2:]
    return margins(tracer, (height, width), *_sweep(arguments))


def _sweep(arguments: Arguments) -> tuple[Pair, Pair, Pair]:
    """Return window, stride and padding of a pool."""
    window = pair(arguments["kernel_size"], 1)
    stride = pair(arguments["stride"], 1) if arguments["stride"] else window
    return window, stride, pair(arguments["padding"], 0)


def _pool(
    tracer: Tracer,
    arguments: Arguments,
    kind: Kind,
    *,
    same: bool,
    zeros: bool,
    value: Value | None = None,
) -> Value:
    value = value or tracer.map_value(arguments["self"])
    window, stride, before = _sweep(arguments)
    name = tracer.name()
    source, order = tracer.as_map(value)
    source, padding = placed(tracer, name, source, window, stride, before, same=same, zeros=zeros)
    op = Op(kind, name, (source,), (name,), stride, window, padding)
    shape = (1, *tracer.map_shape[2:], len(order))
    return tracer.result(tracer.append(op, shape).tensor, order)


def _overhangs(tracer: Tracer, value: Value, window: Pair, stride: Pair, before: Pair) -> bool:
    sizes = zip(value.shape[2:], tracer.map_shape[2:], window, stride, before, strict=True)
    return any((out - 1) * s + k > n + 2 * b for n, out, k, s, b in sizes)


def adaptive_pool(kind: Kind, tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.map_value(arguments["self"])
    (height, width), (rows, columns) = value.shape[2:], tracer.map_shape[2:]
    if height % rows == 0 and width % columns == 0:
        return windows(tracer, kind, value, (height // rows, width // columns))
    read = [
        [[*range(k * size // out, -(-(k + 1) * size // out))] for k in range(out)]
        for size, out in ((height, rows), (width, columns))
    ]
    paces = [{part[0] - before[0] for before, part in pairwise(side)} or {1} for side in read]
    if {0} not in paces and all(  # windows of a map smaller than the output repeat
        len({*map(len, side)}) == len(pace) == 1 for side, pace in zip(read, paces, strict=True)
    ):
        window = len(read[0][0]), len(read[1][0])
        return windows(tracer, kind, value, window, (paces[0].pop(), paces[1].pop()))
    if kind == "MAX_POOL_2D":
        return _maxima(tracer, value, read)
    return _averages(tracer, value, read)


def _averages(tracer: Tracer, value: Value, read: list[list[list[int]]]) -> Value:
    """Average windows of several sizes: zeros make them equally long, a factor corrects them."""
    size = [max(map(len, side)) for side in read]
    short = [any(len(part) < taps for part in side) for side, taps in zip(read, size, strict=True)]
    source, order = tracer.as_map(value)
    table = np.array([(0, 0), (0, short[0]), (0, short[1]), (0, 0)], np.int32)
    if table.any():
        source = with_pad(tracer, tracer.name("pad"), source, table)
    whole = canonical(tracer.shape_of(source), order)
    rows, columns = (
        [p for part in side for p in (*part, *[zero] * (taps - len(part)))]
        for side, taps, zero in zip(read, size, value.shape[2:], strict=True)
    )
    wide = Value(source, whole[:, :, rows][..., columns])
    found = windows(tracer, "AVERAGE_POOL_2D", wide, (size[0], size[1]))
    down, across = (
        torch.tensor([taps / len(part) for part in side])
        for side, taps in zip(read, size, strict=True)
    )
    factor = (down[:, None] * across).reshape(*tracer.shape[2:])
    return scaled(tracer, found, factor)


def windows(
    tracer: Tracer, kind: Kind, value: Value, window: Pair, stride: Pair | None = None
) -> Value:
    """Pool windows of a map that are side by side, or `stride` apart."""
    if window == (1, 1):
        return Value(value.tensor, tracer.shaped(value.positions))
    source, order = tracer.as_map(value)
    stride = stride or window
    sides = zip(tracer.shape_of(source)[1:3], window, stride, strict=True)
    shape = (1, *((size - taps) // step + 1 for size, taps, step in sides), len(order))
    pooled = tracer.plain(kind, (source,), shape, stride=stride, window=window, padding="VALID")
    return tracer.result(pooled.tensor, order)


def resampled(tracer: Tracer, arguments: Arguments) -> Value:
    """Resize by products with constants, one per axis: the operation's results on unit vectors."""
    value = tracer.map_value(arguments["input"])
    factors = arguments["scale_factors"]
    target = tracer.node.target
    if target is torch.ops.aten.upsample_linear1d.vec:  # the other side of such a map is 1
        target, factors = torch.ops.aten.upsample_bilinear2d.vec, (*factors, 1.0)
    for axis, (size, wanted) in enumerate(zip(value.shape[2:], tracer.map_shape[2:], strict=True)):
        if size == wanted and (factors is None or factors[axis] == 1.0):
            continue
        given = {**arguments, "input": torch.eye(size).reshape(1, 1, size, size)}
        given["output_size"] = None if factors is not None else (wanted, size)
        given["scale_factors"] = None if factors is None else (factors[axis], 1.0)
        matrix = target(**given)[0, 0]  # type: ignore[operator]
        last = Value(value.tensor, value.positions.movedim(axis + 2, -1))
        found = multiplied(tracer, last, matrix, None)
        value = Value(found.tensor, found.positions.movedim(-1, axis + 2))
    return Value(value.tensor, tracer.shaped(value.positions))


def bilinear(tracer: Tracer, arguments: Arguments) -> Value:
    corners = bool(arguments["align_corners"])
    return resized(
        "RESIZE_BILINEAR", tracer, arguments, half_pixel=not corners, align_corners=corners
    )


def resized(kind: Kind, tracer: Tracer, arguments: Arguments, **fields: bool) -> Value:
    value = tracer.map_value(arguments["input"])
    outputs = tracer.map_shape[2:]
    factors = arguments.get("scale_factors") or ()
    exact = [out / n for out, n in zip(outputs, value.shape[2:], strict=True)]
    if any(not math.isclose(f, e) for f, e in zip(factors, exact, strict=False)):
        # torch computes places by the factor, TFLite by the sizes
        return resampled(tracer, arguments) if kind == "RESIZE_BILINEAR" else moved_now(tracer)
    source, order = tracer.as_map(value)
    name = tracer.name()
    size = tracer.filled(f"{name}/size", np.array(outputs, np.int32))
    op = Op(kind, name, (source, size), (name,), **fields)  # type: ignore[arg-type]
    return tracer.result(tracer.append(op, (1, *outputs, len(order))).tensor, order)
