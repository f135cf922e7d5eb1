"""A graph in the making, next to the recorded torch program it is made from.

Layouts are followed, not converted. A value of the recorded program is a stored tensor and, for
each element as torch sees it, the position of that element in the stored tensor. Permutations and
reshapes only move positions; whoever reads the value in the end re-orders its weights, or finds
the elements already in the order it needs. Nothing is transposed on the device.
"""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.fx import Node

from micronas.errors import ExportError
from micronas.export.from_torch.hints import nearest
from micronas.graph import ir
from micronas.graph.ir import Graph, Kind, Op, Padding, same_output, same_padding
from micronas.train.network import nonnegative_tensors, weights_of

Pair = tuple[int, int]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Value:
    """What torch calls a tensor: the one that is stored, and where its elements are in it."""

    tensor: str
    positions: Tensor
    """int64, in torch's shape."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.positions.shape)


@dataclass
class Tracer:
    """State of a trace; `node` is the one being lowered, which names and errors refer to."""

    node: Node
    tensors: dict[str, ir.Tensor] = field(default_factory=dict)
    ops: dict[str, Op] = field(default_factory=dict)
    """By the name of what they write, in execution order."""
    values: dict[Node, Value] = field(default_factory=dict)
    constants: dict[Node, Tensor] = field(default_factory=dict)
    names: set[str] = field(default_factory=lambda: {"input"})

    def refusal(self, problem: str, way_out: str | None = None) -> ExportError:
        """Make the error for the node: `problem` says the rule and the value."""
        path = _module(self.node)[0]
        where = f"module {path!r}" if path else "the outermost module"
        advice = way_out or nearest(self.operation)
        return ExportError(f"{self.operation} in {where}: {problem}; {advice}")

    @property
    def operation(self) -> str:
        """Such as ``aten.conv2d``."""
        target = str(self.node.target)
        return target.rpartition(".")[0] if target.count(".") > 1 else f"python.{self.node.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape torch gives the node's (first) result."""
        result = self.node.meta["val"]
        return tuple((result[0] if isinstance(result, tuple) else result).shape)

    def arguments(self) -> dict[str, Any]:
        """The node's arguments by name, defaults included."""
        schema = self.node.target._schema.arguments  # type: ignore[union-attr]
        given = dict(zip((argument.name for argument in schema), self.node.args, strict=False))
        defaults = {argument.name: argument.default_value for argument in schema}
        return {**defaults, **given, **self.node.kwargs}

    def value(self, node: object) -> Value:
        if not isinstance(node, Node) or node not in self.values:
            raise self.refusal(
                "operands must be computed from the input, but one is constant",
                "add constants with a batch norm or a bias",
            )
        return self.values[node]

    def map_value(self, node: object) -> Value:
        """Return a value that must be [N, channels, height, width]."""
        value = self.value(node)
        if len(value.shape) != 4:
            raise self.refusal(
                f"operands must be [N, channels, height, width], but one is {list(value.shape)}",
                "keep maps four-dimensional",
            )
        return value

    def constant(self, node: object) -> Tensor:
        if not isinstance(node, Node) or node not in self.constants:
            raise self.refusal(
                "weights must be parameters or buffers, but these are computed",
                "keep them in a parameter",
            )
        return self.constants[node]

    def name(self, suffix: str = "") -> str:
        """Name an operator by its module's path, and by its function where that is no layer."""
        path, kind = _module(self.node)
        function = self.operation.split(".")[1].strip("_")
        parts = (path, "" if path and kind.startswith("torch.nn.") else function, suffix)
        name = stem = ".".join(part for part in parts if part)
        count = 1
        # Torch's submodules know neither dots nor slashes, so names must differ without them.
        while re.sub(r"[/.]", "_", name) in self.names:
            name, count = f"{stem}_{count}", count + 1
        self.names.add(re.sub(r"[/.]", "_", name))
        return name

    def stored(self, name: str, shape: tuple[int, ...]) -> Value:
        """Add an activation tensor."""
        self.tensors[name] = ir.Tensor(name, shape)
        return Value(name, canonical(shape))

    def filled(self, name: str, data: ir.Array) -> str:
        """Add a constant."""
        dtype: ir.DataType = "int32" if data.dtype == np.int32 else "float32"
        self.tensors[name] = ir.Tensor(name, data.shape, dtype, constant=True, data=data)
        return name

    def append(self, op: Op, shape: tuple[int, ...]) -> Value:
        self.ops[op.outputs[0]] = op
        return self.stored(op.outputs[0], shape)

    def plain(
        self, kind: Kind, inputs: tuple[str, ...], shape: tuple[int, ...], **fields: Any
    ) -> Value:
        """Append an operator without constants, named after the node."""
        name = self.name()
        return self.append(Op(kind, name, inputs, (name,), **fields), shape)

    def materialised(self, value: Value) -> str:
        """Name a stored tensor that holds a value's elements in TFLite's order and shape."""
        if len(value.shape) not in (2, 4) or value.shape[0] != 1:
            raise self.refusal(
                "operands must be [N, features] or [N, channels, height, width], but one is "
                f"{list(value.shape)}",
                "reshape it to one of them",
            )
        shape = nhwc(value.shape)
        order = value.positions if len(shape) == 2 else value.positions.permute(0, 2, 3, 1)
        if not torch.equal(order.flatten(), torch.arange(order.numel())):
            raise self.refusal(
                f"operands must be in NHWC order, but one {list(value.shape)} would have to be "
                "transposed on the device",
                "permute or flatten maps in front of linear layers only, or return the map itself",
            )
        if self.tensors[value.tensor].shape == shape:
            return value.tensor
        name = self.name("reshape")
        table = self.filled(f"{name}/shape", np.array(shape, np.int32))
        return self.append(Op("RESHAPE", name, (value.tensor, table), (name,)), shape).tensor

    def producer(self, node: object, kinds: Sequence[Kind]) -> Op | None:
        """Return the operator that computed a value for this node alone, if it is of `kinds`.

        That is the operator into which this node can be folded.
        """
        tensor = self.value(node).tensor
        op = self.ops.get(tensor)
        if op is None or op.kind not in kinds or op.activation != "NONE":
            return None
        holders = {other for other, value in self.values.items() if value.tensor == tensor}
        readers = {user for holder in holders for user in holder.users} - holders
        return op if readers == {self.node} else None

    def nonnegative(self, tensor: str) -> bool:
        graph = Graph(self.tensors, tuple(self.ops.values()), ("input",), (tensor,))
        return tensor in nonnegative_tensors(graph)

    def padded(self, name: str, source: str, table: ir.Array) -> str:
        """Append a PAD with zeros before and after each dimension."""
        grown = zip(self.tensors[source].shape, table.sum(axis=1).tolist(), strict=True)
        amounts = self.filled(f"{name}/amounts", table)
        op = Op("PAD", name, (source, amounts), (name,))
        return self.append(op, tuple(size + more for size, more in grown)).tensor

    def placed(
        self,
        name: str,
        value: Value,
        window: Pair,
        stride: Pair,
        before: Pair,
        *,
        same: bool = True,
        zeros: bool = True,
    ) -> tuple[str, Padding]:
        """Say a sliding window's padding as TFLite can, with a PAD in front if need be.

        Parameters
        ----------
        before
            Rows and columns of padding in front of the map. What stands behind it follows from
            the size of the result: padding that no window reads is left out.
        same
            TFLite's SAME padding means the same as torch's for this operator.
        zeros
            So do zeros around the map.
        """
        outputs = self.shape[2:]
        sizes = zip(value.shape[2:], outputs, window, stride, before, strict=True)
        amounts = [(b, max((out - 1) * s + k - n - b, 0)) for n, out, k, s, b in sizes]
        sizes_again = zip(value.shape[2:], outputs, window, stride, amounts, strict=True)
        fits = all(
            same_output(n, s) == out and same_padding(n, k, s) == pads
            for n, out, k, s, pads in sizes_again
        )
        none = not any(map(any, amounts))
        if fits and (same or none):
            return self.materialised(value), "SAME"
        if none:
            return self.materialised(value), "VALID"
        if not zeros:
            raise self.refusal(
                f"padding must be as TFLite's SAME places it, but is {amounts} for a window of "
                f"{window} with stride {stride} on {list(value.shape[2:])}",
                "pool behind a ReLU, or without padding",
            )
        table = np.array([(0, 0), *amounts, (0, 0)], np.int32)
        return self.padded(f"{name}/pad", self.materialised(value), table), "VALID"

    def without_pad(self, node: object) -> tuple[Value, Pair]:
        """Take back a PAD of rows and columns that only this node reads.

        Returns
        -------
        The value before it, and the rows and columns it put in front.
        """
        value = self.map_value(node)
        op = self.producer(node, ("PAD",))
        if op is None or not torch.equal(value.positions, canonical(self._shape_of(op.outputs[0]))):
            return value, (0, 0)
        table = self.tensors[op.inputs[1]].data
        if table is None or table[0].any() or table[3].any():
            return value, (0, 0)
        for name in (op.outputs[0], op.inputs[1]):
            del self.tensors[name]
        del self.ops[op.outputs[0]]
        before = int(table[1, 0]), int(table[2, 0])
        return Value(op.inputs[0], canonical(self._shape_of(op.inputs[0]))), before

    def scale_weights(self, op: Op, factor: Doubles, shift: Doubles) -> None:
        """Fold a norm of an operator's output channels, float64, into its weights and bias."""
        for name, added in zip(op.inputs[1:], (np.zeros(1), shift), strict=True):
            tensor = self.tensors[name]
            assert tensor.data is not None
            shape = [1] * tensor.data.ndim
            shape[weights_of(op).axis if tensor.data.ndim > 1 else 0] = -1
            data = tensor.data.astype(np.float64) * factor.reshape(shape) + added
            self.tensors[name] = replace(tensor, data=data.astype(np.float32))

    def passed(self) -> Value | None:
        """Return the operand of a node that only picks the first of several results."""
        if self.node.target is operator.getitem and self.node.args[1] == 0:
            return self.value(self.node.args[0])
        return None

    def _shape_of(self, tensor: str) -> tuple[int, ...]:
        return self.tensors[tensor].shape


def nhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def canonical(shape: tuple[int, ...]) -> Tensor:
    """Positions of a tensor of this (NHWC) shape as torch sees it."""
    positions = torch.arange(int(np.prod(shape))).reshape(shape)
    return positions.permute(0, 3, 1, 2) if len(shape) == 4 else positions


def pair(sizes: int | Sequence[int]) -> Pair:
    height, width = (sizes, sizes) if isinstance(sizes, int) else (sizes[0], sizes[-1])
    return int(height), int(width)


def _module(node: Node) -> tuple[str, str]:
    """Path and class of the innermost module a node stands in."""
    stack: Mapping[str, tuple[str, object]] = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", ""
    path, kind = list(stack.values())[-1]
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind}"
    return re.sub(r"@\d+", "", path), name
