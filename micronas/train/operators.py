"""Float execution of operators that have no weights.

Maps, values of rank 4, are NCHW in torch and NHWC in the graph; values of every other rank are
stored as in the graph, batch first.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.graph import ir, moves, resizing
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels import places
from micronas.graph.kernels.maps import reduced_axes
from micronas.graph.operators import LEARNING, OPERATORS, each_kind
from micronas.train.functions import FUNCTIONS, ROWS


def nhwc(x: Tensor) -> Tensor:
    """Return a value of torch in the graph's order of axes: maps from NCHW, others unchanged."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def nchw(x: Tensor) -> Tensor:
    """Return a value of the graph in torch's order of axes; the inverse of `nhwc`."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def unweighted(graph: Graph, op: Op, operands: Sequence[Tensor]) -> Tensor:
    """Run an operator that has no weights, without its activation."""
    assert op.kind != "UNKNOWN", op  # never in a float network
    return _UNWEIGHTED[op.kind](graph, op, *operands)


def activate(op: Op, value: Tensor) -> Tensor:
    """Apply an operator's fused activation."""
    return _ACTIVATIONS[op.activation](value)


_ACTIVATIONS: Mapping[ir.Activation, Callable[[Tensor], Tensor]] = {
    "NONE": lambda x: x,
    "RELU": F.relu,
    "RELU6": F.relu6,
    "RELU_N1_TO_1": F.hardtanh,
}

_SMALLEST_SQUARE = 2.0**-60
"""Smallest square whose root has a finite inverse, and gradient, in float32."""


def constant(tensor: ir.Tensor, like: Tensor) -> Tensor:
    """Return a constant operand on the device and with the type of an activation `like`."""
    assert tensor.data is not None, f"{tensor.name}: a constant operand has data"
    return nchw(torch.as_tensor(tensor.data, dtype=like.dtype, device=like.device))


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return the execution of a function of two operands, broadcast as in the graph."""

    def apply(graph: Graph, op: Op, *operands: Tensor) -> Tensor:
        rank = len(graph.output_of(op).shape)
        left, right = (
            _of_rank(graph.tensors[name], value, rank)
            for name, value in zip(op.operands, operands, strict=True)
        )
        return function(left, right)

    return apply


def _of_rank(tensor: ir.Tensor, value: Tensor, rank: int) -> Tensor:
    """Return a value with more dimensions, inserted after the batch."""
    if value.ndim == rank:
        return value
    value, ones = nhwc(value), (1,) * (rank - value.ndim)
    batch = 0 if tensor.constant else 1
    return nchw(value.reshape(*value.shape[:batch], *ones, *value.shape[batch:]))


def _of_rows(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return the execution of a function along the last dimension, which is channels in a map."""
    return lambda graph, op, x: nchw(function(nhwc(x)))


def _pad(graph: Graph, op: Op, x: Tensor, value: Tensor | None = None) -> Tensor:
    """Run PAD, or PADV2 with a value."""
    amounts = _constant(graph, op, -1)[1:].tolist()
    sides = [size for pair in amounts[::-1] for size in pair]
    return nchw(F.pad(nhwc(x), sides, value=0.0 if value is None else value.item()))


def _average_pool(graph: Graph, op: Op, x: Tensor) -> Tensor:
    padding = _pool_padding(op, x)
    if not any(padding):
        return F.avg_pool2d(x, op.window, op.stride)
    # TFLite divides by the window's elements inside the map.
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), padding), op.window, op.stride)
    return F.avg_pool2d(F.pad(x, padding), op.window, op.stride) / inside


def _max_pool(graph: Graph, op: Op, x: Tensor) -> Tensor:
    return F.max_pool2d(F.pad(x, _pool_padding(op, x), value=-math.inf), op.window, op.stride)


def _reduced(function: Callable[..., Tensor]) -> Callable[[Graph, Op, Tensor], Tensor]:
    """Return the execution of a reduction of the graph's axes, kept as 1 or dropped."""

    def reduce(graph: Graph, op: Op, x: Tensor) -> Tensor:
        source, output = graph.input_of(op).shape, graph.output_of(op).shape
        keepdim = len(output) == len(source)
        return nchw(function(nhwc(x), reduced_axes(graph, op), keepdim=keepdim))

    return reduce


def _resize_nearest(graph: Graph, op: Op, x: Tensor) -> Tensor:
    source, output = graph.input_of(op).shape, graph.output_of(op).shape
    for side in (1, 2):
        at = torch.from_numpy(resizing.nearest(source[side], output[side], op)).to(x.device)
        x = x.index_select(side + 1, at)
    return x


def _resize_bilinear(graph: Graph, op: Op, x: Tensor) -> Tensor:
    source, output = graph.input_of(op).shape, graph.output_of(op)
    # in an int8 map positions are the device's, in 1/1024 of a pixel
    at = resizing.between_coarsely if output.dtype == "int8" else resizing.between_exactly
    for side in (1, 2):
        first, second, share = (
            torch.from_numpy(each).to(x.device) for each in at(source[side], output.shape[side], op)
        )
        weight = share.to(x.dtype).view(-1, *[1] * (2 - side))
        x = torch.lerp(x.index_select(side + 1, first), x.index_select(side + 1, second), weight)
    return x


def _space_to_depth(graph: Graph, op: Op, x: Tensor) -> Tensor:
    """Run SPACE_TO_DEPTH, whose channels are ordered pixel by pixel, unlike pixel_unshuffle's."""
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
    examples = max(len(part) for part in parts)  # a constant is repeated for all
    whole = [part.expand(examples, *part.shape[1:]) for part in parts]
    return nchw(torch.cat([nhwc(part) for part in whole], op.axis))


