"""Operators that move values without computing with them."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from micronas.arrays import Shape
from micronas.graph import moves
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import Kernel, Values, data, zero_point
from micronas.graph.kernels.rule import LARGEST_RANK, Rule


def _transpose(graph: Graph, op: Op) -> Kernel:
    order = (0, *(axis + 1 for axis in moves.integers(graph, op)))
    return lambda x: x.transpose(order)


def _cut(graph: Graph, op: Op) -> Kernel:
    """Return the kernel of SLICE or STRIDED_SLICE."""
    pieces = moves.pieces(graph, op)
    assert pieces is not None  # checked by check_int8
    index = (slice(None), *(_as_slice(piece) for piece in pieces))
    shape = graph.output_of(op).shape
    return lambda x: x[index].reshape(len(x), *shape)


def _gather(graph: Graph, op: Op) -> Kernel:
    places = data(graph.constant_of(op))
    return lambda x: np.take(x, places, axis=op.axis + 1)


def broadcast_to(graph: Graph, op: Op) -> Kernel:
    source, shape = graph.input_of(op).shape, graph.output_of(op).shape
    widened = (1,) * (len(shape) - len(source)) + source
    return lambda x: np.broadcast_to(x.reshape(len(x), *widened), (len(x), *shape))


def _as_slice(piece: range) -> slice:
    """Return the slice of an axis that takes these positions."""
    return slice(piece.start, piece.stop if piece.stop >= 0 else None, piece.step)


def _pad(graph: Graph, op: Op) -> Kernel:
    amounts, fill = _amounts(graph, op), zero_point(graph.output_of(op))
    return lambda x: np.pad(x, amounts, constant_values=fill)


def _mirror_pad(graph: Graph, op: Op) -> Kernel:
    """Return the kernel of MIRROR_PAD; ``symmetric`` repeats the edge, which is else the mirror."""
    amounts = _amounts(graph, op)
    mode: Literal["symmetric", "reflect"] = "symmetric" if op.symmetric else "reflect"
    return lambda x: np.pad(x, amounts, mode)


def _pad_with(graph: Graph, op: Op) -> Kernel:
    amounts = _amounts(graph, op)
    return lambda x, value: np.pad(x, amounts, constant_values=value.item())


def _amounts(graph: Graph, op: Op) -> list[tuple[int, int]]:
    """Return the values added before and after each axis of a batch."""
    return [(0, 0), *((int(a), int(b)) for a, b in data(graph.constant_of(op, -1)))]


def _in_blocks(graph: Graph, op: Op) -> Kernel:
    """Return the kernel of SPACE_TO_DEPTH or DEPTH_TO_SPACE, which differ in shapes alone."""
    split, output = moves.split_in_blocks(graph, op), graph.output_of(op).shape

    def move(x: Values) -> Values:
        moved: Values = x.reshape(len(x), *split).swapaxes(3, 4)
        return moved.reshape(len(x), *output)

    return move


def _reshape(graph: Graph, op: Op) -> Kernel:
    shape = graph.output_of(op).shape
    return lambda x: x.reshape(len(x), *shape)


def concatenation(graph: Graph, op: Op) -> Kernel:
    """Return the kernel that joins codes of one scale; constants are repeated for all examples."""
    shapes = [graph.tensors[name].shape for name in op.operands]

    def join(*parts: Values) -> Values:
        size = max(len(part) for part in parts)
        whole = [
            np.broadcast_to(part, (size, *shape)) for part, shape in zip(parts, shapes, strict=True)
        ]
        return np.concatenate(whole, axis=op.axis + 1)

    return join


def _pad_shape(graph: Graph, op: Op) -> Shape | str:
    source, table = graph.input_of(op).shape, graph.constant_of(op, -1).data
    # CMSIS-NN uses the last four dimensions only
    if table is None or table.shape != (len(source), 2) or table.min() < 0 or len(source) > 4:
        return f"{op.kind} must have two amounts >= 0 for each of at most 4 dimensions"
    return tuple(size + int(sum(pair)) for size, pair in zip(source, table, strict=True))


def _mirror_pad_shape(graph: Graph, op: Op) -> Shape | str:
    source, table = graph.input_of(op).shape, graph.constant_of(op).data
    if table is None or table.shape != (len(source), 2) or table.min() < 0:
        return "MIRROR_PAD must have two constant amounts >= 0 for each dimension"
    sides = list(zip(source, _amounts(graph, op)[1:], strict=True))
    if any(max(pair) > size - (not op.symmetric) for size, pair in sides):
        return "MIRROR_PAD must add no more than it can mirror on each side"
    return tuple(size + sum(pair) for size, pair in sides)


def _mirror_pad_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return the sizes of two tables of strides, int32."""
    size = 4 * len(graph.input_of(op).shape)
    return size, size


