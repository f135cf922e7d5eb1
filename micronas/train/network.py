"""Graphs in torch: an interpreter of their operators, and a trainable network built on it.

Maps are NCHW in torch and NHWC in the graph; only this module, `train.convolutions` and
`train.operators` convert between them.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from micronas.errors import ConfigError, DataError
from micronas.graph import ir
from micronas.graph.batches import check_batches
from micronas.graph.interface import Given, alone_or_tuple, by_name, only_output
from micronas.graph.ir import Graph, Op
from micronas.graph.operators import LEARNING, WEIGHTED
from micronas.graph.operators.row import Weights
from micronas.train.convolutions import linear
from micronas.train.inputs import as_stored
from micronas.train.operators import activate, constant, nchw, unweighted
from micronas.train.recurrent import RecurrentUnit

_LARGEST = 7
"""Largest code of 4 bits."""


def interpret(
    graph: Graph,
    x: Given[Tensor],
    weighted: Callable[[Op, Tensor], Tensor],
    after: Callable[[str, Tensor], Tensor] | None = None,
) -> Tensor:
    """Run a graph of one output on a batch; see `interpret_outputs`.

    Raises DataError as that does, and if there are several outputs.
    """
    return interpret_outputs(graph, x, weighted, after)[only_output(graph)]


def interpret_outputs(
    graph: Graph,
    x: Given[Tensor],
    weighted: Callable[[Op, Tensor], Tensor],
    after: Callable[[str, Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Run a graph on a batch and return its outputs by name, in its order.

    An input of four dimensions is float32 [N, channels, height, width], or [N, channels, length]
    where its width is 1, and any other [N, ...] as in the graph; several inputs are a tuple in the
    graph's order, or a mapping by name.

    ``weighted(op, x)`` computes an operator that has weights, without its activation, and
    ``after(name, value)`` returns the value that operators read in place of each activation tensor,
    inputs and constant operands included. Raises DataError if the inputs are not of the graph's
    shapes.
    """
    values: dict[str, Tensor] = {}
    for name, value in by_name(graph, x).items():
        value = as_stored(graph, name, value)
        check_input(graph, name, value, next(iter(values.values()), value))
        if value.ndim == 4:
            value = value.contiguous(memory_format=torch.channels_last)
        values[name] = after(name, value) if after else value
    first = values[graph.inputs[0]]
    last_use = {name: op for op in graph.ops for name in op.inputs}
    for op in graph.ops:
        out = op.outputs[0]
        for name in op.operands:
            if name not in values:
                value = constant(graph.tensors[name], first)
                values[name] = after(name, value) if after else value
        if op.kind in LEARNING:
            value = weighted(op, values[op.inputs[0]])
            if op.kind == "FULLY_CONNECTED":
                value = nchw(value.reshape(len(value), *graph.output_of(op).shape[1:]))
        else:
            value = unweighted(graph, op, [values[name] for name in op.operands])
        value = activate(op, value)
        for name in set(op.inputs):
            if last_use[name] is op and name not in graph.outputs:
                values.pop(name, None)
        values[out] = after(out, value) if after else value
        del value  # frees the unrounded value
    return {name: values[name] for name in graph.outputs}


def check_input(graph: Graph, name: str, value: Tensor, first: Tensor) -> None:
    """Raise DataError unless an input has the graph's shape, and as many examples as the first."""
    wanted = graph.tensors[name].shape[1:]
    wanted = (wanted[-1], *wanted[:-1]) if len(wanted) == 3 else wanted
    which = f" {name!r}" if len(graph.inputs) > 1 else ""
    if value.shape[1:] != wanted:
        raise DataError(
            f"inputs{which} must be [N, {', '.join(map(str, wanted))}] for this network, but got "
            f"{list(value.shape)}; prepare the data set with the network's input shape"
        )
    if len(value) != len(first):
        raise DataError(
            f"all inputs must have as many examples, but {name!r} has {len(value)} and another "
            f"{len(first)}; cut them to one length"
        )