def _transpose(graph: Graph, op: Op, x: Tensor) -> Tensor:
    return nchw(nhwc(x).permute(moves.integers(graph, op)))


def _cut(graph: Graph, op: Op, x: Tensor) -> Tensor:
    """Run SLICE or STRIDED_SLICE; the first axis, of one example in the graph, stays whole."""
    value, taken = nhwc(x), moves.pieces(graph, op)
    assert taken is not None, op
    for axis, piece in enumerate(taken[1:], 1):
        if piece.step != 1:
            value = value.index_select(axis, torch.tensor(piece, device=x.device))
        elif len(piece) < value.shape[axis]:
            value = value.narrow(axis, piece.start, len(piece))
    return nchw(value.reshape(len(x), *graph.output_of(op).shape[1:]))


def _gather(graph: Graph, op: Op, x: Tensor) -> Tensor:
    places = torch.tensor(moves.integers(graph, op), device=x.device)
    value = nhwc(x).index_select(op.axis, places)
    return nchw(value.reshape(len(x), *graph.output_of(op).shape[1:]))


def _broadcast_to(graph: Graph, op: Op, x: Tensor) -> Tensor:
    shape = graph.output_of(op).shape
    value = nhwc(x)
    missing = (1,) * (len(shape) - value.ndim)
    return nchw(value.reshape(len(x), *missing, *value.shape[1:]).expand(-1, *shape[1:]))


def _batch_matmul(graph: Graph, op: Op, *operands: Tensor) -> Tensor:
    rank = len(graph.output_of(op).shape)
    left, right = (
        nhwc(_of_rank(graph.tensors[name], value, rank))
        for name, value in zip(op.operands, operands, strict=True)
    )
    left = left.transpose(-1, -2) if op.transposed[0] else left
    right = right.transpose(-1, -2) if op.transposed[1] else right
    return nchw(left @ right)


def _moved(graph: Graph, op: Op, x: Tensor) -> Tensor:
    """Run an operator that moves values, by the source places of its integer kernel."""
    at = torch.from_numpy(places(graph, op).reshape(-1)).to(x.device)
    value = nhwc(x).reshape(len(x), -1).index_select(1, at)
    return nchw(value.reshape(len(x), *graph.output_of(op).shape[1:]))


def _looked_up(graph: Graph, op: Op, x: Tensor) -> Tensor:
    """Run TABLE: a function of each value, or the row of a table with its number."""
    if op.function != ROWS:
        return FUNCTIONS[op.function](x, op.alpha)
    rows = torch.as_tensor(_constant(graph, op), dtype=x.dtype, device=x.device)
    return nchw(rows[nhwc(x).long()])


_UNWEIGHTED: Mapping[ir.Kind, Callable[..., Tensor]] = each_kind(
    "train.operators",
    {
        "ADD": _of_two(torch.add),
        "MUL": _of_two(torch.mul),
        "PAD": _pad,
        "PADV2": _pad,
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
        "SOFTMAX": _of_rows(lambda x: F.softmax(x, -1)),
        "CONCATENATION": _concatenation,
        "TRANSPOSE": _transpose,
        "SLICE": _cut,
        "STRIDED_SLICE": _cut,
        "GATHER": _gather,
        "POSITIONS": lambda graph, op, x: x,
        "TABLE": _looked_up,
        "BROADCAST_TO": _broadcast_to,
        "BATCH_MATMUL": _batch_matmul,
        "LOGISTIC": lambda graph, op, x: torch.sigmoid(x),
        "HARD_SWISH": lambda graph, op, x: F.hardswish(x),
        "RELU": lambda graph, op, x: F.relu(x),
        "RELU6": lambda graph, op, x: F.relu6(x),
        "SUB": _of_two(torch.sub),
        "SQUARED_DIFFERENCE": _of_two(lambda x, other: (x - other) ** 2),
        "MAXIMUM": _of_two(torch.maximum),
        "MINIMUM": _of_two(torch.minimum),
        "PRELU": _of_two(lambda x, alpha: torch.where(x >= 0, x, x * alpha)),
        "LEAKY_RELU": lambda graph, op, x: F.leaky_relu(x, op.alpha),
        "ELU": lambda graph, op, x: F.elu(x),
        "TANH": lambda graph, op, x: torch.tanh(x),
        "ABS": lambda graph, op, x: x.abs(),
        "RSQRT": lambda graph, op, x: x.clamp(min=_SMALLEST_SQUARE).rsqrt(),
        "QUANTIZE": lambda graph, op, x: x,
        "LOG_SOFTMAX": _of_rows(lambda x: F.log_softmax(x, -1)),
        "L2_NORMALIZATION": _of_rows(lambda x: F.normalize(x, dim=-1)),
    },
    OPERATORS.keys() - {*LEARNING},
    moved=_moved,
)
"""Functions that run each kind without weights in float, without its activation."""


def _constant(graph: Graph, op: Op, position: int = 1) -> ir.Array:
    data = graph.constant_of(op, position).data
    assert data is not None, f"{op.name}: the builder writes the constants of {op.kind}"
    return data


def _pool_padding(op: Op, x: Tensor) -> tuple[int, int, int, int]:
    if op.padding == "VALID":
        return 0, 0, 0, 0
    rows = ir.same_padding(x.shape[2], op.window[0], op.stride[0])
    columns = ir.same_padding(x.shape[3], op.window[1], op.stride[1])
    return *columns, *rows
