"""Compute parts of a product one by one, in place of slices of the whole.

Queries, keys and values, or the gates of a cell, are rows of one matrix. Where each is read by
itself, an operator of its rows alone gives it, with a scale of its own, and nothing is moved; nor
where channels are read in another order.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from micronas.arrays import Shape
from micronas.graph import moves
from micronas.graph.ir import Graph, Op, Tensor, table
from micronas.graph.reshapes import without_unread

_Readers = Mapping[str, Sequence[Op]]
_Channels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Part:
    """A SLICE or GATHER of channels, possibly of a reshaped tensor."""

    cut: Op
    channels: _Channels


def computed_apart(graph: Graph) -> Graph:
    """Split linear layers and pointwise convolutions of which only slices are read.

    An operator is replaced by one per slice, with its name and a number, where that takes no more
    operators and fewer of them move elements.
    """
    readers = graph.readers()
    tensors = dict(graph.tensors)
    made: dict[str, list[Op]] = {}
    for op in graph.ops:
        if not _has_rows(graph, op) or op.outputs[0] in graph.outputs:
            continue
        views = [each for each in readers.get(op.outputs[0], []) if each.kind == "RESHAPE"]
        parts = _parts(graph, readers, op.outputs[0])
        reshaped = sum(part.cut.inputs[0] != op.outputs[0] for part in parts or ())
        if not parts or reshaped > 1 + len(views):  # more new RESHAPEs than removed operators
            continue
        for number, part in enumerate(parts):
            made[part.cut.name] = _computed(graph, op, part, number, tensors)
    ops = [new for op in graph.ops for new in made.get(op.name, (op,))]
    return without_unread(replace(graph, tensors=tensors, ops=tuple(ops)))


def _has_rows(graph: Graph, op: Op) -> bool:
    """Return whether each output channel is the product of a row of weights and all channels."""
    if op.kind == "FULLY_CONNECTED":
        return True
    if op.kind != "CONV_2D":
        return False
    filters, source = graph.constant_of(op).shape, graph.input_of(op).shape
    return filters[1:3] == op.stride == (1, 1) and filters[3] == source[3]


def _parts(graph: Graph, readers: _Readers, name: str) -> list[_Part] | None:
    """Return the parts that are read, by channel; None if the whole is, or a channel twice."""
    found: list[_Part] = []
    for op in readers.get(name, []):
        behind = readers.get(op.outputs[0], []) if op.kind == "RESHAPE" else [op]
        if op.outputs[0] in graph.outputs and op.kind == "RESHAPE":
            return None
        for cut in behind:
            channels = _channels(graph, cut, graph.tensors[name].shape[-1])
            if channels is None:
                return None
            found.append(_Part(cut, channels))
    if not found:
        return None
    found.sort(key=lambda part: int(part.channels[0]))
    read = np.concatenate([part.channels for part in found])
    return found if len(np.unique(read)) == len(read) else None


def _channels(graph: Graph, cut: Op, depth: int) -> _Channels | None:
    """Return the channels of [..., depth] that are taken, perhaps of a reshaped tensor."""
    if cut.kind not in ("SLICE", "GATHER"):
        return None
    shape = graph.input_of(cut).shape
    if cut.kind == "GATHER":
        axis, taken = cut.axis, moves.integers(graph, cut)
        if len(graph.constant_of(cut).shape) != 1:
            return None
    else:
        pieces = moves.pieces(graph, cut)
        assert pieces is not None, cut
        cuts = [axis for axis, piece in enumerate(pieces) if len(piece) < shape[axis]]
        if len(cuts) != 1:
            return None
        axis, taken = cuts[0], [*pieces[cuts[0]]]
    if math.prod(shape[axis:]) != depth:
        return None
    each = math.prod(shape[axis + 1 :])
    return np.add.outer(np.array(taken, np.int64) * each, np.arange(each)).ravel()


def _computed(
    graph: Graph, op: Op, part: _Part, number: int, tensors: dict[str, Tensor]
) -> list[Op]:
    """Return the operators that compute one part, in place of the slice."""
    name, out = f"{op.name}.part{number}", graph.output_of(part.cut)
    inputs = [op.inputs[0]]
    for learnt in op.inputs[1:]:
        inputs.append(f"{learnt}.part{number}")
        tensors[inputs[-1]] = _rows(tensors[learnt], inputs[-1], part.channels)
    shape: Shape = (*graph.output_of(op).shape[:-1], len(part.channels))
    if out.shape == shape:
        return [replace(op, name=name, inputs=tuple(inputs), outputs=part.cut.outputs)]
    tensors[name] = Tensor(name, shape)
    sizes = f"{name}/shape"
    tensors[sizes] = table(sizes, out.shape)
    return [
        replace(op, name=name, inputs=tuple(inputs), outputs=(name,)),
        Op("RESHAPE", part.cut.name, (name, sizes), part.cut.outputs),
    ]


def _rows(weights: Tensor, name: str, rows: _Channels) -> Tensor:
    ends = int(rows[0]), int(rows[-1]) + 1
    taken = (
        slice(*ends) if np.array_equal(rows, np.arange(*ends)) else rows
    )  # a view where possible
    data = None if weights.data is None else weights.data[taken]
    return replace(weights, name=name, shape=(len(rows), *weights.shape[1:]), data=data)
