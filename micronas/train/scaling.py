"""Channels that can be scaled, from an operator with weights to all its readers.

Operators that multiply, pool, move or clamp at zero give twice the output for twice the input,
channel by channel; only such operators may lie between two with weights.
"""

from dataclasses import dataclass, replace

import numpy as np

from micronas.arrays import Floats
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.operators import WEIGHTED
from micronas.train.network import weights_of


@dataclass(frozen=True)
class Pair:
    """An operator with weights, and the only readers of its output, which have weights too."""

    source: Op
    readers: tuple[Op, ...]


def scalable_pairs(graph: Graph) -> list[Pair]:
    """Find the operators whose output channels can be scaled, in the order they run."""
    found = []
    for op in graph.ops:
        if op.kind in WEIGHTED and op.activation in ("NONE", "RELU"):
            readers = _readers(graph, op)
            if readers:
                found.append(Pair(op, readers))
    return found


def _readers(graph: Graph, source: Op) -> tuple[Op, ...]:
    """Return the operators with weights that read an output; none if any other reads it."""
    channels, names, found = graph.output_of(source).shape[-1], [source.outputs[0]], []
    while names:
        name = names.pop()
        if name in graph.outputs:
            return ()
        for op in graph.ops:
            if name not in op.operands:
                continue
            if op.kind in WEIGHTED:
                if not _reads_channels(graph, op, channels):
                    return ()
                found.append(op)
            elif _passes(graph, op, channels):
                names.append(op.outputs[0])
            else:
                return ()
    return tuple(found)


def _reads_channels(graph: Graph, op: Op, channels: int) -> bool:
    shape = graph.input_of(op).shape
    if op.kind != "FULLY_CONNECTED":
        return shape[-1] == channels
    return shape[-1] % channels == 0 and graph.constant_of(op).shape[1] % channels == 0


def _passes(graph: Graph, op: Op, channels: int) -> bool:
    """Return whether an operator keeps channels last, and their proportions."""
    if not op.row.proportional or op.activation not in ("NONE", "RELU"):
        return False
    source, output = graph.input_of(op).shape, graph.output_of(op).shape
    if op.kind in ("MEAN", "SUM", "REDUCE_MAX"):
        axes = graph.constant_of(op).data
        if axes is None or (len(source) - 1) in {int(axis) % len(source) for axis in axes.flat}:
            return False
    if op.kind == "RESHAPE":
        return source[-1] % channels == 0 and output[-1] % channels == 0
    return source[-1] == output[-1]


def shares_of_columns(graph: Graph, pair: Pair) -> Floats | None:
    """Return the size of the weights that read each channel, relative to the largest of their row.

    None if all readers are depthwise: each of their rows has one channel.
    """
    found = []
    for op in pair.readers:
        if op.kind == "DEPTHWISE_CONV_2D":
            continue
        weights = np.abs(_data(graph.tensors[op.inputs[1]]))
        rows = weights.reshape(len(weights), -1)
        largest = rows.max(1) if weights_of(op).per_channel else rows.max()
        largest = np.maximum(largest, 1e-30).reshape(-1, *[1] * (weights.ndim - 1))
        found.append(
            _of_channels(graph, op, weights / largest, graph.output_of(pair.source).shape[-1])
        )
    return np.max(found, axis=0) if found else None


def _of_channels(graph: Graph, op: Op, weights: Floats, channels: int) -> Floats:
    """Return the largest weight [channels] that reads each channel."""
    if op.kind == "FULLY_CONNECTED":
        return np.asarray(weights.reshape(-1, channels).max(0))
    groups = graph.groups_of(op) if op.kind == "CONV_2D" else 1
    return np.asarray(weights.reshape(groups, -1, channels // groups).max(1).reshape(-1))


def with_factors(graph: Graph, pair: Pair, factors: Floats) -> Graph:
    """Divide an operator's output channels by factors, and multiply the weights that read them."""
    tensors = dict(graph.tensors)

    def scale(name: str, by: Floats) -> None:
        data = (_data(tensors[name]) * by).astype(np.float32)
        tensors[name] = replace(tensors[name], data=data)

    source = pair.source
    weights, *bias = source.learnt
    shape = [1] * len(graph.tensors[weights].shape)
    shape[weights_of(source).axis] = -1
    scale(weights, 1 / factors.reshape(shape))
    for name in bias:
        scale(name, 1 / factors)
    for op in pair.readers:
        scale(op.inputs[1], _per_weight(graph, op, factors))
    return replace(graph, tensors=tensors)


def _per_weight(graph: Graph, op: Op, factors: Floats) -> Floats:
    """Return factors of channels in the layout of a reader's weights."""
    shape = graph.tensors[op.inputs[1]].shape
    if op.kind == "DEPTHWISE_CONV_2D":
        return np.repeat(factors, shape[3] // len(factors))
    if op.kind == "FULLY_CONNECTED":
        return np.tile(factors, shape[1] // len(factors))
    groups = graph.groups_of(op) if op.kind == "CONV_2D" else 1
    rows = np.repeat(factors.reshape(groups, -1), shape[0] // groups, axis=0)
    return rows.reshape(shape[0], 1, 1, -1)


def _data(tensor: Tensor) -> Floats:
    assert tensor.data is not None, f"{tensor.name}: scaling takes a graph with weights"
    return tensor.data.astype(np.float64)
