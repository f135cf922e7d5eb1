"""Float execution of operators that have no weights.

Maps, values of rank 4, are NCHW in torch and NHWC in the graph; values of every other rank are
stored as in the graph, batch first.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.errors import DataError
from micronas.graph import ir, resizing
from micronas.graph.ir import Graph, Op
from micronas.graph.operators import OPERATORS, WEIGHTED, each_kind


def nhwc(x: Tensor) -> Tensor:
    """A value in the graph's order of axes: maps are NCHW in torch, all other ranks as there."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def nchw(x: Tensor) -> Tensor:
    """A value of the graph's order of axes as torch holds it; the inverse of `nhwc`."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def unweighted(graph: Graph, op: Op, operands: Sequence[Tensor]) -> Tensor:
    """Run an operator that has no weights, without its activation."""
    assert op.kind != "UNKNOWN", op  # no float network has one
    return _UNWEIGHTED[op.kind](graph, op, *operands)


def activate(op: Op, value: Tensor) -> Tensor:
    """Apply an operator's fused activation."""
    return _ACTIVATIONS[op.activation](value)


_ACTIVATIONS: Mapping[ir.Activation, Callable[[Tensor], Tensor]] = {
    "NONE": lambda x: x,
    "RELU": F.relu,
    "RELU6": F.relu6,
}


def _add(graph: Graph, op: Op, x: Tensor, other: Tensor) -> Tensor:
    return x + other


def _pad(graph: Graph, op: Op, x: Tensor) -> Tensor:
    *spatial, channels = _constant(graph, op)[1:].tolist()
    return F.pad(x, [size for pair in (*spatial[::-1], channels) for size in pair])


def _average_pool(graph: Graph, op: Op, x: Tensor) -> Tensor:
    padding = _pool_padding(op, x)
    if not any(padding):
        return F.avg_pool2d(x, op.window, op.stride)
    # TFLite divides by the window's elements inside the map, whichever side the padding is on.
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), padding), op.window, op.stride)
    return F.avg_pool2d(F.pad(x, padding), op.window, op.stride) / inside


def _max_pool(graph: Graph, op: Op, x: Tensor) -> Tensor:
    return F.max_pool2d(F.pad(x, _pool_padding(op, x), value=-math.inf), op.window, op.stride)


def _reduced(function: Callable[..., Tensor]) -> Callable[[Graph, Op, Tensor], Tensor]:
    """Reduce axes in the graph's order, kept as 1 or dropped."""

    def reduce(graph: Graph, op: Op, x: Tensor) -> Tensor:
        source, output = graph.input_of(op).shape, graph.output_of(op).shape
        axes = sorted({int(axis) % len(source) for axis in _constant(graph, op).flat})
        if axes[0] == 0:
            raise DataError(
                f"a network that is trained or calibrated must keep dimension 0, its batch, but "
                f"{op.kind} {op.name!r} reduces it; reduce other dimensions"
            )
        return nchw(function(nhwc(x), axes, keepdim=len(output) == len(source)))

    return reduce


def _resize_nearest(graph: Graph, op: Op, x: Tensor) -> Tensor:
    source, output = graph.input_of(op).shape, graph.output_of(op).shape
    for side in (1, 2):
        at = torch.from_numpy(resizing.nearest(source[side], output[side], op)).to(x.device)
        x = x.index_select(side + 1, at)
    return x


def _resize_bilinear(graph: Graph, op: Op, x: Tensor) -> Tensor:
    source, output = graph.input_of(op).shape, graph.output_of(op)
    # where a map is int8, pixels are those of the device, which counts in 1/1024 of a pixel
    at = resizing.between_coarsely if output.dtype == "int8" else resizing.between_exactly
    for side in (1, 2):
        first, second, share = (
            torch.from_numpy(each).to(x.device) for each in at(source[side], output.shape[side], op)
        )
        weight = share.to(x.dtype).view(-1, *[1] * (2 - side))
        x = torch.lerp(x.index_select(side + 1, first), x.index_select(side + 1, second), weight)
    return x


def _space_to_depth(graph: Graph, op: Op, x: Tensor) -> Tensor:
    """Channels of a block's first pixel come first; torch's pixel_unshuffle has them last."""
    count, depth, height, width = x.shape
    block = op.block
    split = x.reshape(count, depth, height // block, block, width // block, block)
    return split.permute(0, 3, 5, 1, 2, 4).reshape(count, -1, height // block, width // block)


def _depth_to_space(graph: Graph, op: Op, x: Tensor) -> Tensor:
    count, _, height, width = x.shape
    block = op.block
    split = x.reshape(count, block, block, -1, height, width)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(count, -1, height * block, width * block)


def _reshape(graph: Graph, op: Op, x: Tensor) -> Tensor:
    return nchw(nhwc(x).reshape(len(x), *graph.output_of(op).shape[1:]))


def _concatenation(graph: Graph, op: Op, *parts: Tensor) -> Tensor:
    is_map = len(graph.output_of(op).shape) == 4
    return torch.cat(parts, {3: 1, 1: 2, 2: 3}[op.axis] if is_map else op.axis)


_UNWEIGHTED: Mapping[ir.Kind, Callable[..., Tensor]] = each_kind(
    "train.operators",
    {
        "ADD": _add,
        "MUL": lambda graph, op, x, other: x * other,
        "PAD": _pad,
        "AVERAGE_POOL_2D": _average_pool,
        "MAX_POOL_2D": _max_pool,
        "MEAN": _reduced(torch.mean),
        "SUM": _reduced(torch.sum),
        "REDUCE_MAX": _reduced(torch.amax),
        "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
        "RESIZE_BILINEAR": _resize_bilinear,
        "SPACE_TO_DEPTH": _space_to_depth,
        "DEPTH_TO_SPACE": _depth_to_space,
        "RESHAPE": _reshape,
        "SOFTMAX": lambda graph, op, x: F.softmax(x, 1),
        "CONCATENATION": _concatenation,
        "LOGISTIC": lambda graph, op, x: torch.sigmoid(x),
        "HARD_SWISH": lambda graph, op, x: F.hardswish(x),
        "RELU": lambda graph, op, x: F.relu(x),
        "RELU6": lambda graph, op, x: F.relu6(x),
    },
    OPERATORS.keys() - {*WEIGHTED},
)
"""Float execution of each kind without weights: of its operands, without its activation."""


def _constant(graph: Graph, op: Op) -> ir.Array:
    data = graph.constant_of(op).data
    assert data is not None, f"{op.name}: the builder writes the constants of {op.kind}"
    return data


def _pool_padding(op: Op, x: Tensor) -> tuple[int, int, int, int]:
    if op.padding == "VALID":
        return 0, 0, 0, 0
    rows = ir.same_padding(x.shape[2], op.window[0], op.stride[0])
    columns = ir.same_padding(x.shape[3], op.window[1], op.stride[1])
    return *columns, *rows