def answers(outputs: Mapping[str, Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Return the output of a network, or a tuple of several.

    Classes on a map of one position become [N, classes], for losses; maps, boxes and embeddings
    keep their shape.
    """
    shaped = {
        name: value.flatten(1) if value.shape[2:] == (1, 1) else value
        for name, value in outputs.items()
    }
    return alone_or_tuple(shaped)


def to_tflite(op: Op, weight: Tensor) -> ir.Array:
    """Return weights in TFLite's layout (see `ir.Tensor`) from torch's [out, in, height, width]."""
    array: ir.Array = weight.detach().numpy()
    if op.kind in ("CONV_2D", "TRANSPOSE_CONV"):
        array = array.transpose(0, 2, 3, 1)
    elif op.kind == "DEPTHWISE_CONV_2D":
        array = array.transpose(1, 2, 3, 0)
    return np.ascontiguousarray(array)


def from_tflite(op: Op, weight: ir.Array, *, copy: bool = True) -> Tensor:
    """Return a weighted operator's weights in torch's layout; the inverse of `to_tflite`.

    Without `copy` the tensor shares the array's memory.
    """
    if op.kind in ("CONV_2D", "TRANSPOSE_CONV"):
        weight = weight.transpose(0, 3, 1, 2)
    elif op.kind == "DEPTHWISE_CONV_2D":
        weight = weight.transpose(3, 0, 1, 2)
    return torch.tensor(np.ascontiguousarray(weight)) if copy else torch.from_numpy(weight)


def filter_layout(op: Op, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return torch's shape of weights from TFLite's."""
    return tuple(from_tflite(op, np.empty(shape, np.float32)).shape)


def submodule_names(names: Iterable[str]) -> dict[str, str]:
    """Return valid names of torch's submodules for operators or tensors: without / and dots.

    Names that torch's containers use, such as ``update``, get a trailing _. Raises ConfigError if
    two of them would become the same.
    """
    submodules = {name: re.sub(r"[/.]", "_", name) for name in names}
    for name, submodule in submodules.items():
        if hasattr(nn.ModuleDict, submodule) or submodule == "training":
            submodules[name] = f"{submodule}_"
    owners = {submodule: name for name, submodule in submodules.items()}
    for name, submodule in submodules.items():
        if owners[submodule] != name:
            raise ConfigError(
                "the names of a graph must stay different when / and . become _, but got "
                f"{name!r} and {owners[submodule]!r}; rename one"
            )
    return submodules


def nonnegative_tensors(graph: Graph) -> set[str]:
    """Return the tensors that cannot hold a value below zero."""
    found = {
        tensor.name
        for tensor in graph.tensors.values()
        if tensor.constant and tensor.data is not None and tensor.data.min() >= 0
    }
    for op in graph.ops:
        kept = op.row.sign == "kept" and found.issuperset(op.operands)
        if kept or op.row.sign == "nonnegative" or op.activation in ("RELU", "RELU6"):
            found.add(op.outputs[0])
    return found


def round_weights(
    weight: Tensor, *, present: Tensor | None = None, per_channel: bool = True
) -> Tensor:
    """Round weights to 4 bits as in the integer graph; the gradient passes as if they were not.

    `weight` is [out, in, height, width] or [out, in]. Scales ignore weights of inputs that the mask
    `present` [in] lacks; they are one per output channel (`per_channel`), or one in all.
    """
    size = weight.detach().abs()
    if present is not None:
        size = size * present.detach().view(1, -1, *[1] * (weight.ndim - 2))
    scale = size.flatten(1).amax(1).clamp(min=2.0**-40) / _LARGEST
    if not per_channel:
        scale = scale.max().expand_as(scale)
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -_LARGEST, _LARGEST)


def weights_of(op: Op) -> Weights:
    """Return the entry on weights in the row of an operator that has weights."""
    assert op.row.weights is not None, op
    return op.row.weights


def weighted_ops(graph: Graph) -> list[Op]:
    return [op for op in graph.ops if op.kind in WEIGHTED]


def recurrent_ops(graph: Graph) -> list[Op]:
    return [op for op in graph.ops if op.row.recurrent]


class Unit(nn.Module):
    """Weights of one operator, with batch norm or else a bias; the interpreter runs its ReLU.

    Weights of 4 bits are rounded at each use, so that training and scores take rounding into
    account from the start.
    """

    def __init__(
        self, op: Op, weights: ir.Tensor, norm: bool, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.op = op
        self.bits = 4 if weights.dtype == "int4" else 8
        layout = filter_layout(op, weights.shape)
        self.weight = nn.Parameter(torch.empty(layout))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        self.bias = None if norm else nn.Parameter(torch.zeros(layout[0]))
        self.norm = nn.BatchNorm2d(layout[0]) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        if self.bits == 4:
            weight = round_weights(weight, per_channel=weights_of(self.op).per_channel)
        y: Tensor = self.norm(linear(self.op, x, weight, self.bias))
        return y

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return unrounded weights and bias of the operator in eval mode with batch norm folded."""
        weight = self.weight.detach()
        if self.bias is not None:
            return weight, self.bias.detach()
        state = {name: value.double() for name, value in self.norm.state_dict().items()}
        factor = state["weight"] / (state["running_var"] + self.norm.eps).sqrt()
        bias = state["bias"] - state["running_mean"] * factor
        return (weight.double() * factor.view(-1, 1, 1, 1)).float(), bias.float()

    def extra_repr(self) -> str:
        op = self.op
        size = "x".join(str(size) for size in self.weight.shape)
        stride = f", stride {op.stride[0]}x{op.stride[1]}" if op.stride != (1, 1) else ""
        bits = "" if self.bits == 8 else f", {self.bits} bits"
        return f"{op.kind}, {size}{stride}{bits}, activation {op.activation}"


class Network(nn.Module):
    """Trainable float network with the operators of a graph.

    Convolutions get batch norm, except those whose output is the network's (directly or through
    RESHAPE): these and fully connected operators have a bias. Weights start with torch's defaults
    and biases at zero; weights marked int4 are rounded to 4 bits in every pass.

    The graph's shapes are enough; the data of weights and biases is not read. The `generator` of
    the initial weights is torch's global one when left out. Raises ConfigError if two operators
    would have the same submodule name, or one mixes examples of a batch.
    """

    def __init__(self, graph: Graph, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_batches(graph)
        self._graph = graph
        last = {logits_of(graph, name) for name in graph.outputs}
        self.units = nn.ModuleDict()
        self._names = submodule_names(
            op.name for op in (*weighted_ops(graph), *recurrent_ops(graph))
        )
        for op in weighted_ops(graph):
            norm = weights_of(op).rank == 4 and op.outputs[0] not in last
            self.units[self._names[op.name]] = Unit(op, graph.constant_of(op), norm, generator)
        for op in recurrent_ops(graph):
            self.units[self._names[op.name]] = RecurrentUnit(op, graph, generator)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Given[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return logits float32 [N, classes] of inputs float32 [N, channels, height, width].

        See `interpret_outputs` for several inputs, and `answers` for other outputs.
        """
        return answers(interpret_outputs(self._graph, x, lambda op, y: self._unit(op)(y)))

    def graph(self) -> Graph:
        """Return the float32 graph of this network in eval mode, with batch norm folded.

        Weights marked int4 keep the mark and are not rounded yet.
        """
        constants = dict(self._graph.tensors)
        for op in weighted_ops(self._graph):
            unit = self._unit(op)
            assert isinstance(unit, Unit)
            weight, bias = unit.folded()
            for name, data in zip(op.learnt, (to_tflite(op, weight), bias.numpy()), strict=True):
                constants[name] = replace(constants[name], data=data)
        for op in recurrent_ops(self._graph):
            unit = self._unit(op)
            assert isinstance(unit, RecurrentUnit)
            for name, data in unit.arrays().items():
                constants[name] = replace(constants[name], data=data)
        return replace(self._graph, tensors=constants)

    def _unit(self, op: Op) -> nn.Module:
        return self.units[self._names[op.name]]


def logits_of(graph: Graph, output: str) -> str:
    """Return the tensor that holds the logits of an output before any RESHAPE."""
    producers = {op.outputs[0]: op for op in graph.ops}
    while output in producers and producers[output].kind == "RESHAPE":
        output = producers[output].inputs[0]
    return output