def _pad_with_shape(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of PADV2, whose second operand is the value written around the first."""
    value = graph.constant_of(op)
    if value.data is None or value.elements != 1:
        return "PADV2 must write one constant around its input"
    return _pad_shape(graph, op)


def _space_to_depth_shape(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of SPACE_TO_DEPTH: squares of pixels become channels."""
    shape, block = graph.input_of(op).shape, op.block
    if len(shape) != 4 or block < 1 or shape[1] % block or shape[2] % block:
        return "SPACE_TO_DEPTH must read [N, height, width, channels] of whole blocks"
    return (shape[0], shape[1] // block, shape[2] // block, shape[3] * block**2)


def _depth_to_space_shape(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of DEPTH_TO_SPACE: channels become squares of pixels."""
    shape, block = graph.input_of(op).shape, op.block
    if len(shape) != 4 or block < 1 or shape[3] % block**2:
        return "DEPTH_TO_SPACE must read [N, height, width, channels] of whole blocks"
    return (shape[0], shape[1] * block, shape[2] * block, shape[3] // block**2)


def _reshape_shape(graph: Graph, op: Op) -> Shape | None:
    source, output = graph.input_of(op), graph.output_of(op)
    return output.shape if output.elements == source.elements else None


def _concatenation_shape(graph: Graph, op: Op) -> Shape | None:
    """Return the shape of tensors joined along an axis."""
    shapes = [graph.tensors[name].shape for name in op.operands]
    rank, axis = len(shapes[0]), op.axis
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if (
        not 0 <= axis < rank <= LARGEST_RANK
        or len(rests) > 1
        or {len(shape) for shape in shapes} != {rank}
    ):
        return None
    total = sum(shape[axis] for shape in shapes)
    return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


RULES: Mapping[str, Rule] = {
    "PAD": Rule(_pad_shape, _pad),
    "PADV2": Rule(_pad_with_shape, _pad_with),
    "MIRROR_PAD": Rule(_mirror_pad_shape, _mirror_pad, scratch=_mirror_pad_scratch),
    "SPACE_TO_DEPTH": Rule(_space_to_depth_shape, _in_blocks),
    "DEPTH_TO_SPACE": Rule(_depth_to_space_shape, _in_blocks),
    "RESHAPE": Rule(_reshape_shape, _reshape),
    "CONCATENATION": Rule(
        _concatenation_shape, concatenation, mixes_examples=lambda graph, op: op.axis == 0
    ),
    "TRANSPOSE": Rule(
        moves.transposed,
        _transpose,
        mixes_examples=lambda graph, op: moves.integers(graph, op)[0] != 0,
    ),
    "SLICE": Rule(moves.sliced, _cut),
    "STRIDED_SLICE": Rule(
        moves.sliced_in_steps, _cut, mixes_examples=lambda graph, op: 0 in moves.dropped(op)
    ),
    "GATHER": Rule(moves.gathered, _gather, mixes_examples=lambda graph, op: op.axis == 0),
    "BROADCAST_TO": Rule(moves.repeated, broadcast_to),
}
