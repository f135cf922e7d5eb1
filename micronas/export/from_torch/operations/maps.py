"""Padding, pooling and resizing of maps, and of sequences as maps of width 1."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from micronas.export.from_torch.layout import Value, axes_of, canonical, split_at
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.operations.affine import scaled
from micronas.export.from_torch.operations.movement import moved
from micronas.export.from_torch.tracer import Pair, Tracer
from micronas.graph.ir import Array, Kind, Op


def pad(tracer: Tracer, arguments: Arguments) -> Value | None:
    value, amounts = tracer.value(arguments["self"]), list(arguments["pad"])
    mode = arguments.get("mode", "constant")
    if mode != "constant":
        return moved(tracer, arguments)  # reflected and repeated elements are stored already
    fill = arguments["value"] or 0
    if fill != 0 or min(amounts, default=0) < 0:
        raise tracer.refusal(
            f"padding must add zeros, but is {amounts} of value {fill}", "use torch.nn.ZeroPad2d"
        )
    table = np.zeros((len(value.shape), 2), np.int32)
    for dim in range(len(amounts) // 2):
        table[-1 - dim] = amounts[2 * dim : 2 * dim + 2]
    if not table.any():
        return value
    if table[0].any():
        raise tracer.refusal("the batch must not be padded, but is", "pad other dimensions only")
    if tracer.is_sequence(value):
        value = Value(value.tensor, value.positions.unsqueeze(-1))
        table = np.vstack([table, [(0, 0)]]).astype(np.int32)
    if len(value.shape) == 4 and not table[1].any():
        source, order = tracer.as_map(value)
    else:
        source, order = tracer.materialised(value), None
    ordered: Array = table[[0, 2, 3, 1]] if len(table) == 4 else table
    return tracer.result(tracer.padded(tracer.name(), source, ordered), order)


def average_pool(tracer: Tracer, arguments: Arguments) -> Value:
    if arguments.get("divisor_override") is not None:
        raise tracer.refusal(
            f"averages must divide by the window, but divide by {arguments['divisor_override']}",
            "leave divisor_override out",
        )
    if arguments["count_include_pad"]:
        return _pool(tracer, arguments, "AVERAGE_POOL_2D", same=False, zeros=True)
    if _margins(tracer, arguments)[1]:
        return _pool(tracer, arguments, "AVERAGE_POOL_2D", same=True, zeros=False)
    # zeros are counted, and what they took is given back
    found = _pool(tracer, arguments, "AVERAGE_POOL_2D", same=False, zeros=True)
    ones = torch.ones(tracer.node.args[0].meta["val"].shape)  # type: ignore[union-attr]
    counted = {**arguments, "self": ones, "count_include_pad": True}
    shares = tracer.node.target(**counted)  # type: ignore[operator]
    return scaled(tracer, found, 1 / shares, torch.tensor(0.0))


def max_pool(tracer: Tracer, arguments: Arguments) -> Value:
    if any(step != 1 for step in arguments["dilation"]):
        raise tracer.refusal(
            f"pools must have dilation 1, but have {arguments['dilation']}", "leave it out"
        )
    zeros = tracer.nonnegative(tracer.value(arguments["self"]).tensor)
    (rows, columns), fits = _margins(tracer, arguments)
    if zeros or fits or not any((*rows, *columns)):
        return _pool(tracer, arguments, "MAX_POOL_2D", same=True, zeros=zeros)
    # an edge that is repeated is in each window already that reaches beyond it
    value = tracer.map_value(arguments["self"])
    wide = F.pad(value.positions.double(), (*columns, *rows), mode="replicate").long()
    return _pool(
        tracer,
        {**arguments, "padding": [0, 0]},
        "MAX_POOL_2D",
        same=True,
        zeros=False,
        value=Value(value.tensor, wide),
    )


def _margins(tracer: Tracer, arguments: Arguments) -> tuple[list[Pair], bool]:
    """Padding of a pool, and whether SAME means the same."""
    value, window = tracer.map_value(arguments["self"]), _sizes(arguments["kernel_size"], 1)
    stride = _sizes(arguments["stride"], 1) if arguments["stride"] else window
    height, width = value.shape[2:]
    return tracer.margins((height, width), window, stride, _sizes(arguments["padding"], 0))


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
    window = _sizes(arguments["kernel_size"], 1)
    stride = _sizes(arguments["stride"], 1) if arguments["stride"] else window
    before = _sizes(arguments["padding"], 0)
    if not any(before):
        same = True  # no padding is counted, but windows of ceil_mode may end outside the map
    elif kind == "AVERAGE_POOL_2D" and _overhangs(tracer, value, window, stride, before):
        raise tracer.refusal(
            "averages must not reach beyond their padding, but do with ceil_mode and padding",
            "leave one of them out",
        )
    name = tracer.name()
    source, order = tracer.as_map(value)
    zeros = zeros and not (kind == "AVERAGE_POOL_2D" and not any(before))
    source, padding = tracer.placed(name, source, window, stride, before, same=same, zeros=zeros)
    op = Op(kind, name, (source,), (name,), stride, window, padding)
    shape = (1, *tracer.map_shape[2:], len(order))
    return tracer.result(tracer.append(op, shape).tensor, order)


def _overhangs(tracer: Tracer, value: Value, window: Pair, stride: Pair, before: Pair) -> bool:
    sizes = zip(value.shape[2:], tracer.map_shape[2:], window, stride, before, strict=True)
    return any((out - 1) * s + k > n + 2 * b for n, out, k, s, b in sizes)


def adaptive_average_pool(tracer: Tracer, arguments: Arguments) -> Value:
    return _adaptive_pool(tracer, arguments, "AVERAGE_POOL_2D")


def adaptive_max_pool(tracer: Tracer, arguments: Arguments) -> Value:
    return _adaptive_pool(tracer, arguments, "MAX_POOL_2D")


def _adaptive_pool(tracer: Tracer, arguments: Arguments, kind: Kind) -> Value:
    value = tracer.map_value(arguments["self"])
    (height, width), (rows, columns) = value.shape[2:], tracer.map_shape[2:]
    if height % rows or width % columns:
        raise tracer.refusal(
            f"an adaptive pool must divide the map evenly, but makes {rows}x{columns} of "
            f"{height}x{width}",
            "use output size 1",
        )
    return _windows(tracer, kind, value, (height // rows, width // columns))


def _windows(tracer: Tracer, kind: Kind, value: Value, window: Pair) -> Value:
    """Pool windows of a map that stand side by side."""
    if window == (1, 1):
        return Value(value.tensor, value.positions.reshape(tracer.shape))
    source, order = tracer.as_map(value)
    _, height, width, channels = tracer.shape_of(source)
    shape = (1, height // window[0], width // window[1], channels)
    pooled = tracer.plain(kind, (source,), shape, stride=window, window=window, padding="VALID")
    return tracer.result(pooled.tensor, order)


def nearest(tracer: Tracer, arguments: Arguments) -> Value:
    return _resized(tracer, arguments, "RESIZE_NEAREST_NEIGHBOR", half_pixel=False)


def nearest_exact(tracer: Tracer, arguments: Arguments) -> Value:
    return _resized(tracer, arguments, "RESIZE_NEAREST_NEIGHBOR", half_pixel=True)


def bilinear(tracer: Tracer, arguments: Arguments) -> Value:
    corners = bool(arguments["align_corners"])
    return _resized(
        tracer, arguments, "RESIZE_BILINEAR", half_pixel=not corners, align_corners=corners
    )


def _resized(tracer: Tracer, arguments: Arguments, kind: Kind, **fields: bool) -> Value:
    value = tracer.map_value(arguments["input"])
    outputs = tracer.map_shape[2:]
    factors = arguments.get("scale_factors") or ()
    exact = [out / n for out, n in zip(outputs, value.shape[2:], strict=True)]
    if any(not math.isclose(f, e) for f, e in zip(factors, exact, strict=False)):
        raise tracer.refusal(
            f"a scale factor must give whole sizes, but {list(factors)} makes {list(outputs)} of "
            f"{list(value.shape[2:])}",
            "pass size= instead of scale_factor=",
        )
    source, order = tracer.as_map(value)
    name = tracer.name()
    size = tracer.filled(f"{name}/size", np.array(outputs, np.int32))
    op = Op(kind, name, (source, size), (name,), **fields)  # type: ignore[arg-type]
    return tracer.result(tracer.append(op, (1, *outputs, len(order))).tensor, order)


def mean(tracer: Tracer, arguments: Arguments) -> Value:
    """Average over rows and columns by a pool, 20 times cheaper on Cortex-M than MEAN."""
    value = tracer.value(arguments["self"])
    dims = dimensions(arguments["dim"], len(value.shape))
    if dims == [2, 3] and len(value.shape) == 4:
        return _windows(tracer, "AVERAGE_POOL_2D", value, (value.shape[2], value.shape[3]))
    if dims == [2] and tracer.is_sequence(value):
        sequence = tracer.map_value(arguments["self"])
        return _windows(tracer, "AVERAGE_POOL_2D", sequence, (value.shape[2], 1))
    return reduced(tracer, "MEAN", value, dims)


def total(tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.value(arguments["self"])
    return reduced(tracer, "SUM", value, dimensions(arguments["dim"], len(value.shape)))


def largest(tracer: Tracer, arguments: Arguments) -> Value:
    value = tracer.value(arguments["self"])
    dims = dimensions(arguments["dim"], len(value.shape))
    if dims == [2, 3] and len(value.shape) == 4:
        return _windows(tracer, "MAX_POOL_2D", value, (value.shape[2], value.shape[3]))
    return reduced(tracer, "REDUCE_MAX", value, dims)


def reduced(
    tracer: Tracer, kind: Kind, value: Value, dims: list[int], shape: tuple[int, ...] | None = None
) -> Value:
    """Reduce dimensions of torch's, which stay with size 1 on the device."""
    shape = tracer.shape if shape is None else shape
    if all(value.shape[dim] == 1 for dim in dims):
        return Value(value.tensor, value.positions.reshape(shape))
    placed, axes = _placed(tracer, value, dims)
    sizes = tracer.shape_of(placed.tensor)
    stored = tuple(1 if axis in axes else size for axis, size in enumerate(sizes))
    name = tracer.name(kind.lower())
    table = tracer.filled(f"{name}/axes", np.array(axes, np.int32))
    result = tracer.append(Op(kind, name, (placed.tensor, table), (name,)), stored)
    first = placed.positions
    for dim in dims:
        first = first.narrow(dim, 0, 1)
    index = np.array(np.unravel_index(first.flatten().numpy(), sizes))
    index[axes] = 0
    positions = torch.from_numpy(np.ravel_multi_index(tuple(index), stored))
    return Value(result.tensor, positions.reshape(shape))


