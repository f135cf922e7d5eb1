"""Costs of a network without a board: multiply-accumulates, weights, elements.

A MAC is one multiply-accumulate, taps on padding included; "ops", the MicroNets paper's word,
are two per MAC. Counts assume int8 storage (int4 for tensors so marked) whatever the graph
holds, so that they are the same before and after quantisation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from micronas.graph import products, recurrent
from micronas.graph.ir import Graph, Kind, Op, Tensor, Unknown
from micronas.graph.operators import WEIGHTED

_MULTIPLYING: tuple[Kind, ...] = (*WEIGHTED, "BATCH_MATMUL", "UNIDIRECTIONAL_SEQUENCE_LSTM")


@dataclass(frozen=True)
class OpCount:
    """Costs of one operator; shapes are NHWC."""

    name: str
    kind: Kind | Unknown
    input_shape: tuple[int, ...]
    """Shape of the first input; () for an operator without inputs."""
    output_shape: tuple[int, ...]
    macs: int
    weights: int
    """Number of weights, biases and elements of constant operands."""
    weights_bytes: int
    """Bytes of these as stored (int4 packed, int32 biases), without tables such as PAD's."""


@dataclass(frozen=True)
class Counts:
    """Costs of a network without its UNKNOWN operators.

    Every field is also a feature that a latency model may use by its name.
    """

    macs: int
    ops: int
    """2 x macs."""
    weights: int
    weights_bytes: int
    conv_macs: int
    depthwise_macs: int
    fc_macs: int
    conv_outputs: int
    """Elements that CONV_2D operators write."""
    depthwise_outputs: int
    fc_outputs: int
    add_elements: int
    im2col_bytes: int
    """Bytes that CONV_2D operators larger than 1x1, or in groups, copy into patches."""
    im2col_taps: int
    """Taps of those patches, whatever the channels of a group."""
    pool_inputs: int
    """Elements that AVERAGE_POOL_2D and MAX_POOL_2D operators read."""
    mean_inputs: int

    @property
    def features(self) -> dict[str, int]:
        """Counts by name, for latency models."""
        return dict(vars(self))


FEATURES = tuple(field.name for field in fields(Counts))
"""Names of all counts."""


def count(graph: Graph, ops: Sequence[Op] | None = None) -> Counts:
    """Count the costs of a network, or of some of its operators; shared weights count once."""
    ops = graph.ops if ops is None else ops
    macs: dict[Kind, int] = dict.fromkeys(_MULTIPLYING, 0)
    written: dict[Kind, int] = {}
    read: dict[Kind, int] = {}
    stored: dict[str, Tensor] = {}
    patch_bytes = patch_taps = 0
    for op in ops:
        if op.kind == "UNKNOWN":
            continue
        if op.kind in macs:
            macs[op.kind] += _macs(graph, op)
        for name in _stored(graph, op):
            stored[name] = graph.tensors[name]
        if op.kind == "CONV_2D" and not is_pointwise(graph, op):
            _, height, width, depth = graph.constant_of(op).shape
            taps = math.prod(graph.output_of(op).shape[:3]) * height * width * graph.groups_of(op)
            patch_taps += taps
            patch_bytes += taps * depth
        written[op.kind] = written.get(op.kind, 0) + math.prod(graph.output_of(op).shape)
        read[op.kind] = read.get(op.kind, 0) + math.prod(graph.input_of(op).shape)
    biases = {name for op in ops for name in op.biases} if stored else set()
    total = sum(macs.values())
    return Counts(
        macs=total,
        ops=2 * total,
        weights=sum(math.prod(tensor.shape) for tensor in stored.values()),
        weights_bytes=sum(_bytes(tensor, name in biases) for name, tensor in stored.items()),
        conv_macs=macs["CONV_2D"],
        depthwise_macs=macs["DEPTHWISE_CONV_2D"],
        fc_macs=macs["FULLY_CONNECTED"],
        conv_outputs=written.get("CONV_2D", 0),
        depthwise_outputs=written.get("DEPTHWISE_CONV_2D", 0),
        fc_outputs=written.get("FULLY_CONNECTED", 0),
        add_elements=written.get("ADD", 0),
        im2col_bytes=patch_bytes,
        im2col_taps=patch_taps,
        pool_inputs=read.get("AVERAGE_POOL_2D", 0) + read.get("MAX_POOL_2D", 0),
        mean_inputs=read.get("MEAN", 0),
    )


def per_op(graph: Graph) -> list[OpCount]:
    """Count the costs of each operator, in the order they run."""
    return [_op_count(graph, op) for op in graph.ops]


def is_pointwise(graph: Graph, op: Op) -> bool:
    """Return whether a CONV_2D only mixes the channels of each position."""
    is_single = graph.constant_of(op).shape[1:3] == (1, 1) and op.dilation == (1, 1)
    return is_single and graph.groups_of(op) == 1


def _stored(graph: Graph, op: Op) -> tuple[str, ...]:
    """Return the names of weights and bias, and of constant operands."""
    if op.kind == "UNKNOWN":
        return ()
    constants = [name for name in op.operands if graph.tensors[name].constant]
    return (*constants, *op.learnt)


def _op_count(graph: Graph, op: Op) -> OpCount:
    stored = [graph.tensors[name] for name in _stored(graph, op)]
    return OpCount(
        op.name,
        op.kind,
        graph.input_of(op).shape if op.inputs else (),
        graph.output_of(op).shape if op.outputs else (),
        _macs(graph, op) if op.kind in _MULTIPLYING else 0,
        sum(math.prod(tensor.shape) for tensor in stored),
        sum(_bytes(tensor, tensor.name in op.biases) for tensor in stored),
    )


def _macs(graph: Graph, op: Op) -> int:
    if op.kind == "BATCH_MATMUL":
        return graph.output_of(op).elements * products.depth(graph, op)
    if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return recurrent.macs(graph, op)
    weights = graph.constant_of(op).shape
    if op.kind == "FULLY_CONNECTED":
        return math.prod(graph.output_of(op).shape) * weights[1]
    if op.kind == "TRANSPOSE_CONV":
        return math.prod(graph.input_of(op).shape[:3]) * math.prod(weights)
    taps = weights[1] * weights[2]
    depth = weights[3] if op.kind == "CONV_2D" else 1
    return math.prod(graph.output_of(op).shape) * taps * depth


def _bytes(tensor: Tensor, is_bias: bool) -> int:
    elements = math.prod(tensor.shape)
    if is_bias:
        return 4 * elements
    return (elements + 1) // 2 if tensor.dtype == "int4" else elements
