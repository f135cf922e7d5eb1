"""State of the conversion of a recorded torch program into a graph."""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.fx import Node

from micronas.arrays import Shape
from micronas.errors import ExportError
from micronas.export.from_torch.hints import nearest
from micronas.export.from_torch.layout import (
    Cut,
    Stack,
    Step,
    Turn,
    Value,
    canonical,
    covers,
    forget,
    in_order,
    nhwc,
    places,
    rearrangement,
    rows_of,
)
from micronas.export.from_torch.weights import Folding
from micronas.graph import ir
from micronas.graph.ir import Graph, Kind, Op
from micronas.train import operators
from micronas.train.network import nonnegative_tensors

Pair = tuple[int, int]

Part = Value | Stack | Callable[[], Value]
"""One of several results, which is joined or computed only if it is read."""


@dataclass
class Tracer:
    """State of a trace; names and errors refer to `node`, which is being lowered."""

    node: Node
    tensors: dict[str, ir.Tensor] = field(default_factory=dict)
    ops: dict[str, Op] = field(default_factory=dict)
    """Operators by the name of their output, in execution order."""
    values: dict[Node, Value] = field(default_factory=dict)
    parts: dict[Node, Sequence[Part]] = field(default_factory=dict)
    """Results of nodes that have several."""
    stacks: dict[Node, Stack] = field(default_factory=dict)
    """Results of several values that are not joined yet."""
    constants: dict[Node, Tensor] = field(default_factory=dict)
    lengths: dict[Node, tuple[Node, int]] = field(default_factory=dict)
    """Vectors and their dimension, for nodes that are lengths of vectors."""
    deferred: dict[Node, Callable[[], Value]] = field(default_factory=dict)
    """Values that are computed only if they are read."""
    folding: Folding = field(default_factory=Folding)
    names: set[str] = field(default_factory=set)
    arranged: dict[tuple[str, bytes, Shape], str] = field(default_factory=dict)
    """Moved tensors, by source, positions and shape of their elements."""

    def refusal(self, problem: str, way_out: str | None = None) -> ExportError:
        """Return the error for the node; `problem` gives the rule and the value."""
        path = _module(self.node)[0]
        where = f"module {path!r}" if path else _line(self.node)
        advice = way_out or nearest(self.operation)
        return ExportError(f"{self.operation} in {where}: {problem}; {advice}")

    @property
    def operation(self) -> str:
        """Name of the node's operation, such as ``aten.conv2d``."""
        target = str(self.node.target)
        return target.rpartition(".")[0] if target.count(".") > 1 else f"python.{self.node.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the node's (first) result in torch."""
        result = self.node.meta["val"]
        return tuple((result[0] if isinstance(result, tuple) else result).shape)

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of a result that is a map; sequences are its columns."""
        if len(self.shape) != 3:
            return self.shape
        count, depth, length = self.shape
        return 1, depth, length, count

    def shaped(self, positions: Tensor) -> Tensor:
        """Return positions in a map in the shape of the node's result."""
        if len(self.shape) < 4 and self.shape[0] > 1:  # several sequences, or numbers of each
            positions = positions[0].permute(2, 0, 1)
        return positions.reshape(self.shape)

    def arguments(self) -> dict[str, Any]:
        """Return the node's arguments by name, defaults included."""
        schema = self.node.target._schema.arguments  # type: ignore[union-attr]
        given = dict(zip((argument.name for argument in schema), self.node.args, strict=False))
        defaults = {argument.name: argument.default_value for argument in schema}
        return {**defaults, **given, **self.node.kwargs}

    def value(self, node: object) -> Value:
        """Return an operand that depends on the input."""
        if isinstance(node, Node) and node in self.deferred and node not in self.values:
            reader, self.node = self.node, node
            self.values[node] = self.deferred[node]()
            self.node = reader
        if not isinstance(node, Node) or node not in self.values:
            raise self.refusal(
                "operands must be computed from the input, but one is constant",
                "compute it from the input, or fold it into weights",
            )
        return self.values[node]

    def map_value(self, node: object) -> Value:
        """Return an operand as [1, channels, height, width]; sequences become columns."""
        value = self.value(node)
        if len(value.shape) == 3 and "2d" not in self.operation:  # else a map without its batch
            return Value(value.tensor, value.positions.permute(1, 2, 0).unsqueeze(0))
        if value.shape[0] != 1:
            raise self.refusal(
                f"maps must be of one example, but there are {value.shape[0]}",
                "keep what is not the batch out of dimension 0",
            )
        if len(value.shape) != 4:
            raise self.refusal(
                "operands must be [N, channels, height, width] or [N, channels, length], but one "
                f"is {list(value.shape)}",
                "keep the dimensions of maps",
            )
        return value

    def constant(self, node: object) -> Tensor:
        """Return an operand that does not depend on the input; a tensor is returned unchanged."""
        if isinstance(node, Tensor):
            return node
        if isinstance(node, int | float) and not isinstance(node, bool):
            return torch.tensor(float(node))
        if not isinstance(node, Node) or node not in self.constants:
            raise self.refusal(
                "weights must be parameters or buffers, but these are computed",
                "keep them in a parameter",
            )
        return self.constants[node]

    def is_constant(self, node: object) -> bool:
        """Return whether an operand is a number, a parameter, or computed from those."""
        return isinstance(node, int | float) or node in self.constants

    def name(self, suffix: str = "") -> str:
        """Return a name from the module's path, and from the function unless it is a layer."""
        path, kind = _module(self.node)
        function = self.operation.split(".")[1].strip("_")
        parts = (path, "" if path and kind.startswith("torch.nn.") else function, suffix)
        return self.unused(".".join(part for part in parts if part))

    def unused(self, stem: str) -> str:
        """Return a name, with a number where another operator or tensor has it.

        Names of torch's submodules have neither dots nor slashes, so names must differ without
        them.
        """
        name, count = stem, 1
        while re.sub(r"[/.]", "_", name) in self.names:
            name, count = f"{stem}_{count}", count + 1
        self.names.add(re.sub(r"[/.]", "_", name))
        return name

    def shape_of(self, tensor: str) -> Shape:
        return self.tensors[tensor].shape

    def elements_of(self, tensor: str) -> int:
        return self.tensors[tensor].elements

    def stored(self, name: str, shape: Shape) -> Value:
        """Add an activation tensor."""
        self.tensors[name] = ir.Tensor(name, shape)
        return Value(name, canonical(shape))

    def filled(self, name: str, data: ir.Array) -> str:
        """Add a constant; the data may be the module's own, which never changes in place."""
        dtype: ir.DataType = "int32" if data.dtype == np.int32 else "float32"
        self.tensors[name] = ir.Tensor(name, data.shape, dtype, constant=True, data=data)
        return name

    def append(self, op: Op, shape: Shape) -> Value:
        self._check_elements(math.prod(shape))
        self.ops[op.outputs[0]] = op
        return self.stored(op.outputs[0], shape)

    def plain(
        self, kind: Kind, inputs: tuple[str, ...], shape: Shape, suffix: str = "", **fields: Any
    ) -> Value:
        """Append an operator named after the node."""
        name = self.name(suffix)
        return self.append(Op(kind, name, inputs, (name,), **fields), shape)

    def tabled(
        self, kind: Kind, source: str, tables: Mapping[str, ArrayLike], shape: Shape, axis: int = 0
    ) -> str:
        """Append an operator that moves elements by int32 tables, given by name."""
        name = self.name(kind.lower())
        constants = (
            self.filled(f"{name}/{table}", np.array(numbers, np.int32))
            for table, numbers in tables.items()
        )
        return self.append(Op(kind, name, (source, *constants), (name,), axis=axis), shape).tensor

    def arrange(self, tensor: str, positions: Tensor, shape: Shape) -> str:
        """Return a stored tensor of `shape` with the elements at `positions` in this order."""
        self._check_elements(positions.numel())
        if in_order(positions, self.elements_of(tensor)):
            return self.reshaped(tensor, shape)
        order = positions.flatten().contiguous().numpy()
        key = tensor, hashlib.blake2b(order.tobytes()).digest(), shape
        if key not in self.arranged:
            for step in rearrangement(order, self.shape_of(tensor)):
                tensor = self._moved(tensor, step)
            self.arranged[key] = self.reshaped(tensor, shape)
        return self.arranged[key]

    def _check_elements(self, count: int) -> None:
        if not count:
            raise self.refusal("results must have elements, but one has none", "leave it out")

    def _moved(self, tensor: str, step: Step) -> str:
        source = self.reshaped(tensor, step.shape)
        if isinstance(step, Turn):
            turned = tuple(step.shape[axis] for axis in step.permutation)
            return self.tabled("TRANSPOSE", source, {"permutation": step.permutation}, turned)
        if isinstance(step, Cut):
            if max(step.step) == 1:
                tables = {"begin": step.begin, "size": step.size}
                return self.tabled("SLICE", source, tables, step.size)
            ends = zip(step.begin, step.size, step.step, strict=True)
            tables = {
                "begin": step.begin,
                "end": tuple(first + (count - 1) * pace + 1 for first, count, pace in ends),
                "strides": step.step,
            }
            return self.tabled("STRIDED_SLICE", source, tables, step.size)
        shape = (*step.shape[: step.axis], len(step.indices), *step.shape[step.axis + 1 :])
        return self.tabled("GATHER", source, {"indices": step.indices}, shape, step.axis)

    def reshaped(self, tensor: str, shape: Shape) -> str:
        """Return a tensor of the same elements in another shape."""
        if self.shape_of(tensor) == shape:
            return tensor
        key = tensor, b"", shape
        if key not in self.arranged:
            self.arranged[key] = self.tabled("RESHAPE", tensor, {"shape": shape}, shape)
        return self.arranged[key]

    def is_reshaped(self, tensor: str, shape: Shape | None) -> bool:
        """Return whether a tensor is there in another shape too."""
        return (tensor, b"", shape) in self.arranged

    def materialised(self, value: Value) -> str:
        """Return a stored tensor that holds a value's elements in TFLite's order and shape."""
        return self.arrange(value.tensor, operators.nhwc(value.positions), led(nhwc(value.shape)))

    def moved(self, value: Value) -> Value:
        """Return a value stored in TFLite's order and shape."""
        return Value(self.materialised(value), canonical(nhwc(value.shape)))

    def complete(self, value: Value) -> Value:
        """Return a value that has every element of its stored tensor, moved if necessary."""
        if covers(value.positions, self.elements_of(value.tensor)):
            return value
        return self.part(value)

    def part(self, value: Value) -> Value:
        """Return a value stored without other elements, each once, in the same order."""
        kept = places(value.positions, self.elements_of(value.tensor))
        axes = np.unravel_index(kept.numpy(), self.shape_of(value.tensor))
        sizes = tuple(len(np.unique(axis)) for axis in axes)
        shape = sizes if math.prod(sizes) == len(kept) else (1, len(kept))
        tensor = self.arrange(value.tensor, kept, led(shape))
        return Value(tensor, torch.searchsorted(kept, value.positions.contiguous()))

    def as_map(self, value: Value) -> tuple[str, Tensor]:
        """Return a stored map [1, height, width, channels], and the places of torch's channels.

        Channels keep their stored order, to which their readers' weights adapt.
        """
        found = rows_of(value.positions.movedim(1, -1), self.elements_of(value.tensor))
        shape = nhwc(value.shape)
        if found is not None and in_order(found[0], found[0].numel()):
            return self.reshaped(value.tensor, shape), found[1]
        # In stored order, so that taking some of them needs no transposition.
        first = value.positions.movedim(1, -1).reshape(-1, value.shape[1])[0]
        ranks = first.argsort()
        chosen = Value(value.tensor, value.positions[:, ranks])
        return self.materialised(chosen), ranks.argsort()

    def is_sequence(self, value: Value) -> bool:
        """Return whether [N, channels, length] is stored as a map of width 1."""
        stored = self.shape_of(value.tensor)
        is_map = len(value.shape) == 3 and len(stored) == 4 and stored[2] == value.shape[0]
        return is_map and not in_order(value.positions, self.elements_of(value.tensor))

    def result(self, tensor: str, order: Tensor | None = None) -> Value:
        """Return the node's value for a stored map with channels in `order`."""
        return Value(tensor, self.shaped(canonical(self.shape_of(tensor), order)))

    def ending(self, value: Value, dim: int, *, flat: bool = False) -> tuple[str, Tensor, Tensor]:
        """Return a stored tensor whose last dimension is one of torch's, in any order.

        With `flat`, a single row may have any shape. With the tensor come the number of each row in
        the shape of the other dimensions, and the place in a row of each index of `dim`.
        """
        moved = value.positions.movedim(dim, -1)
        size = moved.shape[-1]
        found = rows_of(moved, self.elements_of(value.tensor))
        if found is None:
            ranks = moved.reshape(-1, size)[0].argsort()
            tensor = self.arrange(value.tensor, moved[..., ranks], led(tuple(moved.shape)))
            rows = torch.arange(moved[..., 0].numel()).reshape(moved.shape[:-1])
            return tensor, rows, ranks.argsort()
        rows, order = found
        if self.shape_of(value.tensor)[-1] == size or (flat and rows.numel() == 1):
            return value.tensor, rows, order
        return self.reshaped(value.tensor, (1, rows.numel(), size)), rows, order

    def producer(self, node: object, kinds: Sequence[Kind]) -> Op | None:
        """Return the operator of `kinds` that computed a value for this node alone, or None.

        This node can be folded into it.
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

    def finished(self, copy: bool) -> dict[str, ir.Tensor]:
        """End the trace: return all tensors; without `copy`, some share the module's memory.

        Positions, which can be as large as the weights, are freed first.
        """
        self.values.clear()
        self.parts.clear()
        forget()
        return self.folding.folded(self.tensors, copy)


def led(shape: Shape) -> Shape:
    """Return the shape of a stored tensor, whose first dimension is that of the examples."""
    return shape if shape and shape[0] == 1 else (1, *shape)


def pair(sizes: Sequence[int], other: int) -> Pair:
    """Return sizes of rows and columns; `other` is that of a sequence's columns."""
    return int(sizes[0]), int(sizes[1]) if len(sizes) > 1 else other


def _module(node: Node) -> tuple[str, str]:
    """Return path and class of a node's innermost module."""
    stack: Mapping[str, tuple[str, object]] = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", ""
    path, kind = list(stack.values())[-1]
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind}"
    return re.sub(r"@\d+", "", path), name


def _line(node: Node) -> str:
    """Return the line of a node that is in no submodule, unless that is torch's own."""
    lines = re.findall(r'File "(.+)", line (\d+)', node.stack_trace or "")
    path, number = lines[-1] if lines else (torch.__file__, "")
    is_own = Path(torch.__file__).parent not in Path(path).parents
    return f"{Path(path).name}:{number}" if is_own else "the outermost module"