def _placed(tracer: Tracer, value: Value, dims: list[int]) -> tuple[Value, list[int]]:
    """Return a value that is stored so that `dims` are whole axes, and which axes those are."""
    axes = axes_of(value.positions, tracer.shape_of(value.tensor))
    if axes is not None:
        return value, sorted(axes[dim] for dim in dims if dim in axes)
    view = split_at(value.positions, dims)
    if view is not None:
        return Value(tracer.reshaped(value.tensor, view[0]), value.positions), view[1]
    is_sequence = tracer.is_sequence(value)
    wide = Value(value.tensor, value.positions.unsqueeze(-1)) if is_sequence else value
    if len(wide.shape) == 4 and wide.shape[0] == 1:
        source, order = tracer.as_map(wide)
        positions = canonical(tracer.shape_of(source))[:, order].reshape(value.shape)
        return Value(source, positions), sorted({1: 3, 2: 1, 3: 2}[dim] for dim in dims)
    source = tracer.materialised(value)
    positions = torch.arange(value.positions.numel()).reshape(value.shape)
    skipped = len(tracer.shape_of(source)) - len(value.shape)
    return Value(source, positions), [dim + skipped for dim in dims]


def dimensions(dims: object, rank: int) -> list[int]:
    """Return dimensions in order, counted from the front; all but that of examples if none."""
    if dims is None or dims == []:
        return list(range(1, rank))
    listed: Sequence[int] = dims if isinstance(dims, list | tuple) else [dims]  # type: ignore[list-item]
    return sorted({dim % rank for dim in listed})


def _sizes(sizes: list[int], other: int) -> Pair:
    """Rows and columns; sequences have no columns, and one number is for both in 2-D."""
    if len(sizes) == 1:
        return int(sizes[0]), other
    return int(sizes[0]), int(sizes[1])
